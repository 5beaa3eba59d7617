//! Restoring images of any size with tiny random networks.

use defusion_config::{Arithmetic, Degradation, Severity};
use defusion_imaging::{Image, Rng};
use defusion_model::diffusion::schedule::Schedule;
use defusion_model::diffusion::tiling::{Tiling, reflect_pad};
use defusion_model::networks::ForwardOptions;
use defusion_restore::{Job, Networks, Restored, Restorer, RestorerError, from_tensor, to_tensor};
use tch::{Device, Kind, Tensor};

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
        self.restorer_in(Arithmetic::Fp32, batch)
    }

    fn restorer_in(&self, arithmetic: Arithmetic, batch: usize) -> Restorer<'_> {
        let (tokenizer, unet) = (self.networks.tokenizer(), self.networks.unet());
        Restorer::new(tokenizer, unet, &self.config.config, Device::Cpu, arithmetic, batch).unwrap()
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
    let broken = Fixture { config: fixture.config.clone(), networks: broken };
    assert!(matches!(broken.restorer(1).restore(job(&a, 1)), Err(RestorerError::NotFinite)));
    let mut config = fixture.config.config.clone();
    config.diffusion.sampler.tile = 15;
    let (tokenizer, unet) = (fixture.networks.tokenizer(), fixture.networks.unet());
    let error = Restorer::new(tokenizer, unet, &config, Device::Cpu, Arithmetic::Fp32, 1);
    assert!(error.unwrap_err().to_string().contains("diffusion.sampler.tile: 15"));
}

#[test]
fn bfloat16_restores_nearly_what_float32_does() {
    let mut fixture = Fixture::new("");
    // Random networks: later timesteps would multiply their rounding by up to 20 (sigma / alpha), these by at most 2.
    fixture.config.config.diffusion.sampler.timesteps = vec![400, 200];
    let image = tiny::image(37, 53, 5);
    let [exact, near] = [Arithmetic::Fp32, Arithmetic::Bf16]
        .map(|arithmetic| fixture.restorer_in(arithmetic, 3).restore(job(&image, 1)).unwrap());
    assert_eq!(exact.instruction, near.instruction);
    let psnr = defusion_restore::metrics::score(&near.image, &exact.image).unwrap().psnr_rgb;
    println!("{psnr:.1} dB, largest {}", difference(&exact, &near));
    assert!(difference(&exact, &near) > 1e-4, "bfloat16 was not used");
    assert!(psnr > 35.0, "{psnr:.1} dB");
}

#[test]
fn noise_of_the_steps_is_the_seeds_in_any_batch() {
    let mut fixture = Fixture::new("");
    fixture.config.config.diffusion.sampler.eta = 1.0;
    let restorer = fixture.restorer(4);
    let image = tiny::image(20, 30, 3);
    tch::manual_seed(1);
    let first = restorer.restore(job(&image, 7)).unwrap();
    tch::manual_seed(2);
    let again = restorer.restore(job(&image, 7)).unwrap();
    assert!(first.image == again.image, "the same seed, another image");
    assert!(difference(&first, &restorer.restore(job(&image, 8)).unwrap()) > 0.01);
    let other = tiny::image(20, 30, 4);
    let batch = restorer.restore_all(&[job(&other, 9), job(&image, 7), job(&other, 1)]).unwrap();
    assert!(difference(&first, &batch[1]) < 1e-4, "{}", difference(&first, &batch[1]));
    fixture.config.config.diffusion.sampler.eta = 0.0;
    let without = fixture.restorer(4).restore(job(&image, 7)).unwrap();
    assert!(difference(&first, &without) > 0.01, "nothing was added");
}

/// Restoring as the paper writes it, on whole tensors.
fn on_whole_tensors(fixture: &Fixture, image: &Image, instruction: [&Image; 2], seed: u64, batch: usize) -> Image {
    let _guard = tch::no_grad_guard();
    let (networks, config) = (&fixture.networks, &fixture.config.config);
    let [v, null] = instruction.map(|image| to_tensor(std::iter::once(image), Device::Cpu));
    let tokens = networks.tokenizer().residual_tokens(&v, &null, config.model.adapter.pre_quantization);
    let data = Tensor::from_slice(image.data()).view([1, 3, image.height() as i64, image.width() as i64]);
    let lq = reflect_pad(&(data * 2.0 - 1.0), 2);
    let size = lq.size();
    let mut rng = Rng::new(seed, &[2]);
    let values: Vec<f32> = (0..size.iter().product::<i64>()).flat_map(|_| rng.normal_pair()).collect();
    let mut y = Tensor::from_slice(&values).narrow(0, 0, size.iter().product()).view(size.as_slice());
    let schedule = Schedule::new(config.diffusion.schedule, config.diffusion.timesteps);
    let sampler = &config.diffusion.sampler;
    let tiling = Tiling::new([size[2], size[3]], sampler.tile.into(), sampler.tile_stride.into(), Device::Cpu);
    for (i, &t) in sampler.timesteps.iter().enumerate() {
        let eps = tiling.eps(&y, &lq, batch, |y, lq| {
            let n = y.size()[0];
            let timesteps = Tensor::full([n], t, (Kind::Int64, Device::Cpu));
            networks.unet().forward(y, &timesteps, lq, Some(&tokens.repeat([n, 1, 1])), &ForwardOptions::EVAL)
        });
        let (signal, sigma) = schedule.signal_and_noise(t);
        let y0 = ((&y - eps * sigma) / signal).clamp_tensor(Some(&lq - 1), Some(&lq + 1));
        let Some(&next) = sampler.timesteps.get(i + 1) else {
            let restored = (&lq - y0).clamp(-1.0, 1.0);
            let restored = restored.narrow(2, 0, image.height() as i64).narrow(3, 0, image.width() as i64);
            let data = ((restored + 1.0) * 0.5).contiguous().view([-1]);
            return Image::from_planes(image.width(), image.height(), Vec::try_from(data).unwrap()).unwrap();
        };
        let (next_signal, next_sigma) = schedule.signal_and_noise(next);
        let eps = (&y - &y0 * signal) / sigma;
        y = y0 * next_signal + eps * (next_sigma * next_sigma).sqrt();
    }
    unreachable!("there is a last timestep")
}

#[test]
fn bounded_memory_changes_no_bit() {
    let fixture = Fixture::new("");
    assert!(fixture.config.config.diffusion.sampler.clip_to_image);
    let image = tiny::image(91, 74, 6);
    let restored = fixture.restorer(3).restore(job(&image, 11)).unwrap();
    let instruction = [&restored.instruction.v, &restored.instruction.null];
    let expected = on_whole_tensors(&fixture, &image, instruction, 11, 3);
    assert!(restored.image == expected);
    assert!(restored.image != image);
}

#[test]
fn large_images_pass_through_tensors_unchanged() {
    // More values than are copied at once.
    let mut image = Image::filled(1601, 1003, 0.0);
    image.data_mut().iter_mut().enumerate().for_each(|(i, v)| *v = (i % 1021) as f32 / 1021.0);
    let tensor = to_tensor([&image, &Image::filled(1601, 1003, 0.25)].into_iter(), Device::Cpu);
    let expected = Tensor::from_slice(image.data()).view([3, 1003, 1601]) * 2.0 - 1.0;
    assert!(tensor.get(0) == expected);
    let back = from_tensor(&tensor);
    let expected = Vec::<f32>::try_from(((tensor.get(0) + 1.0) * 0.5).contiguous().view([-1])).unwrap();
    assert!(back[0].data() == expected && back[1] == Image::filled(1601, 1003, 0.25));
}

#[test]
fn the_estimate_grows_with_the_image_and_the_tiles() {
    let fixture = Fixture::new("");
    let of = |batch, [width, height]: [usize; 2]| fixture.restorer(batch).memory(width, height).host;
    let megapixels_24 = of(4, [6000, 4000]);
    // x_LQ, y_t, the sum of the noise, and a third for the weights of its tiles.
    assert!((960_000_000..1_100_000_000).contains(&megapixels_24), "{megapixels_24}");
    assert!(of(4, [64, 64]) > of(1, [64, 64]) && of(1, [64, 64]) > of(1, [8, 8]));
}
