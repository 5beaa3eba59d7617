//! Training steps of ADM-256 at full size (553M parameters, 256 pixels, batch 1) on the CPU, with activation checkpointing:
//! `scripts/bench adm256`. Prints the time of each step and the process's peak memory.

use std::error::Error;
use std::time::Instant;

use clap::Parser;
use defusion_config::{Adam, Arithmetic, StepOptions, UnetArch};
use defusion_footprint as footprint;
use defusion_model::networks::ForwardOptions;
use defusion_model::networks::unet::{Conditions, Unet};
use defusion_parallel::ProcessGroup;
use defusion_torch::autocast;
use defusion_trainer::stage::{Clock, Engine, EngineOptions};
use tch::nn::VarStore;
use tch::{Device, Kind, Tensor};

/// Runs training steps of ADM-256.
#[derive(Parser)]
struct Args {
    /// Steps; the first builds the gradient buckets.
    #[arg(long, default_value_t = 2)]
    steps: u64,
    /// Threads; 0: as many as there are processors.
    #[arg(long, default_value_t = 0)]
    threads: i32,
    /// GiB of activations that may be kept; without it every block is recomputed.
    #[arg(long)]
    activation_gib: Option<f64>,
}

/// The process's highest resident memory, GiB.
fn peak_gib() -> Result<f64, Box<dyn Error>> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).ok_or("no VmHWM in /proc/self/status")?;
    let kib: f64 = line.trim().trim_end_matches("kB").trim().parse()?;
    Ok(kib / f64::from(1 << 20))
}

fn main() -> Result<(), Box<dyn Error>> {
    defusion_torch::tune_malloc();
    let args = Args::parse();
    if args.threads > 0 {
        tch::set_num_threads(args.threads);
    }
    tch::manual_seed(1);
    let arch = UnetArch::default();
    let vars = VarStore::new(Device::Cpu);
    let unet = Unet::new(&vars.root(), &arch);
    let parameters: usize = vars.trainable_variables().iter().map(Tensor::numel).sum();
    let step = StepOptions {
        activation_checkpointing: match args.activation_gib {
            Some(_) => defusion_config::ActivationCheckpointing::Budget,
            None => defusion_config::ActivationCheckpointing::Block,
        },
        activation_gib: args.activation_gib,
        ..StepOptions::default()
    };
    let forward = ForwardOptions::recomputing(footprint::recompute_below(&footprint::unet(&arch, 256), &step, 1));
    let adam = Adam { beta1: 0.9, beta2: 0.99, eps: 1e-8, weight_decay: 0.0 };
    let options = EngineOptions { adam: &adam, step: &step, ema_decay: Some(0.9999) };
    let mut engine = Engine::new("", vars, &ProcessGroup::solo(Device::Cpu), &options)?;
    println!("{parameters} parameters; weights, moments and average take {:.2} GiB", peak_gib()?);

    let image = || Tensor::randn([1, 3, 256, 256], (Kind::Float, Device::Cpu));
    let (x, eps, t) = (image(), image(), Tensor::from_slice(&[500_i64]));
    for i in 0..args.steps {
        let begun = Instant::now();
        let mut clock = Clock::start();
        engine.begin_step()?;
        let predicted =
            autocast(Device::Cpu, Arithmetic::Bf16, || unet.forward(&x, &t, &Conditions::default(), &forward))?;
        let loss = (&eps - predicted.narrow(1, 0, 3).to_kind(Kind::Float)).square().mean(Kind::Float);
        engine.backward(&loss, true, &mut clock)?;
        let update = engine.update(i, 1e-4, 1.0, &mut clock)?;
        let loss = update.loss.double_value(&[]);
        println!("step {i}: {:.1} s, loss {loss:.4}, peak {:.2} GiB", begun.elapsed().as_secs_f64(), peak_gib()?);
    }
    Ok(())
}
