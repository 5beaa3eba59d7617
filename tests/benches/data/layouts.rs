//! Ways to store images: bytes, and random 256 px crop pairs per second.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use defusion_config::RemoteCache;
use defusion_dataloader::shard::{DatasetReader, TileCodec};
use defusion_imaging::{Rng, read_header, read_pixels};
use defusion_storage::Store;
use rayon::prelude::*;
use serde_json::json;

use crate::stored::{Layout, Named, Source, Stored};
use crate::tiles::{Codec, Tiles};
use crate::{Failure, make_shards};

const ROUNDS: usize = 3;

/// Compares the layouts on the pairs of `folder`; `work` is a folder for what is made of them, `url` an empty folder of
/// an object store.
pub(crate) fn compare(folder: &str, work: &str, seconds: f64, url: Option<&str>) -> Result<(), Failure> {
    let images = names(Path::new(folder))?;
    let layouts = [
        Layout::Whole,
        Layout::Tiles(Codec::Png, 128),
        Layout::Tiles(Codec::Zstd, 64),
        Layout::Tiles(Codec::Lz4, 64),
        Layout::Shards(TileCodec::Raw, 64),
        Layout::Shards(TileCodec::Lz4, 64),
        Layout::Shards(TileCodec::Zstd, 32),
        Layout::Shards(TileCodec::Zstd, 64),
        Layout::Shards(TileCodec::Zstd, 128),
    ];
    let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build()?;
    let mut rates = vec![Vec::new(); layouts.len()];
    let mut stored = Vec::new();
    for layout in &layouts {
        let source = pool.install(|| store(layout, folder, work, &images))?;
        stored.push(Stored { layout, source, images: &images });
    }
    for round in 0..ROUNDS {
        for (n, stored) in stored.iter().enumerate() {
            rates[n].push(pool.install(|| rate(stored, round as u64, seconds))?);
        }
    }
    for ((layout, stored), rates) in layouts.iter().zip(&stored).zip(&mut rates) {
        rates.sort_by(f64::total_cmp);
        let from_objects = url.map(|url| pool.install(|| objects(stored, work, url))).transpose()?;
        let line = json!({
            "layout": layout.name(),
            "bytes_per_pixel": bytes(layout, folder, work)? as f64 / pixels_of(&images),
            "crop_pairs_per_s": rates[ROUNDS / 2],
            "crop_pairs_per_s_from_objects": from_objects,
        });
        println!("{line}");
    }
    Ok(())
}

/// In the order of the shards' rows.
fn names(folder: &Path) -> Result<Vec<Named>, Failure> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder.join("input"))?.flatten().map(|f| f.path()).collect();
    files.sort();
    let named = |path: &PathBuf| -> Result<Named, Failure> {
        let header = read_header(path)?;
        let name = path.file_stem().ok_or("no name")?.to_string_lossy().into_owned();
        Ok(Named { name, width: header.width as usize, height: header.height as usize })
    };
    files.iter().map(named).collect()
}

/// Samples of pixels of both sides of all images: three to a pixel.
fn pixels_of(images: &[Named]) -> f64 {
    images.iter().map(|p| 2.0 * (p.width * p.height) as f64).sum()
}

fn store(layout: &Layout, folder: &str, work: &str, images: &[Named]) -> Result<Source, Failure> {
    let to = Path::new(work).join(layout.key());
    match layout {
        Layout::Whole => Ok(Source::Files(folder.into())),
        Layout::Tiles(codec, tile) => {
            for side in ["input", "target"] {
                std::fs::create_dir_all(to.join(side))?;
                let write = |named: &Named| -> Result<(), Failure> {
                    let png = Path::new(folder).join(side).join(format!("{}.png", named.name));
                    let pixels = read_pixels(&png, 1 << 28)?;
                    let bytes = Tiles::encode(&pixels, *codec, *tile)?;
                    Ok(std::fs::write(to.join(side).join(format!("{}.tiles", named.name)), bytes)?)
                };
                images.par_iter().map(write).collect::<Result<(), _>>()?;
            }
            Ok(Source::Files(to))
        }
        Layout::Shards(codec, tile) => {
            make_shards(folder, work, &layout.key(), *codec, Some(*tile))?;
            Ok(Source::Reader(Box::new(DatasetReader::open(&to.display().to_string(), &RemoteCache::default())?)))
        }
    }
}

fn bytes(layout: &Layout, folder: &str, work: &str) -> Result<u64, Failure> {
    let folder = if matches!(layout, Layout::Whole) { folder.into() } else { Path::new(work).join(layout.key()) };
    let mut bytes = 0;
    for entry in std::fs::read_dir(folder)?.flatten() {
        bytes += match entry.metadata()?.is_dir() {
            true => std::fs::read_dir(entry.path())?.flatten().map(|f| f.metadata().map_or(0, |m| m.len())).sum(),
            false => entry.metadata()?.len(),
        };
    }
    Ok(bytes)
}

/// Crop pairs per second on the pool's threads.
fn rate(stored: &Stored, round: u64, seconds: f64) -> Result<f64, Failure> {
    let (start, done) = (Instant::now(), AtomicU64::new(0));
    let read = |thread: usize| -> Result<(), Failure> {
        let mut rng = Rng::new(round, &[thread as u64]);
        while start.elapsed().as_secs_f64() < seconds {
            let i = rng.below(stored.images.len() as u64) as usize;
            stored.crop(i, &mut rng)?;
            done.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    };
    (0..rayon::current_num_threads()).into_par_iter().map(read).collect::<Result<(), _>>()?;
    Ok(done.into_inner() as f64 / start.elapsed().as_secs_f64())
}

/// As [`rate`], from the object store, nothing cached: every image once, as in an epoch.
fn objects(stored: &Stored, work: &str, url: &str) -> Result<f64, Failure> {
    let key = stored.layout.key();
    let source = match &stored.source {
        Source::Reader(reader) => {
            let (from, to) = (Store::open(reader.url())?, Store::create(&format!("{url}/{key}"))?);
            for name in from.list()? {
                to.put(&name, from.get(&name, 1 << 40)?)?;
            }
            let cache = Path::new(work).join("cache").join(&key);
            let _ = std::fs::remove_dir_all(&cache);
            let cache = RemoteCache { dir: Some(cache.display().to_string()), max_gib: 100.0 };
            Source::Reader(Box::new(DatasetReader::open(&format!("{url}/{key}"), &cache)?))
        }
        Source::Files(folder) => {
            let to = Store::create(&format!("{url}/{key}"))?;
            for side in ["input", "target"] {
                for file in std::fs::read_dir(folder.join(side))?.flatten() {
                    let name = file.file_name().to_string_lossy().into_owned();
                    to.put(&format!("{side}-{name}"), std::fs::read(file.path())?.into())?;
                }
            }
            Source::Objects(to)
        }
        Source::Objects(_) => return Err("is remote already".into()),
    };
    let remote = Stored { layout: stored.layout, source, images: stored.images };
    let start = Instant::now();
    let crop = |i: usize| remote.crop(i, &mut Rng::new(7, &[i as u64]));
    let sum: f64 = (0..remote.images.len()).into_par_iter().map(crop).collect::<Result<Vec<_>, _>>()?.iter().sum();
    let rate = remote.images.len() as f64 / start.elapsed().as_secs_f64();
    let local: f64 = (0..remote.images.len())
        .map(|i| stored.crop(i, &mut Rng::new(7, &[i as u64])))
        .collect::<Result<Vec<_>, _>>()?
        .iter()
        .sum();
    if sum == local { Ok(rate) } else { Err(format!("{}: other pixels from afar", stored.layout.name()).into()) }
}
