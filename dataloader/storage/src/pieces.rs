//! An object in pieces, in order, several of them on their way at once.

use std::collections::VecDeque;
use std::ops::Range;

use bytes::Bytes;
use object_store::ObjectStoreExt;
use object_store::path::Path;

use crate::runtime::{self, Request, RuntimeError};
use crate::whole::Whole;
use crate::{Store, StoreError};

/// Bytes of a piece.
const PIECE: u64 = 8 << 20;
/// Requests of one object under way: one connection to an object store gives a fraction of what a network carries.
const IN_FLIGHT: usize = 4;

/// The pieces of an object. Dropping it ends the requests.
pub struct Pieces {
    store: Store,
    name: String,
    path: Path,
    /// Where the first request begins that is not under way.
    next: u64,
    bytes: u64,
    under_way: VecDeque<(Range<u64>, Request<object_store::Result<Bytes>>)>,
    /// Bytes handed out.
    given: u64,
    /// The whole object, if the store gives no parts of one.
    whole: Option<Whole>,
}

impl Store {
    /// The first `bytes` bytes of an object, in pieces of 8 MiB at most. Of an object that is shorter, less comes. From a store
    /// that gives no parts of objects, as a plain web server, they come in one request.
    ///
    /// # Errors
    /// [`StoreError`] if no request can be started at all; those of the requests come with the pieces.
    pub fn pieces(&self, name: &str, bytes: u64) -> Result<Pieces, StoreError> {
        let (store, path) = (self.clone(), self.path(name)?);
        let mut pieces = Pieces {
            store,
            name: name.to_owned(),
            path,
            next: 0,
            bytes,
            under_way: VecDeque::with_capacity(IN_FLIGHT),
            given: 0,
            whole: None,
        };
        pieces.start().map_err(|e| self.failed(name, "read", e.to_string()))?;
        Ok(pieces)
    }

    /// Reads an object of `bytes` bytes, in order, in pieces.
    ///
    /// # Errors
    /// [`StoreError::Content`] for an object that is shorter; [`StoreError::NotFound`], [`StoreError::Failed`] or
    /// [`StoreError::Denied`] from the store.
    pub fn read_exact(&self, name: &str, bytes: u64, mut each: impl FnMut(&[u8])) -> Result<(), StoreError> {
        let mut read = 0;
        for piece in self.pieces(name, bytes)? {
            let piece = piece?;
            read += piece.len() as u64;
            each(&piece);
        }
        if read == bytes {
            return Ok(());
        }
        let message = format!("it ends at byte {read} of {bytes}");
        Err(StoreError::Content { url: self.url_of(name), action: "read", message })
    }
}

impl Pieces {
    /// Starts requests until enough are under way.
    fn start(&mut self) -> Result<(), RuntimeError> {
        while self.next < self.bytes && self.under_way.len() < IN_FLIGHT {
            let range = self.next..self.bytes.min(self.next + PIECE);
            let (inner, path, asked) = (self.store.inner.clone(), self.path.clone(), range.clone());
            let request = runtime::start(async move { inner.get_range(&path, asked).await })?;
            self.next = range.end;
            self.under_way.push_back((range, request));
        }
        Ok(())
    }

    fn finish(&mut self) {
        self.next = self.bytes;
        self.under_way.clear();
        self.whole = None;
    }

    /// Waits for the next bytes of an object that is read whole.
    fn next_of_whole(&mut self) -> Option<Result<Bytes, StoreError>> {
        let wanted = self.bytes - self.given;
        let piece = match self.whole.as_mut()?.next() {
            Ok(None) => return None,
            Ok(Some(bytes)) => Ok(bytes.slice(..bytes.len().min(usize::try_from(wanted).unwrap_or(usize::MAX)))),
            Err(error) => Err(error),
        };
        self.given += piece.as_ref().map_or(0, |piece| piece.len() as u64);
        if piece.is_err() || self.given >= self.bytes {
            self.finish();
        }
        Some(piece)
    }
}

impl Iterator for Pieces {
    type Item = Result<Bytes, StoreError>;

    /// Waits for the next piece, and asks again for one that failed, as the store's retries say.
    fn next(&mut self) -> Option<Self::Item> {
        if self.whole.is_some() {
            return self.next_of_whole();
        }
        let (range, request) = self.under_way.pop_front()?;
        let mut request = Some(request);
        let store = &self.store;
        let piece = store.retry.run(StoreError::is_transient, || match request.take() {
            Some(request) => store.answer(&self.name, "read", request.wait()),
            None => {
                let (inner, path, range) = (store.inner.clone(), self.path.clone(), range.clone());
                store.once(&self.name, "read", async move { inner.get_range(&path, range).await })
            }
        });
        if let (0, Err(StoreError::Unsupported { .. })) = (self.given, &piece) {
            self.finish();
            self.whole = Some(Whole::new(&self.store, &self.name));
            return self.next_of_whole();
        }
        self.given += piece.as_ref().map_or(0, |piece| piece.len() as u64);
        if piece.as_ref().map_or(true, |piece| (piece.len() as u64) < range.end - range.start) {
            self.finish();
        } else if let Err(error) = self.start() {
            self.finish();
            return Some(Err(self.store.failed(&self.name, "read", error.to_string())));
        }
        Some(piece)
    }
}
