//! Targets of batches: what is left of an image is exact, also of real images whose scene is there with a part of
//! its degradations only.

use std::path::Path;

use defusion_config::{Config, Degradation, Resolved, Stage};
use defusion_dataloader::loader::{Batch, Loader};
use defusion_dataloader::prepare::{PrepareOptions, list_source, prepare};

const CROP: usize = 64;

/// Four scenes in RainDS's folders. An image is one grey level that says its folder and scene, so batches do.
fn world(dir: &Path, targets: &str) -> Config {
    for (folder, level) in [("gt", 10), ("raindrop", 60), ("rainstreak", 110), ("rainstreak_raindrop", 160)] {
        let folder = dir.join("source/RainDS_real/train_set").join(folder);
        std::fs::create_dir_all(&folder).unwrap();
        for scene in 0..4u8 {
            let (w, h) = (80, 70);
            let pixels = vec![level + scene; 3 * w * h];
            let file = folder.join(format!("{scene}.png"));
            image::save_buffer(file, &pixels, w as u32, h as u32, image::ExtendedColorType::Rgb8).unwrap();
        }
    }
    let shards = dir.join("shards").display().to_string();
    let descriptor = defusion_datasets::find("rainds").unwrap();
    let listing = list_source(&descriptor, &dir.join("source"), None, &[]).unwrap();
    let options =
        PrepareOptions { overwrite: true, leave_out_problems: true, ..PrepareOptions::new("rainds", &shards) };
    prepare(listing, &options, &|_| ()).unwrap();
    let text = format!(
        "{{name: t, run: r, seed: 3, cluster: {{workers_per_node: 1, device: cpu}}, tokenizer: {{perceptual_weight: 0}}, \
         diffusion: {{global_batch: 8}}, data: {{shards: '{shards}', crop: {CROP}, targets: {targets}, \
         datasets: [{{name: rainds}}]}}}}"
    );
    Resolved::parse(&text, Path::new("t.yaml"), &[]).unwrap().config
}

fn batches(config: &Config, n: usize) -> Vec<Batch> {
    let mut loader = Loader::open(config, Stage::Diffusion, 0, 1, 0, 1).unwrap();
    (0..n).map(|_| loader.next().unwrap()).collect()
}

/// Level of each sample's degraded image and target, with what is present and indicated.
fn levels(batches: &[Batch]) -> Vec<([u8; 2], Vec<Degradation>, Vec<Degradation>)> {
    let level = |values: &[f32]| {
        assert!(values.iter().all(|v| *v == values[0]));
        (127.5 * (values[0] + 1.0)).round() as u8
    };
    let of = |batch: &Batch| {
        let side = 3 * CROP * CROP;
        let samples = batch.lq.chunks(side).zip(batch.target.chunks(side)).zip(&batch.labels);
        samples
            .map(|((lq, target), label)| ([level(lq), level(target)], label.present.clone(), label.indicated.clone()))
            .collect::<Vec<_>>()
    };
    batches.iter().flat_map(of).collect()
}

#[test]
fn a_part_of_a_real_images_degradations_is_removed() {
    use Degradation::{Rain, Raindrop};
    let dir = tempfile::tempdir().unwrap();
    let config = world(dir.path(), "{all: 0, subset: 1, superset: 0, disjoint: 0}");
    let mut seen = std::collections::BTreeMap::new();
    for ([lq, target], present, indicated) in levels(&batches(&config, 12)) {
        let scene = (lq - 10) % 50;
        // Streaks are what is removed, so drops are what is left; and the other way round. Single degradations have
        // no part.
        let expected = match (present.as_slice(), indicated.as_slice()) {
            ([Rain, Raindrop], [Rain]) => 60 + scene,
            ([Rain, Raindrop], [Raindrop]) => 110 + scene,
            ([_], all) if all == present => 10 + scene,
            other => panic!("{other:?}"),
        };
        assert_eq!(target, expected, "{present:?} without {indicated:?}");
        *seen.entry((present, indicated)).or_insert(0) += 1;
    }
    assert_eq!(seen.len(), 4, "{seen:?}");
}

#[test]
fn nothing_is_removed_where_nothing_present_is_named_and_all_where_all_is() {
    for (targets, whole) in [
        ("{all: 0, subset: 0, superset: 0, disjoint: 1}", false),
        ("{all: 1, subset: 0, superset: 0, disjoint: 0}", true),
        ("{all: 0, subset: 0, superset: 1, disjoint: 0}", true),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let config = world(dir.path(), targets);
        for batch in batches(&config, 4) {
            assert!(whole || batch.lq == batch.target, "y0 is exactly 0");
            for ([lq, target], ..) in levels(&[batch]) {
                assert_eq!(target, if whole { 10 + (lq - 10) % 50 } else { lq });
            }
        }
    }
}
