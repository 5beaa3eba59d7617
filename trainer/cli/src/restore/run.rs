//! Restoring one image after the other.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use defusion_config::{Config, Degradation};
use defusion_imaging::image_file::{ImageEncoding, read_photograph, write_photograph};
use defusion_restore::export::Exported;
use defusion_restore::{Job, Restored, Restorer, RestorerError};
use defusion_torch::TorchError;
use indicatif::{ProgressBar, ProgressStyle};
use tch::Device;

use super::arguments::RestoreArgs;
use super::error::{Failure, RestoreError};
use super::files::{Task, Tasks};
use super::memory::warn_if_short;
use crate::device;
use crate::stdout::say;

/// Restores images one by one and prints the files written. If one of several fails, the others are restored all the same.
///
/// # Errors
/// [`RestoreError`]; what failed of several is in [`RestoreError::Some`]. What can be known to fail as a whole (weights,
/// names of results, files that exist) fails before any work.
pub fn run_restore(args: &RestoreArgs) -> Result<(), RestoreError> {
    let mut tasks = Tasks::find(&args.images, &args.out, args.force)?;
    for line in tasks.remarks() {
        note(&line);
    }
    let images = tasks.tasks.len() + tasks.failures.len();
    if !tasks.tasks.is_empty() {
        restore_all(args, &mut tasks)?;
    }
    match tasks.failures.pop() {
        None => Ok(()),
        Some(only) if tasks.single => Err(only.error),
        Some(last) => {
            tasks.failures.push(last);
            Err(RestoreError::Some { failures: tasks.failures, images })
        }
    }
}

fn restore_all(args: &RestoreArgs, tasks: &mut Tasks) -> Result<(), RestoreError> {
    let device = args.device.unwrap_or_else(Device::cuda_if_available);
    let arithmetic = device::arithmetic(args.precision, device)?;
    let (exported, networks) = Exported::open(&args.weights, device)?;
    let mut config = exported.config;
    if !args.timesteps.is_empty() {
        let last = config.diffusion.timesteps;
        if !args.timesteps.windows(2).all(|w| w[0] > w[1]) || !args.timesteps.iter().all(|t| (0..last).contains(t)) {
            return Err(RestoreError::Timesteps(last));
        }
        config.diffusion.sampler.timesteps.clone_from(&args.timesteps);
    }
    // The run's folders of ground images belong to the machine it was trained on.
    for folder in [&mut config.data.grounds.natural, &mut config.data.grounds.charts] {
        if let Some(path) = folder.take_if(|path| !Path::new(path.as_str()).is_dir()) {
            tracing::warn!("ground images in {path} are not here: procedural elements are drawn instead");
        }
    }
    let categories = if args.blind { trained_categories(&config) } else { args.degradation.clone() };
    let restorer = Restorer::new(networks.tokenizer(), networks.unet(), &config, device, arithmetic, args.batch)
        .map_err(|e| RestoreError::Restorer { path: args.weights.clone(), source: Box::new(e) })?;
    // Drawn on standard error, and only if that is a terminal.
    let bar = if tasks.tasks.len() > 1 { ProgressBar::new(tasks.tasks.len() as u64) } else { ProgressBar::hidden() };
    if let Ok(style) = ProgressStyle::with_template("{pos}/{len} [{wide_bar}] {eta} left") {
        bar.set_style(style);
    }
    bar.tick();
    for task in &tasks.tasks {
        match restore_one(args, &restorer, &categories, task, &bar) {
            Ok(()) => bar.suspend(|| say(task.out.display())),
            Err(error) => {
                if !tasks.single {
                    bar.suspend(|| note(&error));
                }
                tasks.failures.push(Failure { path: task.image.clone(), error });
            }
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    Ok(())
}

/// Restores one image.
fn restore_one(
    args: &RestoreArgs,
    restorer: &Restorer<'_>,
    categories: &[Degradation],
    Task { image: path, out }: &Task,
    bar: &ProgressBar,
) -> Result<(), RestoreError> {
    let mut photograph = read_photograph(path)?;
    if let Some(encoding) = ImageEncoding::of(out) {
        for lost in photograph.losses(encoding) {
            bar.suspend(|| tracing::warn!("{}: JPEG cannot hold {lost}; .png and .tif can", out.display()));
        }
    }
    let size = [photograph.image.width(), photograph.image.height()];
    bar.suspend(|| warn_if_short(path, size, restorer.memory(size[0], size[1]), restorer.batch()));
    let job = Job { image: &photograph.image, categories, severity: args.severity, seed: args.seed };
    let failed = |source| RestoreError::Restorer { path: path.clone(), source: Box::new(source) };
    photograph.image = guarded(|| restorer.restore(job)).map_err(failed)?.image;
    // A folder of results that is not there yet was asked for as one.
    if let Some(folder) = out.parent().filter(|_| *out != args.out) {
        let failed = |source| RestoreError::FolderAccess { path: folder.to_owned(), source };
        std::fs::create_dir_all(folder).map_err(failed)?;
    }
    Ok(write_photograph(out, &photograph, args.force)?)
}

/// Restores. libtorch's bindings panic if a layer fails, such as for want of memory, which the next image may not lack.
fn guarded(restore: impl FnOnce() -> Result<Restored, RestorerError>) -> Result<Restored, RestorerError> {
    catch_unwind(AssertUnwindSafe(restore)).unwrap_or_else(|panic| {
        let text =
            panic.downcast_ref::<String>().map_or("it gives no reason", |text| text.lines().next().unwrap_or(text));
        Err(TorchError(text.to_owned()).into())
    })
}

/// A line on standard error, for people.
fn note(line: &impl std::fmt::Display) {
    use std::io::Write;
    let _ = writeln!(std::io::stderr(), "defusion: {line}");
}

/// Every category that the run trained on, in the order of [`Degradation::ALL`].
fn trained_categories(config: &Config) -> Vec<Degradation> {
    let trained: Vec<Degradation> =
        config.data.datasets.iter().flat_map(|set| set.synthesize.iter().flatten()).copied().collect();
    Degradation::ALL.into_iter().filter(|d| trained.is_empty() || trained.contains(d)).collect()
}
