//! The report of a preparation, for people.

use std::collections::BTreeMap;

use defusion_datasets::{PassedOver, Problem, ShardManifest};

/// What a preparation has made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The dataset's folder.
    pub url: String,
    /// Name of the dataset.
    pub dataset: String,
    /// By split.
    pub splits: BTreeMap<String, SplitReport>,
    /// Shards that an earlier, unfinished preparation had left.
    pub reused_shards: usize,
    /// Splits of the descriptor of which the source has no file.
    pub absent: Vec<String>,
    /// What else lies in the source.
    pub passed_over: PassedOver,
    /// Images left out, and counts that differ.
    pub problems: Vec<Problem>,
}

/// One split of what was prepared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SplitReport {
    /// Image pairs.
    pub rows: u64,
    /// Shards.
    pub shards: usize,
    /// Bytes of the shards.
    pub bytes: u64,
}

impl Report {
    /// Of what a manifest says alone.
    pub(crate) fn of(url: &str, manifest: &ShardManifest) -> Self {
        let mut splits: BTreeMap<String, SplitReport> = BTreeMap::new();
        for shard in &manifest.shards {
            let split = splits.entry(shard.split.clone()).or_default();
            split.rows += shard.rows;
            split.shards += 1;
            split.bytes += shard.bytes;
        }
        Self {
            url: url.into(),
            dataset: manifest.dataset.clone(),
            splits,
            reused_shards: 0,
            absent: Vec::new(),
            passed_over: PassedOver::default(),
            problems: Vec::new(),
        }
    }
}

impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "{} is prepared in {}", self.dataset, self.url)?;
        for (name, split) in &self.splits {
            let mib = split.bytes as f64 / f64::from(1 << 20);
            let plural = if split.shards == 1 { "" } else { "s" };
            writeln!(f, "  {name}: {} pairs, {} shard{plural}, {mib:.1} MiB", split.rows, split.shards)?;
        }
        if self.reused_shards > 0 {
            writeln!(f, "  {} shards were finished by an earlier run", self.reused_shards)?;
        }
        if !self.absent.is_empty() {
            writeln!(f, "  not in the source: {}", self.absent.join(", "))?;
        }
        if !self.passed_over.is_empty() {
            writeln!(f, "  passed over: {}", self.passed_over)?;
        }
        if !self.problems.is_empty() {
            writeln!(f, "  left out or different:\n{}", lines(&self.problems, usize::MAX))?;
        }
        Ok(())
    }
}

/// Writes one line a problem; of very many, the first ones and how many more there are.
pub(crate) fn lines(problems: &[Problem], most: usize) -> String {
    let mut lines: Vec<String> = problems.iter().take(most).map(|p| format!("  {p}")).collect();
    if problems.len() > most {
        lines.push(format!("  ... and {} more", problems.len() - most));
    }
    lines.join("\n")
}
