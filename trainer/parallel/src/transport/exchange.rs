//! Sums and maxima over MPI whose result does not depend on where an element lies.
//!
//! `MPI_Allreduce` may add in an order that depends on the element's place in the buffer, so that a gradient's last
//! bit would depend on the bucket layout. Here each rank adds up its block of a chunk in the order of the ranks
//! (all-to-all), and the blocks are then gathered by all: every element is `((x0 + x1) + x2) + ...` on whichever rank
//! adds it, and all ranks receive that one value. The traffic is that of a ring: 2 (P - 1) / P of the data.

use mpi::traits::Equivalence;

use super::transfer::Transfer;
use crate::collective::ReduceOp;

/// Bytes of a chunk. The chunk and its staging stay in the second-level cache.
const CHUNK: usize = 1 << 20;
/// Below this many bytes over all ranks, every rank receives everything and adds it up by itself: one message less.
const SMALL: usize = 32 << 10;

/// An element that can be added.
pub(super) trait Number: Equivalence + Copy + Default {
    /// Adds `x` to `sum` in place, for every element.
    fn add(sum: &mut [Self], x: &[Self]);
    /// The larger one in place; NaN is larger than every number, so that it is seen.
    fn max(max: &mut [Self], x: &[Self]);
}

macro_rules! number {
    ($type:ty, $nan:expr) => {
        impl Number for $type {
            fn add(sum: &mut [Self], x: &[Self]) {
                for (s, x) in sum.iter_mut().zip(x) {
                    *s += *x;
                }
            }
            fn max(max: &mut [Self], x: &[Self]) {
                let nan: fn($type) -> bool = $nan;
                for (m, x) in max.iter_mut().zip(x) {
                    if *x > *m || nan(*x) {
                        *m = *x;
                    }
                }
            }
        }
    };
}
number!(f32, f32::is_nan);
number!(f64, f64::is_nan);
number!(i64, |_| false);

fn fold<T: Number>(op: ReduceOp, into: &mut [T], x: &[T]) {
    match op {
        ReduceOp::Sum => T::add(into, x),
        ReduceOp::Max => T::max(into, x),
    }
}

/// Reduces in place over all ranks. `staging` is reused between calls.
pub(super) fn reduce<T: Number>(ranks: &Transfer, data: &mut [T], staging: &mut Vec<T>, op: ReduceOp) {
    reduce_with(ranks, data, staging, |copies, n| {
        let (first, rest) = copies.split_at_mut(n);
        rest.chunks_exact(n).for_each(|x| fold(op, first, x));
    });
}

/// Reduces bfloat16 in place over all ranks: widened to float32, and rounded once at the end.
pub(super) fn reduce_bf16(ranks: &Transfer, data: &mut [u16], staging: &mut Vec<u16>, op: ReduceOp) {
    let wide = |x: u16| half::bf16::from_bits(x).to_f32();
    let mut sum = Vec::new();
    reduce_with(ranks, data, staging, |copies, n| {
        sum.clear();
        sum.extend(copies[..n].iter().map(|&x| wide(x)));
        for x in copies[n..].chunks_exact(n) {
            for (s, &x) in sum.iter_mut().zip(x) {
                let x = wide(x);
                match op {
                    ReduceOp::Sum => *s += x,
                    ReduceOp::Max if x > *s || x.is_nan() => *s = x,
                    ReduceOp::Max => {}
                }
            }
        }
        for (to, &s) in copies.iter_mut().zip(&sum) {
            *to = half::bf16::from_f32(s).to_bits();
        }
    });
}

/// `fold_copies(copies, n)` gets P copies of n elements one after the other, by rank, and leaves the result in the
/// first.
fn reduce_with<T: Equivalence + Copy + Default>(
    others: &Transfer,
    data: &mut [T],
    staging: &mut Vec<T>,
    mut fold_copies: impl FnMut(&mut [T], usize),
) {
    let ranks = others.ranks();
    let mut gather_and_fold = |part: &mut [T], fold_copies: &mut dyn FnMut(&mut [T], usize)| {
        let n = part.len();
        staging.resize(n * ranks, T::default());
        others.all_gather(&part[..], &mut staging[..]);
        fold_copies(&mut staging[..], n);
        part.copy_from_slice(&staging[..n]);
    };
    if size_of_val(data) * ranks <= SMALL {
        if !data.is_empty() {
            gather_and_fold(data, &mut fold_copies);
        }
        return;
    }
    // Whole blocks for every rank; the tail is smaller than one element a rank.
    let (blocks, tail) = data.split_at_mut(data.len() / ranks * ranks);
    if !tail.is_empty() {
        gather_and_fold(tail, &mut fold_copies);
    }
    for chunk in blocks.chunks_mut((CHUNK / size_of::<T>() / ranks).max(1) * ranks) {
        let n = chunk.len() / ranks;
        staging.resize(chunk.len(), T::default());
        others.all_to_all(&chunk[..], &mut staging[..]);
        fold_copies(&mut staging[..], n);
        others.all_gather(&staging[..n], &mut chunk[..]);
    }
}
