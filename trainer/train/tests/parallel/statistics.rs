//! BatchNorm's statistics over ranks with different numbers of samples.

use defusion_parallel::{BatchShare, batch_statistics};
use tch::{Device, Kind, Tensor};

use crate::harness::two_ranks;

/// Values and gradient are those of one process on all rows that count, whoever has them.
#[test]
fn uneven_shares_have_the_statistics_of_the_whole_batch() {
    two_ranks("statistics::uneven_shares_have_the_statistics_of_the_whole_batch", |comm| {
        tch::manual_seed(5);
        let whole = Tensor::randn([4, 3, 5, 5], (Kind::Float, Device::Cpu)) * 3.0 + 10.0;
        let (to_mean, to_var) = (Tensor::from_slice(&[1f32, -2.0, 0.5]), Tensor::from_slice(&[0.3f32, 1.0, -1.0]));
        // Rows of each rank. The last deal gives rank 0 none: it computes rank 1's first.
        for deal in [[0..2, 2..4], [0..1, 1..4], [0..3, 3..4], [0..0, 0..4]] {
            let mine = &deal[comm.rank()];
            let (first, len) = (mine.start, mine.end - mine.start);
            let share = BatchShare { weight: len as f64 * 2.0 / 4.0, rows: 4 };
            let x = whole.narrow(0, first, len.max(1)).copy().set_requires_grad(true);
            let (mean, var, count) = batch_statistics(&comm, &x, share, "test").unwrap();
            let loss = (&mean * &to_mean + &var * &to_var).sum(Kind::Float);
            // Each rank's loss is the same; half of it each makes one.
            (loss * 0.5).backward();

            let all = whole.copy().set_requires_grad(true);
            let (want_var, want_mean) = all.var_mean_correction(&[0i64, 2, 3][..], 0, false);
            (&want_mean * &to_mean + &want_var * &to_var).sum(Kind::Float).backward();
            let near = |a: &Tensor, b: &Tensor, what: &str| {
                let difference = (a - b).abs().max().double_value(&[]);
                assert!(difference < 1e-5, "{deal:?} {what}: {difference}");
            };
            assert_eq!(count, 100.0, "{deal:?}");
            near(&mean, &want_mean, "mean");
            near(&var, &want_var, "variance");
            let want = all.grad().narrow(0, first, len.max(1));
            near(&x.grad(), &if len > 0 { want } else { want.zeros_like() }, "gradient");
        }
    });
}
