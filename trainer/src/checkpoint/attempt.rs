//! Who owns a run folder: the newest start of the job.
//!
//! Every start creates `attempts/NNNN.json` under the next free number (a conditional write: of two that race, one
//! gets the number and the other the next). The highest number owns the folder. An older job that still runs sees a
//! higher number at its next save and stops. Nothing needs to be released, so a killed job leaves no stale lock.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::store::hex;
use super::{CheckpointError, Store, StoreErrorKind};

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
}

impl Attempt {
    /// For a broadcast.
    pub fn to_bytes(&self) -> Vec<u8> {
        // A struct of strings and integers is always JSON.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// What [`Attempt::to_bytes`] made.
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
    pub(super) async fn claim(store: &Store) -> Result<Self, CheckpointError> {
        let mut number = newest(store).await? + 1;
        loop {
            let attempt =
                Self { number, nonce: nonce(), host: host(), pid: std::process::id(), started_unix: now_unix() };
            match store.put_new(&Self::object(number), attempt.to_bytes().into()).await {
                Ok(()) => {
                    attempt.check(store).await?;
                    return Ok(attempt);
                }
                Err(error) if error.kind == StoreErrorKind::AlreadyExists => number += 1,
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Makes sure that this attempt still owns the folder.
    ///
    /// # Errors
    /// [`CheckpointError::LostOwnership`].
    pub(super) async fn check(&self, store: &Store) -> Result<(), CheckpointError> {
        let newest = newest(store).await?.max(self.number);
        let record = store.get_small(&Self::object(newest), LIMIT).await?;
        let owner = record.as_deref().and_then(|bytes| serde_json::from_slice::<Self>(bytes).ok());
        let lost = |by| Err(CheckpointError::LostOwnership { folder: store.shown().into(), ours: self.number, by });
        match owner {
            Some(owner) if owner.number == self.number && owner.nonce == self.nonce => Ok(()),
            Some(owner) => lost(format!("attempt {newest} on {}, process {}", owner.host, owner.pid)),
            None => lost(format!("{} is missing or unreadable", store.url_of(&Self::object(newest)))),
        }
    }
}

/// The highest number taken, 0 for none.
async fn newest(store: &Store) -> Result<u32, CheckpointError> {
    let numbers = store.list(ATTEMPTS).await?;
    Ok(numbers.iter().filter_map(|(name, _)| name.strip_suffix(".json")?.parse().ok()).max().unwrap_or(0))
}

pub(super) fn now_unix() -> u64 {
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
    hex(&Sha256::digest(text.as_bytes())[..8])
}
