//! Whole samples with degradations made on the fly: the loader as training uses it.

use std::time::{Duration, Instant};

use defusion_config::{Degradation, Stage};
use defusion_dataloader::loader::Loader;
use serde_json::json;

use crate::{Failure, config, resident_mib};

/// Samples per second of one thread: crop, degradation, target, ground and instruction; for each category, and for the
/// dataset's own degraded images.
pub(crate) fn rates(shards: &str, name: &str, seconds: f64) -> Result<(), Failure> {
    let own = std::iter::once(("own images", "[]".to_owned()));
    let chains = own.chain(Degradation::ALL.into_iter().map(|d| (d.name(), format!("[[{}]]", d.name()))));
    for (what, chain) in chains {
        let config = config(shards, name, 256, &chain, "")?;
        let mut loader = Loader::open(&config, Stage::Diffusion, 0, 1, 0, 1)?;
        loader.next()?;
        let (start, mut samples) = (Instant::now(), 0);
        while start.elapsed() < Duration::from_secs_f64(seconds) {
            samples += loader.next()?.len;
        }
        let rate = samples as f64 / start.elapsed().as_secs_f64();
        println!("{}", json!({"category": what, "samples_per_s": rate, "resident_mib": resident_mib()?}));
    }
    Ok(())
}
