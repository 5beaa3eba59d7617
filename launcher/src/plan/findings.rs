//! What will not or may not work.

use std::path::Path;

use defusion_config::{Config, Device};

use super::{LaunchPlan, text};

impl LaunchPlan {
    /// Adds what will not or may not work to problems and warnings.
    pub(super) fn find_problems(&mut self, config: &Config) {
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
}

/// Returns the path of a path or `file://` URL; `None` for other URLs.
pub(super) fn local(url: &str) -> Option<&Path> {
    match url.split_once("://") {
        Some(("file", path)) => Some(Path::new(path)),
        Some(_) => None,
        None => Some(Path::new(url)),
    }
}

/// Asks the kernel for this host's memory, bytes.
fn memory_of_this_host() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let kib: u64 =
        text.lines().find_map(|line| line.strip_prefix("MemTotal:")?.strip_suffix("kB")?.trim().parse().ok())?;
    Some(kib << 10)
}
