//! Time per 256 x 256 picture, on one core, of every degradation, and per canvas of grounds and instructions.
//!
//! `cargo bench -p defusion-dataloader --bench degrade`

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use defusion_config::{Degradation, Grounds, Severity, Synthesis};
use defusion_dataloader::ground::{Element, Pool};
use defusion_dataloader::{Picture, Rng, degrade, instruction};

/// A picture with edges, flats and texture.
fn photograph() -> Picture {
    let mut rng = Rng::new(1, &[]);
    let mut picture = Element::DeadLeaves.draw(256, &mut rng);
    picture.data_mut().iter_mut().for_each(|v| *v += 0.05 * (rng.f32() - 0.5));
    picture.quantize();
    picture
}

/// A new draw each time: times differ with the parameters, and their mean over the ranges is what a loader pays.
fn ops(c: &mut Criterion) {
    let (clean, synthesis) = (photograph(), Synthesis::default());
    for (group, scale) in [("photograph", 1.0), ("ground", 0.5)] {
        let mut group = c.benchmark_group(group);
        for category in Degradation::ALL {
            let mut rng = Rng::new(2, &[]);
            group.bench_function(BenchmarkId::from_parameter(category), |b| {
                b.iter(|| {
                    let chain = degrade::draw(&[category], &synthesis, Severity::Any, scale, &mut rng);
                    let mut picture = clean.clone();
                    chain.ops()[0].apply(&mut picture);
                    black_box(picture)
                });
            });
        }
    }
}

fn grounds(c: &mut Criterion) {
    let (clean, synthesis) = (photograph(), Synthesis::default());
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

/// What one training sample costs after its pixels are decoded: a chain of two, its target, ground and instruction.
fn sample(c: &mut Criterion) {
    let (clean, synthesis) = (photograph(), Synthesis::default());
    let pool = Pool::open(&Grounds::default()).unwrap();
    let mut rng = Rng::new(4, &[]);
    c.bench_function("sample with a chain of two", |b| {
        b.iter(|| {
            let mut categories = Degradation::ALL;
            rng.shuffle(&mut categories);
            let chain = degrade::draw(&categories[..2], &synthesis, Severity::Any, 1.0, &mut rng);
            let pair = chain.apply_both(&clean, &categories[..1]);
            let v = instruction::make(&pool, &synthesis, &categories[..1], Severity::Any, Some(&clean), &mut rng);
            black_box((pair, v))
        });
    });
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(40).warm_up_time(std::time::Duration::from_millis(300)).measurement_time(std::time::Duration::from_secs(1));
    targets = ops, grounds, sample
}
criterion_main!(benches);
