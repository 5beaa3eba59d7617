//! What may change in the config of a run that goes on.

use defusion_config::{Config, LearningRate};

/// Compares the config of a run with the one that it is to go on with. Returns what to say about changes that are allowed,
/// and the keys that forbid it, each with both values. `stage_1_ended`: whether the run has reached stage 2.
pub(crate) fn changes(before: &Config, now: &Config, stage_1_ended: bool) -> (Vec<String>, Vec<String>) {
    let (mut notes, mut keys) = (Vec::new(), Vec::new());
    for difference in now.differences(before) {
        let (lr, [old, new], ended) = match difference.key.as_str() {
            "tokenizer.iterations" => {
                (&now.tokenizer.lr, [before.tokenizer.iterations, now.tokenizer.iterations], stage_1_ended)
            }
            "diffusion.iterations" => {
                (&now.diffusion.lr, [before.diffusion.iterations, now.diffusion.iterations], false)
            }
            _ => {
                keys.push(difference.to_string());
                continue;
            }
        };
        match (ended, new > old) {
            (true, _) => keys.push(format!("{difference}, but stage tokenizer has ended")),
            (_, false) => keys.push(format!("{difference}; it may grow, not shrink")),
            (_, true) => notes.push(format!("{difference}: {}", schedule(lr, old, new))),
        }
    }
    (notes, keys)
}

/// What more iterations do to the learning rate.
fn schedule(lr: &LearningRate, old: u64, new: u64) -> String {
    if lr.min.is_none() {
        return "the learning rate stays as it is".into();
    }
    let last = old.saturating_sub(1);
    format!(
        "the learning rate's cosine ends at the new last step. At step {old} it is {:.3e}, where it had come down to {:.3e}",
        lr.at(last, new),
        lr.at(last, old)
    )
}
