//! Stage 1: one training step of the degradation tokenizer and its discriminator (paper, section 3.1; taming-transformers,
//! `VQLPIPSWithDiscriminator`).

use defusion_config::{Config, Stage};
use defusion_dataloader::loader::Batch;
use tch::{Kind, Reduction, Tensor, nn};

use super::engine::{Clock, Engine, EngineError, EngineOptions};
use super::{ImageGrid, StageError, StepReport, TrainingStage, image_tensor};
use defusion_torch::autocast;
use defusion_checkpoint::Snapshot;
use defusion_restore::Restorer;
use defusion_model::networks::discriminator::Discriminator;
use defusion_model::import;
use defusion_model::networks::lpips::Lpips;
use defusion_model::networks::tokenizer::Tokenizer;
use defusion_model::networks::{BatchStatistics, ForwardOptions};
use defusion_parallel::{ParallelError, ProcessGroup, ReduceOp, batch_statistics};

/// The autoencoder, the discriminator, their optimizers, and the autoencoder's moving average.
pub struct TokenizerTraining {
    config: Config,
    tokenizer: Tokenizer,
    generator: Engine,
    discriminator: Discriminator,
    discriminator_engine: Engine,
    perceptual: Option<Lpips>,
    group: ProcessGroup,
    forward: ForwardOptions,
}

/// What the generator's half of a step leaves, by micro-batch and without gradient.
#[derive(Default)]
struct Generated {
    images: Vec<Tensor>,
    indices: Vec<Tensor>,
    reconstruction_loss: Vec<Tensor>,
    codebook_loss: Vec<Tensor>,
}

/// What the generator's forward pass leaves.
struct Reconstruction {
    /// `[B, 3, H, W]` float32, with gradient.
    images: Tensor,
    /// Pixel and perceptual loss.
    reconstruction_loss: Tensor,
    codebook_loss: Tensor,
    indices: Tensor,
}

impl TokenizerTraining {
    /// New networks, or those of `config.tokenizer.pretrained`.
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
        if let Some(file) = &stage.pretrained {
            import::tokenizer(&vars, Some(&discriminator_vars), file)?;
        }
        let perceptual = match &stage.perceptual_weights {
            Some(file) if stage.perceptual_weight > 0.0 => {
                Some(Lpips::vgg16(file, group.device())?)
            }
            _ => None,
        };
        let at_start = |e: EngineError| e.at(Stage::Tokenizer, 0);
        let options = EngineOptions { adam: &stage.adam, step: &stage.step, ema_decay: Some(stage.ema_decay) };
        let generator = Engine::new("", vars, group, &options).map_err(at_start)?;
        let options = EngineOptions { ema_decay: None, ..options };
        Ok(Self {
            config: config.clone(),
            tokenizer,
            generator,
            discriminator,
            discriminator_engine: Engine::new("disc_", discriminator_vars, group, &options).map_err(at_start)?,
            perceptual,
            group: group.clone(),
            forward: ForwardOptions::train(config, Stage::Tokenizer),
        })
    }

    /// The autoencoder's moving averages: what stage 2 is conditioned with.
    pub fn averages(&self) -> Vec<(String, Tensor)> {
        self.generator.averages()
    }

    fn reconstruct(&self, v: &Tensor) -> Result<Reconstruction, EngineError> {
        let stage = &self.config.tokenizer;
        let (images, quantized) = autocast(self.generator.device(), stage.step.precision, || {
            let e = self.tokenizer.encode(v, &self.forward).to_kind(Kind::Float);
            let quantized = self.tokenizer.quantize(&e, stage.codebook_loss);
            (self.tokenizer.decode(&quantized.z_q, &self.forward), quantized)
        })?;
        let images = images.to_kind(Kind::Float);
        let pixel = match stage.pixel_l1 {
            true => images.l1_loss(v, Reduction::Mean),
            false => images.mse_loss(v, Reduction::Mean),
        };
        let reconstruction_loss = match &self.perceptual {
            Some(lpips) => pixel + stage.perceptual_weight * lpips.forward(&images, v).mean(Kind::Float),
            None => pixel,
        };
        Ok(Reconstruction { images, reconstruction_loss, codebook_loss: quantized.loss, indices: quantized.indices })
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

    /// The discriminator's logits. Its BatchNorm sees all workers' images, so that the loss does not depend on how the
    /// batch is dealt to them.
    fn logits(&self, images: &Tensor) -> Result<Tensor, EngineError> {
        let collective = self.group.collective();
        let logits = autocast(self.discriminator_engine.device(), self.config.tokenizer.step.precision, || {
            if collective.size() == 1 {
                return Ok(self.discriminator.forward(images, true));
            }
            self.discriminator.forward_synced(images, |h| {
                let (mean, var, count) = batch_statistics(collective, h, "discriminator's BatchNorm")?;
                Ok::<_, ParallelError>(BatchStatistics { mean, var, count })
            })
        })??;
        Ok(logits.to_kind(Kind::Float))
    }

    /// The autoencoder's half of a step: its losses, and the reconstructions for the other half.
    fn train_generator(&mut self, v: &Tensor, step: u64, clock: &mut Clock) -> Result<Generated, EngineError> {
        let stage = &self.config.tokenizer;
        let micro_batches = i64::from(stage.step.accumulation);
        let rows = v.size()[0] / micro_batches;
        let mut generated = Generated::default();
        self.generator.begin_step()?;
        for k in 0..micro_batches {
            let r = self.reconstruct(&v.narrow(0, k * rows, rows))?;
            let mut loss = &r.reconstruction_loss + stage.codebook_weight * &r.codebook_loss;
            if step >= stage.disc_start {
                let g_loss = -self.discriminator_engine.frozen(|| self.logits(&r.images))?.mean(Kind::Float);
                loss += self.adaptive_weight(&r.reconstruction_loss, &g_loss)? * g_loss;
            }
            self.generator.backward(&loss, k + 1 == micro_batches, clock)?;
            generated.images.push(r.images.detach());
            generated.indices.push(r.indices);
            generated.reconstruction_loss.push(r.reconstruction_loss.detach());
            generated.codebook_loss.push(r.codebook_loss.detach());
        }
        Ok(generated)
    }

    /// The discriminator's half: hinge loss on the images and on what the autoencoder made of them.
    fn train_discriminator(
        &mut self,
        v: &Tensor,
        fakes: &[Tensor],
        step: u64,
        clock: &mut Clock,
    ) -> Result<Tensor, EngineError> {
        let stage = &self.config.tokenizer;
        self.discriminator_engine.begin_step()?;
        let mut row = 0;
        for (k, fake) in fakes.iter().enumerate() {
            let rows = fake.size()[0];
            let real: Tensor = 1.0 - self.logits(&v.narrow(0, row, rows))?;
            let fake: Tensor = 1.0 + self.logits(fake)?;
            row += rows;
            let loss = 0.5 * (real.relu().mean(Kind::Float) + fake.relu().mean(Kind::Float));
            self.discriminator_engine.backward(&loss, k + 1 == fakes.len(), clock)?;
        }
        Ok(self.discriminator_engine.update(step, stage.lr.at(step, stage.iterations), 0.0, clock)?.loss)
    }

    fn try_step(&mut self, batch: &Batch, step: u64) -> Result<StepReport, EngineError> {
        let mut clock = Clock::start();
        let v = image_tensor(&batch.instruction, batch.size, self.generator.device())?;
        let (lr, disc_start) =
            (self.config.tokenizer.lr.at(step, self.config.tokenizer.iterations), self.config.tokenizer.disc_start);
        let generated = self.train_generator(&v, step, &mut clock)?;
        let update = self.generator.update(step, lr, 0.0, &mut clock)?;
        let mean = |parts: &[Tensor]| Tensor::stack(parts, 0).mean(Kind::Float);
        let mut values = vec![
            ("loss", update.loss),
            ("grad_norm", update.grad_norm),
            ("reconstruction_loss", mean(&generated.reconstruction_loss)),
            ("codebook_loss", mean(&generated.codebook_loss)),
            ("codebook_use", self.codes_used(&Tensor::cat(&generated.indices, 0))),
        ];
        if step >= disc_start {
            values.push(("discriminator_loss", self.train_discriminator(&v, &generated.images, step, &mut clock)?));
        }
        Ok(StepReport { values, lr, times: clock.times })
    }

    /// Share of the codebook that this rank's part of the batch uses.
    fn codes_used(&self, indices: &Tensor) -> Tensor {
        let codes = self.config.model.tokenizer.n_embed;
        let hit = Tensor::zeros([codes], (Kind::Float, indices.device()));
        hit.index_fill(0, &indices.flatten(0, -1), 1.0).mean(Kind::Float)
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
        self.discriminator_engine.store(&mut snapshot);
        snapshot
    }

    fn load_state(&mut self, snapshot: &Snapshot) -> Result<(), StageError> {
        self.generator.load(snapshot)?;
        Ok(self.discriminator_engine.load(snapshot)?)
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
