//! The discriminator's half of stage 1 (taming-transformers, `VQLPIPSWithDiscriminator` with `optimizer_idx` 1).

use defusion_config::TokenizerStage;
use defusion_model::networks::BatchStatistics;
use defusion_model::networks::discriminator::Discriminator;
use defusion_parallel::{BatchShare, ParallelError, ProcessGroup, batch_statistics};
use defusion_torch::autocast;
use tch::{Kind, Tensor};

use super::clock::Clock;
use super::engine::{Engine, EngineError, arithmetic};
use super::weighed;

/// The discriminator and its optimizer.
pub(super) struct DiscriminatorTraining {
    network: Discriminator,
    pub(super) engine: Engine,
    stage: TokenizerStage,
    group: ProcessGroup,
}

impl DiscriminatorTraining {
    /// Trains `network`, whose weights are the engine's, as `stage` says.
    pub(super) fn new(network: Discriminator, engine: Engine, stage: &TokenizerStage, group: &ProcessGroup) -> Self {
        Self { network, engine, stage: stage.clone(), group: group.clone() }
    }

    /// The logits of this rank's images. BatchNorm sees all ranks' images, so that the loss does not depend on how the batch
    /// is dealt to them.
    fn logits(&self, images: &Tensor, share: BatchShare) -> Result<Tensor, EngineError> {
        let collective = self.group.collective();
        let arithmetic = arithmetic(&self.stage.step)?;
        let logits = autocast(self.engine.device(), arithmetic, || {
            if collective.size() == 1 {
                return Ok(self.network.forward(images, true));
            }
            self.network.forward_synced(images, |h| {
                let (mean, var, count) = batch_statistics(collective, h, share, "discriminator's BatchNorm")?;
                Ok::<_, ParallelError>(BatchStatistics { mean, var, count })
            })
        })??;
        Ok(logits.to_kind(Kind::Float))
    }

    /// The generator's adversarial loss, mean over this rank's images; no gradient goes to the discriminator's weights.
    pub(super) fn adversarial_loss(&self, images: &Tensor, share: BatchShare) -> Result<Tensor, EngineError> {
        Ok(-self.engine.frozen(|| self.logits(images, share))?.mean(Kind::Float))
    }

    /// One step on images and what the generator makes of them, `[B, 3, H, W]` by micro-batch and without gradient: hinge
    /// loss. Returns the loss over all ranks. A step that is not finite leaves no trace in the running statistics.
    pub(super) fn train(
        &mut self,
        pairs: &[(Tensor, Tensor)],
        share: BatchShare,
        step: u64,
        clock: &mut Clock,
    ) -> Result<Tensor, EngineError> {
        let kept = self.engine.keep_buffers()?;
        self.engine.begin_step()?;
        for (k, (real, fake)) in pairs.iter().enumerate() {
            let real: Tensor = 1.0 - self.logits(real, share)?;
            let fake: Tensor = 1.0 + self.logits(fake, share)?;
            let loss = 0.5 * (real.relu().mean(Kind::Float) + fake.relu().mean(Kind::Float));
            self.engine.backward(&weighed(&loss, share.weight), k + 1 == pairs.len(), clock)?;
        }
        let update = self.engine.update(step, self.stage.lr.at(step, self.stage.iterations), 0.0, clock)?;
        kept.restore_if(&update.nonfinite)?;
        Ok(update.loss)
    }
}
