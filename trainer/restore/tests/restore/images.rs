//! Restoring images of any size with tiny random networks.

use defusion_config::{Degradation, Severity};
use defusion_imaging::Image;
use defusion_restore::{Job, Networks, Restored, Restorer, RestorerError};
use tch::Device;

use crate::tiny;

const NOISE: [Degradation; 1] = [Degradation::GaussianNoise];

fn job(image: &Image, seed: u64) -> Job<'_> {
    Job { image, categories: &NOISE, severity: Severity::Any, seed }
}

struct Fixture {
    config: defusion_config::Resolved,
    networks: Networks,
}

impl Fixture {
    fn new(more: &str) -> Self {
        let config = tiny::config(std::path::Path::new("unused"), more);
        Self { networks: tiny::networks(&config, 1), config }
    }

    fn restorer(&self, batch: usize) -> Restorer<'_> {
        Restorer::new(self.networks.tokenizer(), self.networks.unet(), &self.config.config, Device::Cpu, batch).unwrap()
    }
}

fn difference(a: &Restored, b: &Restored) -> f32 {
    a.image.data().iter().zip(b.image.data()).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

#[test]
fn any_size_comes_back_in_its_size_and_range() {
    let fixture = Fixture::new("");
    let restorer = fixture.restorer(2);
    for (width, height) in [(1, 1), (2, 40), (16, 16), (17, 15), (37, 53)] {
        let image = tiny::image(width, height, 5);
        let restored = restorer.restore(job(&image, 1)).unwrap();
        assert_eq!((restored.image.width(), restored.image.height()), (width, height));
        assert!(restored.image.data().iter().all(|v| (0.0..=1.0).contains(v)));
        assert!(restored.image.data().iter().zip(image.data()).any(|(a, b)| a != b), "nothing was done");
        assert_eq!((restored.instruction.v.width(), restored.instruction.null.height()), (32, 32));
    }
}

#[test]
fn the_seed_decides() {
    let fixture = Fixture::new("");
    let restorer = fixture.restorer(4);
    let image = tiny::image(20, 30, 3);
    let [a, b, c] = [7, 7, 8].map(|seed| restorer.restore(job(&image, seed)).unwrap());
    assert_eq!(a.image, b.image);
    assert_eq!(a.instruction, b.instruction);
    assert!(difference(&a, &c) > 0.01);
    assert_ne!(a.instruction, c.instruction);
}

#[test]
fn the_batch_does_not_matter() {
    let fixture = Fixture::new("");
    let images: Vec<Image> = (0..3).map(|i| tiny::image(30, 22, i)).collect();
    let mut jobs: Vec<Job<'_>> = images.iter().enumerate().map(|(i, p)| job(p, i as u64)).collect();
    jobs[1].categories = &[Degradation::Rain, Degradation::GaussianNoise];
    let together = fixture.restorer(7).restore_all(&jobs).unwrap();
    let alone = fixture.restorer(1);
    for (job, together) in jobs.iter().zip(&together) {
        let alone = alone.restore(*job).unwrap();
        assert!(difference(&alone, together) < 1e-4, "{}", difference(&alone, together));
        assert_eq!(alone.instruction, together.instruction);
    }
}

#[test]
fn the_instruction_matters_only_where_the_adapter_is_on() {
    let image = tiny::image(16, 16, 3);
    let on = Fixture::new("");
    let restorer = on.restorer(1);
    let strong = restorer.restore(job(&image, 1)).unwrap();
    let nothing = restorer.restore(Job { categories: &[], ..job(&image, 1) }).unwrap();
    assert_eq!(nothing.instruction.v, nothing.instruction.null);
    assert!(difference(&strong, &nothing) > 0.0);
    let mut off = Fixture::new("");
    off.config.config.model.adapter.enabled = false;
    off.networks = tiny::networks(&off.config, 1);
    let restorer = off.restorer(1);
    let strong = restorer.restore(job(&image, 1)).unwrap();
    let nothing = restorer.restore(Job { categories: &[], ..job(&image, 1) }).unwrap();
    assert_eq!(difference(&strong, &nothing), 0.0);
}

#[test]
fn what_cannot_work_is_refused() {
    let fixture = Fixture::new("");
    let restorer = fixture.restorer(4);
    let (a, b, empty) = (tiny::image(16, 16, 1), tiny::image(16, 18, 1), Image::filled(0, 4, 0.0));
    let error = restorer.restore_all(&[job(&a, 1), job(&b, 1)]).unwrap_err();
    assert!(matches!(error, RestorerError::Sizes(16, 16, 16, 18)));
    assert!(matches!(restorer.restore(job(&empty, 1)), Err(RestorerError::Empty(0, 4))));
    assert!(restorer.restore_all(&[]).unwrap().is_empty());
    let broken = tiny::networks(&fixture.config, 1);
    tch::no_grad(|| {
        let _ = broken.store().variables()["unet.out.2.bias"].shallow_clone().fill_(f64::NAN);
    });
    let restorer = Restorer::new(broken.tokenizer(), broken.unet(), &fixture.config.config, Device::Cpu, 1).unwrap();
    assert!(matches!(restorer.restore(job(&a, 1)), Err(RestorerError::NotFinite)));
    let mut config = fixture.config.config.clone();
    config.diffusion.sampler.tile = 15;
    let error = Restorer::new(fixture.networks.tokenizer(), fixture.networks.unet(), &config, Device::Cpu, 1);
    assert!(error.unwrap_err().to_string().contains("diffusion.sampler.tile: 15"));
}
