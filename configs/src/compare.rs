//! Comparing the config of a run with the one that it is to go on with.

use serde_json::Value;

use crate::Config;

/// A key that weights depend on and whose value is another one. Values are compact JSON, or `unset`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The dotted key, such as `diffusion.lr.base`.
    pub key: String,
    /// The value that the run has been trained with.
    pub before: String,
    /// The value now.
    pub now: String,
}

impl std::fmt::Display for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} was {}, is {}", self.key, self.before, self.now)
    }
}

impl Config {
    /// Resets all that weights do not depend on and that digests have never held: the cluster, the run folder's place,
    /// names, logging, retention, threads, caches and micro-batches.
    pub(crate) fn without_surroundings(&self) -> Self {
        let mut config = self.clone();
        config.name.clear();
        config.run.clear();
        config.cluster = crate::Cluster::default();
        config.checkpoints = crate::Checkpoints::default();
        config.monitor = crate::Monitor::default();
        config.evaluation = crate::Evaluation::default();
        // Before it could be left unset, it was spelled out.
        config.tokenizer.disc_start.get_or_insert(crate::TokenizerStage::DISC_START);
        config.data.shards.clear();
        config.data.verify_shards = true;
        config.data.loader.threads = 0;
        config.data.loader.prefetch = 0;
        config.data.cache = crate::RemoteCache::default();
        for step in [&mut config.tokenizer.step, &mut config.diffusion.step] {
            step.accumulation = 1;
            step.precision = step.precision.resolve(true).into();
        }
        config
    }

    /// Resets all that the weights of a run do not depend on from here on: besides the surroundings the sampler, and how a
    /// step is computed as long as the figures are the same. Of files and folders it only counts whether there is one: what
    /// they hold has gone into the run already, or lies where this machine keeps it.
    fn without_what_may_change(&self) -> Self {
        let mut config = self.without_surroundings();
        config.diffusion.sampler = crate::Sampler::default();
        for step in [&mut config.tokenizer.step, &mut config.diffusion.step] {
            let kept = crate::StepOptions::default();
            step.bucket_mib = kept.bucket_mib;
            step.activation_checkpointing = kept.activation_checkpointing;
            step.activation_gib = kept.activation_gib;
            step.max_nonfinite = kept.max_nonfinite;
        }
        let (tokenizer, grounds) = (&mut config.tokenizer, &mut config.data.grounds);
        let files = [&mut tokenizer.pretrained, &mut tokenizer.perceptual_weights, &mut config.diffusion.pretrained];
        for file in files.into_iter().chain([&mut grounds.natural, &mut grounds.charts]).flatten() {
            "given".clone_into(file);
        }
        config
    }

    /// Returns the keys by which a run with this config would go on to other weights than one with the config `before`.
    pub fn differences(&self, before: &Self) -> Vec<Difference> {
        let json = |config: &Self| serde_json::to_value(config.without_what_may_change()).unwrap_or_default();
        let mut differences = Vec::new();
        walk("", &json(before), &json(self), &mut differences);
        differences
    }
}

fn walk(at: &str, before: &Value, now: &Value, differences: &mut Vec<Difference>) {
    let below = |key: &str| if at.is_empty() { key.to_owned() } else { format!("{at}.{key}") };
    match (before, now) {
        (Value::Object(a), Value::Object(b)) => {
            let more = b.keys().filter(|key| !a.contains_key(*key));
            for key in a.keys().chain(more) {
                let of = |map: &serde_json::Map<String, Value>| map.get(key).cloned().unwrap_or_default();
                walk(&below(key), &of(a), &of(b), differences);
            }
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            for (i, (before, now)) in a.iter().zip(b).enumerate() {
                walk(&below(&i.to_string()), before, now, differences);
            }
        }
        _ if before == now => {}
        _ => {
            let show = |value: &Value| if value.is_null() { "unset".to_owned() } else { value.to_string() };
            differences.push(Difference { key: at.to_owned(), before: show(before), now: show(now) });
        }
    }
}
