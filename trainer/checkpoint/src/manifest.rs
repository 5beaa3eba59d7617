//! The JSON files of a checkpoint: `part-KofN.json`, `manifest.json`, `latest.json`.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::CheckpointError;
use crate::names::{CheckpointId, MANIFEST, NameError, ShareName};

/// Version of the format that is written and read.
pub(crate) const VERSION: u32 = 1;
/// Largest manifest that is read, bytes.
pub(crate) const LIMIT: u64 = 16 << 20;

/// One file of a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileEntry {
    /// Name within the checkpoint's folder: `model-1of2.safetensors`.
    pub name: String,
    /// Bytes.
    pub size: u64,
    /// sha256 of the content, 64 lower-case hexadecimal digits.
    pub sha256: String,
}

/// Size of a group, all its shares together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GroupEntry {
    /// Number of tensors.
    pub tensors: u64,
    /// Bytes of their elements.
    pub bytes: u64,
}

/// `manifest.json`: all that a checkpoint is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Format, 1.
    pub version: u32,
    /// The checkpoint's name, which is its folder's.
    pub checkpoint: CheckpointId,
    /// Nonce of the attempt that wrote it.
    pub nonce: String,
    /// Digest of the run's config.
    pub config_digest: String,
    /// Ranks that wrote it.
    pub world: usize,
    /// When it was complete, seconds since 1970.
    pub saved_unix: u64,
    /// Its groups of tensors.
    pub groups: BTreeMap<String, GroupEntry>,
    /// Its files, in order of names.
    pub files: Vec<FileEntry>,
    /// The state that is no tensor: counters, best metrics, loss scale.
    pub scalars: serde_json::Map<String, serde_json::Value>,
}

/// `part-KofN.json`: what one rank has uploaded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Part {
    pub version: u32,
    pub checkpoint: CheckpointId,
    pub nonce: String,
    pub rank: usize,
    pub world: usize,
    /// Groups of this rank's whole snapshot, which must be the same on all ranks.
    pub groups: BTreeMap<String, GroupEntry>,
    pub files: Vec<FileEntry>,
}

/// `latest.json`: for people and for tools that cannot list a store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Latest {
    pub version: u32,
    pub checkpoint: CheckpointId,
    pub manifest: FileEntry,
}

impl Manifest {
    /// Parses and checks a manifest that was found in the folder of `id`.
    ///
    /// # Errors
    /// [`CheckpointError::Damaged`] naming the manifest.
    pub fn parse(id: CheckpointId, bytes: &[u8]) -> Result<Self, CheckpointError> {
        let damaged = |message: String| CheckpointError::Damaged { checkpoint: id, file: MANIFEST.to_owned(), message };
        let manifest: Self = serde_json::from_slice(bytes).map_err(|e| damaged(e.to_string()))?;
        if manifest.version != VERSION {
            return Err(damaged(format!("format {}; this program reads {VERSION}", manifest.version)));
        }
        if manifest.checkpoint != id {
            return Err(damaged(format!("it is the manifest of {}", manifest.checkpoint)));
        }
        let files = check_files(&manifest.files, manifest.world, None).map_err(|e| damaged(e.to_string()))?;
        for name in &files {
            if !manifest.groups.contains_key(&name.group) {
                return Err(damaged(format!("`{name}` is of no group that it names")));
            }
        }
        for (group, entry) in &manifest.groups {
            if entry.tensors > 0 && !files.iter().any(|f| f.group == *group) {
                return Err(damaged(format!("group `{group}` of {} tensors has no file", entry.tensors)));
            }
        }
        Ok(manifest)
    }
}

/// A file that cannot be of the checkpoint whose manifest or part lists it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ListError {
    #[error(transparent)]
    Name(#[from] NameError),
    #[error("`{name}` does not belong to it (written by {world} ranks)")]
    Foreign { name: String, world: usize },
    #[error("`{name}` is said to have {size} bytes, fewer than any safetensors file")]
    Short { name: String, size: u64 },
    #[error("`{name}`: `{sha256}` is no sha256")]
    Digest { name: String, sha256: String },
    #[error("`{name}` stands in it twice")]
    Twice { name: String },
}

/// Checks names (of shares of `world`, and of `rank` if there is one), sizes' plausibility, hashes, and that no file
/// stands there twice. Returns the names.
pub(crate) fn check_files(files: &[FileEntry], world: usize, rank: Option<usize>) -> Result<Vec<ShareName>, ListError> {
    let mut seen = BTreeSet::new();
    let mut names = Vec::with_capacity(files.len());
    for file in files {
        let (name, size, sha256) = (|| file.name.clone(), file.size, &file.sha256);
        let share: ShareName = file.name.parse()?;
        if share.world != world || rank.is_some_and(|r| r != share.rank) {
            return Err(ListError::Foreign { name: name(), world });
        }
        if size < 8 {
            return Err(ListError::Short { name: name(), size });
        }
        if sha256.len() != 64 || !sha256.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)) {
            return Err(ListError::Digest { name: name(), sha256: sha256.clone() });
        }
        if !seen.insert(&file.name) {
            return Err(ListError::Twice { name: name() });
        }
        names.push(share);
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;
    use defusion_config::Stage;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    const ID: CheckpointId = CheckpointId { stage: Stage::Diffusion, step: 12_000, attempt: 1 };

    fn sound() -> Value {
        json!({
            "version": 1, "checkpoint": ID.to_string(), "nonce": "n", "config_digest": "d", "world": 2, "saved_unix": 0,
            "groups": {"model": {"tensors": 2, "bytes": 8}, "optim": {"tensors": 0, "bytes": 0}},
            "files": [
                {"name": "model-1of2.safetensors", "size": 100, "sha256": "a".repeat(64)},
                {"name": "model-2of2.safetensors", "size": 100, "sha256": "b".repeat(64)},
            ],
            "scalars": {"best": 0.1},
        })
    }

    fn parse(value: &Value) -> Result<Manifest, CheckpointError> {
        Manifest::parse(ID, value.to_string().as_bytes())
    }

    #[test]
    fn a_sound_manifest_survives() {
        let manifest = parse(&sound()).unwrap();
        assert_eq!(Manifest::parse(ID, &serde_json::to_vec(&manifest).unwrap()).unwrap(), manifest);
    }

    #[test]
    fn lies_are_named() {
        let change = |path: &str, value: Value| {
            let mut manifest = sound();
            *manifest.pointer_mut(path).unwrap() = value;
            manifest
        };
        let cases = [
            (change("/version", json!(2)), "format 2"),
            (change("/checkpoint", json!("2-diffusion-000013000-a0001")), "manifest of 2-diffusion-000013000"),
            (change("/checkpoint", json!("../../etc")), "no checkpoint's name"),
            (change("/files/0/name", json!("../model-1of2.safetensors")), "../model"),
            (change("/files/0/name", json!("/etc/passwd")), "/etc/passwd"),
            (change("/files/0/name", json!("model-2of2.safetensors")), "twice"),
            (change("/files/0/name", json!("model-1of3.safetensors")), "does not belong"),
            (change("/files/0/name", json!("disc-1of2.safetensors")), "no group"),
            (change("/files/0/size", json!(3)), "3 bytes"),
            (change("/files/0/size", json!(-1)), "invalid value"),
            (change("/files/0/sha256", json!("xyz")), "no sha256"),
            (change("/groups/optim/tensors", json!(1)), "`optim` of 1 tensors has no file"),
            (change("/scalars", json!({})), ""),
        ];
        for (manifest, want) in cases {
            match parse(&manifest) {
                Ok(_) => assert_eq!(want, "", "{manifest}"),
                Err(error) => {
                    let text = error.to_string();
                    assert!(!want.is_empty() && text.contains(want), "{text}");
                    assert!(text.contains("manifest.json") && text.contains(&ID.to_string()), "{text}");
                }
            }
        }
    }

    fn json_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            "[a-z0-9./-]{0,24}".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 24, 6, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                proptest::collection::btree_map("[a-z_]{1,12}", inner, 0..5)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn any_bytes_give_a_manifest_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            prop_assert!(Manifest::parse(ID, &bytes).is_err());
        }

        // Whatever one field is replaced by, what is accepted names only files within the folder.
        #[test]
        fn what_is_accepted_stays_in_its_folder(field in 0usize..12, value in json_value()) {
            let fields = ["/version", "/checkpoint", "/nonce", "/config_digest", "/world", "/saved_unix", "/groups",
                "/files", "/scalars", "/files/0/name", "/files/1/size", "/groups/model"];
            let mut manifest = sound();
            *manifest.pointer_mut(fields[field]).unwrap() = value;
            if let Ok(manifest) = parse(&manifest) {
                for file in manifest.files {
                    let inside = !file.name.contains('/') && file.name.ends_with(".safetensors");
                    prop_assert!(inside, "{}", file.name);
                }
            }
        }

        // A flipped byte is an error or changes nothing but the value it stands in; it never panics.
        #[test]
        fn truncated_manifests_are_errors(cut in 0usize..400) {
            let text = sound().to_string();
            if cut < text.len() { prop_assert!(Manifest::parse(ID, &text.as_bytes()[..cut]).is_err()); }
        }

        #[test]
        fn scalars_come_back_exactly(x in any::<f64>().prop_filter("finite", |x| x.is_finite())) {
            let mut manifest = sound();
            *manifest.pointer_mut("/scalars/best").unwrap() = json!(x);
            let best = parse(&manifest).unwrap().scalars["best"].as_f64().unwrap();
            prop_assert_eq!(best.to_bits(), x.to_bits());
        }
    }
}
