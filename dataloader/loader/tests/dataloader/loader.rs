//! Shards to batches.

use std::path::Path;

use defusion_config::{Config, Degradation, Resolved, Stage};
use defusion_dataloader::loader::{Batch, LoadError, Loader};
use defusion_dataloader::prepare::{PrepareOptions, list_source, prepare};

use crate::shards::save;

/// A clean dataset `clean` and a paired one `pairs`, and a config over both.
fn world(dir: &Path, shards: &str) -> Config {
    for i in 0..9u64 {
        save(&dir.join(format!("clean/{i}.png")), i, 80 + 9 * i as u32, 70);
        save(&dir.join(format!("pairs/input/{i}.png")), 20 + i, 64, 48 + i as u32);
        save(&dir.join(format!("pairs/target/{i}.png")), 40 + i, 64, 48 + i as u32);
    }
    for (name, descriptor, degradations) in [("clean", "folder", vec![]), ("pairs", "pairs", vec![Degradation::Haze])] {
        let descriptor = defusion_datasets::find(descriptor).unwrap();
        let listing = list_source(&descriptor, &dir.join(name), None, &degradations).unwrap();
        let options = PrepareOptions { shard_bytes: 60_000, overwrite: true, ..PrepareOptions::new(name, shards) };
        prepare(listing, &options, &|_| ()).unwrap();
    }
    let cache = dir.join("cache");
    let text = format!(
        "{{name: t, run: r, seed: 7, cluster: {{workers_per_node: 1, device: cpu}}, tokenizer: {{perceptual_weight: 0}}, \
         diffusion: {{global_batch: 6}}, data: {{shards: '{shards}', crop: 64, cache: {{dir: '{}', max_gib: 1}}, \
         datasets: [{{name: clean, weight: 2, synthesize: [[rain, gaussian_noise], [jpeg]]}}, {{name: pairs}}]}}}}",
        cache.display()
    );
    Resolved::parse(&text, Path::new("t.yaml"), &[]).unwrap().config
}

fn batches(config: &Config, stage: Stage, rank: usize, of: usize, start: u64, threads: usize, n: usize) -> Vec<Batch> {
    let mut loader = Loader::open(config, stage, rank, of, start, threads).unwrap();
    (0..n).map(|_| loader.next().unwrap()).collect()
}

#[test]
fn batches_are_the_same_at_any_threads_ranks_and_resume() {
    let dir = tempfile::tempdir().unwrap();
    let config = world(dir.path(), &dir.path().join("shards").display().to_string());
    let whole = batches(&config, Stage::Diffusion, 0, 1, 3, 1, 4);
    assert!(whole == batches(&config, Stage::Diffusion, 0, 1, 3, 3, 4));
    assert!(whole[2..] == batches(&config, Stage::Diffusion, 0, 1, 5, 2, 2));
    assert_eq!(whole[1].first_sample, 24);
    // Of six samples four ranks take 1, 2, 1 and 2; of eight, two take none.
    for of in [2, 3, 4, 8] {
        let ranks: Vec<_> = (0..of).map(|rank| batches(&config, Stage::Diffusion, rank, of, 3, 2, 4)).collect();
        for (step, batch) in whole.iter().enumerate() {
            let counted = || ranks.iter().map(|r| &r[step]).filter(|batch| batch.weight > 0.0);
            let joined = |part: fn(&Batch) -> &Vec<f32>| counted().flat_map(|b| part(b).clone()).collect::<Vec<_>>();
            assert!(joined(|b| &b.lq) == batch.lq);
            assert!(joined(|b| &b.target) == batch.target);
            assert!(joined(|b| &b.instruction) == batch.instruction);
            assert!(joined(|b| &b.null_ground) == batch.null_ground);
            let labels: Vec<_> = ranks.iter().flat_map(|r| r[step].counted().to_vec()).collect();
            assert_eq!(labels, batch.labels);
            assert_eq!(ranks[1][step].first_sample, batch.first_sample + 6 / of as u64);
        }
    }
    // From afar, through the cache: the same bytes.
    let remote = world(dir.path(), "memory://loader-test/shards");
    assert!(whole == batches(&remote, Stage::Diffusion, 0, 1, 3, 2, 4));
}

#[test]
fn samples_are_what_their_labels_say() {
    let dir = tempfile::tempdir().unwrap();
    let config = world(dir.path(), &dir.path().join("shards").display().to_string());
    let mut seen = std::collections::HashMap::new();
    let mut unchanged = 0;
    for batch in batches(&config, Stage::Diffusion, 0, 1, 0, 2, 60) {
        assert_eq!((batch.len, batch.crop, batch.size, batch.labels.len()), (6, 64, 224, 6));
        assert_eq!(batch.lq.len(), 6 * 3 * 64 * 64);
        assert_eq!(batch.instruction.len(), 6 * 3 * 224 * 224);
        for values in [&batch.lq, &batch.target, &batch.instruction, &batch.null_ground] {
            assert!(values.iter().all(|v| (-1.0..=1.0).contains(v)));
        }
        let samples = batch.lq.chunks(3 * 64 * 64).zip(batch.target.chunks(3 * 64 * 64));
        let grounds = batch.instruction.chunks(3 * 224 * 224).zip(batch.null_ground.chunks(3 * 224 * 224));
        for (((lq, target), (v, null)), label) in samples.zip(grounds).zip(&batch.labels) {
            let touched = label.indicated.iter().any(|d| label.present.contains(d));
            assert!(!label.indicated.is_empty());
            assert!((lq != target) == touched, "{label:?}");
            unchanged += u32::from(v == null);
            let kind = match label.indicated.iter().filter(|d| label.present.contains(d)).count() {
                0 => "disjoint",
                n if n < label.present.len() => "subset",
                _ if label.indicated.len() > label.present.len() => "superset",
                _ => "all",
            };
            *seen.entry((label.dataset.clone(), kind)).or_insert(0) += 1;
        }
    }
    // A blur of 0.2 pixels is lost in rounding.
    assert!(unchanged < 8, "{unchanged} instructions of 360 show nothing");
    let kinds =
        |set: &str| seen.keys().filter(|(s, _)| s == set).map(|(_, k)| *k).collect::<std::collections::BTreeSet<_>>();
    assert_eq!(kinds("clean").into_iter().collect::<Vec<_>>(), ["all", "disjoint", "subset", "superset"]);
    assert_eq!(kinds("pairs").into_iter().collect::<Vec<_>>(), ["all", "disjoint", "superset"]);
    let of = |set: &str| seen.iter().filter(|((s, _), _)| s == set).map(|(_, n)| n).sum::<i32>();
    assert!((of("pairs") - 120).abs() < 25, "a third of 360: {seen:?}");
}

#[test]
fn the_tokenizer_sees_instructions_and_some_clean_grounds() {
    let dir = tempfile::tempdir().unwrap();
    let config = world(dir.path(), &dir.path().join("shards").display().to_string());
    let (mut clean, mut all) = (0, 0);
    for batch in batches(&config, Stage::Tokenizer, 1, 2, 0, 2, 50) {
        assert_eq!((batch.len, batch.crop, batch.lq.len(), batch.target.len()), (4, 0, 0, 0));
        let grounds = batch.instruction.chunks(3 * 224 * 224).zip(batch.null_ground.chunks(3 * 224 * 224));
        for (v, null) in grounds {
            clean += u32::from(v == null);
            all += 1;
        }
    }
    assert!(all == 200 && (6..=38).contains(&clean), "{clean} of {all}; 20 expected");
}

#[test]
fn errors_name_what_failed_and_threads_end() {
    let dir = tempfile::tempdir().unwrap();
    let shards = dir.path().join("shards");
    let config = world(dir.path(), &shards.display().to_string());
    let mut cut = config.clone();
    cut.diffusion.step.accumulation = 2;
    assert!(matches!(Loader::open(&cut, Stage::Diffusion, 0, 2, 0, 1), Err(LoadError::World { .. })));
    let mut missing = config.clone();
    missing.data.datasets[1].name = "gone".into();
    let error = Loader::open(&missing, Stage::Diffusion, 0, 1, 0, 1).unwrap_err().to_string();
    assert!(error.contains("dataset gone") && error.contains("gone does not exist"), "{error}");
    let mut clean = config.clone();
    clean.data.datasets[0].synthesize.clear();
    let mut loader = Loader::open(&clean, Stage::Diffusion, 0, 1, 0, 1).unwrap();
    let error = (0..9).find_map(|_| loader.next().err()).unwrap().to_string();
    assert!(error.contains("dataset clean") && error.contains("synthesize"), "{error}");
    assert!(matches!(loader.next(), Err(LoadError::Ended)));
    // A shard that vanishes in the middle of a run.
    let mut loader = Loader::open(&config, Stage::Diffusion, 0, 1, 0, 2).unwrap();
    loader.next().unwrap();
    for file in std::fs::read_dir(shards.join("pairs")).unwrap().flatten() {
        std::fs::remove_file(file.path()).unwrap();
    }
    let error = (0..99).find_map(|_| loader.next().err()).unwrap().to_string();
    assert!(error.contains("dataset pairs") && error.contains("shards/pairs/part-0"), "{error}");
    assert!(loader.wait_seconds() > 0.0);
    drop(loader);
}
