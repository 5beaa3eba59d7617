//! taming-transformers' PatchGAN.

use defusion_config::DiscriminatorArch;
use defusion_model::networks::discriminator::Discriminator;
use tch::nn::VarStore;
use tch::{Device, Kind};

use super::golden::{Golden, assert_agrees, fill};

#[test]
fn hinge_loss_gradient_and_running_statistics() {
    let golden = Golden::open("patchgan.safetensors");
    let arch: DiscriminatorArch = serde_json::from_value(golden.config.clone()).unwrap();
    let store = VarStore::new(Device::Cpu);
    let discriminator = Discriminator::new(&store.root(), &arch);
    fill(&store, &golden.parameters);

    let real = discriminator.forward(golden.get("in.real"), true);
    let fake = discriminator.forward(golden.get("in.fake"), true);
    assert_agrees("logits of real", &real, golden.get("out.logits_real"));
    assert_agrees("logits of fake", &fake, golden.get("out.logits_fake"));
    let mean = |x: tch::Tensor| x.relu().mean(None::<Kind>);
    let loss = (mean(1 - real) + mean(1 + fake)) * 0.5;
    assert_agrees("d_loss", &loss, golden.get("out.d_loss"));
    loss.backward();
    let variables = store.variables();
    assert_agrees("grad", &variables["main.0.weight"].grad(), golden.get("grad.main.0.weight"));
    for name in ["main.3.running_mean", "main.3.running_var"] {
        assert_agrees(name, &variables[name], golden.get(&format!("after.{name}")));
    }

    let before = variables["main.3.running_mean"].copy();
    let x = golden.get("in.real");
    let whole = discriminator.forward(x, false);
    assert_agrees("images alone", &discriminator.forward(&x.narrow(0, 0, 1), false), &whole.narrow(0, 0, 1));
    assert_eq!(variables["main.3.running_mean"], before, "evaluation moved the running statistics");
}
