//! The plan as text: aligned, one screen.

use std::fmt;

use defusion_config::{ActivationCheckpointing, Device};

use super::precision;
use super::{DatasetShare, LaunchPlan, Placement, StagePlan};

impl fmt::Display for LaunchPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} ({}, digest {})\n",
            self.name,
            self.config.display(),
            &self.digest[..12.min(self.digest.len())]
        )?;
        row(f, "run", &self.run)?;
        row(f, "shards", &self.samples.shards)?;
        workers(f, &self.workers)?;
        let stages_of = self.stages.iter().map(|s| (s.stage, s.precision, s.precision_why.as_str()));
        row(f, "precision", &precision::shown(stages_of))?;
        writeln!(f)?;
        let p = &self.parameters;
        let diffusion = p.unet + p.bridge + p.adapter;
        let trained = [
            ("tokenizer", p.tokenizer),
            ("discriminator", p.discriminator),
            ("U-Net", p.unet),
            ("bridge", p.bridge),
            ("adapter", p.adapter),
            ("U-Net, bridge, adapter", diffusion),
        ];
        writeln!(f, "  {:<26}{:>16}", "Networks", "parameters")?;
        for (name, count) in trained {
            writeln!(f, "  {name:<26}{:>16}", thousands(count))?;
        }
        writeln!(f)?;
        stages(f, &self.stages, &self.workers)?;
        let (every, kept) = (thousands(self.checkpoint_every), gib(self.kept_checkpoint_bytes));
        writeln!(f, "\n  A checkpoint every {every} steps; those kept in the end are {kept} at most.\n")?;
        datasets(f, &self.samples.datasets)?;
        for (kind, messages) in [("warning", &self.warnings), ("problem", &self.problems)] {
            for message in messages {
                writeln!(f, "\n  {kind}: {message}")?;
            }
        }
        writeln!(f)
    }
}

fn row(f: &mut fmt::Formatter<'_>, name: &str, value: &str) -> fmt::Result {
    writeln!(f, "  {name:<10}{value}")
}

fn workers(f: &mut fmt::Formatter<'_>, w: &Placement) -> fmt::Result {
    let hosts = match w.hosts.as_slice() {
        [] => format!("{} of the surrounding job", w.nodes),
        hosts => hosts.join(", "),
    };
    row(f, "hosts", &hosts)?;
    let devices = match (w.device, w.per_node) {
        (Device::Cpu, _) => "CPU".to_owned(),
        (Device::Cuda, 1) => "cuda:0".to_owned(),
        (Device::Cuda, n) => format!("cuda:0 to cuda:{}", n - 1),
    };
    let nodes = if w.nodes == 1 { "node" } else { "nodes" };
    row(f, "workers", &format!("{} = {} {nodes} x {}, on {devices}", w.world_size, w.nodes, w.per_node))?;
    let threads = match w.threads {
        Some(threads) => format!("{threads} a worker"),
        None => format!("a node's cores / {} ({} a worker on this host)", w.per_node, w.threads_here()),
    };
    row(f, "threads", &threads)
}

/// Writes a table with a column for each stage.
fn stages(f: &mut fmt::Formatter<'_>, stages: &[StagePlan], workers: &Placement) -> fmt::Result {
    let target = if workers.device == Device::Cuda { "GPU" } else { "worker" };
    let world = u64::from(workers.world_size);
    let line = |f: &mut fmt::Formatter<'_>, name: &str, value: &dyn Fn(&StagePlan) -> String| {
        write!(f, "  {name:<26}")?;
        for stage in stages {
            write!(f, "{:>16}", value(stage))?;
        }
        writeln!(f)
    };
    line(f, "Stages", &|s| s.stage.to_string())?;
    line(f, "steps", &|s| thousands(s.steps))?;
    line(f, "batch", &|s| thousands(s.global_batch))?;
    line(f, &format!("batch per {target}"), &|s| {
        let (least, most) = (s.global_batch / world, s.worker_batch);
        if least == most { thousands(most) } else { format!("{} or {}", thousands(least), thousands(most)) }
    })?;
    if stages.iter().any(|s| s.busy_workers < world) {
        line(f, "workers with a share", &|s| format!("{} of {world}", s.busy_workers))?;
    }
    line(f, "  micro-batches", &|s| s.accumulation.to_string())?;
    line(f, "samples", &|s| thousands(s.samples))?;
    line(f, "epochs of 192,000", &|s| format!("{:.1}", s.epochs))?;
    line(f, "precision", &|s| s.precision.to_string())?;
    line(f, "recomputed", &|s| match s.activation_checkpointing {
        ActivationCheckpointing::None => "nothing".into(),
        ActivationCheckpointing::Block => "blocks".into(),
        ActivationCheckpointing::Budget => "what does not fit".into(),
    })?;
    line(f, &format!("memory per {target}, about"), &|s| gib(s.memory_bytes))?;
    line(f, "  weights", &|s| gib(s.memory.weights + s.memory.casts))?;
    line(f, "  gradients", &|s| gib(s.memory.gradients))?;
    line(f, "  optimizer, average", &|s| gib(s.memory.optimizer + s.memory.average))?;
    line(f, "  activations", &|s| gib(s.memory.activations))?;
    line(f, "  workspace", &|s| gib(s.memory.workspace))?;
    line(f, "checkpoint", &|s| gib(s.checkpoint_bytes))
}

fn datasets(f: &mut fmt::Formatter<'_>, sets: &[DatasetShare]) -> fmt::Result {
    let wide = sets.iter().map(|set| set.name.len()).max().unwrap_or(0).max(7);
    writeln!(f, "  {:<wide$}{:>15}{:>15}{:>9}   degradations", "Samples", "per thousand", "images", "epochs")?;
    for set in sets {
        let images = match (set.images, set.prepared) {
            (Some(images), _) => thousands(images),
            (None, Some(_)) => "not prepared".into(),
            (None, None) => "remote".into(),
        };
        let epochs = set.epochs.map_or_else(|| "-".into(), |epochs| format!("{epochs:.1}"));
        writeln!(f, "  {:<wide$}{:>15.1}{images:>15}{epochs:>9}   {}", set.name, set.per_thousand, chains(set))?;
    }
    Ok(())
}

fn chains(set: &DatasetShare) -> String {
    if set.synthesize.is_empty() {
        return "its own".into();
    }
    let chain = |chain: &Vec<_>| chain.iter().map(ToString::to_string).collect::<Vec<_>>().join("+");
    set.synthesize.iter().map(chain).collect::<Vec<_>>().join(", ")
}

/// Writes `19200000` as `19,200,000`.
pub(super) fn thousands(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Writes bytes in MiB or GiB.
pub(super) fn gib(bytes: u64) -> String {
    let gib = bytes as f64 / f64::from(1 << 30);
    if gib >= 1.0 { format!("{gib:.1} GiB") } else { format!("{:.1} MiB", gib * 1024.0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        assert_eq!([0, 999, 1000, 19_200_000].map(thousands), ["0", "999", "1,000", "19,200,000"]);
        assert_eq!([1 << 30, 3 << 29, 1 << 20, 0].map(gib), ["1.0 GiB", "1.5 GiB", "1.0 MiB", "0.0 MiB"]);
    }
}
