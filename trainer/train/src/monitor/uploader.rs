//! Uploads small objects in the background, on a thread of its own.

use std::collections::BTreeMap;

use bytes::Bytes;
use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
use defusion_storage::{Retry, Store, StoreError};

/// Tries of one upload. What still fails is tried again with the next request.
const TRIES: u32 = 3;

enum Request {
    Put(String, Bytes),
    Flush(Sender<Result<(), StoreError>>),
}

/// Uploads small objects in the background. Of several versions of an object only the newest counts; what fails is tried
/// again with the next request. The thread ends when this is dropped.
pub(super) struct Uploader {
    requests: Sender<Request>,
}

impl Uploader {
    /// Starts the thread, which writes to `store`.
    ///
    /// # Errors
    /// [`std::io::Error`] if the thread cannot be started.
    pub fn start(store: &Store) -> std::io::Result<Self> {
        let (requests, receiver) = unbounded();
        let store = store.with_retry(Retry { tries: TRIES, ..Retry::default() });
        std::thread::Builder::new().name("log-upload".into()).spawn(move || upload_all(&store, &receiver))?;
        Ok(Self { requests })
    }

    /// Uploads an object, some time soon.
    pub fn put(&self, name: String, data: Bytes) {
        // The thread ends only when this sender is dropped.
        let _ = self.requests.send(Request::Put(name, data));
    }

    /// Waits until all is uploaded.
    ///
    /// # Errors
    /// The last failure; what failed is kept and tried again later.
    pub fn flush(&self) -> Result<(), StoreError> {
        let (sender, receiver) = bounded(1);
        let _ = self.requests.send(Request::Flush(sender));
        // No answer: the thread panicked, which has been shown.
        receiver.recv().unwrap_or(Ok(()))
    }
}

fn upload_all(store: &Store, requests: &Receiver<Request>) {
    let mut pending: BTreeMap<String, Bytes> = BTreeMap::new();
    while let Ok(first) = requests.recv() {
        let mut waiting = Vec::new();
        for request in std::iter::once(first).chain(requests.try_iter()) {
            match request {
                Request::Put(name, data) => drop(pending.insert(name, data)),
                Request::Flush(sender) => waiting.push(sender),
            }
        }
        let mut failed = None;
        for (name, data) in std::mem::take(&mut pending) {
            if let Err(error) = store.put(&name, data.clone()) {
                tracing::warn!("{error}; it is tried again with the next upload");
                pending.insert(name, data);
                failed = Some(error);
            }
        }
        for sender in waiting {
            // Whoever asked may be gone.
            let _ = sender.send(failed.clone().map_or(Ok(()), Err));
        }
    }
}
