//! Stage 1: one training step of the degradation tokenizer and its discriminator (paper, section 3.1; taming-transformers,
//! `VQLPIPSWithDiscriminator`).

use defusion_checkpoint::Snapshot;
use defusion_config::{Config, Stage};
use defusion_dataloader::loader::Batch;
use defusion_model::import;
use defusion_model::networks::ForwardOptions;
use defusion_model::networks::discriminator::Discriminator;
use defusion_model::networks::lpips::Lpips;
use defusion_model::networks::quantizer::Quantized;
use defusion_model::networks::tokenizer::Tokenizer;
use defusion_parallel::{BatchShare, ProcessGroup, ReduceOp};
use defusion_restore::Restorer;
use defusion_torch::autocast;
use tch::{Kind, Reduction, Tensor, nn};

use super::clock::Clock;
use super::codebook::CodebookUse;
use super::discriminator::DiscriminatorTraining;
use super::engine::{Engine, EngineError, EngineOptions, Update, arithmetic};
use super::{ImageGrid, StageError, StepReport, TrainingStage, image_tensor, share_of, weighed};

/// The autoencoder, the discriminator, their optimizers, and the autoencoder's moving average.
pub struct TokenizerTraining {
    config: Config,
    tokenizer: Tokenizer,
    generator: Engine,
    discriminator: DiscriminatorTraining,
    /// First step with the adversarial loss and the discriminator's training.
    disc_start: u64,
    perceptual: Option<Lpips>,
    codebook: CodebookUse,
    group: ProcessGroup,
    forward: ForwardOptions,
}

/// What the generator's half of a step leaves, by micro-batch and without gradient.
#[derive(Default)]
struct Generated {
    reconstruction_loss: Vec<Tensor>,
    codebook_loss: Vec<Tensor>,
}

impl TokenizerTraining {
    /// New networks, or those of `config.tokenizer.pretrained`. A discriminator that comes with them is trained from the
    /// first step, unless the config says when.
    ///
    /// # Errors
    /// [`StageError::Weights`] if pretrained or perceptual weights do not fit, [`StageError::Parallel`] if the ranks differ.
    pub fn new(config: &Config, group: &ProcessGroup) -> Result<Self, StageError> {
        let stage = &config.tokenizer;
        super::seed_weights(config.seed, Stage::Tokenizer);
        let vars = nn::VarStore::new(group.device());
        let tokenizer = Tokenizer::new(&vars.root(), &config.model.tokenizer);
        let discriminator_vars = nn::VarStore::new(group.device());
        let discriminator = Discriminator::new(&discriminator_vars.root(), &config.model.discriminator);
        let imported = match &stage.pretrained {
            Some(file) => import::tokenizer(&vars, Some(&discriminator_vars), file)?,
            None => false,
        };
        let perceptual = match &stage.perceptual_weights {
            Some(file) if stage.perceptual_weight > 0.0 => Some(Lpips::vgg16(file, group.device())?),
            _ => None,
        };
        let at_start = |e: EngineError| e.at(Stage::Tokenizer, 0);
        let options = EngineOptions { adam: &stage.adam, step: &stage.step, ema_decay: Some(stage.ema_decay) };
        let generator = Engine::new("", vars, group, &options).map_err(at_start)?;
        let options = EngineOptions { ema_decay: None, ..options };
        let engine = Engine::new("disc_", discriminator_vars, group, &options).map_err(at_start)?;
        Ok(Self {
            tokenizer,
            generator,
            discriminator: DiscriminatorTraining::new(discriminator, engine, stage, group),
            disc_start: stage.adversarial_from(imported),
            perceptual,
            codebook: CodebookUse::new(config.model.tokenizer.n_embed, group.device()).map_err(at_start)?,
            group: group.clone(),
            forward: ForwardOptions::train(config, Stage::Tokenizer),
            config: config.clone(),
        })
    }

    /// The autoencoder's moving averages, what stage 2 is conditioned with, and the end of all else.
    pub fn into_averages(self) -> Vec<(String, Tensor)> {
        self.generator.into_averages()
    }

    /// What the autoencoder makes of `v`: images `[B, 3, H, W]` float32, and the codes between.
    fn reconstruct(&self, v: &Tensor) -> Result<(Tensor, Quantized), EngineError> {
        let stage = &self.config.tokenizer;
        let (images, quantized) = autocast(self.generator.device(), arithmetic(&stage.step)?, || {
            let e = self.tokenizer.encode(v, &self.forward).to_kind(Kind::Float);
            let quantized = self.tokenizer.quantize(&e, stage.codebook_loss);
            (self.tokenizer.decode(&quantized.z_q, &self.forward), quantized)
        })?;
        Ok((images.to_kind(Kind::Float), quantized))
    }

    /// Pixel and perceptual loss.
    fn reconstruction_loss(&self, images: &Tensor, v: &Tensor) -> Tensor {
        let stage = &self.config.tokenizer;
        let pixel = match stage.pixel_l1 {
            true => images.l1_loss(v, Reduction::Mean),
            false => images.mse_loss(v, Reduction::Mean),
        };
        match &self.perceptual {
            Some(lpips) => pixel + stage.perceptual_weight * lpips.forward(images, v).mean(Kind::Float),
            None => pixel,
        }
    }

    /// The adversarial loss's weight: the ratio of the two losses' gradients at the decoder's last layer. Each gradient
    /// is averaged over the workers first, so that the weight is that of the whole batch at any world size.
    fn adaptive_weight(&self, reconstruction: &Tensor, adversarial: &Tensor) -> Result<Tensor, EngineError> {
        let last = [self.tokenizer.last_layer()];
        let norm = |loss: &Tensor| -> Result<Tensor, EngineError> {
            let mut gradient = Tensor::f_run_backward(&[loss], &last, true, false)?.swap_remove(0);
            self.group.collective().all_reduce(&mut gradient, ReduceOp::Sum, "adaptive weight")?;
            Ok((gradient / self.group.collective().size() as f64).norm())
        };
        let weight = norm(reconstruction)? / (norm(adversarial)? + 1e-4);
        Ok(weight.clamp(0.0, 1e4).detach() * self.config.tokenizer.adversarial_weight)
    }

    /// The micro-batches of this rank's instructions.
    fn micro_batches(&self, v: &Tensor) -> Result<Vec<Tensor>, EngineError> {
        let parts = i64::from(self.config.tokenizer.step.accumulation);
        let rows = v.size()[0] / parts;
        Ok((0..parts).map(|k| v.f_narrow(0, k * rows, rows)).collect::<Result<_, _>>()?)
    }

    /// The autoencoder's half of a step.
    fn train_generator(
        &mut self,
        v: &Tensor,
        share: BatchShare,
        step: u64,
        clock: &mut Clock,
    ) -> Result<(Update, Generated), EngineError> {
        let parts = self.micro_batches(v)?;
        let mut generated = Generated::default();
        let kept = self.discriminator.engine.keep_buffers()?;
        self.generator.begin_step()?;
        for (k, v) in parts.iter().enumerate() {
            let (images, quantized) = self.reconstruct(v)?;
            let reconstruction_loss = self.reconstruction_loss(&images, v);
            let mut loss = &reconstruction_loss + self.config.tokenizer.codebook_weight * &quantized.loss;
            if step >= self.disc_start {
                let adversarial = self.discriminator.adversarial_loss(&images, share)?;
                let weighed = |loss: &Tensor| weighed(loss, share.weight);
                loss += self.adaptive_weight(&weighed(&reconstruction_loss), &weighed(&adversarial))? * adversarial;
            }
            self.generator.backward(&weighed(&loss, share.weight), k + 1 == parts.len(), clock)?;
            if share.weight > 0.0 {
                self.codebook.count(&quantized.indices)?;
            }
            generated.reconstruction_loss.push(reconstruction_loss.detach());
            generated.codebook_loss.push(quantized.loss.detach());
        }
        let stage = &self.config.tokenizer;
        let update = self.generator.update(step, stage.lr.at(step, stage.iterations), 0.0, clock)?;
        kept.restore_if(&update.nonfinite)?;
        Ok((update, generated))
    }

    /// The discriminator's half, which sees what the autoencoder makes of the images after its update, as in
    /// taming-transformers.
    fn train_discriminator(
        &mut self,
        v: &Tensor,
        share: BatchShare,
        step: u64,
        clock: &mut Clock,
    ) -> Result<Tensor, EngineError> {
        let parts = self.micro_batches(v)?;
        let fakes =
            tch::no_grad(|| parts.iter().map(|v| Ok(self.reconstruct(v)?.0)).collect::<Result<_, EngineError>>());
        let pairs: Vec<_> = parts.into_iter().zip::<Vec<Tensor>>(fakes?).collect();
        self.discriminator.train(&pairs, share, step, clock)
    }

    fn try_step(&mut self, batch: &Batch, step: u64) -> Result<StepReport, EngineError> {
        let mut clock = Clock::start();
        let share = share_of(batch);
        let v = image_tensor(&batch.instruction, batch.size, self.generator.device())?;
        let (update, generated) = self.train_generator(&v, share, step, &mut clock)?;
        let mean = |parts: &[Tensor]| Tensor::stack(parts, 0).mean(Kind::Float);
        let mut values = vec![
            ("loss", update.loss),
            ("grad_norm", update.grad_norm),
            ("reconstruction_loss", mean(&generated.reconstruction_loss)),
            ("codebook_loss", mean(&generated.codebook_loss)),
        ];
        if (step + 1).is_multiple_of(self.config.monitor.log_every) {
            let [used, perplexity] = self.codebook.take(&**self.group.collective())?;
            values.extend([("codebook_used", used), ("codebook_perplexity", perplexity)]);
        }
        if step >= self.disc_start {
            values.push(("discriminator_loss", self.train_discriminator(&v, share, step, &mut clock)?));
        }
        let lr = self.config.tokenizer.lr.at(step, self.config.tokenizer.iterations);
        Ok(StepReport { values, lr, times: clock.times })
    }
}

impl TrainingStage for TokenizerTraining {
    fn stage(&self) -> Stage {
        Stage::Tokenizer
    }

    fn step(&mut self, batch: &Batch, step: u64) -> Result<StepReport, StageError> {
        self.try_step(batch, step).map_err(|e| e.at(Stage::Tokenizer, step))
    }

    fn snapshot(&self, step: u64) -> Snapshot {
        let mut snapshot = Snapshot::new(Stage::Tokenizer, step);
        self.generator.store(&mut snapshot);
        self.discriminator.engine.store(&mut snapshot);
        snapshot
    }

    fn with_restorer(&mut self, _borrow: &mut dyn FnMut(&Restorer<'_>)) -> Result<(), StageError> {
        Ok(())
    }

    fn images(&mut self, batch: &Batch) -> Result<Vec<ImageGrid>, StageError> {
        let _no_grad = tch::no_grad_guard();
        let device = self.generator.device();
        let Self { generator, tokenizer, config, .. } = self;
        let v = image_tensor(&batch.instruction, batch.size, device)
            .map_err(|e| EngineError::from(e).at(Stage::Tokenizer, 0))?
            .narrow(0, 0, (batch.len as i64).min(4));
        let reconstructed = generator.with_average(|| {
            let e = tokenizer.encode(&v, &ForwardOptions::EVAL);
            tokenizer.decode(&tokenizer.quantize(&e, config.tokenizer.codebook_loss).z_q, &ForwardOptions::EVAL)
        });
        Ok(vec![ImageGrid { name: "instruction_reconstructed", rows: vec![v, reconstructed] }])
    }
}
