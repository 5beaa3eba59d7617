//! Very many small images: what opening a large dataset costs.

use std::time::Instant;

use defusion_config::{Degradation, Stage};
use defusion_dataloader::loader::Loader;
use defusion_dataloader::shard::{DEFAULT_TILE, EncodedRow, MANIFEST, RowMeta, ShardWriter, TileCodec};
use defusion_datasets::{ShardEntry, ShardManifest};
use defusion_imaging::Rng;
use defusion_imaging::pixels::{Pixels, Samples};
use defusion_storage::{Store, join};
use rayon::prelude::*;
use serde_json::json;

use crate::{Failure, config, resident_mib};

const SIDE: u32 = 64;

/// Writes `images` pairs of noise in `shards` shards.
pub(crate) fn many(to: &str, name: &str, images: u64, shards: u64) -> Result<(), Failure> {
    let store = Store::create(&join(to, name))?;
    let write = |shard: u64| -> Result<ShardEntry, Failure> {
        let mut writer = ShardWriter::new(DEFAULT_TILE, TileCodec::default())?;
        for image in shard * images / shards..(shard + 1) * images / shards {
            let mut rng = Rng::new(image, &[]);
            let mut noise = || {
                let base = rng.below(200) as u8;
                let samples = (0..3 * SIDE * SIDE).map(|_| base + rng.below(8) as u8).collect();
                Pixels::new(SIDE, SIDE, Samples::U8(samples)).ok_or("no pixels")
            };
            let (hq, lq) = (noise()?, noise()?);
            let degradations = vec![Degradation::GaussianNoise];
            let meta = RowMeta { key: format!("{image:06}.png"), split: "train".into(), degradations };
            writer.push(&EncodedRow::new(meta, &hq, Some(&lq), DEFAULT_TILE, TileCodec::default())?)?;
        }
        let finished = writer.finish()?;
        let file = format!("part-{shard:05}.parquet");
        let (rows, bytes, sha256) = (finished.rows, finished.bytes.len() as u64, finished.sha256);
        store.put(&file, finished.bytes)?;
        Ok(ShardEntry { file, split: "train".into(), rows, bytes, sha256 })
    };
    let entries = (0..shards).into_par_iter().map(write).collect::<Result<Vec<_>, _>>()?;
    Ok(store.put(MANIFEST, ShardManifest::new(name, entries).to_json().into())?)
}

/// From opening the dataset to the first batch of 32 samples with their instructions.
pub(crate) fn first_batch(shards: &str, name: &str) -> Result<(), Failure> {
    let config = config(shards, name, 256, "[]", "")?;
    let start = Instant::now();
    let mut loader = Loader::open(&config, Stage::Diffusion, 0, 1, 0, 2)?;
    let opened = start.elapsed().as_secs_f64();
    let batch = loader.next()?;
    let first = start.elapsed().as_secs_f64();
    println!(
        "{}",
        json!({"opened_s": opened, "first_batch_s": first, "samples": batch.len, "resident_mib": resident_mib()?})
    );
    Ok(())
}
