//! The training step that `scripts/bench step` times: the engine on ADM with 25M parameters, 64-pixel images, four a
//! rank. Alone, or under `mpirun` with `--ranks`. Rank 0 prints one line of JSON.

use std::collections::BTreeMap;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Parser;
use defusion_config::{Adam, Arithmetic, Cluster, StepOptions, UnetArch};
use defusion_model::networks::ForwardOptions;
use defusion_model::networks::unet::{Conditions, Unet};
use defusion_model::weights;
use defusion_parallel::ProcessGroup;
use defusion_torch::autocast;
use defusion_trainer::stage::{Clock, Engine, EngineOptions, Times};
use tch::nn::VarStore;
use tch::{Device, Kind, Tensor};

/// Times the training step on ADM with 25M parameters.
#[derive(Parser)]
struct Args {
    /// Arithmetic.
    #[arg(long, value_parser = precision, default_value = "bf16")]
    precision: Arithmetic,
    /// Ranks under mpirun; 1: no MPI.
    #[arg(long, default_value_t = 1)]
    ranks: u32,
    /// Steps that are not counted.
    #[arg(long, default_value_t = 3)]
    warm_up: u64,
    /// Steps that are counted.
    #[arg(long, default_value_t = 5)]
    steps: u64,
    /// Size of an all-reduce bucket, MiB.
    #[arg(long, default_value_t = StepOptions::default().bucket_mib)]
    bucket_mib: f64,
    /// Write weights and batch here first, so that others can compute the same.
    #[arg(long)]
    weights: Option<PathBuf>,
}

fn precision(text: &str) -> Result<Arithmetic, String> {
    serde_json::from_value(text.into()).map_err(|e| e.to_string())
}

/// Images a rank, and their side.
const BATCH: i64 = 4;
const SIDE: i64 = 64;

fn arch() -> UnetArch {
    UnetArch {
        model_channels: 64,
        out_channels: 3,
        attention_downsamples: vec![4, 8],
        channel_mult: vec![1, 2, 3, 4],
        num_head_channels: 32,
        ..UnetArch::default()
    }
}

struct Batch {
    x: Tensor,
    t: Tensor,
    eps: Tensor,
}

impl Batch {
    fn of(rank: usize) -> Self {
        tch::manual_seed(100 + rank as i64);
        let image = || Tensor::randn([BATCH, 3, SIDE, SIDE], (Kind::Float, Device::Cpu));
        Self { x: image(), eps: image(), t: Tensor::randint(1000, [BATCH], (Kind::Int64, Device::Cpu)) }
    }
}

/// Fresh weights, but none of them zero: a layer that starts at zero lets no gradient through.
fn network() -> (VarStore, Unet) {
    tch::manual_seed(1);
    let vars = VarStore::new(Device::Cpu);
    let unet = Unet::new(&vars.root(), &arch());
    let mut named: Vec<_> = vars.variables().into_iter().collect();
    named.sort_by(|a, b| a.0.cmp(&b.0));
    for (_, mut weight) in named.into_iter().filter(|(_, w)| w.dim() > 1 && w.abs().max().double_value(&[]) == 0.0) {
        let bound = (weight.size()[0] as f64 / weight.numel() as f64).sqrt();
        let _ = tch::no_grad(|| weight.uniform_(-bound, bound));
    }
    (vars, unet)
}

fn write(path: &Path, vars: &VarStore, batch: &Batch) -> Result<(), Box<dyn Error>> {
    let mut all: BTreeMap<String, Tensor> = vars.variables().into_iter().map(|(n, t)| (n, t.detach())).collect();
    let own = [("batch.x", &batch.x), ("batch.t", &batch.t), ("batch.eps", &batch.eps)];
    all.extend(own.map(|(name, t)| (name.to_owned(), t.shallow_clone())));
    Ok(weights::write(path, &all, &BTreeMap::new())?)
}

fn main() -> Result<(), Box<dyn Error>> {
    defusion_torch::tune_malloc();
    tch::set_num_threads(1);
    let args = Args::parse();
    let workers = match args.ranks {
        1 => ProcessGroup::solo(Device::Cpu),
        ranks => ProcessGroup::join(Device::Cpu, &Cluster { nodes: 1, workers_per_node: ranks, ..Cluster::default() })?,
    };
    let (vars, unet) = network();
    let batch = Batch::of(workers.rank());
    if let (Some(path), 0) = (&args.weights, workers.rank()) {
        write(path, &vars, &batch)?;
    }
    let parameters: usize = vars.trainable_variables().iter().map(Tensor::numel).sum();
    let adam = Adam { beta1: 0.9, beta2: 0.99, eps: 1e-8, weight_decay: 0.0 };
    let step = StepOptions { precision: args.precision.into(), bucket_mib: args.bucket_mib, ..StepOptions::default() };
    let options = EngineOptions { adam: &adam, step: &step, ema_decay: Some(0.9999) };
    let mut engine = Engine::new("", vars, &workers, &options)?;
    let forward = ForwardOptions::recomputing(0);

    let (mut seconds, mut losses, mut times) = (Vec::new(), Vec::new(), Vec::new());
    for i in 0..args.warm_up + args.steps {
        let begun = Instant::now();
        let mut clock = Clock::start();
        engine.begin_step()?;
        let predicted = autocast(Device::Cpu, args.precision, || {
            unet.forward(&batch.x, &batch.t, &Conditions::default(), &forward)
        })?;
        let loss = (&batch.eps - predicted.to_kind(Kind::Float)).square().mean(Kind::Float);
        engine.backward(&loss, true, &mut clock)?;
        let update = engine.update(i, 1e-4, 1.0, &mut clock)?;
        losses.push(update.loss.double_value(&[]));
        if i >= args.warm_up {
            seconds.push(begun.elapsed().as_secs_f64());
            times.push(clock.times);
        }
    }
    if workers.rank() == 0 {
        let each = |part: fn(&Times) -> f64| times.iter().map(part).collect::<Vec<f64>>();
        let report = serde_json::json!({
            "parameters": parameters,
            "losses": losses,
            "step_s": seconds,
            "forward_s": each(|t| t.forward),
            "backward_s": each(|t| t.backward),
            "exposed_all_reduce_s": each(|t| t.exposed_all_reduce),
            "all_reduce_s": each(|t| t.all_reduce),
            "optimizer_s": each(|t| t.optimizer),
        });
        println!("{report}");
    }
    workers.leave()?;
    Ok(())
}
