//! Files to shards and back.

use std::path::Path;
use std::sync::Mutex;

use defusion_config::{Degradation, RemoteCache};
use defusion_dataloader::prepare::{PrepareError, PrepareOptions, Progress, Report, list_source, prepare};
use defusion_dataloader::shard::{DatasetReader, ShardError, TileCodec};
use defusion_imaging::Rng;
use defusion_imaging::{Pixels, Samples, read_pixels};

/// A smooth image with some noise, different for every seed.
fn photo(seed: u64, width: u32, height: u32) -> Vec<u8> {
    let mut rng = Rng::new(seed, &[]);
    let (a, b) = (rng.f64() * 0.1, rng.f64() * 0.1);
    (0..width * height)
        .flat_map(|i| {
            let (x, y) = (f64::from(i % width), f64::from(i / width));
            let v = 128.0 + 90.0 * (a * x).sin() * (b * y).cos();
            [v, v * 0.8, v * 0.6].map(|v| (v + rng.range([-4.0, 4.0])).clamp(0.0, 255.0) as u8)
        })
        .collect()
}

pub(crate) fn save(path: &Path, seed: u64, width: u32, height: u32) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    image::RgbImage::from_raw(width, height, photo(seed, width, height)).unwrap().save(path).unwrap();
}

fn quiet(_: Progress) {}

fn prepare_pairs(from: &Path, options: &PrepareOptions) -> Result<Report, PrepareError> {
    let descriptor = defusion_datasets::find("pairs").unwrap();
    prepare(list_source(&descriptor, from, None, &[Degradation::Rain])?, options, &quiet)
}

fn cache(dir: &Path) -> RemoteCache {
    RemoteCache { dir: Some(dir.display().to_string()), max_gib: 1.0 }
}

#[test]
fn pairs_come_back_bit_for_bit_from_disk_and_from_afar() {
    let dir = tempfile::tempdir().unwrap();
    for i in 0..7u64 {
        let (w, h) = (130 + 17 * i as u32, 90 + 5 * i as u32);
        save(&dir.path().join(format!("from/input/{i}.png")), i, w, h);
        save(&dir.path().join(format!("from/target/{i}.png")), 100 + i, w, h);
    }
    let shards = dir.path().join("shards").display().to_string();
    for to in [shards.as_str(), "memory://pairs-round-trip/shards"] {
        for codec in [TileCodec::Raw, TileCodec::Lz4, TileCodec::Zstd] {
            let name = format!("set_{}", codec.name());
            let options = PrepareOptions { codec, shard_bytes: 200_000, ..PrepareOptions::new(&name, to) };
            let report = prepare_pairs(&dir.path().join("from"), &options).unwrap();
            assert_eq!(report.splits["train"].rows, 7);
            assert!(report.splits["train"].shards > 2, "{report}");
            let reader = DatasetReader::open(&format!("{to}/{name}"), &cache(&dir.path().join("cache"))).unwrap();
            assert_eq!((reader.len(), reader.is_remote()), (7, to.starts_with("memory")));
            let mut rng = Rng::new(1, &[]);
            for i in 0..7usize {
                let record = reader.record(i).unwrap();
                assert_eq!((record.key.as_str(), record.split.as_str()), (format!("input/{i}.png").as_str(), "train"));
                assert_eq!(record.degradations, [Degradation::Rain]);
                let (hq, lq) = reader.pixels(i).unwrap();
                for (got, side) in [(&hq, "target"), (&lq.unwrap(), "input")] {
                    let file = dir.path().join(format!("from/{side}/{i}.png"));
                    assert_eq!(*got, read_pixels(&file, 1 << 20).unwrap());
                }
                let full = reader.full(i).unwrap();
                let Samples::U8(samples) = hq.samples() else { panic!("8 bits") };
                assert_eq!(full.hq.to_rgb8(), *samples);
                for _ in 0..20 {
                    let (w, h) = (1 + rng.below(record.width as u64), 1 + rng.below(record.height as u64));
                    let (x, y) = (rng.below(record.width as u64 - w + 1), rng.below(record.height as u64 - h + 1));
                    let [x, y, w, h] = [x, y, w, h].map(|v| v as usize);
                    let part = reader.crop(i, x, y, w, h).unwrap();
                    assert_eq!(part.hq, full.hq.crop(x, y, w, h).unwrap());
                    assert_eq!(part.lq, full.lq.crop(x, y, w, h).unwrap());
                    assert_eq!(reader.crop_hq(i, x, y, w, h).unwrap(), part.hq);
                    assert_eq!(reader.crop_lq(i, x, y, w, h).unwrap(), part.lq);
                }
                assert!(reader.crop(i, 0, 0, record.width + 1, 1).is_err());
                assert!(reader.crop(i, usize::MAX, 0, 2, 1).is_err());
            }
            assert!(matches!(reader.record(7), Err(ShardError::Index { index: 7, len: 7, .. })));
        }
    }
}

#[test]
fn sixteen_bits_grey_and_alpha_follow_the_rule() {
    let dir = tempfile::tempdir().unwrap();
    let from = dir.path().join("from");
    std::fs::create_dir_all(&from).unwrap();
    let mut rng = Rng::new(3, &[]);
    let deep: Vec<u16> = (0..3 * 70 * 80).map(|_| rng.u64() as u16).collect();
    let png = image::ImageBuffer::<image::Rgb<u16>, _>::from_raw(70, 80, deep.clone()).unwrap();
    png.save(from.join("deep.png")).unwrap();
    image::ImageBuffer::<image::Rgb<u16>, _>::from_raw(70, 80, deep.clone())
        .unwrap()
        .save(from.join("deep.tif"))
        .unwrap();
    let grey: Vec<u8> = (0..40 * 30).map(|i| (i % 251) as u8).collect();
    image::GrayImage::from_raw(40, 30, grey.clone()).unwrap().save(from.join("grey.bmp")).unwrap();
    image::RgbaImage::from_raw(2, 1, vec![1, 2, 3, 0, 4, 5, 6, 255]).unwrap().save(from.join("veil.png")).unwrap();
    let to = dir.path().join("shards").display().to_string();
    let listing = list_source(&defusion_datasets::find("folder").unwrap(), &from, Some("test"), &[]).unwrap();
    let report = prepare(listing, &PrepareOptions::new("clean", &to), &quiet).unwrap();
    assert_eq!(report.splits["test"].rows, 4);
    let reader = DatasetReader::open_split(&format!("{to}/clean"), "test", &RemoteCache::default()).unwrap();
    let keys: Vec<String> = (0..4).map(|i| reader.record(i).unwrap().key).collect();
    assert_eq!(keys, ["deep.png", "deep.tif", "grey.bmp", "veil.png"]);
    for i in 0..2 {
        assert_eq!(reader.pixels(i).unwrap(), (Pixels::new(70, 80, Samples::U16(deep.clone())).unwrap(), None));
        let part = reader.crop(i, 3, 4, 1, 1).unwrap();
        assert_eq!(part.hq.data()[0], f32::from(deep[3 * (4 * 70 + 3)]) / 65535.0);
        assert_eq!(part.lq, part.hq);
    }
    let thrice: Vec<u8> = grey.iter().flat_map(|v| [*v; 3]).collect();
    assert_eq!(reader.pixels(2).unwrap().0, Pixels::new(40, 30, Samples::U8(thrice)).unwrap());
    assert_eq!(reader.pixels(3).unwrap().0, Pixels::new(2, 1, Samples::U8(vec![1, 2, 3, 4, 5, 6])).unwrap());
    let error = DatasetReader::open_split(&format!("{to}/clean"), "train", &RemoteCache::default()).unwrap_err();
    assert!(error.to_string().contains("it has test"), "{error}");
}

#[test]
fn what_is_wrong_is_told_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let from = dir.path().join("from");
    for i in 0..6u64 {
        save(&from.join(format!("input/{i}.png")), i, 64, 64);
        save(&from.join(format!("target/{i}.png")), i, 64, 64);
    }
    std::fs::remove_file(from.join("target/0.png")).unwrap();
    std::fs::remove_file(from.join("input/1.png")).unwrap();
    save(&from.join("target/2.png"), 2, 64, 65);
    std::fs::write(from.join("input/3.png"), b"").unwrap();
    // The header is sound: only decoding finds it.
    let whole = std::fs::read(from.join("target/4.png")).unwrap();
    std::fs::write(from.join("target/4.png"), &whole[..whole.len() / 2]).unwrap();
    let to = dir.path().join("shards").display().to_string();
    let options = PrepareOptions::new("bad", &to);
    let found = |error: PrepareError| match error {
        PrepareError::Problems { problems, .. } => problems.iter().map(ToString::to_string).collect::<Vec<_>>(),
        other => panic!("{other}"),
    };
    let problems = found(prepare_pairs(&from, &options).unwrap_err());
    assert_eq!(problems.len(), 4, "{problems:#?}");
    for words in [
        "input/0.png: unpaired: no clean image",
        "target/1.png: unpaired: no degraded image",
        "input/2.png: is 64x64 but its clean image is 64x65",
        "input/3.png: cannot be decoded",
    ] {
        assert!(problems.iter().any(|p| p.contains(words)), "{words}: {problems:#?}");
    }
    for name in ["input/0.png", "target/1.png", "input/2.png", "target/2.png", "input/3.png", "target/3.png"] {
        std::fs::remove_file(from.join(name)).unwrap();
    }
    let problems = found(prepare_pairs(&from, &options).unwrap_err());
    assert_eq!(problems.len(), 1);
    assert!(problems[0].contains("target/4.png: cannot be decoded"), "{problems:?}");
    assert!(matches!(
        DatasetReader::open(&format!("{to}/bad"), &RemoteCache::default()),
        Err(ShardError::NotPrepared { .. })
    ));
    let bomb = PrepareOptions { max_pixels: 64 * 63, ..options.clone() };
    assert!(found(prepare_pairs(&from, &bomb).unwrap_err())[0].contains("more than the 4032 pixels allowed"));
    let report = prepare_pairs(&from, &PrepareOptions { leave_out_problems: true, ..options.clone() }).unwrap();
    assert_eq!((report.splits["train"].rows, report.problems.len()), (1, 1));
    let error = prepare_pairs(&from, &options).unwrap_err();
    assert!(matches!(error, PrepareError::Exists { rows: 1, .. }), "{error}");
}

#[test]
fn a_killed_preparation_goes_on_where_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let from = dir.path().join("from");
    for i in 0..8u64 {
        save(&from.join(format!("input/{i}.png")), i, 64, 64);
        save(&from.join(format!("target/{i}.png")), 50 + i, 64, 64);
    }
    let to = dir.path().join("shards").display().to_string();
    let options = PrepareOptions { shard_bytes: 2 * 2 * 3 * 64 * 64, threads: 2, ..PrepareOptions::new("set", &to) };
    // The last pair cannot be decoded: the three shards before it are finished, and the end is as after a kill.
    let whole = std::fs::read(from.join("input/7.png")).unwrap();
    std::fs::write(from.join("input/7.png"), &whole[..200]).unwrap();
    assert!(matches!(prepare_pairs(&from, &options), Err(PrepareError::Problems { .. })));
    let shard = |n: u32| dir.path().join(format!("shards/set/part-{n:05}.parquet"));
    let time = |n: u32| shard(n).metadata().unwrap().modified().unwrap();
    let before: Vec<_> = (0..3).map(time).collect();
    assert!(!shard(3).exists());
    // One finished shard is gone, one is cut short: both are made again.
    std::fs::remove_file(shard(0)).unwrap();
    std::fs::write(shard(1), b"PAR1").unwrap();
    std::fs::write(from.join("input/7.png"), &whole).unwrap();
    let counts = Mutex::new(Vec::new());
    let descriptor = defusion_datasets::find("pairs").unwrap();
    let listing = list_source(&descriptor, &from, None, &[Degradation::Rain]).unwrap();
    let report = prepare(listing, &options, &|p| counts.lock().unwrap().push(p)).unwrap();
    assert_eq!((report.reused_shards, report.splits["train"].shards), (1, 4));
    assert_eq!(time(2), before[2]);
    assert_eq!(counts.into_inner().unwrap().last(), Some(&Progress::Packed { done: 8, total: 8 }));
    let names: Vec<_> = std::fs::read_dir(dir.path().join("shards/set")).unwrap().flatten().collect();
    assert_eq!(names.len(), 5, "four shards and a manifest");
    // Another source in the same place is refused, and replaced when asked for.
    std::fs::remove_file(dir.path().join("shards/set/manifest.json")).unwrap();
    std::fs::write(dir.path().join("shards/set/part-00000.note.json"), b"{}").unwrap();
    assert!(matches!(prepare_pairs(&from, &options), Err(PrepareError::Foreign { .. })));
    let bigger = PrepareOptions { overwrite: true, shard_bytes: 1 << 30, ..options };
    assert_eq!(prepare_pairs(&from, &bigger).unwrap().splits["train"].shards, 1);
    assert!(!shard(1).exists());
    assert_eq!(DatasetReader::open(&format!("{to}/set"), &RemoteCache::default()).unwrap().len(), 8);
}
