//! `metrics.jsonl`: one JSON object a log line.

use std::collections::BTreeMap;
use std::fs;

use defusion_checkpoint::Attempt;
use defusion_config::Stage;
use defusion_storage::{Store, StoreError};
use serde::{Deserialize, Serialize};

use super::MonitorError;
use super::sink::Sink;
use super::uploader::Uploader;

/// On local disk.
const FILE: &str = "metrics.jsonl";
/// On object stores, which cannot append: segments.
const FOLDER: &str = "metrics";
/// Largest segment that is read, bytes.
const LIMIT: u64 = 64 << 20;

/// One line of `metrics.jsonl`: `{"stage":"diffusion","step":1200,"unix":1.7e9,"loss":0.0123,...}`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MetricsLine {
    /// The stage.
    pub stage: Stage,
    /// Completed steps of the stage.
    pub step: u64,
    /// When it was written, seconds since 1970.
    pub unix: f64,
    /// The figures; `None` (JSON's `null`) for NaN and infinity.
    #[serde(flatten)]
    pub values: BTreeMap<String, Option<f64>>,
}

/// One line, with its end.
pub(super) fn line(stage: Stage, step: u64, unix: f64, values: &[(&str, f64)]) -> Vec<u8> {
    let values = values.iter().map(|(name, v)| ((*name).to_owned(), v.is_finite().then_some(*v))).collect();
    let line = MetricsLine { stage, step, unix, values };
    // Strings and finite numbers are always JSON.
    let mut bytes = serde_json::to_vec(&line).unwrap_or_default();
    bytes.push(b'\n');
    bytes
}

/// The lines of `text` up to `step` of `stage`: not those of later steps and stages, nor one that a kill has torn.
fn until(text: &str, stage: Stage, step: u64) -> String {
    let keeps = |line: &&str| {
        serde_json::from_str::<MetricsLine>(line).is_ok_and(|line| (line.stage, line.step) <= (stage, step))
    };
    text.split_inclusive('\n').filter(|line| line.ends_with('\n')).filter(keeps).collect()
}

/// Removes the lines beyond `step` of `stage` and opens the log for more.
pub(super) fn open(
    store: &Store,
    uploader: &std::sync::Arc<Uploader>,
    attempt: &Attempt,
    stage: Stage,
    step: u64,
) -> Result<Sink, MonitorError> {
    if let Some(local) = store.local_path() {
        let path = local.join(FILE);
        let fail = |source| MonitorError::File { path: path.clone(), source };
        match fs::read_to_string(&path) {
            Ok(text) => {
                let kept = until(&text, stage, step);
                if kept != text {
                    let new = path.with_extension("jsonl.new");
                    fs::write(&new, kept).and_then(|()| fs::rename(&new, &path)).map_err(fail)?;
                }
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(fail(error)),
        }
        return Sink::append_to(path);
    }
    for (name, text) in segments(store)? {
        let kept = until(&text, stage, step);
        if kept.is_empty() {
            store.delete(&name)?;
        } else if kept != text {
            store.put(&name, kept.into())?;
        }
    }
    // The stage is part of the name: each stage of an attempt opens a log of its own.
    let name = format!("{FOLDER}/{:04}-{}", attempt.number, if stage == Stage::Tokenizer { 1 } else { 2 });
    Sink::create(store, uploader, &name, ".jsonl", Vec::new())
}

/// Names and contents of the segments, in order.
fn segments(store: &Store) -> Result<Vec<(String, String)>, StoreError> {
    let names = store.folder(FOLDER)?.list()?.into_iter().map(|name| format!("{FOLDER}/{name}"));
    names
        .map(|name| {
            let bytes = store.find(&name, LIMIT)?.unwrap_or_default();
            Ok((name, String::from_utf8_lossy(&bytes).into_owned()))
        })
        .collect()
}

/// All lines that a run has logged, in order; a torn last line is left out.
///
/// # Errors
/// [`MonitorError`] if the run folder cannot be read.
pub fn read_metrics(store: &Store) -> Result<Vec<MetricsLine>, MonitorError> {
    let text = match store.local_path() {
        Some(local) => {
            let path = local.join(FILE);
            match fs::read_to_string(&path) {
                Ok(text) => text,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
                Err(source) => return Err(MonitorError::File { path, source }),
            }
        }
        None => segments(store)?.into_iter().map(|(_, text)| text).collect(),
    };
    Ok(text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_one_json_object() {
        let bytes = line(Stage::Diffusion, 7, 1.5, &[("loss", 0.1), ("bad", f64::NAN)]);
        let text = String::from_utf8(bytes).unwrap();
        assert_eq!(text, "{\"stage\":\"diffusion\",\"step\":7,\"unix\":1.5,\"bad\":null,\"loss\":0.1}\n");
    }

    #[test]
    fn later_and_torn_lines_go() {
        let at = |stage, step| String::from_utf8(line(stage, step, 0.0, &[("x", 1.0)])).unwrap();
        let text = [
            at(Stage::Tokenizer, 10),
            at(Stage::Tokenizer, 900),
            at(Stage::Diffusion, 10),
            at(Stage::Diffusion, 20),
            "{\"stage\":\"diff".to_owned(),
        ]
        .concat();
        let whole = text.rfind('\n').unwrap() + 1;
        assert_eq!(until(&text, Stage::Diffusion, 20), text[..whole]);
        assert_eq!(until(&text, Stage::Diffusion, 10).lines().count(), 3);
        assert_eq!(until(&text, Stage::Tokenizer, 10).lines().count(), 1);
        assert_eq!(until("{\"stage\":\"diffusion\",\"step\":1,\"unix\":0}", Stage::Diffusion, 5), "", "no end of line");
    }
}
