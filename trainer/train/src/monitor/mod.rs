//! What a run shows while it trains: TensorBoard events, `metrics.jsonl`, images and a progress line, on rank 0 only.
//!
//! ```text
//! tensorboard/diffusion/events.out.tfevents.*    one TensorBoard run a stage, since steps begin anew in each
//! metrics.jsonl                                  one JSON object a log line (on object stores: metrics/*.jsonl)
//! samples/diffusion-000012000-restored.png       the image grids
//! ```
//!
//! `step` is the number of completed steps of the stage throughout.

mod error;
mod grid;
mod jsonl;
mod progress;
mod sink;
mod tensorboard;
mod uploader;

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use defusion_config::Stage;
use defusion_imaging::Image;
use defusion_imaging::image_file::{ImageEncoding, encode_image};

pub use error::MonitorError;
pub use grid::compose;
pub use jsonl::{MetricsLine, read_metrics};
use progress::Progress;
use sink::Sink;
use uploader::Uploader;

use defusion_checkpoint::{Attempt, RunFolder};

/// Logging of one stage. On ranks other than 0 every call does nothing.
///
/// A log that cannot be written must not end a run of days: failures are warned about when they happen, and the first
/// since the last [`Monitor::flush`] is returned by the next one.
pub struct Monitor(Option<Lead>);

struct Lead {
    stage: Stage,
    events: Sink,
    metrics: Sink,
    uploader: Arc<Uploader>,
    progress: Progress,
    failed: Option<MonitorError>,
}

impl Monitor {
    /// Starts logging `stage` at `resume_step` completed steps of `total`. Lines of `metrics.jsonl` beyond that step, from
    /// before a kill, are removed, and TensorBoard is told to forget its points beyond it. No-op unless `rank` is 0.
    ///
    /// # Errors
    /// [`MonitorError`] if the run folder cannot be written.
    pub fn open(
        folder: &RunFolder,
        attempt: &Attempt,
        rank: usize,
        stage: Stage,
        resume_step: u64,
        total: u64,
    ) -> Result<Self, MonitorError> {
        if rank != 0 {
            return Ok(Self(None));
        }
        let store = folder.store();
        let uploader = Arc::new(Uploader::start(store).map_err(MonitorError::Thread)?);
        let (purge, header) = (tensorboard::purge_from(resume_step), tensorboard::file_header(unix_seconds()));
        let name = format!("tensorboard/{stage}/events.out.tfevents.{:010}", attempt.number);
        let mut events = Sink::create(store, &uploader, &name, &format!(".{}", attempt.host), header)?;
        events.append(&tensorboard::session_start(unix_seconds(), purge))?;
        let metrics = jsonl::open(store, &uploader, attempt, stage, resume_step)?;
        let progress = Progress::start(stage, resume_step, total);
        Ok(Self(Some(Lead { stage, events, metrics, uploader, progress, failed: None })))
    }

    /// Writes one line of figures for `step`. The names `loss`, `lr`, `samples_per_s`, `data_wait` (share of time,
    /// between 0 and 1) and `grad_norm` also show in the progress line. `audit` is for programs: it goes to `metrics.jsonl` only, since
    /// nobody needs a chart of it.
    pub fn log(&mut self, step: u64, values: &[(&str, f64)], audit: &[(&str, f64)]) {
        let Some(lead) = &mut self.0 else { return };
        lead.progress.log(step, values);
        let now = unix_seconds();
        let events = lead.events.append(&tensorboard::scalars(now, step, values));
        let metrics = lead.metrics.append(&jsonl::line(lead.stage, step, now, &[values, audit].concat()));
        lead.note(events.and(metrics));
    }

    /// Writes figures that belong to no log line, such as a validation's.
    pub fn charts(&mut self, step: u64, values: &[(&str, f64)]) {
        let Some(lead) = &mut self.0 else { return };
        let now = unix_seconds();
        let events = lead.events.append(&tensorboard::scalars(now, step, values));
        let metrics = lead.metrics.append(&jsonl::line(lead.stage, step, now, values));
        lead.note(events.and(metrics));
    }

    /// Shows that `step` steps are complete, without writing anything: for every step.
    pub fn progress(&mut self, step: u64) {
        if let Some(lead) = &mut self.0 {
            lead.progress.step(step);
        }
    }

    /// A line of text on stderr that leaves the bar whole.
    pub fn say(&self, text: &str) {
        if let Some(lead) = &self.0 {
            lead.progress.say(text);
        }
    }

    /// Writes an image grid to TensorBoard and to `samples/` as PNG. `name`: `a-z`, `0-9`, `_`.
    pub fn images(&mut self, step: u64, name: &str, grid: &Image) {
        let Some(lead) = &mut self.0 else { return };
        let encoded = encode_image(grid, ImageEncoding::Png);
        let result =
            encoded.map_err(|e| MonitorError::Grid { name: name.into(), message: e.to_string() }).and_then(|png| {
                let event = tensorboard::image(unix_seconds(), step, name, grid, &png);
                lead.uploader.put(format!("samples/{}-{step:09}-{name}.png", lead.stage), png.into());
                lead.events.append(&event)
            });
        lead.note(result);
    }

    /// Writes out all that is buffered and waits for uploads.
    ///
    /// # Errors
    /// The first [`MonitorError`] since the last flush.
    pub fn flush(&mut self) -> Result<(), MonitorError> {
        let Some(lead) = &mut self.0 else { return Ok(()) };
        lead.events.flush();
        lead.metrics.flush();
        let uploaded = lead.uploader.flush();
        lead.failed.take().map_or(Ok(()), Err)?;
        Ok(uploaded?)
    }
}

impl Lead {
    fn note(&mut self, result: Result<(), MonitorError>) {
        if let Err(error) = result {
            tracing::warn!("{error}");
            self.failed.get_or_insert(error);
        }
    }
}

impl Drop for Monitor {
    fn drop(&mut self) {
        if let Err(error) = self.flush() {
            tracing::warn!("the last lines of the log: {error}");
        }
    }
}

fn unix_seconds() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |d| d.as_secs_f64())
}
