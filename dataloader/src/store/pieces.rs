//! An object in pieces, in order, several of them on their way at once.

use bytes::Bytes;
use futures::{StreamExt, stream};
use object_store::ObjectStoreExt;
use tokio::sync::mpsc::{Receiver, channel};

use super::{PART, Store, StoreError, runtime};

/// Requests of one object under way: one connection to an object store gives a fraction of what a network carries.
const IN_FLIGHT: usize = 4;

/// The pieces of an object. Dropping it ends the requests.
#[derive(Debug)]
pub struct Pieces {
    store: Store,
    name: String,
    receiver: Receiver<object_store::Result<Bytes>>,
}

impl Store {
    /// The first `bytes` bytes of an object, in pieces of 8 MiB. Of an object that is shorter, less comes.
    ///
    /// # Errors
    /// [`StoreError`] where no request can be started at all; those of the requests come with the pieces.
    pub fn pieces(&self, name: &str, bytes: u64) -> Result<Pieces, StoreError> {
        let (inner, path) = (self.inner.clone(), self.root.clone().join(name));
        let (sender, receiver) = channel(1);
        let runtime = runtime().map_err(|message| self.failed(name, "read", message))?;
        runtime.spawn(async move {
            let ranges = (0..bytes).step_by(PART).map(|start| start..bytes.min(start + PART as u64));
            let mut pieces = stream::iter(ranges).map(|range| inner.get_range(&path, range)).buffered(IN_FLIGHT);
            while let Some(piece) = pieces.next().await {
                let failed = piece.is_err();
                if sender.send(piece).await.is_err() || failed {
                    return;
                }
            }
        });
        Ok(Pieces { store: self.clone(), name: name.to_owned(), receiver })
    }
}

impl Iterator for Pieces {
    type Item = Result<Bytes, StoreError>;

    /// Waits for the next piece. Not to be called by a thread of the stores' runtime.
    fn next(&mut self) -> Option<Self::Item> {
        let piece = self.receiver.blocking_recv()?;
        Some(piece.map_err(|e| self.store.error(&self.name, "read", &e)))
    }
}
