//! A store in memory that fails on purpose.

use std::fmt;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

/// The word that stands as a secret in the URLs of its errors.
const SECRET: &str = "SECRET";

/// A store in memory whose reads and writes can fail, lie, or stop.
#[derive(Debug, Default)]
pub struct Faulty {
    inner: InMemory,
    writes: AtomicU64,
    reads: AtomicU64,
    /// Writes of objects whose name contains this...
    written: Mutex<String>,
    /// ...fail this often...
    fail: AtomicU32,
    /// ...and then change what they write this often.
    corrupt: AtomicU32,
    /// Reads of objects whose name contains this...
    read: Mutex<String>,
    /// ...fail this often.
    unreadable: AtomicU32,
    /// Whether writes wait.
    held: AtomicBool,
}

impl fmt::Display for Faulty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("faulty")
    }
}

impl Faulty {
    /// Lets the next `fail` writes of objects whose name contains `name` fail, and the `corrupt` writes after them
    /// silently change the last byte.
    pub fn fail_writes(&self, name: &str, fail: u32, corrupt: u32) {
        *self.written.lock().unwrap_or_else(PoisonError::into_inner) = name.to_owned();
        self.fail.store(fail, Ordering::SeqCst);
        self.corrupt.store(corrupt, Ordering::SeqCst);
    }

    /// Lets the next `times` reads of objects whose name contains `name` fail.
    pub fn fail_reads(&self, name: &str, times: u32) {
        *self.read.lock().unwrap_or_else(PoisonError::into_inner) = name.to_owned();
        self.unreadable.store(times, Ordering::SeqCst);
    }

    /// Lets writes wait until this is called with `false`, as those to a store that is too slow.
    pub fn hold_writes(&self, held: bool) {
        self.held.store(held, Ordering::SeqCst);
    }

    /// Failures and changes that are still to come.
    pub fn faults_left(&self) -> u32 {
        [&self.fail, &self.corrupt, &self.unreadable].map(|n| n.load(Ordering::SeqCst)).iter().sum()
    }

    /// Writes seen, those that failed included.
    pub fn writes(&self) -> u64 {
        self.writes.load(Ordering::SeqCst)
    }

    /// Reads seen, those that failed included.
    pub fn reads(&self) -> u64 {
        self.reads.load(Ordering::SeqCst)
    }

    /// The word of its errors that no message may hold.
    pub fn secret(&self) -> &'static str {
        SECRET
    }

    fn hit(name: &Mutex<String>, at: &Path, times: &AtomicU32) -> bool {
        at.as_ref().contains(name.lock().unwrap_or_else(PoisonError::into_inner).as_str())
            && times.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1)).is_ok()
    }

    fn error() -> Error {
        let source = format!("connection reset, see https://KEY:{SECRET}@store/o?sig={SECRET}").into();
        Error::Generic { store: "faulty", source }
    }
}

#[async_trait::async_trait]
impl ObjectStore for Faulty {
    async fn put_opts(&self, at: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        self.writes.fetch_add(1, Ordering::SeqCst);
        while self.held.load(Ordering::SeqCst) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        if Self::hit(&self.written, at, &self.fail) {
            return Err(Self::error());
        }
        if Self::hit(&self.written, at, &self.corrupt) {
            let mut bytes = Bytes::from(payload).to_vec();
            if let Some(last) = bytes.last_mut() {
                *last ^= 1;
            }
            return self.inner.put_opts(at, bytes.into(), options).await;
        }
        self.inner.put_opts(at, payload, options).await
    }

    async fn put_multipart_opts(&self, at: &Path, options: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        self.writes.fetch_add(1, Ordering::SeqCst);
        if Self::hit(&self.written, at, &self.fail) {
            return Err(Self::error());
        }
        self.inner.put_multipart_opts(at, options).await
    }

    async fn get_opts(&self, at: &Path, options: GetOptions) -> Result<GetResult> {
        self.reads.fetch_add(1, Ordering::SeqCst);
        if Self::hit(&self.read, at, &self.unreadable) {
            return Err(Self::error());
        }
        self.inner.get_opts(at, options).await
    }

    async fn get_ranges(&self, at: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.reads.fetch_add(1, Ordering::SeqCst);
        if Self::hit(&self.read, at, &self.unreadable) {
            return Err(Self::error());
        }
        self.inner.get_ranges(at, ranges).await
    }

    fn delete_stream(&self, at: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(at)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}
