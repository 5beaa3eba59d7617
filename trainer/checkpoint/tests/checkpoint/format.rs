//! The bytes on disk: what an earlier version wrote is read, and written again as it was.

use std::fs;
use std::path::{Path, PathBuf};

use defusion_checkpoint::RunFolder;

use crate::support::{assert_same, save_all};

/// A run folder of one worker with one checkpoint, of the first version of the format.
fn first_version() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/format-1/run")
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

#[test]
fn a_checkpoint_of_the_first_version_is_loaded_and_saved_byte_for_byte() {
    let dir = tempfile::tempdir().unwrap();
    let (old, new) = (dir.path().join("old"), dir.path().join("new"));
    copy(&first_version(), &old);
    let folder = RunFolder::open(&old.display().to_string()).unwrap();
    let config = folder.config().unwrap();
    let digest = folder.enter(&config).unwrap();
    let (found, snapshot) = folder.load_latest().unwrap().unwrap();
    assert_eq!(found.id.to_string(), "2-diffusion-000000004-a0001");
    assert!(found.damaged.is_empty() && !snapshot.groups.is_empty());

    let fresh = RunFolder::open(&new.display().to_string()).unwrap();
    assert_eq!(fresh.enter(&config).unwrap(), digest);
    let attempt = fresh.claim(&digest).unwrap();
    let id = save_all(&fresh, &attempt, 1, &snapshot);
    assert_eq!(id, found.id);
    assert_same(&fresh.load(id).unwrap(), &snapshot);

    let (written, _) = folder.manifest(id).unwrap();
    let (again, _) = fresh.manifest(id).unwrap();
    assert_eq!(again.files, written.files, "names, sizes and sha256");
    assert_eq!((again.groups, again.scalars), (written.groups, written.scalars));
    assert_eq!((again.world, again.config_digest), (written.world, written.config_digest));
    for file in &written.files {
        let read = |run: &Path| fs::read(run.join(id.folder()).join(&file.name)).unwrap();
        assert!(read(&old) == read(&new), "{}", file.name);
    }
    // The text files have the same form; only the attempt's nonce and the time differ.
    for name in ["manifest.json", "part-1of1.json"] {
        let lines = |run: &Path| {
            let text = fs::read_to_string(run.join(id.folder()).join(name)).unwrap();
            text.lines().filter(|l| !l.contains("nonce") && !l.contains("unix")).map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(lines(&old), lines(&new), "{name}");
    }
    // The old folder goes on: the next start takes the next number.
    assert_eq!(folder.claim(&digest).unwrap().number, 2);
}
