//! Stage 1: one training step of the degradation tokenizer and its discriminator (paper, section 3.2; taming-transformers,
//! `VQLPIPSWithDiscriminator`).

use defusion_config::{Config, Stage};
use defusion_dataloader::loader::Batch;
use tch::{Kind, Reduction, Tensor, nn};

use super::engine::{Engine, EngineError, EngineOptions, Times};
use super::{Grid, StageError, StepReport, TrainingStage, picture_tensor};
use crate::amp::autocast;
use crate::checkpoint::Snapshot;
use crate::model::ForwardOptions;
use crate::model::discriminator::Discriminator;
use crate::model::lpips::Lpips;
use crate::model::tokenizer::Tokenizer;
use crate::parallel::ReduceOp;
use crate::workers::Workers;

/// The autoencoder, the discriminator, their optimizers, and the autoencoder's moving average.
pub struct TokenizerTraining {
    config: Config,
    tokenizer: Tokenizer,
    generator: Engine,
    discriminator: Discriminator,
    critic: Engine,
    perceptual: Option<Lpips>,
    workers: Workers,
    forward: ForwardOptions,
}

/// What the generator's forward pass leaves.
struct Reconstruction {
    /// `[B, 3, H, W]` float32, with gradient.
    pictures: Tensor,
    /// Pixel and perceptual loss.
    reconstruction_loss: Tensor,
    codebook_loss: Tensor,
    indices: Tensor,
}

impl TokenizerTraining {
    /// New networks, or those of `config.tokenizer.pretrained`.
    ///
    /// # Errors
    /// Where pretrained or perceptual weights do not fit, or the workers cannot agree on the start.
    pub fn new(config: &Config, workers: &Workers) -> Result<Self, StageError> {
        let stage = &config.tokenizer;
        let weights = |e: &dyn std::fmt::Display| StageError::Weights(e.to_string());
        let vars = nn::VarStore::new(workers.device());
        let tokenizer = Tokenizer::new(&vars.root(), &config.model.tokenizer);
        let critic_vars = nn::VarStore::new(workers.device());
        let discriminator = Discriminator::new(&critic_vars.root(), &config.model.discriminator);
        if let Some(file) = &stage.pretrained {
            crate::model::import::tokenizer(&vars, Some(&critic_vars), file).map_err(|e| weights(&e))?;
        }
        let perceptual = match &stage.perceptual_weights {
            Some(file) if stage.perceptual_weight > 0.0 => {
                Some(Lpips::vgg16(file, workers.device()).map_err(|e| weights(&e))?)
            }
            _ => None,
        };
        let at_start = |e: EngineError| e.at(Stage::Tokenizer, 0);
        let options = EngineOptions { adam: &stage.adam, step: &stage.step, ema_decay: Some(stage.ema_decay) };
        let generator = Engine::new("", vars, workers, &options).map_err(at_start)?;
        let options = EngineOptions { ema_decay: None, ..options };
        Ok(Self {
            config: config.clone(),
            tokenizer,
            generator,
            discriminator,
            critic: Engine::new("disc_", critic_vars, workers, &options).map_err(at_start)?,
            perceptual,
            workers: workers.clone(),
            forward: ForwardOptions::train(stage.step.activation_checkpointing),
        })
    }

    /// The autoencoder's moving average: what stage 2 is conditioned with.
    ///
    /// # Errors
    /// Where libtorch cannot allocate.
    pub fn averaged(&self) -> Result<nn::VarStore, StageError> {
        let mut vars = nn::VarStore::new(self.generator.device());
        let _ = Tokenizer::new(&vars.root(), &self.config.model.tokenizer);
        let _average = self.generator.averaged();
        vars.copy(self.generator.vars()).map_err(|e| StageError::Weights(e.to_string()))?;
        Ok(vars)
    }

    fn reconstruct(&self, v: &Tensor) -> Reconstruction {
        let stage = &self.config.tokenizer;
        let (pictures, quantized) = autocast(stage.step.precision, self.generator.device(), || {
            let e = self.tokenizer.encode(v, &self.forward).to_kind(Kind::Float);
            let quantized = self.tokenizer.quantize(&e, stage.codebook_loss);
            (self.tokenizer.decode(&quantized.z_q, &self.forward), quantized)
        });
        let pictures = pictures.to_kind(Kind::Float);
        let pixel = match stage.pixel_l1 {
            true => pictures.l1_loss(v, Reduction::Mean),
            false => pictures.mse_loss(v, Reduction::Mean),
        };
        let reconstruction_loss = match &self.perceptual {
            Some(lpips) => pixel + stage.perceptual_weight * lpips.forward(&pictures, v).mean(Kind::Float),
            None => pixel,
        };
        Reconstruction { pictures, reconstruction_loss, codebook_loss: quantized.loss, indices: quantized.indices }
    }

    /// The adversarial loss's weight: the ratio of the two losses' gradients at the decoder's last layer. Each gradient
    /// is averaged over the workers first, so that the weight is that of the whole batch at any world size.
    fn adaptive_weight(&self, reconstruction: &Tensor, adversarial: &Tensor) -> Result<Tensor, EngineError> {
        let last = [self.tokenizer.last_layer()];
        let norm = |loss: &Tensor| -> Result<Tensor, EngineError> {
            let mut gradient = Tensor::f_run_backward(&[loss], &last, true, false)?.swap_remove(0);
            self.workers.collective().all_reduce(&mut gradient, ReduceOp::Sum, "adaptive weight")?;
            Ok((gradient / self.workers.collective().size() as f64).norm())
        };
        let weight = norm(reconstruction)? / (norm(adversarial)? + 1e-4);
        Ok(weight.clamp(0.0, 1e4).detach() * self.config.tokenizer.adversarial_weight)
    }

    fn judge(&self, pictures: &Tensor) -> Tensor {
        autocast(self.config.tokenizer.step.precision, self.critic.device(), || {
            self.discriminator.forward(pictures, true)
        })
        .to_kind(Kind::Float)
    }

    fn try_step(&mut self, batch: &Batch, step: u64) -> Result<StepReport, EngineError> {
        let stage = &self.config.tokenizer;
        let mut times = Times::start();
        let device = self.generator.device();
        let v = picture_tensor(&batch.instruction, batch.size, device)?;
        let micro_batches = i64::from(stage.step.accumulation);
        let rows = batch.len as i64 / micro_batches;
        let adversarial = step >= stage.disc_start;
        let lr = stage.lr.at(step, stage.iterations);
        let zero = || Tensor::zeros([], (Kind::Float, device));
        let (mut total, mut reconstruction_loss, mut codebook_loss, mut disc_loss) = (zero(), zero(), zero(), zero());
        let mut reconstructed = Vec::new();
        let mut indices = Vec::new();

        self.generator.zero_grad()?;
        self.critic.require_grad(false);
        for k in 0..micro_batches {
            let part = v.narrow(0, k * rows, rows);
            let r = self.reconstruct(&part);
            let mut loss = &r.reconstruction_loss + stage.codebook_weight * &r.codebook_loss;
            if adversarial {
                let g_loss = -self.judge(&r.pictures).mean(Kind::Float);
                let weight = self.adaptive_weight(&r.reconstruction_loss, &g_loss)?;
                loss += weight * g_loss;
            }
            let loss = loss / micro_batches as f64;
            total += loss.detach();
            reconstruction_loss += r.reconstruction_loss.detach() / micro_batches as f64;
            codebook_loss += r.codebook_loss.detach() / micro_batches as f64;
            times.forward();
            self.generator.backward(&loss, k + 1 == micro_batches, &mut times)?;
            reconstructed.push(r.pictures.detach());
            indices.push(r.indices);
        }
        let grad_norm = self.generator.update(lr, 0.0, &total, &mut times)?;

        self.critic.require_grad(true);
        if adversarial {
            self.critic.zero_grad()?;
            for k in 0..micro_batches {
                let (real, fake) = (v.narrow(0, k * rows, rows), &reconstructed[k as usize]);
                let real = (1.0 - self.judge(&real)).relu().mean(Kind::Float);
                let fake = (1.0 + self.judge(fake)).relu().mean(Kind::Float);
                let loss = 0.5 * (real + fake) / micro_batches as f64;
                disc_loss += loss.detach();
                times.forward();
                self.critic.backward(&loss, k + 1 == micro_batches, &mut times)?;
            }
            self.critic.update(lr, 0.0, &disc_loss, &mut times)?;
        }
        let used = self.codes_used(&Tensor::cat(&indices, 0));
        let values = vec![
            ("loss", total),
            ("grad_norm", grad_norm),
            ("reconstruction_loss", reconstruction_loss),
            ("codebook_loss", codebook_loss),
            ("discriminator_loss", disc_loss),
            ("codebook_use", used),
        ];
        Ok(StepReport { values, lr, times })
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
        self.critic.store(&mut snapshot);
        snapshot
    }

    fn restore(&mut self, snapshot: &Snapshot) -> Result<(), StageError> {
        self.generator.load(snapshot)?;
        self.critic.load(snapshot)
    }

    fn pictures(&mut self, batch: &Batch) -> Result<Vec<Grid>, StageError> {
        let draw = || -> Result<Vec<Grid>, tch::TchError> {
            let v = picture_tensor(&batch.instruction, batch.size, self.generator.device())?;
            let v = v.narrow(0, 0, (batch.len as i64).min(4));
            let _average = self.generator.averaged();
            let reconstructed = self.reconstruct(&v).pictures;
            Ok(vec![Grid { name: "instruction, reconstructed", columns: vec![v, reconstructed] }])
        };
        tch::no_grad(draw).map_err(|source| StageError::Torch { stage: Stage::Tokenizer, step: 0, source })
    }
}
