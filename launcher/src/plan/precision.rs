//! The arithmetic that each stage is going to have, as far as it can be seen from here.

use std::process::Command;

use defusion_config::hardware::NativeBfloat16;
use defusion_config::{Arithmetic, Config, Device, Precision, Resolved, Stage};

use super::local::local;
use crate::gpus;

/// What the config of a plan has instead of `auto`, and why.
#[derive(Debug)]
pub(super) struct PrecisionChoice {
    /// The config without `auto`.
    pub config: Config,
    /// How each stage's precision was chosen, in the order of [`Stage::BOTH`]: a clause.
    pub why: [String; 2],
    /// What is not advisable, one message each.
    pub warnings: Vec<String>,
}

impl PrecisionChoice {
    /// Chooses as rank 0 is going to, if this host is like rank 0's.
    pub fn new(config: &Config) -> Self {
        let recorded = recorded(&config.run);
        let device = device(config);
        let mut settled = config.clone();
        settled.settle_precision(recorded.as_ref(), device.is_native);
        let mut warnings = Vec::new();
        let why = Stage::BOTH.map(|stage| {
            let asked = config.step(stage).precision;
            let from_folder = recorded.as_ref().and_then(|config| config.step(stage).precision.settled());
            if settled.step(stage).precision == Precision::Bf16
                && skipped(config) != Some(stage)
                && let Some(objection) = device.objection()
            {
                let advice = match (asked, from_folder) {
                    (Precision::Auto, _) => "a run keeps what its folder records".to_owned(),
                    _ => format!("{stage}.step.precision=auto chooses float32 in a new run"),
                };
                warnings.push(format!("stage {stage} computes in bfloat16, but {objection}; {advice}"));
            }
            match (asked, from_folder) {
                (Precision::Auto, Some(_)) => "auto: the run folder records it".to_owned(),
                (Precision::Auto, None) => format!("auto: {}", device.why),
                (_, _) => format!("{stage}.step.precision asks for it"),
            }
        });
        Self { config: settled, why, warnings }
    }
}

/// The stage that is not trained, if there is one.
fn skipped(config: &Config) -> Option<Stage> {
    [(Stage::Tokenizer, config.tokenizer.iterations), (Stage::Diffusion, config.diffusion.iterations)]
        .into_iter()
        .find_map(|(stage, steps)| (steps == 0).then_some(stage))
}

/// Reads the config of a run folder on this host; `None` if there is none, or one that the workers will refuse.
fn recorded(run: &str) -> Option<Config> {
    let path = local(run)?.join("config.yaml");
    let text = std::fs::read_to_string(&path).ok()?;
    Resolved::parse(&text, &path, &[]).ok().map(|resolved| resolved.config)
}

/// Asks this host what rank 0's device multiplies. A GPU that cannot be seen from here is taken for one of those that
/// training needs anyway.
fn device(config: &Config) -> NativeBfloat16 {
    let asks = Stage::BOTH.iter().any(|&stage| config.step(stage).precision == Precision::Auto);
    match config.cluster.device {
        Device::Cpu => NativeBfloat16::of_cpu(),
        Device::Cuda if !asks => unseen("not asked"),
        Device::Cuda => {
            let visible = std::env::var("CUDA_VISIBLE_DEVICES").ok();
            match gpus::compute_capability(Command::new("nvidia-smi"), visible.as_deref()) {
                Some(capability) => NativeBfloat16::of_gpu(capability),
                None => unseen("no GPU can be asked from here, compute capability 8.0 or higher is assumed"),
            }
        }
    }
}

fn unseen(why: &str) -> NativeBfloat16 {
    NativeBfloat16 { is_native: true, why: why.to_owned() }
}

/// Writes the choice for all stages on one line.
pub(super) fn shown<'a>(stages: impl Iterator<Item = (Stage, Arithmetic, &'a str)>) -> String {
    let stages: Vec<_> = stages.collect();
    let same = stages.windows(2).all(|pair| (pair[0].1, pair[0].2) == (pair[1].1, pair[1].2));
    let text = |arithmetic: Arithmetic, why: &str| format!("{} ({why})", arithmetic.number_format());
    match stages.first() {
        Some((_, arithmetic, why)) if same => text(*arithmetic, why),
        _ => {
            let each =
                |(stage, arithmetic, why): &(Stage, Arithmetic, &str)| format!("{stage} {}", text(*arithmetic, why));
            stages.iter().map(each).collect::<Vec<_>>().join(", ")
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn choice(run: &Path, changes: &[&str]) -> PrecisionChoice {
        let recipe = "{name: a, run: x, data: {shards: s, datasets: [{name: b}]}, tokenizer: {perceptual_weight: 0}, \
                       cluster: {device: cpu, workers_per_node: 1}}";
        let run = format!("run={}", run.display());
        let changes: Vec<_> = [run.as_str()].iter().chain(changes).map(|c| c.parse().unwrap()).collect();
        PrecisionChoice::new(&Resolved::parse(recipe, Path::new("a.yaml"), &changes).unwrap().config)
    }

    #[test]
    fn a_run_folder_decides_for_auto_alone() {
        let folder = tempfile::tempdir().unwrap();
        let before = choice(folder.path(), &["tokenizer.step.precision=fp32", "diffusion.step.precision=bf16"]);
        let yaml = Resolved { config: before.config, path: "a.yaml".into() }.to_yaml().unwrap();
        std::fs::write(folder.path().join("config.yaml"), yaml).unwrap();
        let precisions = |choice: &PrecisionChoice| Stage::BOTH.map(|stage| choice.config.step(stage).precision);

        let auto = choice(folder.path(), &[]);
        assert_eq!(precisions(&auto), [Precision::Fp32, Precision::Bf16]);
        assert_eq!(auto.why, ["auto: the run folder records it"; 2]);
        let named = choice(folder.path(), &["diffusion.step.precision=fp32"]);
        assert_eq!(precisions(&named), [Precision::Fp32; 2]);
        assert_eq!(named.why[1], "diffusion.step.precision asks for it");
        assert!(named.warnings.is_empty());
    }

    #[test]
    fn stages_that_are_alike_are_told_together() {
        let (t, d) = (Stage::Tokenizer, Stage::Diffusion);
        let alike = [(t, Arithmetic::Fp32, "why"), (d, Arithmetic::Fp32, "why")];
        assert_eq!(shown(alike.into_iter()), "float32 (why)");
        let unlike = [(t, Arithmetic::Fp32, "a"), (d, Arithmetic::Bf16, "b")];
        assert_eq!(shown(unlike.into_iter()), "tokenizer float32 (a), diffusion bfloat16 (b)");
    }
}
