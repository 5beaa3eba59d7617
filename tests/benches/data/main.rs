//! The loader's side of `scripts/bench loader`, `layouts` and `remote`. Every command prints lines of JSON.
//!
//! * `prepare FOLDER TO NAME [CODEC]`: shards of the pairs in FOLDER (input/, target/)
//! * `pairs SHARDS NAME SECONDS THREADS`: 256 px crop pairs with flips, no instructions
//! * `memory SHARDS NAME SAMPLES CROP`: resident memory while so many crop pairs are read
//! * `many TO NAME IMAGES SHARDS`: a synthetic dataset of small images
//! * `start SHARDS NAME`: time to the loader's first batch, instructions included
//! * `synthesis SHARDS NAME SECONDS`: samples per second on one thread, for each category
//! * `layouts FOLDER WORK SECONDS [URL]`: the ways to store images, from disk and from the object store at URL
//! * `shuffle`: how mixed the samples are
//! * `remote URL NAME CACHE WINDOW SHARDS`: bytes fetched per sample, in an epoch through a cache of so many shards
//! * `with-s3 COMMAND...`: the command with a fresh bucket `bench` in a server that `DEFUSION_WEED` names

mod layouts;
mod pairs;
mod shuffle;
mod start;
mod stored;
mod synthesis;
mod tiles;

use std::path::Path;
use std::process::Command;

use defusion_config::{Config, Degradation, Resolved};
use defusion_dataloader::prepare::{PrepareOptions, list_source, prepare};
use defusion_dataloader::shard::TileCodec;
use defusion_storage::testing::ObjectStorage;

pub(crate) type Failure = Box<dyn std::error::Error + Send + Sync>;

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["prepare", folder, to, name] => make_shards(folder, to, name, TileCodec::default(), None),
        ["prepare", folder, to, name, codec] => make_shards(folder, to, name, codec.parse()?, None),
        ["pairs", shards, name, seconds, threads] => pairs::speed(shards, name, seconds.parse()?, threads.parse()?),
        ["memory", shards, name, samples, crop] => pairs::memory(shards, name, samples.parse()?, crop.parse()?),
        ["many", to, name, images, shards] => start::many(to, name, images.parse()?, shards.parse()?),
        ["start", shards, name] => start::first_batch(shards, name),
        ["synthesis", shards, name, seconds] => synthesis::rates(shards, name, seconds.parse()?),
        ["layouts", folder, work, seconds] => layouts::compare(folder, work, seconds.parse()?, None),
        ["layouts", folder, work, seconds, url] => layouts::compare(folder, work, seconds.parse()?, Some(url)),
        ["shuffle"] => shuffle::quality(),
        ["remote", url, name, cache, window, room] => shuffle::remote(url, name, cache, window.parse()?, room.parse()?),
        ["with-s3", program, ref arguments @ ..] => with_s3(program, arguments),
        _ => Err("unknown command; the head of tests/benches/data/main.rs lists them".into()),
    }
}

fn with_s3(program: &str, arguments: &[&str]) -> Result<(), Failure> {
    let storage = ObjectStorage::start("bench");
    let status = storage.tell(Command::new(program).args(arguments)).status()?;
    if status.success() { Ok(()) } else { Err(format!("{program}: {status}").into()) }
}

/// Shards of a folder of pairs.
pub(crate) fn make_shards(
    folder: &str,
    to: &str,
    name: &str,
    codec: TileCodec,
    tile: Option<u32>,
) -> Result<(), Failure> {
    let listing = list_source(&defusion_datasets::find("pairs")?, Path::new(folder), None, &[Degradation::Jpeg])?;
    let mut options = PrepareOptions { codec, overwrite: true, ..PrepareOptions::new(name, to) };
    options.tile = tile.unwrap_or(options.tile);
    prepare(listing, &options, &|_| ())?;
    Ok(())
}

/// A config over one dataset; `data` are more keys of its section.
pub(crate) fn config(shards: &str, name: &str, crop: usize, chain: &str, data: &str) -> Result<Config, Failure> {
    let text = format!(
        "{{name: bench, run: bench, cluster: {{device: cpu, workers_per_node: 1}}, \
         tokenizer: {{perceptual_weight: 0}}, diffusion: {{global_batch: 32}}, \
         data: {{shards: '{shards}', crop: {crop}, datasets: [{{name: {name}, synthesize: {chain}}}]{data}}}}}"
    );
    Ok(Resolved::parse(&text, Path::new("bench.yaml"), &[])?.config)
}

/// Resident memory of this process, MiB.
pub(crate) fn resident_mib() -> Result<f64, Failure> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS in /proc/self/status")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<f64>()? / 1024.0)
}
