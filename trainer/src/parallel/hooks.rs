//! What happens inside backward: gradients go into buckets, full buckets to the communication thread.

use std::sync::Arc;

use tch::{Device, Kind, Tensor};

use super::buckets::{BucketSizes, Layout};
use super::{Collective, ParallelError, Pending, ReduceOp};
use crate::torch::{self, TorchError};

/// What a gradient hook does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Nothing: this backward pass is none of ours.
    Idle,
    /// Gradients are collected; the ranks' sums are not wanted yet.
    Accumulate,
    /// Gradients are collected and reduced.
    Reduce,
}

/// State shared between [`super::DataParallel`] and its hooks.
pub(super) struct Reducer {
    pub network: String,
    pub names: Vec<String>,
    pub comm: Arc<dyn Collective>,
    pub phase: Phase,
    /// Order in which gradients became ready in the first backward pass.
    pub order: Vec<usize>,
    pub buckets: Option<Buckets>,
    /// What each gradient is multiplied by: 1 / (ranks * micro-batches).
    pub scale: f64,
}

/// The flat buffers, and what is in them.
pub(super) struct Buckets {
    pub layout: Layout,
    pub flats: Vec<Tensor>,
    /// For each parameter its gradient, in the parameter's own strides.
    pub views: Vec<Tensor>,
    /// The spare scalar of the last bucket, which carries the loss.
    pub loss: Tensor,
    /// Parameters whose gradient has come in this step.
    pub written: Vec<bool>,
    /// Parameters whose gradient has come in this backward pass.
    pub fired: Vec<bool>,
    /// For each bucket the gradients that have not come in this backward pass.
    missing: Vec<usize>,
    /// Reductions that have been started, in the order of the buckets.
    pub started: Vec<Pending>,
}

impl Buckets {
    pub fn new(params: &[Tensor], order: &[usize], sizes: BucketSizes, device: Device) -> Result<Self, TorchError> {
        let lengths: Vec<usize> = params.iter().map(Tensor::numel).collect();
        let layout = Layout::plan(order, &lengths, sizes);
        let mut flats = Vec::new();
        for bucket in &layout.buckets {
            flats.push(Tensor::f_zeros([bucket.length as i64], (Kind::Float, device))?);
        }
        let mut views = Vec::new();
        for (p, &(bucket, start)) in params.iter().zip(&layout.places) {
            let (size, stride) = (p.size(), dense_strides(&p.size(), &p.stride()));
            views.push(flats[bucket].f_as_strided(&size, &stride, start as i64)?);
        }
        let last = flats.last().ok_or_else(|| TorchError("no parameters".into()))?;
        let loss = last.f_narrow(0, layout.spare as i64, 1)?.f_squeeze()?;
        let (n, b) = (params.len(), layout.buckets.len());
        let mut buckets = Self {
            layout,
            flats,
            views,
            loss,
            written: vec![false; n],
            fired: vec![false; n],
            missing: vec![0; b],
            started: Vec::new(),
        };
        buckets.begin_pass();
        Ok(buckets)
    }

    /// Forgets which gradients have come in the last backward pass.
    pub fn begin_pass(&mut self) {
        self.fired.fill(false);
        for (missing, bucket) in self.missing.iter_mut().zip(&self.layout.buckets) {
            *missing = bucket.members.len();
        }
    }

    /// Puts a gradient into its place, or adds it to what earlier micro-batches have left there.
    pub fn write(&mut self, i: usize, grad: &Tensor, scale: f64) -> Result<(), TorchError> {
        torch::accumulate_(&self.views[i], grad, scale, !self.written[i])?;
        self.written[i] = true;
        Ok(())
    }

    /// Starts the reduction of the next buckets, as long as they are full; `all`: whether they are or not. Always in
    /// the order of the buckets, so that all ranks do the same.
    pub fn start(&mut self, comm: &dyn Collective, network: &str, all: bool) {
        let count = self.flats.len();
        while self.started.len() < count && (all || self.missing[self.started.len()] == 0) {
            let b = self.started.len();
            let name = format!("{network} bucket {}/{count}", b + 1);
            self.started.push(comm.start_all_reduce(&self.flats[b], ReduceOp::Sum, &name));
        }
    }
}

impl Reducer {
    /// The hook of parameter `i`.
    pub fn ready(&mut self, i: usize, parameter: &Tensor) -> Result<(), String> {
        if self.phase == Phase::Idle {
            return Ok(());
        }
        let Some(buckets) = &mut self.buckets else {
            if !self.order.contains(&i) {
                self.order.push(i);
            }
            return Ok(());
        };
        let Some(grad) = torch::take_grad(parameter).map_err(|e| e.to_string())? else { return Ok(()) };
        if buckets.fired[i] && self.phase == Phase::Reduce {
            return Err(format!(
                "{}: the gradient of {} came twice in one backward pass, and may be on its way to the other ranks \
                 already. A parameter must not be used in two activation checkpoints",
                self.network, self.names[i]
            ));
        }
        buckets.write(i, &grad, self.scale).map_err(|e| format!("{}: {}: {e}", self.network, self.names[i]))?;
        if !buckets.fired[i] {
            buckets.fired[i] = true;
            buckets.missing[buckets.layout.places[i].0] -= 1;
        }
        if self.phase == Phase::Reduce {
            buckets.start(&*self.comm, &self.network, false);
        }
        Ok(())
    }

    /// Rank 0's order of readiness, on all ranks; parameters without a gradient come last.
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
            return Err(ParallelError::Network {
                rank: self.comm.rank(),
                network: self.network.clone(),
                what: "rank 0's bucket order does not fit this rank's parameters".into(),
            });
        }
        Ok(agreed)
    }
}

/// The strides of a parameter where its elements are dense in memory (any memory format), else row-major ones.
fn dense_strides(size: &[i64], stride: &[i64]) -> Vec<i64> {
    let mut dims: Vec<(i64, i64)> = size.iter().zip(stride).filter(|(n, _)| **n > 1).map(|(&n, &s)| (s, n)).collect();
    dims.sort_unstable();
    let mut expected = 1;
    let dense = dims.iter().all(|&(s, n)| {
        let fits = s == expected;
        expected *= n;
        fits
    });
    if dense {
        return stride.to_vec();
    }
    let mut next = 1;
    let mut strides: Vec<i64> = size
        .iter()
        .rev()
        .map(|&n| {
            let s = next;
            next *= n.max(1);
            s
        })
        .collect();
    strides.reverse();
    strides
}

#[cfg(test)]
mod tests {
    use super::dense_strides;

    #[test]
    fn strides_of_any_dense_memory_format_are_kept() {
        assert_eq!(dense_strides(&[2, 3, 4, 5], &[60, 20, 5, 1]), [60, 20, 5, 1]);
        // channels last
        assert_eq!(dense_strides(&[2, 3, 4, 5], &[60, 1, 15, 3]), [60, 1, 15, 3]);
        // a slice of something larger
        assert_eq!(dense_strides(&[2, 3], &[10, 1]), [3, 1]);
        assert_eq!(dense_strides(&[1, 3], &[100, 1]), [100, 1]);
    }
}
