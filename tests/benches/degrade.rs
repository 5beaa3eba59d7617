//! Time per 256 x 256 image, on one core, of every degradation and of chains; per canvas of grounds and instructions;
//! and of the loader's whole sample. Parameters are drawn anew each time: times differ with them, and their mean over the
//! ranges is what a loader pays.
//!
//! `cargo bench -p defusion-dataloader --bench degrade`; beside other libraries: `scripts/bench degrade`

use std::hint::black_box;
use std::path::Path;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use defusion_config::{Degradation, Grounds, RemoteCache, Resolved, Severity, Stage, Synthesis};
use defusion_dataloader::loader::Loader;
use defusion_dataloader::prepare;
use defusion_dataloader::shard::DatasetReader;
use defusion_imaging::ground::{Element, Pool};
use defusion_imaging::{Image, Rng, degrade, instruction};

/// Chains that other libraries have too.
const CHAINS: [&[Degradation]; 5] = [
    &[Degradation::GaussianBlur, Degradation::Jpeg],
    &[Degradation::MotionBlur, Degradation::GaussianNoise],
    &[Degradation::Rain, Degradation::Jpeg],
    &[Degradation::Snow, Degradation::GaussianNoise],
    &[Degradation::Rain, Degradation::GaussianNoise, Degradation::Snow],
];

/// An image with edges, flats and texture.
fn photograph(side: usize, seed: u64) -> Image {
    let mut rng = Rng::new(seed, &[]);
    let mut image = Element::DeadLeaves.draw(side, &mut rng);
    image.data_mut().iter_mut().for_each(|v| *v += 0.05 * (rng.f32() - 0.5));
    image.quantize();
    image
}

fn ops(c: &mut Criterion) {
    let (clean, synthesis) = (photograph(256, 1), Synthesis::default());
    for (group, scale) in [("photograph", 1.0), ("ground", 0.5)] {
        let mut group = c.benchmark_group(group);
        for category in Degradation::ALL {
            let mut rng = Rng::new(2, &[]);
            group.bench_function(BenchmarkId::from_parameter(category), |b| {
                b.iter(|| {
                    let chain = degrade::draw(&[category], &synthesis, Severity::Any, scale, &mut rng);
                    let mut image = clean.clone();
                    chain.ops()[0].apply(&mut image);
                    black_box(image)
                });
            });
        }
    }
}

fn chains(c: &mut Criterion) {
    let (clean, synthesis) = (photograph(256, 1), Synthesis::default());
    let mut group = c.benchmark_group("chain");
    for chain in CHAINS {
        let name = chain.iter().map(|d| d.name()).collect::<Vec<_>>().join("+");
        let mut rng = Rng::new(5, &[]);
        group.bench_function(name, |b| {
            b.iter(|| black_box(degrade::draw(chain, &synthesis, Severity::Any, 1.0, &mut rng).apply(&clean)));
        });
    }
}

fn grounds(c: &mut Criterion) {
    let (clean, synthesis) = (photograph(256, 1), Synthesis::default());
    let pool = Pool::open(&Grounds::default()).unwrap();
    let mut rng = Rng::new(3, &[]);
    let mut group = c.benchmark_group("grounds");
    group.bench_function("canvas", |b| b.iter(|| black_box(pool.draw(Some(&clean), &mut rng))));
    group.bench_function("instruction, clean", |b| {
        b.iter(|| black_box(instruction::make(&pool, &synthesis, &[], Severity::Any, Some(&clean), &mut rng)));
    });
    for element in [&Element::REGULAR[..], &Element::RANDOM, &Element::COLOUR].concat() {
        group.bench_function(element.name(), |b| b.iter(|| black_box(element.draw(128, &mut rng))));
    }
}

/// Samples of the training loader with one thread, over every ordered pair of categories: a crop of 256 x 256 read from
/// a shard, a chain of two, its target, ground, instruction and null. And the reading alone.
fn samples(c: &mut Criterion) {
    const BATCH: u64 = 8;
    let folder = tempfile::tempdir().unwrap();
    let images = folder.path().join("images");
    std::fs::create_dir(&images).unwrap();
    for seed in 0..8 {
        let image = photograph(640, seed);
        let file = images.join(format!("{seed}.png"));
        image::save_buffer(file, &image.to_rgb8(), 640, 640, image::ExtendedColorType::Rgb8).unwrap();
    }
    let shards = folder.path().join("shards").display().to_string();
    let descriptor = defusion_datasets::find("folder").unwrap();
    let listing = prepare::list_source(&descriptor, &images, None, &[]).unwrap();
    prepare::prepare(listing, &prepare::PrepareOptions::new("clean", &shards), &|_| ()).unwrap();

    let pairs = Degradation::ALL.into_iter().flat_map(|a| Degradation::ALL.map(|b| (a, b))).filter(|(a, b)| a != b);
    let chains: Vec<String> = pairs.map(|(a, b)| format!("[{a}, {b}]")).collect();
    let text = format!(
        "{{name: b, run: r, seed: 1, cluster: {{workers_per_node: 1, device: cpu}}, tokenizer: {{perceptual_weight: 0}}, \
         diffusion: {{global_batch: {BATCH}}}, data: {{shards: '{shards}', \
         datasets: [{{name: clean, synthesize: [{}]}}]}}}}",
        chains.join(", ")
    );
    let config = Resolved::parse(&text, Path::new("bench.yaml"), &[]).unwrap().config;
    let mut group = c.benchmark_group("sample");
    group.throughput(Throughput::Elements(BATCH)).measurement_time(Duration::from_secs(6));
    let mut loader = Loader::open(&config, Stage::Diffusion, 0, 1, 0, 1).unwrap();
    group.bench_function("whole", |b| b.iter(|| black_box(loader.next().unwrap())));
    drop(loader);
    let reader = DatasetReader::open(&format!("{shards}/clean"), &RemoteCache::default()).unwrap();
    let mut rng = Rng::new(6, &[]);
    group.throughput(Throughput::Elements(1)).measurement_time(Duration::from_secs(1));
    group.bench_function("reading a crop", |b| {
        b.iter(|| {
            let [i, x, y] = [8, 384, 384].map(|n| rng.below(n) as usize);
            black_box(reader.crop_hq(i, x, y, 256, 256).unwrap())
        });
    });
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(40).warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1));
    targets = ops, chains, grounds, samples
}
criterion_main!(benches);
