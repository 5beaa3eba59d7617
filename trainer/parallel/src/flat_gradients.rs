//! The flat buffers that gradients are reduced in.

use defusion_torch::{self as torch, TorchError};
use tch::{Device, Kind, Tensor};

use crate::buckets::{BucketSizes, Layout};
use crate::collective::{Collective, Pending, ReduceOp};

/// The flat float32 buffers of one network, and what is in them.
pub(crate) struct FlatGradients {
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

impl FlatGradients {
    /// Lays the gradients of `params` out in `order`, on the device that the parameters are on.
    ///
    /// # Errors
    /// There are no parameters, or libtorch's own.
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

    /// Notes that a parameter's gradient has come in this backward pass.
    pub fn has_come(&mut self, i: usize) {
        if !self.fired[i] {
            self.fired[i] = true;
            self.missing[self.layout.places[i].0] -= 1;
        }
    }

    /// Starts the reduction of the next buckets, as long as they are full; with `all` whether they are or not. Always
    /// in the order of the buckets, so that all ranks do the same.
    pub fn start(&mut self, comm: &dyn Collective, network: &str, all: bool) {
        let count = self.flats.len();
        while self.started.len() < count && (all || self.missing[self.started.len()] == 0) {
            let b = self.started.len();
            let name = format!("{network} bucket {}/{count}", b + 1);
            self.started.push(comm.start_all_reduce(&self.flats[b], ReduceOp::Sum, &name));
        }
    }
}

/// Returns the strides of a parameter if its elements are dense in memory (in any memory format), else row-major ones.
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
