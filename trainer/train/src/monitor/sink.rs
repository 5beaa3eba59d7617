//! Logs that grow, on stores that cannot append.
//!
//! On local disk a log is a file that is appended to. On an object store it is a row of segments: the newest is held in
//! memory and uploaded again at most every [`INTERVAL`] while it grows; at [`SEGMENT`] bytes the next is begun. An hour of
//! logging so costs at most 120 uploads of 1 MiB, however long the run.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use defusion_storage::Store;

use super::MonitorError;
use super::uploader::Uploader;

const INTERVAL: Duration = Duration::from_secs(30);
const SEGMENT: usize = 1 << 20;

/// A log that grows.
pub(super) enum Sink {
    /// A local file.
    Local { file: File, path: PathBuf },
    /// Segments in a store.
    Remote(Segments),
}

pub(super) struct Segments {
    uploader: Arc<Uploader>,
    name: String,
    suffix: String,
    header: Vec<u8>,
    number: u32,
    data: Vec<u8>,
    /// Bytes of `data` that were handed to the uploader.
    sent: usize,
    sent_at: Instant,
}

impl Sink {
    /// A new log that begins with `header`: the file `name` + `suffix` on local disk, else segments `name` + `.NNNN` +
    /// `suffix`, each of which begins with `header`.
    pub fn create(
        store: &Store,
        uploader: &Arc<Uploader>,
        name: &str,
        suffix: &str,
        header: Vec<u8>,
    ) -> Result<Self, MonitorError> {
        if let Some(local) = store.local_path() {
            let mut sink = Self::append_to(local.join(format!("{name}{suffix}")))?;
            sink.append(&header)?;
            return Ok(sink);
        }
        Ok(Self::Remote(Segments {
            uploader: Arc::clone(uploader),
            name: name.to_owned(),
            suffix: suffix.to_owned(),
            data: header.clone(),
            header,
            number: 1,
            sent: 0,
            sent_at: Instant::now(),
        }))
    }

    /// A local file, created if there is none.
    pub fn append_to(path: PathBuf) -> Result<Self, MonitorError> {
        let open = || {
            std::fs::create_dir_all(path.parent().unwrap_or(&path))?;
            OpenOptions::new().create(true).append(true).open(&path)
        };
        match open() {
            Ok(file) => Ok(Self::Local { file, path }),
            Err(source) => Err(MonitorError::File { path, source }),
        }
    }

    /// Adds bytes. A reader never sees the middle of what one call adds, except after a crash at the end of a local file.
    pub fn append(&mut self, bytes: &[u8]) -> Result<(), MonitorError> {
        match self {
            // Straight to the file: a killed process loses nothing that it has logged.
            Self::Local { file, path } => {
                file.write_all(bytes).map_err(|source| MonitorError::File { path: path.clone(), source })
            }
            Self::Remote(segments) => {
                segments.append(bytes);
                Ok(())
            }
        }
    }

    /// Hands everything to the uploader.
    pub fn flush(&mut self) {
        if let Self::Remote(segments) = self {
            segments.send();
        }
    }
}

impl Segments {
    fn append(&mut self, bytes: &[u8]) {
        if self.data.len() > self.header.len() && self.data.len() + bytes.len() > SEGMENT {
            self.send();
            self.number += 1;
            self.data = self.header.clone();
            self.sent = 0;
        }
        self.data.extend_from_slice(bytes);
        if self.sent_at.elapsed() >= INTERVAL {
            self.send();
        }
    }

    fn send(&mut self) {
        if self.data.len() > self.sent.max(self.header.len()) {
            let name = format!("{}.{:04}{}", self.name, self.number, self.suffix);
            self.uploader.put(name, Bytes::copy_from_slice(&self.data));
            self.sent = self.data.len();
            self.sent_at = Instant::now();
        }
    }
}
