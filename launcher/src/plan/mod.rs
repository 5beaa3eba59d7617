//! What a run is going to do, worked out from its config alone and shown before anything is started.

mod samples;
mod text;

use std::io::Write;
use std::path::{Path, PathBuf};

use defusion_config::size::{self, Memory, checkpoint_bytes, memory};
use defusion_config::{ActivationCheckpointing, Config, Device, Precision, Resolved, Stage, StepOptions};
use serde::Serialize;

use crate::cpus::Node;
use crate::error::LaunchError;
use crate::topology::host_name;
pub use samples::{DatasetShare, Samples};

/// Crops of one epoch: 600K steps of 32 crops are the paper's 100 epochs.
pub const CROPS_PER_EPOCH: f64 = 192_000.0;

/// The plan of a run. Its JSON form is what `--dry-run --json` prints.
#[derive(Clone, Debug, Serialize)]
pub struct Plan {
    /// Name of the run.
    pub name: String,
    /// The config's file.
    pub config: PathBuf,
    /// The config's digest.
    pub digest: String,
    /// Run folder.
    pub run: String,
    /// Where the workers run.
    pub workers: Workers,
    /// Parameters of each network.
    pub parameters: Parameters,
    /// Both stages, or the second alone where the first is skipped.
    pub stages: Vec<StagePlan>,
    /// Bytes of all checkpoints that are kept when the run has ended, at most.
    pub kept_checkpoint_bytes: u64,
    /// Steps between checkpoints.
    pub checkpoint_every: u64,
    /// What is trained on.
    pub samples: Samples,
    /// What will not work.
    pub problems: Vec<String>,
    /// What may not work, or not well.
    pub warnings: Vec<String>,
}

/// Where the workers run.
#[derive(Clone, Debug, Serialize)]
pub struct Workers {
    /// Hosts that are known: those of the config, or this one for a single node. Empty: those of the surrounding job.
    pub hosts: Vec<String>,
    /// Number of nodes.
    pub nodes: u32,
    /// Workers on each.
    pub per_node: u32,
    /// Workers in all.
    pub world_size: u32,
    /// What they compute on.
    pub device: Device,
    /// Each node's devices.
    pub devices: Vec<String>,
    /// Threads of a worker; `None`: each node's cores divided by its workers.
    pub threads: Option<u32>,
    /// Memory of one device, bytes, as the config says; `None` on CPUs.
    pub device_bytes: Option<u64>,
}

/// Parameters of each network.
#[derive(Clone, Debug, Serialize)]
pub struct Parameters {
    /// The VQ tokenizer.
    pub tokenizer: u64,
    /// Its discriminator.
    pub discriminator: u64,
    /// The U-Net without what is added to it.
    pub unet: u64,
    /// The image restoration bridge.
    pub bridge: u64,
    /// The visual instruction adapter.
    pub adapter: u64,
}

/// One stage.
#[derive(Clone, Debug, Serialize)]
pub struct StagePlan {
    /// Which.
    pub stage: Stage,
    /// Optimizer steps.
    pub steps: u64,
    /// Samples of a step.
    pub global_batch: u64,
    /// Samples of a step on one worker.
    pub worker_batch: u64,
    /// Micro-batches that a worker's samples are computed in.
    pub accumulation: u32,
    /// Samples of the whole stage.
    pub samples: u64,
    /// The same in epochs of 192,000.
    pub epochs: f64,
    /// Arithmetic.
    pub precision: Precision,
    /// Recomputation in backward.
    pub activation_checkpointing: ActivationCheckpointing,
    /// Memory of one worker, estimated.
    pub memory: Memory,
    /// Sum of `memory`.
    pub memory_bytes: u64,
    /// One checkpoint.
    pub checkpoint_bytes: u64,
}

impl Plan {
    /// Of a valid config.
    pub fn new(resolved: &Resolved) -> Self {
        let config = &resolved.config;
        let model = &config.model;
        let (instruction, crop) = (config.data.grounds.size, config.data.crop);
        let diffusion = size::diffusion(model, crop, size::tokens(model, instruction));
        let stages: Vec<_> = [Stage::Tokenizer, Stage::Diffusion]
            .into_iter()
            .map(|stage| StagePlan::new(config, stage))
            .filter(|plan| plan.steps > 0)
            .collect();
        let kept_checkpoint_bytes = stages.iter().map(|stage| kept(config, stage)).sum();
        let mut plan = Self {
            name: config.name.clone(),
            config: resolved.path.clone(),
            digest: resolved.digest(),
            run: config.run.clone(),
            workers: Workers::new(config),
            parameters: Parameters {
                tokenizer: size::tokenizer(&model.tokenizer, instruction).count(),
                discriminator: size::discriminator(&model.discriminator, instruction).count(),
                unet: diffusion.count_under("unet."),
                bridge: diffusion.count_under("bridge."),
                adapter: diffusion.count_under("adapter."),
            },
            stages,
            kept_checkpoint_bytes,
            checkpoint_every: config.checkpoints.every,
            samples: Samples::new(config),
            problems: Vec::new(),
            warnings: Vec::new(),
        };
        plan.judge(config);
        plan
    }

    /// Finds what will not or may not work.
    fn judge(&mut self, config: &Config) {
        const MANY: f64 = 0.9;
        for stage in &self.stages {
            let Some(device) = self.workers.device_bytes else { continue };
            let (needed, there) = (text::gib(stage.memory_bytes), text::gib(device));
            let name = stage.stage;
            let step = format!(
                "raise {name}.step.accumulation (now {}), set {name}.step.activation_checkpointing=block, or use more workers",
                stage.accumulation
            );
            if stage.memory_bytes > device {
                self.problems.push(format!(
                    "stage {name} needs about {needed} on each GPU, which has {there} (cluster.device_memory_gib): {step}"
                ));
            } else if stage.memory_bytes as f64 > MANY * device as f64 {
                self.warnings.push(format!(
                    "stage {name} needs about {needed} of each GPU's {there}; should it run out of memory: {step}"
                ));
            }
        }
        if self.workers.device == Device::Cpu
            && let Some(there) = memory_of_this_host()
        {
            let per_node = u64::from(self.workers.per_node);
            let needed = self.stages.iter().map(|stage| stage.memory_bytes * per_node).max().unwrap_or(0);
            if needed > there {
                let (needed, there) = (text::gib(needed), text::gib(there));
                self.warnings.push(format!("the workers of a node need about {needed}; this host has {there}"));
            }
        }
        let weights = [
            (
                "tokenizer.perceptual_weights",
                &config.tokenizer.perceptual_weights,
                config.tokenizer.perceptual_weight > 0.0,
            ),
            ("tokenizer.pretrained", &config.tokenizer.pretrained, true),
            ("tokenizer.pretrained_discriminator", &config.tokenizer.pretrained_discriminator, true),
            ("diffusion.pretrained", &config.diffusion.pretrained, true),
            ("data.grounds.natural", &config.data.grounds.natural, true),
            ("data.grounds.charts", &config.data.grounds.charts, true),
        ];
        for (key, path, used) in weights {
            if let Some(path) = path
                && used
                && local(path).is_some_and(|path| !path.exists())
            {
                self.warnings.push(format!("{key}: {path} is not on this host"));
            }
        }
        let missing: Vec<_> = self.samples.datasets.iter().filter(|set| set.prepared == Some(false)).collect();
        if !missing.is_empty() {
            let names: Vec<_> = missing.iter().map(|set| set.name.as_str()).collect();
            let (names, shards) = (names.join(", "), &self.samples.shards);
            self.warnings.push(format!("not prepared under {shards}: {names} (`defusion data prepare` does)"));
        }
    }

    /// Writes it to standard output.
    ///
    /// # Errors
    /// JSON that cannot be written (never seen).
    pub fn print(&self, json: bool) -> Result<(), LaunchError> {
        let text = if json {
            serde_json::to_string_pretty(self).map_err(|e| LaunchError::usage(e.to_string()))? + "\n"
        } else {
            self.to_string()
        };
        // A reader that has seen enough (`| head`) is no failure.
        let _ = std::io::stdout().write_all(text.as_bytes());
        Ok(())
    }

    /// Fails where the plan cannot work.
    ///
    /// # Errors
    /// All [`Plan::problems`].
    pub fn check(&self) -> Result<(), LaunchError> {
        match self.problems.as_slice() {
            [] => Ok(()),
            problems => Err(LaunchError::usage(format!("config {}: {}", self.config.display(), problems.join("\n")))),
        }
    }
}

impl StagePlan {
    fn new(config: &Config, stage: Stage) -> Self {
        let (steps, global_batch, step): (u64, u64, &StepOptions) = match stage {
            Stage::Tokenizer => (config.tokenizer.iterations, config.tokenizer.global_batch, &config.tokenizer.step),
            Stage::Diffusion => (config.diffusion.iterations, config.diffusion.global_batch, &config.diffusion.step),
        };
        let memory = memory(config, stage);
        let samples = steps.saturating_mul(global_batch);
        Self {
            stage,
            steps,
            global_batch,
            worker_batch: global_batch / u64::from(config.cluster.world_size()),
            accumulation: step.accumulation,
            samples,
            epochs: samples as f64 / CROPS_PER_EPOCH,
            precision: step.precision,
            activation_checkpointing: step.activation_checkpointing,
            memory,
            memory_bytes: memory.total(),
            checkpoint_bytes: checkpoint_bytes(config, stage),
        }
    }
}

/// Bytes of a stage's checkpoints that may still be there when the run has ended: those at multiples of `keep_every`, and
/// the newest one of the first stage, the newest few of the last.
fn kept(config: &Config, stage: &StagePlan) -> u64 {
    let c = &config.checkpoints;
    let taken = stage.steps.div_ceil(c.every);
    let for_ever = stage.steps.checked_div(c.keep_every).unwrap_or(0);
    let newest = if stage.stage == Stage::Diffusion { u64::from(c.keep) } else { 1 };
    stage.checkpoint_bytes.saturating_mul((for_ever + newest).min(taken))
}

impl Workers {
    fn new(config: &Config) -> Self {
        let cluster = &config.cluster;
        let hosts = match cluster.hosts.as_slice() {
            [] if cluster.nodes == 1 => vec![host_name()],
            hosts => hosts.iter().map(|host| host.name.clone()).collect(),
        };
        let n = cluster.workers_per_node;
        let cuda = cluster.device == Device::Cuda;
        Self {
            hosts,
            nodes: cluster.nodes,
            per_node: n,
            world_size: cluster.world_size(),
            device: cluster.device,
            devices: (0..n).map(|i| if cuda { format!("cuda:{i}") } else { "cpu".into() }).collect(),
            threads: (cluster.threads_per_worker > 0).then_some(cluster.threads_per_worker),
            device_bytes: cuda.then_some((cluster.device_memory_gib * f64::from(1 << 30)) as u64),
        }
    }
}

/// The path of a path or `file://` URL; `None` for other URLs.
fn local(url: &str) -> Option<&Path> {
    match url.split_once("://") {
        Some(("file", path)) => Some(Path::new(path)),
        Some(_) => None,
        None => Some(Path::new(url)),
    }
}

/// Bytes of memory, from the kernel.
fn memory_of_this_host() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let kib: u64 =
        text.lines().find_map(|line| line.strip_prefix("MemTotal:")?.strip_suffix("kB")?.trim().parse().ok())?;
    Some(kib << 10)
}

/// Threads of a worker on this host.
pub(crate) fn threads_here(workers: &Workers) -> usize {
    let node = Node::look(crate::cpus::Binding::Shared);
    node.share(workers.per_node as usize, 0, workers.threads.unwrap_or(0) as usize).threads
}
