//! The training loop: batch, step, log, look, checkpoint; both stages through the same lines.

use defusion_config::Stage;
use defusion_dataloader::loader::Loader;

use crate::run::{Outcome, Run, TrainError};
use crate::stage::{DiffusionTraining, TokenizerTraining, TrainingStage};

/// Trains both stages from where the run folder's newest valid checkpoint left them, to their ends or until all ranks
/// agree to stop. Only the networks of one stage exist at a time.
///
/// # Errors
/// [`TrainError`]: which stage, step and part failed, and whether starting again can help.
pub fn train(run: &mut Run) -> Result<Outcome, TrainError> {
    let config = run.config().clone();
    run.check_datasets()?;
    run.check_shards()?;
    DiffusionTraining::check(&config)?;
    let mut resume = run.newest_checkpoint()?;
    let mut averages = None;
    if resume.as_ref().is_none_or(|checkpoint| checkpoint.id().stage == Stage::Tokenizer) {
        run.prepare_stage(Stage::Tokenizer, resume.as_ref().map_or(0, |checkpoint| checkpoint.id().step));
        let mut tokenizer = TokenizerTraining::new(&config, run.group())?;
        let start = run.resume(&tokenizer, resume.take())?;
        if train_stage(run, &mut tokenizer, start, config.tokenizer.iterations)? == Outcome::Stopped {
            return Ok(Outcome::Stopped);
        }
        averages = Some(tokenizer.into_averages());
    }
    run.prepare_stage(Stage::Diffusion, resume.as_ref().map_or(0, |checkpoint| checkpoint.id().step));
    let mut diffusion = DiffusionTraining::new(&config, run.group())?;
    let start = run.resume(&diffusion, resume)?;
    if let Some(averages) = averages {
        diffusion.set_tokenizer(averages)?;
    }
    train_stage(run, &mut diffusion, start, config.diffusion.iterations)
}

/// One stage, from step `start` to `iterations`.
fn train_stage(
    run: &mut Run,
    stage: &mut dyn TrainingStage,
    start: u64,
    iterations: u64,
) -> Result<Outcome, TrainError> {
    if start >= iterations {
        return Ok(Outcome::Finished);
    }
    let name = stage.stage();
    let mut loader = Loader::open(run.config(), name, run.rank(), run.world_size(), start, run.loader_threads())?;
    run.begin_stage(name, start, iterations)?;
    for step in start..iterations {
        let batch = loader.next()?;
        let report = stage.step(&batch, step)?;
        let done = step + 1;
        run.finished_step(name, done, &batch, report, &loader)?;
        if run.images_due(done) {
            run.show(done, &stage.images(&batch)?)?;
        }
        if run.validation_due(done, iterations) {
            run.validate(stage, done)?;
        }
        let stop = run.all_agree_to_stop()?;
        if stop || run.checkpoint_due(done, iterations) {
            run.checkpoint(&stage.snapshot(done))?;
        }
        if stop {
            return Ok(Outcome::Stopped);
        }
    }
    Ok(Outcome::Finished)
}
