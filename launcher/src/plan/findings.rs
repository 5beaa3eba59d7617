//! What will not or may not work.

use defusion_config::{Config, Device};

use super::local::local;
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
        let missing =
            |path: &Option<String>| path.clone().filter(|path| local(path).is_some_and(|path| !path.exists()));
        for (key, path) in [
            ("tokenizer.pretrained", &config.tokenizer.pretrained),
            ("diffusion.pretrained", &config.diffusion.pretrained),
            ("data.grounds.natural", &config.data.grounds.natural),
            ("data.grounds.charts", &config.data.grounds.charts),
        ] {
            if let Some(path) = missing(path) {
                self.warnings.push(format!("{key}: {path} is not on this host"));
            }
        }
        let tokenizer = &config.tokenizer;
        if tokenizer.perceptual_weight > 0.0
            && tokenizer.iterations > 0
            && let Some(path) = missing(&tokenizer.perceptual_weights)
        {
            self.problems.push(format!(
                "tokenizer.perceptual_weights: {path} is not on this host: scripts/lpips-weights puts the weights of LPIPS \
                 to weights/lpips-vgg16.safetensors; tokenizer.perceptual_weight=0 does without"
            ));
        }
        for (name, decay, iterations) in [
            ("tokenizer", config.tokenizer.ema_decay, config.tokenizer.iterations),
            ("diffusion", config.diffusion.ema_decay, config.diffusion.iterations),
        ] {
            self.warnings.extend(slow_average(name, decay, iterations));
        }
        let missing: Vec<_> = self.samples.datasets.iter().filter(|set| set.prepared == Some(false)).collect();
        if !missing.is_empty() {
            let names: Vec<_> = missing.iter().map(|set| set.name.as_str()).collect();
            let (names, shards) = (names.join(", "), &self.samples.shards);
            self.warnings.push(format!("not prepared under {shards}: {names} (`defusion data prepare` does)"));
        }
    }
}

/// Says if the moving average of the weights, the only ones exported, will still hold much of what training began with.
fn slow_average(stage: &str, decay: f64, iterations: u64) -> Option<String> {
    const MUCH: f64 = 0.1;
    let initial = decay.powf(iterations as f64);
    (iterations > 0 && initial > MUCH).then(|| {
        // (1 - 5/n)^n leaves less than e^-5; 5/n is rounded up to one digit.
        let rest = (5.0 / iterations as f64).min(1.0);
        let digits = (-rest.log10()).ceil() as usize;
        let unit = 10f64.powi(digits as i32);
        let advised = 1.0 - (rest * unit).ceil() / unit;
        format!(
            "{stage}.ema_decay: {decay} over {iterations} iterations leaves {:.0}% of the initial weights in the moving \
             average, and the average is what is exported; {advised:.digits$} leaves less than 1%",
            100.0 * initial,
        )
    })
}

/// Asks the kernel for this host's memory, bytes.
fn memory_of_this_host() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let kib: u64 =
        text.lines().find_map(|line| line.strip_prefix("MemTotal:")?.strip_suffix("kB")?.trim().parse().ok())?;
    Some(kib << 10)
}
