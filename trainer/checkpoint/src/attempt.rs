//! Who owns a run folder: the newest start of the job.
//!
//! Every start creates `attempts/NNNN.json` under the next free number (a conditional write: of two that race, one
//! gets the number and the other the next). The highest number owns the folder. An older job that still runs sees a
//! higher number at its next save and stops. Nothing needs to be released, so a killed job leaves no stale lock.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use defusion_storage::{Store, StoreError, sha256_hex};
use serde::{Deserialize, Serialize};

use crate::CheckpointError;

const ATTEMPTS: &str = "attempts";
/// Largest record that is read, bytes.
const LIMIT: u64 = 64 << 10;

/// One start of the job, made by rank 0 and told to the other ranks (it is plain JSON: [`Attempt::to_bytes`]).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attempt {
    /// From 1, larger than that of every start before.
    pub number: u32,
    /// Random; tells apart two jobs that took the same number on a store without conditional writes.
    pub nonce: String,
    /// Where it runs, for messages.
    pub host: String,
    /// Process of rank 0, for messages.
    pub pid: u32,
    /// Seconds since 1970.
    pub started_unix: u64,
    /// Digest under which the run's checkpoints are kept: [`RunFolder::enter`](crate::RunFolder::enter)'s.
    pub config_digest: String,
}

impl Attempt {
    /// Its JSON, for a broadcast.
    pub fn to_bytes(&self) -> Vec<u8> {
        // A struct of strings and integers is always JSON.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Reads what [`Attempt::to_bytes`] made.
    ///
    /// # Errors
    /// [`CheckpointError::BadFile`] for other bytes.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, CheckpointError> {
        serde_json::from_slice(bytes)
            .map_err(|e| CheckpointError::BadFile { file: "attempt".into(), message: e.to_string() })
    }

    fn object(number: u32) -> String {
        format!("{ATTEMPTS}/{number:04}.json")
    }

    /// Takes the folder over.
    pub(crate) fn claim(store: &Store, config_digest: &str) -> Result<Self, CheckpointError> {
        let mut number = newest(store)? + 1;
        loop {
            let attempt = Self {
                number,
                nonce: nonce(),
                host: host(),
                pid: std::process::id(),
                started_unix: now_unix(),
                config_digest: config_digest.to_owned(),
            };
            match store.put_new(&Self::object(number), attempt.to_bytes().into()) {
                Ok(()) => {
                    attempt.check(store)?;
                    return Ok(attempt);
                }
                Err(StoreError::AlreadyExists { .. }) => number += 1,
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Makes sure that this attempt still owns the folder.
    ///
    /// # Errors
    /// [`CheckpointError::LostOwnership`]; [`CheckpointError::Store`].
    pub(crate) fn check(&self, store: &Store) -> Result<(), CheckpointError> {
        let newest = newest(store)?.max(self.number);
        let record = store.find(&Self::object(newest), LIMIT)?;
        let owner = record.as_deref().and_then(|bytes| serde_json::from_slice::<Self>(bytes).ok());
        let lost = |by| Err(CheckpointError::LostOwnership { folder: store.url().into(), ours: self.number, by });
        match owner {
            Some(owner) if owner.number == self.number && owner.nonce == self.nonce => Ok(()),
            Some(owner) => lost(format!("attempt {newest} on {}, process {}", owner.host, owner.pid)),
            None => lost(format!("{} is missing or unreadable", store.url_of(&Self::object(newest)))),
        }
    }
}

/// The highest number taken, 0 for none.
fn newest(store: &Store) -> Result<u32, CheckpointError> {
    let names = store.folder(ATTEMPTS)?.list()?;
    Ok(names.iter().filter_map(|name| name.strip_suffix(".json")?.parse().ok()).max().unwrap_or(0))
}

pub(crate) fn now_unix() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs())
}

fn host() -> String {
    nix::unistd::gethostname().map_or_else(|_| "unknown".into(), |h| h.to_string_lossy().into_owned())
}

/// 16 hexadecimal digits that no other process has.
fn nonce() -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let nanos = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_nanos());
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let text = format!("{nanos} {} {} {count}", host(), std::process::id());
    sha256_hex(text.as_bytes())[..16].to_owned()
}
