//! Differentiable all-reduce, and the statistics of a synchronised batch norm in plain tensor operations.

use std::sync::Arc;

use defusion_torch::{self as torch, TorchError};
use tch::{Kind, Tensor};

use crate::collective::{Collective, ReduceOp};
use crate::error::ParallelError;

/// Returns the sum of `x` over all ranks, as a new tensor. The gradient of `x` on each rank is the sum of the ranks'
/// gradients.
///
/// Forward and backward go through the same queue as the gradient buckets, so all ranks must run the same graph.
///
/// # Errors
/// That of the collective. In backward it ends the backward pass.
pub fn all_reduce_sum(comm: &Arc<dyn Collective>, x: &Tensor, name: &str) -> Result<Tensor, ParallelError> {
    if comm.size() == 1 {
        return Ok(x.shallow_clone());
    }
    let (back, name_back) = (Arc::clone(comm), format!("{name} backward"));
    torch::custom(
        x,
        |x| {
            let mut sum = x.copy();
            comm.all_reduce(&mut sum, ReduceOp::Sum, name)?;
            Ok(sum)
        },
        move |grad| {
            let mut sum = grad.f_contiguous()?.copy();
            back.all_reduce(&mut sum, ReduceOp::Sum, &name_back)?;
            Ok(sum)
        },
    )
}

/// The part of a batch that this rank has.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BatchShare {
    /// Weight of this rank's mean in a mean over ranks: rows here times ranks, by rows in all. 1 on all ranks if they have
    /// as many rows each, which no rank has otherwise; 0 if none of the rows here counts.
    pub weight: f64,
    /// Rows that count, over all ranks.
    pub rows: u64,
}

/// Returns mean and biased variance of each channel of `x` (`[B, C, ...]`, the same shape on all ranks but for B) over all
/// ranks' rows that count, and how many values each channel has in all: `([C], [C], n)`, float32, differentiable.
///
/// # Errors
/// That of the collective, or [`ParallelError::Torch`] for a tensor without channels.
pub fn batch_statistics(
    comm: &Arc<dyn Collective>,
    x: &Tensor,
    share: BatchShare,
    name: &str,
) -> Result<(Tensor, Tensor, f64), ParallelError> {
    let shape = x.size();
    if shape.len() < 2 {
        return Err(TorchError(format!("{name}: batch statistics of a tensor of shape {shape:?}")).into());
    }
    let x = x.f_to_kind(Kind::Float)?;
    let dims: Vec<i64> = (0..shape.len() as i64).filter(|&d| d != 1).collect();
    let count = x.numel() as f64 / shape[1] as f64;
    let (var, mean) = x.f_var_mean_correction(&dims[..], 0, false)?;
    let ranks = comm.size() as i64;
    if ranks == 1 {
        return Ok((mean, var, count));
    }
    // Every rank's own mean and variance on every rank, in one reduction of a table that is zero elsewhere; then
    // combined without the cancellation that sums of squares have (Chan, Golub and LeVeque 1979).
    if share.weight != 1.0 {
        return weighted_statistics(comm, [mean, var], share, count / shape[0] as f64, name);
    }
    let own = Tensor::from(comm.rank() as i64).to_device(x.device()).f_one_hot(ranks)?.to_kind(Kind::Float);
    let table = own.view([ranks, 1, 1]) * Tensor::f_stack(&[mean, var], 0)?;
    let table = all_reduce_sum(comm, &table, name)?;
    let (means, vars) = (table.select(1, 0), table.select(1, 1));
    let mean = means.mean_dim(0, false, Kind::Float);
    let var = (vars + (means - &mean).square()).mean_dim(0, false, Kind::Float);
    Ok((mean, var, count * ranks as f64))
}

/// The same for ranks with different numbers of rows; `values` is how many values a row has in each channel.
fn weighted_statistics(
    comm: &Arc<dyn Collective>,
    own: [Tensor; 2],
    share: BatchShare,
    values: f64,
    name: &str,
) -> Result<(Tensor, Tensor, f64), ParallelError> {
    let ranks = comm.size() as i64;
    let [mean, var] = own;
    let mine = Tensor::from(comm.rank() as i64).to_device(mean.device()).f_one_hot(ranks)?.to_kind(Kind::Float);
    let weight = mean.detach().f_full_like(share.weight)?;
    let table = mine.view([ranks, 1, 1]) * Tensor::f_stack(&[mean, var, weight], 0)?;
    let table = all_reduce_sum(comm, &table, name)?;
    let (means, vars, weights) = (table.select(1, 0), table.select(1, 1), table.select(1, 2).detach());
    let weights = &weights / weights.sum_dim_intlist(0, true, Kind::Float);
    let over_ranks = |x: Tensor| (&weights * x).sum_dim_intlist(0, false, Kind::Float);
    let mean = over_ranks(means.shallow_clone());
    let var = over_ranks(vars + (means - &mean).square());
    Ok((mean, var, values * share.rows as f64))
}
