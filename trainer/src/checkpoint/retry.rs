//! Failed operations on an object store, and how patiently they are tried again.

use std::fmt::Display;
use std::future::Future;
use std::time::Duration;

/// What kind of failure a [`StoreError`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreErrorKind {
    /// The URL or path cannot be used.
    Url,
    /// There is no such object.
    NotFound,
    /// The object exists and was to be created.
    AlreadyExists,
    /// Credentials are missing, wrong, or lack a right.
    Denied,
    /// The store cannot do this at all.
    Unsupported,
    /// The object's size or content is not what it must be.
    Content,
    /// Anything else: network, disk, server.
    Other,
}

/// A failed operation on an object. Its text names the object; it never holds credentials.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {object}: {message}")]
pub struct StoreError {
    /// What kind of failure.
    pub kind: StoreErrorKind,
    /// What was tried: `read`, `write`, `list`, ...
    pub action: &'static str,
    /// URL of the object.
    pub object: String,
    /// Why.
    pub message: String,
}

/// How often and how patiently a failed operation is tried again, over and above the retries of the HTTP client
/// itself. The pause doubles from `first` up to `longest`.
#[derive(Clone, Copy, Debug)]
pub struct Retry {
    /// Tries in all, at least 1.
    pub tries: u32,
    /// Pause before the second try.
    pub first: Duration,
    /// Longest pause.
    pub longest: Duration,
}

impl Default for Retry {
    fn default() -> Self {
        Self { tries: 6, first: Duration::from_secs(1), longest: Duration::from_secs(30) }
    }
}

impl Retry {
    /// Runs `operation` until it succeeds, fails for good (bad URL, no such object, exists already, unsupported), or
    /// the tries are used up.
    ///
    /// # Errors
    /// The last error.
    pub async fn run<T, F>(&self, operation: impl FnMut() -> F) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, StoreError>>,
    {
        self.run_while(StoreError::may_pass, operation).await
    }

    /// As [`Retry::run`], for errors of any kind: `may_pass` says which are worth another try.
    pub(super) async fn run_while<T, E: Display, F>(
        &self,
        may_pass: impl Fn(&E) -> bool,
        mut operation: impl FnMut() -> F,
    ) -> Result<T, E>
    where
        F: Future<Output = Result<T, E>>,
    {
        let mut pause = self.first;
        for tried in 1.. {
            match operation().await {
                Ok(value) => return Ok(value),
                Err(error) if tried < self.tries.max(1) && may_pass(&error) => {
                    tracing::warn!("{error}; trying again in {pause:?} ({tried} of {} tries)", self.tries);
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(self.longest);
                }
                Err(error) => return Err(error),
            }
        }
        unreachable!("the loop above only ends by returning")
    }
}

impl StoreError {
    fn may_pass(&self) -> bool {
        // Credentials may be renewed and eventually consistent rights may arrive: `Denied` is tried again.
        matches!(self.kind, StoreErrorKind::Denied | StoreErrorKind::Content | StoreErrorKind::Other)
    }
}
