//! An object in one request, for servers that give no parts of one.

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use object_store::ObjectStoreExt;

use crate::{Store, StoreError, runtime};

/// An object as it comes, from its first byte.
pub(crate) struct Whole {
    store: Store,
    name: String,
    /// `None` before the first byte and after a failure.
    stream: Option<BoxStream<'static, object_store::Result<Bytes>>>,
    /// Bytes handed out.
    given: u64,
}

impl Whole {
    pub(crate) fn new(store: &Store, name: &str) -> Self {
        Self { store: store.clone(), name: name.to_owned(), stream: None, given: 0 }
    }

    /// Waits for the next bytes, `None` at the end. After a failure the object is asked for again, and what was handed out
    /// before is left away.
    pub(crate) fn next(&mut self) -> Result<Option<Bytes>, StoreError> {
        let retry = self.store.retry;
        retry.run(StoreError::is_transient, || self.once())
    }

    fn once(&mut self) -> Result<Option<Bytes>, StoreError> {
        let mut known = 0;
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => {
                known = self.given;
                let (inner, path) = (self.store.inner.clone(), self.store.path(&self.name)?);
                self.store.once(&self.name, "read", async move { Ok(inner.get(&path).await?.into_stream()) })?
            }
        };
        loop {
            let request = runtime::start(async move { (stream.next().await, stream) });
            let answer = request.and_then(runtime::Request::wait);
            let bytes;
            (bytes, stream) = answer.map_err(|e| self.store.failed(&self.name, "read", e.to_string()))?;
            let Some(bytes) = bytes else { return Ok(None) };
            let mut bytes = self.store.answer(&self.name, "read", Ok(bytes))?;
            let repeated = known.min(bytes.len() as u64);
            known -= repeated;
            let bytes = bytes.split_off(repeated as usize);
            if !bytes.is_empty() {
                self.given += bytes.len() as u64;
                self.stream = Some(stream);
                return Ok(Some(bytes));
            }
        }
    }
}
