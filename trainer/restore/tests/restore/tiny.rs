//! Networks so small that a test can run them, with random weights everywhere (fresh ones are zero at the end and would
//! do nothing), and a run folder that holds them. The tests of the commands use it too.

#![allow(dead_code)] // Each test binary uses its part.

use std::path::Path;

use defusion_checkpoint::{CheckpointOptions, Checkpointer, RunFolder, Snapshot};
use defusion_config::{Resolved, Stage};
use defusion_imaging::{Image, Rng};
use defusion_restore::Networks;
use tch::{Device, Tensor};

/// A config of two-level networks: images are padded to multiples of 2, tiles are 16 pixels.
pub fn config(run: &Path, more: &str) -> Resolved {
    let yaml = format!(
        "
name: tiny
run: {run}
cluster: {{workers_per_node: 1, device: cpu, hosts: [{{name: secret-host}}]}}
data:
  shards: {run}/shards
  datasets: [{{name: photos, synthesize: [[gaussian_noise], [rain]]}}]
  crop: 16
  grounds: {{canvas: 32, size: 32}}
model:
  tokenizer: {{ch: 32, ch_mult: [1, 1], num_res_blocks: 1, attn_levels: [1], z_channels: 8, n_embed: 16, embed_dim: 4}}
  unet: {{model_channels: 32, out_channels: 3, num_res_blocks: 1, attention_downsamples: [2], channel_mult: [1, 1],
    num_head_channels: 16}}
  bridge: {{channels: [8, 8], num_res_blocks: 1}}
  adapter: {{context_dim: 16}}
tokenizer: {{global_batch: 1, perceptual_weight: 0.0}}
diffusion: {{global_batch: 1, sampler: {{tile: 16, tile_stride: 12}}}}
{more}",
        run = run.display()
    );
    Resolved::parse(&yaml, Path::new("tiny.yaml"), &[]).unwrap()
}

/// Networks of `config` with random weights, the same for one seed.
pub fn networks(config: &Resolved, seed: i64) -> Networks {
    tch::manual_seed(seed);
    let networks = Networks::new(&config.config, Device::Cpu);
    let mut variables: Vec<_> = networks.store().variables().into_iter().collect();
    variables.sort_by(|a, b| a.0.cmp(&b.0));
    for (_, mut variable) in variables {
        let fan_in = variable.size().iter().skip(1).product::<i64>().max(1) as f64;
        tch::no_grad(|| variable.copy_(&(variable.randn_like() / fan_in.sqrt())));
    }
    networks
}

/// A snapshot as training makes it: the stage's averaged weights, and the frozen tokenizer in the second stage.
pub fn snapshot(networks: &Networks, stage: Stage, step: u64) -> Snapshot {
    let mut snapshot = Snapshot::new(stage, step);
    let is_tokenizer = |name: &str| name.starts_with("tokenizer.");
    let (tokenizer, unet): (Vec<_>, Vec<_>) =
        networks.store().variables().into_iter().partition(|(name, _)| is_tokenizer(name));
    let tokenizer = tokenizer.into_iter().map(|(name, t)| (name["tokenizer.".len()..].to_owned(), t));
    match stage {
        Stage::Tokenizer => snapshot.insert("ema", tokenizer),
        Stage::Diffusion => {
            snapshot.insert("ema", unet);
            snapshot.insert("tokenizer", tokenizer);
        }
    }
    snapshot.insert("optim", [("moments", Tensor::zeros([4], tch::kind::FLOAT_CPU))]);
    snapshot
}

/// Saves snapshots into a run folder.
pub fn save(config: &Resolved, snapshots: &[Snapshot]) -> RunFolder {
    let folder = RunFolder::open(&config.config.run).unwrap();
    let digest = folder.enter(config).unwrap();
    let attempt = folder.claim(&digest).unwrap();
    let options = CheckpointOptions::from(&config.config.checkpoints);
    let mut checkpointer = Checkpointer::new(folder.clone(), attempt, 0, 1, options);
    for snapshot in snapshots {
        checkpointer.save(snapshot).unwrap();
        checkpointer.wait().unwrap();
    }
    folder
}

/// A smooth image with some detail, different for each seed, with 8-bit values.
pub fn image(width: usize, height: usize, seed: u64) -> Image {
    let mut rng = Rng::new(seed, &[]);
    let mut image = Image::filled(width, height, 0.0);
    let waves: Vec<[f64; 3]> =
        (0..3).map(|_| [rng.range([0.05, 0.6]), rng.range([0.05, 0.6]), rng.range([0.0, 6.0])]).collect();
    for (plane, [a, b, c]) in image.data_mut().chunks_exact_mut(width * height).zip(waves) {
        for (i, v) in plane.iter_mut().enumerate() {
            let (x, y) = ((i % width) as f64, (i / width) as f64);
            *v = (0.5 + 0.4 * (a * x + b * y + c).sin()) as f32;
        }
    }
    image.quantize();
    image
}
