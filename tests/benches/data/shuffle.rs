//! How mixed the samples are, and what is fetched for them.

use std::collections::HashSet;
use std::path::Path;
use std::time::Instant;

use defusion_config::{RemoteCache, Stage};
use defusion_dataloader::plan::SamplingPlan;
use defusion_dataloader::shard::read_manifest;
use defusion_imaging::Rng;
use defusion_storage::Store;
use serde_json::json;

use crate::pairs::Pairs;
use crate::{Failure, config};

const SHARDS: usize = 1000;
const ROWS: usize = 100;
/// Side of the crops of the synthetic images, pixels.
const CROP: usize = 64;

/// Correlation of the image numbers of adjacent samples, and how often these lie in one shard, over one epoch of 1,000
/// shards of 100 images; beside a full shuffle.
pub(crate) fn quality() -> Result<(), Failure> {
    let mut full: Vec<u64> = (0..(SHARDS * ROWS) as u64).collect();
    Rng::new(1, &[]).shuffle(&mut full);
    print_order("full shuffle", &full, SHARDS);
    for window in [1024usize, 4096, 16384] {
        let config = config("unused", "set", 256, "[]", &format!(", loader: {{shuffle_window: {window}}}"))?;
        let plan = SamplingPlan::new(&config, Stage::Diffusion, &[vec![ROWS as u64; SHARDS]])?;
        let images: Vec<u64> = (0..full.len() as u64).map(|i| plan.sample(i).image).collect();
        print_order(&format!("window of {window}"), &images, window.div_ceil(ROWS));
    }
    Ok(())
}

fn print_order(what: &str, images: &[u64], shards_at_hand: usize) {
    let mean = images.iter().sum::<u64>() as f64 / images.len() as f64;
    let off = |i: &u64| *i as f64 - mean;
    let variance: f64 = images.iter().map(|i| off(i).powi(2)).sum();
    let covariance: f64 = images.windows(2).map(|w| off(&w[0]) * off(&w[1])).sum();
    let together = images.windows(2).filter(|w| w[0] / ROWS as u64 == w[1] / ROWS as u64).count();
    let in_batch: usize =
        images.chunks_exact(32).map(|batch| batch.iter().map(|i| i / ROWS as u64).collect::<HashSet<_>>().len()).sum();
    println!(
        "{}",
        json!({
            "order": what,
            "adjacent_correlation": covariance / variance,
            "adjacent_in_one_shard": together as f64 / images.len() as f64,
            "shards_in_a_batch_of_32": in_batch as f64 / (images.len() / 32) as f64,
            "shards_at_hand": shards_at_hand,
        })
    );
}

/// One epoch of crop pairs through a cache that begins empty and has room for `room` shards; images are shuffled over
/// `window` of them.
pub(crate) fn remote(url: &str, name: &str, cache: &str, window: u64, room: u64) -> Result<(), Failure> {
    let shards = read_manifest(&Store::open(&format!("{url}/{name}"))?)?.shards;
    let largest = shards.iter().map(|shard| shard.bytes).max().unwrap_or(0);
    let _ = std::fs::remove_dir_all(cache);
    let config = RemoteCache { dir: Some(cache.to_owned()), max_gib: (room * largest) as f64 / (1u64 << 30) as f64 };
    let pairs = Pairs::open(url, name, CROP, &format!(", loader: {{shuffle_window: {window}}}"), &config)?;
    let start = Instant::now();
    let (mut fetched, mut held) = (0u64, HashSet::new());
    for i in 0..pairs.reader.len() as u64 {
        pairs.sample(i)?;
        // One thread reads, so what has appeared since the last sample is what this one fetched.
        let now = shards_in(Path::new(cache))?;
        fetched += now.difference(&held).map(|(_, bytes)| bytes).sum::<u64>();
        held = now;
    }
    let samples = pairs.reader.len() as f64;
    println!(
        "{}",
        json!({
            "images": samples,
            "shards": shards.len(),
            "window": window,
            "room_for_shards": room,
            "bytes_stored_per_image": shards.iter().map(|shard| shard.bytes).sum::<u64>() as f64 / samples,
            "bytes_fetched_per_sample": fetched as f64 / samples,
            "samples_per_s": samples / start.elapsed().as_secs_f64(),
        })
    );
    Ok(())
}

/// Name and bytes of each shard in a cache.
fn shards_in(cache: &Path) -> std::io::Result<HashSet<(String, u64)>> {
    let files = std::fs::read_dir(cache)?.flatten().filter(|f| f.path().extension().is_some_and(|e| e == "parquet"));
    files.map(|f| Ok((f.file_name().to_string_lossy().into_owned(), f.metadata()?.len()))).collect()
}
