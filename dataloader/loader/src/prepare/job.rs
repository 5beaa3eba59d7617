//! The work of a preparation, shard by shard.

use sha2::{Digest, Sha256};

use super::PrepareOptions;
use super::inspect::Inspected;
use crate::shard::VERSION;

/// The pairs of one shard.
pub(crate) struct Job {
    pub(crate) file: String,
    pub(crate) split: String,
    pub(crate) pairs: Vec<Inspected>,
    /// sha256 of all that decides what the shard holds.
    pub(crate) digest: String,
}

/// Divides the pairs among shards: of one split each, and of about equal decoded size.
pub(crate) fn jobs(pairs: Vec<Inspected>, options: &PrepareOptions) -> Vec<Job> {
    let mut groups: Vec<Vec<Inspected>> = Vec::new();
    let mut held = 0;
    for pair in pairs {
        let same = |group: &&mut Vec<Inspected>| group.first().is_some_and(|p| p.pair.split == pair.pair.split);
        match groups.last_mut().filter(same) {
            Some(group) if held + pair.bytes <= options.shard_bytes => {
                held += pair.bytes;
                group.push(pair);
            }
            _ => {
                held = pair.bytes;
                groups.push(vec![pair]);
            }
        }
    }
    let job = |(n, pairs): (usize, Vec<Inspected>)| Job {
        file: format!("part-{n:05}.parquet"),
        split: pairs.first().map(|p| p.pair.split.clone()).unwrap_or_default(),
        digest: digest(&pairs, options),
        pairs,
    };
    groups.into_iter().enumerate().map(job).collect()
}

fn digest(pairs: &[Inspected], options: &PrepareOptions) -> String {
    let mut sha = Sha256::new();
    let PrepareOptions { dataset, tile, codec, max_pixels, leave_out_problems, .. } = options;
    sha.update(format!("{:?}", (VERSION, dataset, tile, codec, max_pixels, leave_out_problems)));
    for Inspected { pair, bytes, stamp } in pairs {
        sha.update(format!("{:?}", (&pair.key, &pair.split, &pair.degradations, pair.fit, bytes, stamp)));
    }
    hex::encode(sha.finalize())
}
