//! Communication goes on while backward does.

use std::time::{Duration, Instant};

use defusion_torch::TorchError;

use crate::harness::two_ranks;
use crate::networks::{Net, TINY, batch, part, step};

/// The last node of a backward pass waits until the first bucket has been reduced: without overlap it never is.
#[test]
fn the_first_bucket_is_reduced_before_backward_ends() {
    two_ranks("overlap::the_first_bucket_is_reduced_before_backward_ends", |comm| {
        let net = Net::new(7);
        let mut dp = net.parallel("net", &comm, TINY);
        step(&mut dp, &net, &comm, &batch(0, 8));

        let record = comm.flight_record();
        let before = record.entries().len();
        let (x, y) = part(&batch(1, 8), comm.rank(), 2);
        let gate = move |gradient: &tch::Tensor| {
            let deadline = Instant::now() + Duration::from_secs(30);
            let reduced =
                || record.entries()[before..].iter().any(|e| e.name.contains("bucket 1/") && e.ended.is_some());
            while !reduced() {
                if Instant::now() > deadline {
                    return Err(TorchError("no bucket is reduced while backward goes on".into()));
                }
                std::thread::sleep(Duration::from_millis(1));
            }
            Ok(gradient.shallow_clone())
        };
        let forward = |x: &tch::Tensor| Ok::<_, TorchError>(x.copy());
        let x = defusion_torch::custom(&x.copy().set_requires_grad(true), forward, gate).unwrap();
        dp.begin_step(1).unwrap();
        dp.backward(&net.loss(&(x, y)), true).unwrap();
        let report = dp.finish().unwrap();
        let first = report.buckets[0];
        assert!(first.queued <= first.started && first.started <= first.ended);
        assert!(first.ended < report.backward_ended, "{first:?}, backward ended {:?}", report.backward_ended);
    });
}
