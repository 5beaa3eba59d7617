//! Writing whole objects, large ones in parts.

use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};

use crate::redact::describe;
use crate::{Retry, Store, StoreError, sha256_hex};

/// Objects of more than two parts are sent in parts: a request then stays within the client's time limit on a slow link,
/// and S3's 10,000 parts hold 156 GiB.
const PART: usize = 16 << 20;
/// Parts of one object under way at once.
const IN_FLIGHT: usize = 4;

impl Store {
    /// Writes the object, replacing one of the same name: readers see the old or the new one, never a part. On local disk
    /// file and folder are synced before this returns.
    ///
    /// # Errors
    /// [`StoreError::Failed`] or [`StoreError::Denied`] from the store.
    pub fn put(&self, name: &str, bytes: Bytes) -> Result<(), StoreError> {
        self.call(name, "write", |inner, path| put(inner, path, bytes.clone()))
    }

    /// Writes the object, reads it back, and writes it again if other bytes come. Returns their sha256.
    ///
    /// # Errors
    /// [`StoreError::Content`] if other bytes still come after all tries; [`StoreError::Failed`] or
    /// [`StoreError::Denied`] from the store.
    pub fn put_verified(&self, name: &str, bytes: Bytes) -> Result<String, StoreError> {
        let (written, size) = (sha256_hex(&bytes), bytes.len() as u64);
        let once = self.with_retry(Retry::NONE);
        let differs = |message| StoreError::Content { url: self.url_of(name), action: "verify", message };
        self.retry.run(StoreError::is_transient, || {
            once.put(name, bytes.clone())?;
            match once.size(name)? {
                Some(found) if found == size => {}
                Some(found) => return Err(differs(format!("{size} bytes were written, the store has {found}"))),
                None => return Err(differs("it was written and is not there".into())),
            }
            match once.sha256(name, size)? {
                found if found == written => Ok(()),
                found => Err(differs(format!("sha256 {written} was written, the store gives back {found}"))),
            }
        })?;
        Ok(written)
    }
}

async fn put(inner: Arc<dyn ObjectStore>, path: Path, bytes: Bytes) -> object_store::Result<()> {
    if bytes.len() <= 2 * PART {
        return inner.put(&path, bytes.into()).await.map(drop);
    }
    let mut upload = inner.put_multipart(&path).await?;
    let parts = (0..bytes.len()).step_by(PART).map(|start| bytes.slice(start..bytes.len().min(start + PART)));
    let sent = stream::iter(parts)
        .map(|part| upload.put_part(part.into()))
        .buffer_unordered(IN_FLIGHT)
        .try_collect::<()>()
        .await;
    let done = match sent {
        Ok(()) => upload.complete().await.map(drop),
        Err(error) => Err(error),
    };
    if done.is_err()
        && let Err(error) = upload.abort().await
    {
        tracing::warn!("an upload to {path} cannot be aborted: {}", describe(&error));
    }
    done
}
