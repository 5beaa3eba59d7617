//! The optimizer on reduced gradients.

use defusion_parallel::BucketSizes;
use defusion_trainer::optim::{self, AdamW};
use tch::Tensor;

use crate::ADAM;
use crate::harness::two_ranks;
use crate::networks::{Net, assert_same_on_all_ranks, batch, part};

#[test]
fn weights_are_bit_identical_after_fifty_steps() {
    two_ranks("optimizer::weights_are_bit_identical_after_fifty_steps", |comm| {
        let net = Net::new(7);
        let mut dp = net.parallel("net", &comm, BucketSizes { full: 2048, edge: 512 });
        let mut adam = AdamW::new(&net.parameters(), ADAM).unwrap();
        let start: Vec<Tensor> = dp.parameters().iter().map(|p| p.detach().copy()).collect();
        for k in 0..50 {
            dp.begin_step(1).unwrap();
            dp.backward(&net.loss(&part(&batch(k, 8), comm.rank(), 2)), true).unwrap();
            let report = dp.finish().unwrap();
            let gradients = dp.gradients();
            let check = optim::grad_check(&gradients, &report.mean_loss, 1.0).unwrap();
            adam.step(&gradients, &check, 1e-2).unwrap();
        }
        let weights: Vec<Tensor> = dp.parameters().iter().map(Tensor::detach).collect();
        assert!(weights.iter().zip(&start).all(|(w, s)| w != s), "some weights were not trained");
        assert_same_on_all_ranks(&weights, &comm);
    });
}
