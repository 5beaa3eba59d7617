//! An object in pieces, in order, several of them on their way at once.

use std::sync::Arc;

use bytes::Bytes;
use futures::{Stream, StreamExt, stream};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use tokio::sync::mpsc::{Receiver, channel};

use super::{PART, Store, StoreError, runtime};

/// Requests of one object under way: one connection to an object store gives a fraction of what a network carries.
const IN_FLIGHT: usize = 4;

/// The first `bytes` bytes of an object in order, in pieces of `piece` bytes, four requests under way at once. A piece is
/// shorter than that where it is the last, or where the object ends.
pub fn in_pieces(
    store: Arc<dyn ObjectStore>,
    path: Path,
    bytes: u64,
    piece: usize,
) -> impl Stream<Item = object_store::Result<Bytes>> + Send {
    let ranges = (0..bytes).step_by(piece).map(move |start| start..bytes.min(start + piece as u64));
    let get = move |range| {
        let (store, path) = (store.clone(), path.clone());
        async move { store.get_range(&path, range).await }
    };
    stream::iter(ranges).map(get).buffered(IN_FLIGHT)
}

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
        let mut pieces = Box::pin(in_pieces(self.inner.clone(), self.root.clone().join(name), bytes, PART));
        let (sender, receiver) = channel(1);
        let runtime = runtime().map_err(|message| self.failed(name, "read", message))?;
        runtime.spawn(async move {
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
