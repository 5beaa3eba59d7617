//! Crop pairs as the loader reads them, without grounds and instructions: what other loaders are compared with.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use defusion_config::{RemoteCache, Stage};
use defusion_dataloader::plan::SamplingPlan;
use defusion_dataloader::shard::{DatasetReader, ShardError};
use defusion_imaging::Image;
use serde_json::json;

use crate::{Failure, config, resident_mib};

const CROP: usize = 256;
const BATCH: usize = 32;
/// Batches that each thread holds ready.
const READY: usize = 2;

/// Crop pairs of a plan.
pub(crate) struct Pairs {
    pub(crate) plan: SamplingPlan,
    pub(crate) reader: DatasetReader,
    crop: usize,
}

/// `[BATCH, 3, crop, crop]` of both sides.
struct Batch {
    lq: Vec<f32>,
    hq: Vec<f32>,
}

impl Pairs {
    /// `data` are more keys of the config's section.
    pub(crate) fn open(
        shards: &str,
        name: &str,
        crop: usize,
        data: &str,
        cache: &RemoteCache,
    ) -> Result<Self, Failure> {
        let reader = DatasetReader::open(&format!("{shards}/{name}"), cache)?;
        let plan =
            SamplingPlan::new(&config(shards, name, crop, "[]", data)?, Stage::Diffusion, &[reader.shard_rows()])?;
        Ok(Self { plan, reader, crop })
    }

    /// Sample `i`, flipped as the plan says.
    pub(crate) fn sample(&self, i: u64) -> Result<[Image; 2], ShardError> {
        let spec = self.plan.sample(i);
        let image = spec.image as usize;
        let record = self.reader.record(image)?;
        let (x, y) = spec.corner(record.width, record.height, self.crop);
        let pair = self.reader.crop(image, x, y, self.crop, self.crop)?;
        Ok([pair.lq, pair.hq].map(|mut image| {
            if spec.flips[0] {
                image.flip_horizontal();
            }
            if spec.flips[1] {
                image.flip_vertical();
            }
            image
        }))
    }

    fn batch(&self, n: u64) -> Result<Batch, ShardError> {
        let values = BATCH * 3 * self.crop * self.crop;
        let mut batch = Batch { lq: Vec::with_capacity(values), hq: Vec::with_capacity(values) };
        for i in n * BATCH as u64..(n + 1) * BATCH as u64 {
            let [lq, hq] = self.sample(i)?;
            batch.lq.extend(lq.data().iter().map(|v| 2.0 * v - 1.0));
            batch.hq.extend(hq.data().iter().map(|v| 2.0 * v - 1.0));
        }
        Ok(batch)
    }

    /// Gives the batches in order, made by `threads` threads in turn, to `sink` until it says stop.
    fn run(&self, threads: usize, mut sink: impl FnMut(Batch) -> bool) -> Result<(), ShardError> {
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let queues: Vec<_> = (0..threads)
                .map(|turn| {
                    let (sender, receiver) = crossbeam_channel::bounded(READY);
                    let stop = &stop;
                    scope.spawn(move || {
                        for n in (turn as u64..).step_by(threads) {
                            if stop.load(Ordering::Relaxed) || sender.send(self.batch(n)).is_err() {
                                return;
                            }
                        }
                    });
                    receiver
                })
                .collect();
            for n in 0.. {
                // The thread ends only after this side has.
                let Ok(batch) = queues[n % threads].recv() else { break };
                let go_on = batch.map(&mut sink);
                if !matches!(go_on, Ok(true)) {
                    stop.store(true, Ordering::Relaxed);
                    drop(queues);
                    return go_on.map(|_| ());
                }
            }
            Ok(())
        })
    }
}

/// Crop pairs per second.
pub(crate) fn speed(shards: &str, name: &str, seconds: f64, threads: usize) -> Result<(), Failure> {
    let pairs = Pairs::open(shards, name, CROP, "", &RemoteCache::default())?;
    let (mut start, mut batches, mut checksum) = (Instant::now(), 0usize, 0.0);
    pairs.run(threads, |batch| {
        batches += 1;
        checksum += f64::from(batch.lq[0] + batch.hq[0]);
        // The first ones open shards and fill the queues.
        if batches == 2 * threads {
            start = Instant::now();
        }
        batches < 2 * threads + 1 || start.elapsed() < Duration::from_secs_f64(seconds)
    })?;
    let read = (batches - 2 * threads) * BATCH;
    println!("{}", json!({"pairs": read, "seconds": start.elapsed().as_secs_f64(), "checksum": checksum}));
    Ok(())
}

/// Resident memory after each tenth of the samples.
pub(crate) fn memory(shards: &str, name: &str, samples: usize, crop: usize) -> Result<(), Failure> {
    let pairs = Pairs::open(shards, name, crop, "", &RemoteCache::default())?;
    let (start, mut read, mut resident) = (Instant::now(), 0, Vec::new());
    pairs.run(2, |_| {
        read += BATCH;
        if read * 10 / samples > resident.len() {
            resident.push(resident_mib().unwrap_or(f64::NAN));
        }
        read < samples
    })?;
    println!("{}", json!({"samples": read, "seconds": start.elapsed().as_secs_f64(), "resident_mib": resident}));
    Ok(())
}
