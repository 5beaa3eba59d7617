//! Both networks of the adversarial stage on one collective, each with its own optimizer.

use defusion_parallel::BucketSizes;
use defusion_trainer::optim::{self, AdamW};
use tch::nn::Module;
use tch::{Kind, Reduction, Tensor};

use crate::ADAM;
use crate::harness::two_ranks;
use crate::networks::{Net, assert_close, assert_same_on_all_ranks, batch, part};

const SIZES: BucketSizes = BucketSizes { full: 1024, edge: 256 };

/// The generator's image of `x`: a network's features, through its own first layer's weights.
fn generate(generator: &Net, x: &Tensor) -> Tensor {
    let h = generator.second.forward(&generator.first.forward(x).silu());
    h.conv_transpose2d(&generator.first.ws, None::<Tensor>, [1_i64, 1], [1_i64, 1], [0_i64, 0], 1, [1_i64, 1]).tanh()
}

fn generator_loss(generator: &Net, discriminator: &Net, x: &Tensor) -> Tensor {
    let image = generate(generator, x);
    image.mse_loss(x, Reduction::Mean) - 0.1 * discriminator.forward(&image).mean(Kind::Float)
}

fn discriminator_loss(generator: &Net, discriminator: &Net, x: &Tensor) -> Tensor {
    let fake = tch::no_grad(|| generate(generator, x));
    let (real, fake): (Tensor, Tensor) = (1.0 - discriminator.forward(x), 1.0 + discriminator.forward(&fake));
    // Not half each: the last bias would have no gradient.
    0.6 * real.relu().mean(Kind::Float) + 0.4 * fake.relu().mean(Kind::Float)
}

/// The parameters that the generator's loss reaches.
fn of_generator(net: &Net) -> Vec<(String, Tensor)> {
    let mut all = net.parameters();
    all.retain(|(name, _)| name.starts_with("first") || name.starts_with("second"));
    all
}

#[test]
fn generator_and_discriminator_step_alike_on_all_ranks() {
    two_ranks("gan::generator_and_discriminator_step_alike_on_all_ranks", |comm| {
        let (generator, discriminator) = (Net::new(1), Net::new(2));
        let (alone, alone_d) = (Net::new(1), Net::new(2));
        let mut g = generator.parallel("generator", &comm, SIZES);
        let mut d = discriminator.parallel("discriminator", &comm, SIZES);
        let adam = |net: &Net| AdamW::new(&net.parameters(), ADAM).unwrap();
        let (mut adam_g, mut adam_d) = (adam(&generator), adam(&discriminator));
        for k in 0..4 {
            let whole = batch(k, 8);
            let x = part(&whole, comm.rank(), 2).0;

            g.begin_step(1).unwrap();
            let loss = d.frozen(|| generator_loss(&generator, &discriminator, &x));
            // As the adaptive weight does: gradients of a chosen tensor, which are nobody's gradient.
            let extra = Tensor::run_backward(&[&loss], &[&generator.second.ws], true, false);
            assert!(extra[0].defined());
            g.backward(&loss, true).unwrap();
            let report_g = g.finish().unwrap();
            d.begin_step(1).unwrap();
            d.backward(&discriminator_loss(&generator, &discriminator, &x), true).unwrap();
            let report_d = d.finish().unwrap();

            if k == 0 {
                // The same on the whole batch in one process.
                generator_loss(&alone, &alone_d, &whole.0).backward();
                let reached = of_generator(&alone).into_iter().map(|(n, p)| (n, p.grad())).collect::<Vec<_>>();
                let ours: Vec<Tensor> = of_generator(&generator).iter().map(|(_, p)| p.grad()).collect();
                assert_close(&ours, &reached);
                alone_d.parameters().iter_mut().for_each(|(_, p)| p.zero_grad());
                discriminator_loss(&alone, &alone_d, &whole.0).backward();
                assert_close(&d.gradients(), &alone_d.gradients());
            }
            for (dp, adam, report) in [(&g, &mut adam_g, report_g), (&d, &mut adam_d, report_d)] {
                let gradients = dp.gradients();
                let check = optim::grad_check(&gradients, &report.mean_loss, 0.0).unwrap();
                adam.step(&gradients, &check, 1e-2).unwrap();
            }
        }
        for dp in [&g, &d] {
            let weights: Vec<Tensor> = dp.parameters().iter().map(Tensor::detach).collect();
            assert_same_on_all_ranks(&weights, &comm);
        }
    });
}
