//! What happens inside backward: gradients go into buckets, full buckets to the communication thread.

use std::sync::Arc;

use defusion_torch as torch;
use tch::Tensor;

use crate::collective::Collective;
use crate::error::ParallelError;
use crate::flat_gradients::FlatGradients;

/// The part of a step that gradient hooks are called in, which decides what they do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Hooks do nothing: the backward pass is none of ours.
    Idle,
    /// Gradients are collected; the ranks' sums are not wanted yet.
    Accumulate,
    /// Gradients are collected and reduced.
    Reduce,
}

/// State shared between [`crate::DataParallel`] and its hooks.
pub(crate) struct Reducer {
    pub network: String,
    pub names: Vec<String>,
    pub comm: Arc<dyn Collective>,
    pub phase: Phase,
    /// Order in which gradients became ready in the first backward pass.
    pub order: Vec<usize>,
    pub buckets: Option<FlatGradients>,
    /// Factor of each gradient: 1 / (ranks * micro-batches).
    pub scale: f64,
}

impl Reducer {
    fn refuse(&self, what: String) -> ParallelError {
        ParallelError::Network { rank: self.comm.rank(), network: self.network.clone(), what }
    }

    /// Does what the hook of parameter `i` has to do once its gradient has come.
    pub fn ready(&mut self, i: usize, parameter: &Tensor) -> Result<(), ParallelError> {
        if self.phase == Phase::Idle {
            return Ok(());
        }
        let Some(buckets) = &mut self.buckets else {
            if !self.order.contains(&i) {
                self.order.push(i);
            }
            return Ok(());
        };
        let Some(grad) = torch::take_grad(parameter)? else { return Ok(()) };
        if buckets.fired[i] && self.phase == Phase::Reduce {
            return Err(self.refuse(format!(
                "the gradient of {} came twice in one backward pass, and may be on its way to the other ranks already. \
                 A parameter must not be used in two activation checkpoints",
                self.names[i]
            )));
        }
        if let Err(e) = buckets.write(i, &grad, self.scale) {
            return Err(self.refuse(format!("{}: {e}", self.names[i])));
        }
        buckets.has_come(i);
        if self.phase == Phase::Reduce {
            buckets.start(&*self.comm, &self.network, false);
        }
        Ok(())
    }

    /// Returns rank 0's order of readiness, on all ranks; parameters without a gradient come last.
    pub fn agree_on_order(&mut self) -> Result<Vec<usize>, ParallelError> {
        let n = self.names.len();
        let mut order = std::mem::take(&mut self.order);
        let unseen: Vec<usize> = (0..n).filter(|i| !order.contains(i)).collect();
        order.extend(unseen);
        let mut bytes: Vec<u8> = order.iter().flat_map(|&i| (i as u32).to_le_bytes()).collect();
        self.comm.broadcast_bytes(&mut bytes, 0, &format!("{} bucket order", self.network))?;
        let agreed: Vec<usize> = bytes.as_chunks::<4>().0.iter().map(|b| u32::from_le_bytes(*b) as usize).collect();
        let mut sorted = agreed.clone();
        sorted.sort_unstable();
        if !sorted.into_iter().eq(0..n) {
            return Err(self.refuse("rank 0's bucket order does not fit this rank's parameters".into()));
        }
        Ok(agreed)
    }
}
