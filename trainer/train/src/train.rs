//! The training loop: batch, step, log, look, checkpoint; both stages through the same lines.

use defusion_config::Stage;
use defusion_dataloader::loader::Loader;

use crate::run::{Outcome, Run, TrainError};
use crate::stage::{DiffusionTraining, TokenizerTraining, TrainingStage};

/// Trains both stages from where the run folder's newest valid checkpoint left them, to their ends or until all ranks
/// agree to stop.
///
/// # Errors
/// [`TrainError`]: which stage, step and part failed, and whether starting again can help.
pub fn train(run: &mut Run) -> Result<Outcome, TrainError> {
    let config = run.config().clone();
    run.check_shards()?;
    let resume = run.newest_checkpoint()?;
    let mut diffusion = DiffusionTraining::new(&config, run.group())?;

    let start = match resume {
        Some(snapshot) if snapshot.stage == Stage::Diffusion => {
            diffusion.load_state(&snapshot)?;
            snapshot.step
        }
        resume => {
            let mut tokenizer = TokenizerTraining::new(&config, run.group())?;
            let mut start = 0;
            if let Some(snapshot) = resume {
                tokenizer.load_state(&snapshot)?;
                start = snapshot.step;
            }
            if train_stage(run, &mut tokenizer, start, config.tokenizer.iterations)? == Outcome::Stopped {
                return Ok(Outcome::Stopped);
            }
            diffusion.set_tokenizer(tokenizer.averages())?;
            0
        }
    };
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
