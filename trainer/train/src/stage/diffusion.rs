//! Stage 2: one training step of the degradation diffusion (paper, section 3.2, equation 11).

use defusion_config::{Config, Stage};
use defusion_dataloader::loader::Batch;
use tch::{Kind, Tensor, nn};

use super::clock::Clock;
use super::engine::{Engine, EngineError, EngineOptions, arithmetic};
use super::noise::timesteps_and_noise;
use super::{ImageGrid, StageError, StepReport, TrainingStage, image_tensor, weighed};
use defusion_checkpoint::Snapshot;
use defusion_model::diffusion::objective::q_sample;
use defusion_model::diffusion::prediction;
use defusion_model::diffusion::schedule::Schedule;
use defusion_model::import;
use defusion_model::networks::ForwardOptions;
use defusion_model::networks::defusion::DefusionUnet;
use defusion_model::networks::tokenizer::{Tokenizer, zero_share};
use defusion_parallel::ProcessGroup;
use defusion_restore::{Restorer, restore_batch};
use defusion_torch::autocast;

/// The networks, optimizer and moving average of stage 2, and the frozen tokenizer that conditions it.
pub struct DiffusionTraining {
    config: Config,
    schedule: Schedule,
    unet: DefusionUnet,
    engine: Engine,
    tokenizer: Tokenizer,
    tokenizer_vars: nn::VarStore,
    forward: ForwardOptions,
}

impl DiffusionTraining {
    /// Makes sure that the file of `config.diffusion.pretrained` fits the networks, before stage 1 is trained for nothing.
    ///
    /// # Errors
    /// [`StageError::Import`] if it does not.
    pub fn check(config: &Config) -> Result<(), StageError> {
        let Some(file) = &config.diffusion.pretrained else { return Ok(()) };
        let tokens = defusion_footprint::tokens(&config.model, config.data.grounds.size);
        let network = defusion_footprint::diffusion(&config.model, config.data.crop, tokens);
        Ok(import::check_unet(network.parameters.into_iter().map(|p| (p.name, p.shape)), file)?)
    }

    /// New networks, or those of `config.diffusion.pretrained`. The frozen tokenizer's weights come with
    /// [`DiffusionTraining::set_tokenizer`] or with a snapshot.
    ///
    /// # Errors
    /// [`StageError::Weights`] if pretrained weights do not fit, [`StageError::Parallel`] if the ranks differ.
    pub fn new(config: &Config, group: &ProcessGroup) -> Result<Self, StageError> {
        let stage = &config.diffusion;
        super::seed_weights(config.seed, Stage::Diffusion);
        let vars = nn::VarStore::new(group.device());
        let tokens = Tokenizer::token_count(&config.model.tokenizer, i64::from(config.data.grounds.size));
        let unet = DefusionUnet::new(&vars.root(), &config.model, tokens);
        if let Some(file) = &stage.pretrained {
            import::unet(&vars, file)?;
        }
        let mut tokenizer_vars = nn::VarStore::new(group.device());
        let tokenizer = Tokenizer::new(&tokenizer_vars.root(), &config.model.tokenizer);
        tokenizer_vars.freeze();
        let options = EngineOptions { adam: &stage.adam, step: &stage.step, ema_decay: Some(stage.ema_decay) };
        Ok(Self {
            schedule: Schedule::new(stage.schedule, stage.timesteps),
            engine: Engine::new("", vars, group, &options).map_err(|e| e.at(Stage::Diffusion, 0))?,
            unet,
            tokenizer,
            tokenizer_vars,
            forward: ForwardOptions::train(config, Stage::Diffusion),
            config: config.clone(),
        })
    }

    /// Takes the frozen tokenizer's weights: the moving averages at the end of stage 1.
    ///
    /// # Errors
    /// [`StageError::Checkpoint`] if names or shapes differ.
    pub fn set_tokenizer(&mut self, averages: Vec<(String, Tensor)>) -> Result<(), StageError> {
        let mut source = Snapshot::new(Stage::Tokenizer, 0);
        source.insert("tokenizer", averages);
        Ok(source.copy_into("tokenizer", self.tokenizer_vars.variables())?)
    }

    /// The instruction's residual tokens `[B, T, embed_dim]`; `None` if the adapter is off.
    fn tokens(&self, batch: &Batch) -> Result<Option<Tensor>, tch::TchError> {
        let adapter = &self.config.model.adapter;
        if !adapter.enabled {
            return Ok(None);
        }
        let device = self.engine.device();
        let v = image_tensor(&batch.instruction, batch.size, device)?;
        let null = image_tensor(&batch.null_ground, batch.size, device)?;
        Ok(Some(self.tokenizer.residual_tokens(&v, &null, adapter.pre_quantization)))
    }

    fn try_step(&mut self, batch: &Batch, step: u64) -> Result<StepReport, EngineError> {
        let stage = &self.config.diffusion;
        let mut clock = Clock::start();
        let device = self.engine.device();
        let lq = image_tensor(&batch.lq, batch.crop, device)?;
        let y0 = &lq - image_tensor(&batch.target, batch.crop, device)?;
        let tokens = self.tokens(batch)?;
        let side = batch.crop as i64;
        let (t, eps) =
            timesteps_and_noise(self.config.seed, batch.first_sample, batch.len, stage.timesteps, side, device)?;
        let y_t = q_sample(&self.schedule, &y0, &t, &eps);
        let target = prediction::target(stage.prediction, &self.schedule, &y0, &t, &eps);
        let weights = prediction::loss_weights(stage.prediction, &self.schedule, &t, stage.min_snr_gamma, device);
        let t = Tensor::f_from_slice(&t)?.f_to_device(device)?;

        let micro_batches = i64::from(stage.step.accumulation);
        let rows = batch.len as i64 / micro_batches;
        self.engine.begin_step()?;
        for k in 0..micro_batches {
            let part = |x: &Tensor| x.narrow(0, k * rows, rows);
            let predicted = autocast(device, arithmetic(&stage.step)?, || {
                let tokens = tokens.as_ref().map(part);
                self.unet.forward(&part(&y_t), &part(&t), &part(&lq), tokens.as_ref(), &self.forward)
            })?;
            // Equation 11 (of eps, or of what the config has predicted), in float32 whatever the forward pass used.
            let error = (part(&target) - predicted.to_kind(Kind::Float)).square();
            let error = if let Some(weights) = &weights { error * part(weights) } else { error };
            let loss = error.mean(Kind::Float);
            self.engine.backward(&weighed(&loss, batch.weight), k + 1 == micro_batches, &mut clock)?;
        }
        let lr = stage.lr.at(step, stage.iterations);
        let update = self.engine.update(step, lr, stage.clip_norm, &mut clock)?;
        let mut values = vec![("loss", update.loss), ("grad_norm", update.grad_norm)];
        values.extend(tokens.map(|tokens| ("zero_token_share", zero_share(&tokens))));
        Ok(StepReport { values, lr, times: clock.times })
    }
}

impl TrainingStage for DiffusionTraining {
    fn stage(&self) -> Stage {
        Stage::Diffusion
    }

    fn step(&mut self, batch: &Batch, step: u64) -> Result<StepReport, StageError> {
        self.try_step(batch, step).map_err(|e| e.at(Stage::Diffusion, step))
    }

    fn snapshot(&self, step: u64) -> Snapshot {
        let mut snapshot = Snapshot::new(Stage::Diffusion, step);
        self.engine.store(&mut snapshot);
        snapshot.insert("tokenizer", self.tokenizer_vars.variables());
        snapshot
    }

    fn images(&mut self, batch: &Batch) -> Result<Vec<ImageGrid>, StageError> {
        let _no_grad = tch::no_grad_guard();
        self.try_images(batch).map_err(|e| e.at(Stage::Diffusion, 0))
    }

    fn with_restorer(&mut self, borrow: &mut dyn FnMut(&Restorer<'_>)) -> Result<(), StageError> {
        let Self { engine, unet, tokenizer, config, .. } = self;
        let device = engine.device();
        let arithmetic = arithmetic(&config.diffusion.step).map_err(|e| e.at(Stage::Diffusion, 0))?;
        engine.with_average(|| {
            borrow(&Restorer::new(tokenizer, unet, config, device, arithmetic, VALIDATION_BATCH)?);
            Ok(())
        })
    }
}

/// Images and tiles that the U-Net sees at once in validation.
const VALIDATION_BATCH: usize = 8;

impl DiffusionTraining {
    fn try_images(&mut self, batch: &Batch) -> Result<Vec<ImageGrid>, EngineError> {
        let device = self.engine.device();
        let rows = (batch.len as i64).min(4);
        let few = |x: Tensor| x.narrow(0, 0, rows);
        let lq = few(image_tensor(&batch.lq, batch.crop, device)?);
        let target = few(image_tensor(&batch.target, batch.crop, device)?);
        let v = few(image_tensor(&batch.instruction, batch.size, device)?);
        let null = few(image_tensor(&batch.null_ground, batch.size, device)?);
        let tokens = self.tokens(batch)?.map(few);
        let Self { engine, unet, schedule, config, .. } = self;
        let arithmetic = arithmetic(&config.diffusion.step)?;
        let restored = engine.with_average(|| {
            restore_batch(unet, schedule, &config.diffusion, arithmetic, &lq, tokens.as_ref(), config.seed)
        })?;
        Ok(vec![
            ImageGrid { name: "degraded_restored_target", rows: vec![lq, restored, target] },
            ImageGrid { name: "instruction_ground", rows: vec![v, null] },
        ])
    }
}
