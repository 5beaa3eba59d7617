//! The arithmetic of each stage: chosen by rank 0 or recorded in the run folder, and the same on all ranks.

use defusion_config::hardware::NativeBfloat16;
use defusion_config::protocol::EXIT_FAILED;
use defusion_config::{Arithmetic, Config, Precision, Stage};

use super::TrainError;

/// Rank 0's choices, as the others are told them: a byte for each stage.
pub(super) fn to_bytes(config: &Config) -> [u8; 2] {
    Stage::BOTH.map(|stage| match config.step(stage).precision.settled() {
        None => 0,
        Some(Arithmetic::Fp32) => 1,
        Some(Arithmetic::Bf16) => 2,
    })
}

/// Takes rank 0's choices over. Returns the rest of its message.
///
/// # Errors
/// [`TrainError::RankZero`] for a message that is none of [`to_bytes`].
pub(super) fn take<'m>(config: &mut Config, message: &'m [u8]) -> Result<&'m [u8], TrainError> {
    let unreadable = || TrainError::RankZero { exit_code: EXIT_FAILED, text: "it sent no precisions".into() };
    let (choices, rest) = message.split_first_chunk::<2>().ok_or_else(unreadable)?;
    for (stage, choice) in Stage::BOTH.into_iter().zip(choices) {
        config.step_mut(stage).precision = match choice {
            1 => Precision::Fp32,
            2 => Precision::Bf16,
            _ => return Err(unreadable()),
        };
    }
    Ok(rest)
}

/// What rank 0 says of the choices: how `auto` was settled, and what to think of bfloat16 on a device without it.
/// `in_folder`: whether the run folder had a config before.
pub(super) fn news(asked: &Config, settled: &Config, device: &NativeBfloat16, in_folder: bool) -> Vec<String> {
    let why = if in_folder { "the run folder records it" } else { &device.why };
    let mut news = Vec::new();
    for stage in trained(settled) {
        let Some(arithmetic) = settled.step(stage).precision.settled() else { continue };
        if asked.step(stage).precision == Precision::Auto {
            news.push(format!("stage {stage} computes in {} ({why})", arithmetic.number_format()));
        }
        if let (Arithmetic::Bf16, Some(objection)) = (arithmetic, device.objection()) {
            news.push(format!("warning: stage {stage} computes in bfloat16, but {objection}"));
        }
    }
    news
}

fn trained(config: &Config) -> impl Iterator<Item = Stage> {
    let steps = [config.tokenizer.iterations, config.diffusion.iterations];
    Stage::BOTH.into_iter().zip(steps).filter_map(|(stage, steps)| (steps > 0).then_some(stage))
}

#[cfg(test)]
mod tests {
    use defusion_config::Resolved;

    use super::*;

    fn config(changes: &[&str]) -> Config {
        let recipe = "{name: a, run: x, data: {shards: s, datasets: [{name: b}]}, tokenizer: {perceptual_weight: 0}}";
        let changes: Vec<_> = changes.iter().map(|c| c.parse().unwrap()).collect();
        Resolved::parse(recipe, "a.yaml".as_ref(), &changes).unwrap().config
    }

    fn device(is_native: bool) -> NativeBfloat16 {
        NativeBfloat16 { is_native, why: "its why".into() }
    }

    #[test]
    fn the_other_ranks_take_what_rank_zero_has() {
        let mut first = config(&["diffusion.step.precision=bf16"]);
        first.settle_precision(None, false);
        let message = [&to_bytes(&first)[..], b"rest"].concat();
        let mut other = config(&["diffusion.step.precision=bf16"]);
        other.settle_precision(None, true);
        assert_eq!(take(&mut other, &message).unwrap(), b"rest");
        assert_eq!(other, first);
        for bad in [&b""[..], b"\x01", b"\x01\x00rest", b"\x01\x03rest"] {
            assert!(take(&mut other, bad).is_err());
        }
    }

    #[test]
    fn rank_zero_says_how_auto_was_settled_and_warns_of_slow_bfloat16() {
        let asked = config(&["diffusion.step.precision=bf16"]);
        let mut settled = asked.clone();
        settled.settle_precision(None, false);
        let said = news(&asked, &settled, &device(false), false);
        assert_eq!(said[0], "stage tokenizer computes in float32 (its why)");
        assert!(said[1].starts_with("warning: stage diffusion computes in bfloat16, but its why"), "{said:?}");
        assert!(said[1].contains("float32 was six times as fast") && said.len() == 2, "{said:?}");
        let said = news(&asked, &settled, &device(true), true);
        assert_eq!(said, ["stage tokenizer computes in float32 (the run folder records it)"]);
    }
}
