//! Reduced gradients are those of one process on the whole batch.

use std::rc::Rc;
use std::sync::Arc;

use defusion_parallel::{BucketSizes, DataParallel, DataParallelOptions, Operation, ParallelError, Unused};
use defusion_torch::checkpoint;
use tch::nn::Module;
use tch::{Device, Reduction, Tensor, nn};

use crate::harness::two_ranks;
use crate::networks::{Net, TINY, assert_close, assert_same_on_all_ranks, batch, part, step};

#[test]
fn two_ranks_have_the_gradient_of_the_whole_batch() {
    two_ranks("gradients::two_ranks_have_the_gradient_of_the_whole_batch", |comm| {
        for sizes in [TINY, BucketSizes { full: 2048, edge: 512 }, BucketSizes::mib(25.0)] {
            // Weights of ranks other than 0 are replaced.
            let (net, alone) = (Net::new(7 + comm.rank() as i64), Net::new(7));
            let mut dp = net.parallel("net", &comm, sizes);
            // The first step records the order, the second one reduces during backward.
            for k in 0..2 {
                let whole = batch(k, 8);
                step(&mut dp, &net, &comm, &whole);
                alone.parameters().iter_mut().for_each(|(_, p)| p.zero_grad());
                alone.loss(&whole).backward();
                assert_close(&dp.gradients(), &alone.gradients());
                for ((name, p), reduced) in net.parameters().iter().zip(dp.gradients()) {
                    assert_eq!(p.grad(), reduced, "{name}: .grad is not the reduced gradient");
                }
            }
        }
    });
}

#[test]
fn accumulation_communicates_on_the_last_micro_batch_only() {
    two_ranks("gradients::accumulation_communicates_on_the_last_micro_batch_only", |comm| {
        let (net, alone) = (Net::new(7), Net::new(7));
        let mut dp = net.parallel("net", &comm, TINY);
        let reductions =
            || comm.flight_record().entries().iter().filter(|e| e.operation == Operation::AllReduce).count();
        for k in 0..2 {
            let whole = batch(k, 12);
            let mine = part(&whole, comm.rank(), 2);
            let before = reductions();
            dp.begin_step(3).unwrap();
            for m in 0..3 {
                assert_eq!(reductions(), before, "step {k}, before micro-batch {m}");
                dp.backward(&net.loss(&part(&mine, m, 3)), m == 2).unwrap();
            }
            let report = dp.finish().unwrap();
            assert_eq!(reductions(), before + net.parameters().len());
            alone.parameters().iter_mut().for_each(|(_, p)| p.zero_grad());
            let loss = alone.loss(&whole);
            loss.backward();
            assert_close(&dp.gradients(), &alone.gradients());
            assert_close(&[report.mean_loss], &[("mean loss".into(), loss.detach())]);
        }
    });
}

#[test]
fn checkpointed_blocks_get_their_gradients_too() {
    two_ranks("gradients::checkpointed_blocks_get_their_gradients_too", |comm| {
        let (net, alone) = (Rc::new(Net::new(7)), Net::new(7));
        let mut dp = net.parallel("net", &comm, TINY);
        for k in 0..2 {
            let whole = batch(k, 8);
            let (x, y) = part(&whole, comm.rank(), 2);
            let block = Rc::clone(&net);
            dp.begin_step(1).unwrap();
            let out = checkpoint(move |inputs| block.forward(&inputs[0]), &[x.set_requires_grad(true)]).unwrap();
            dp.backward(&out.mse_loss(&y, Reduction::Mean), true).unwrap();
            dp.finish().unwrap();
            alone.parameters().iter_mut().for_each(|(_, p)| p.zero_grad());
            alone.loss(&whole).backward();
            assert_close(&dp.gradients(), &alone.gradients());
        }
    });
}

#[test]
fn unused_parameters_count_as_zero_or_are_refused_by_name() {
    two_ranks("gradients::unused_parameters_count_as_zero_or_are_refused_by_name", |comm| {
        let vars = nn::VarStore::new(Device::Cpu);
        let used = nn::linear(&vars.root() / "used", 4, 4, Default::default());
        let spare = nn::linear(&vars.root() / "spare", 4, 4, Default::default());
        let mut named: Vec<(String, Tensor)> = vars.variables().into_iter().collect();
        named.sort_by(|a, b| a.0.cmp(&b.0));
        let parallel = |unused| {
            let named = named.iter().map(|(n, p)| (n.clone(), p.shallow_clone())).collect();
            DataParallel::new("net", named, &[], Arc::clone(&comm), DataParallelOptions { sizes: TINY, unused })
        };
        let x = batch(0, 4).1;
        {
            let mut dp = parallel(Unused::Zero).unwrap();
            for _ in 0..2 {
                // Only rank 0 uses the second layer.
                let h = used.forward(&x);
                let h = if comm.rank() == 0 { spare.forward(&h) } else { h };
                dp.begin_step(1).unwrap();
                dp.backward(&h.square().mean(None), true).unwrap();
                dp.finish().unwrap();
                let alone = Tensor::run_backward(
                    &[spare.forward(&used.forward(&x)).square().mean(None)],
                    &[&spare.ws],
                    false,
                    false,
                );
                assert_close(&[spare.ws.grad() * 2.0], &[("spare.weight".into(), alone[0].shallow_clone())]);
            }
            assert_same_on_all_ranks(&dp.gradients(), &comm);
        }
        let mut dp = parallel(Unused::Refuse).unwrap();
        dp.begin_step(1).unwrap();
        dp.backward(&used.forward(&x).square().mean(None), true).unwrap();
        let error = dp.finish().unwrap_err().to_string();
        assert!(error.contains("spare.bias, spare.weight") && !error.contains("used.weight"), "{error}");
    });
}

#[test]
fn different_networks_are_refused() {
    two_ranks("gradients::different_networks_are_refused", |comm| {
        let vars = nn::VarStore::new(Device::Cpu);
        let _layer = nn::linear(vars.root(), 4, 4 + comm.rank() as i64, Default::default());
        let named: Vec<(String, Tensor)> = vars.variables().into_iter().collect();
        let options = DataParallelOptions { sizes: TINY, unused: Unused::Zero };
        let error = DataParallel::new("net", named, &[], Arc::clone(&comm), options).err().unwrap();
        assert!(matches!(error, ParallelError::Network { .. }) && error.to_string().contains("net"), "{error}");
    });
}
