//! What lies in a folder besides the dataset.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use defusion_datasets::{ScanError, find, scan};

fn write(root: &Path, files: &[&str]) {
    for file in files {
        let path = root.join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, "").unwrap();
    }
}

#[test]
fn what_belongs_to_no_pair_is_counted_by_kind() {
    let dir = tempfile::tempdir().unwrap();
    write(
        dir.path(),
        &["input/a.png", "target/a.PNG", "input/.b.png", ".git/c.png", "@eaDir/a.png", "input/Desktop.ini", "README"],
    );
    write(dir.path(), &["input/a.txt", "input/notes.Txt", "extra/a.jpg", "target/a.png.bak", "archive.tar.gz"]);
    std::fs::create_dir(dir.path().join("folder.png")).unwrap();
    std::os::unix::fs::symlink("..", dir.path().join("input/up")).unwrap();
    std::os::unix::fs::symlink("gone.csv", dir.path().join("link.csv")).unwrap();
    std::fs::write(dir.path().join(std::ffi::OsStr::from_bytes(b"\xff.dat")), "").unwrap();
    let listing = scan(&descriptor(), dir.path()).unwrap();
    assert_eq!((listing.pairs.len(), listing.problems.as_slice()), (1, &[][..]));
    assert_eq!(
        listing.passed_over.to_string(),
        "1 hidden folder, 1 hidden file, 1 system folder, 1 system file, 1 link to a folder above, \
         1 file without an extension, 1 .bak, 1 .csv, 1 .dat, 1 .gz, 1 .jpg (no pattern of the layout fits), 2 .txt"
    );
}

#[test]
fn images_that_cannot_be_reached_are_problems_all_the_same() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), &["input/a.png", "target/a.png", "input/b.png"]);
    std::os::unix::fs::symlink("gone.png", dir.path().join("input/c.png")).unwrap();
    std::fs::write(dir.path().join(std::ffi::OsStr::from_bytes(b"input/\xff.png")), "").unwrap();
    let listing = scan(&descriptor(), dir.path()).unwrap();
    let problems: Vec<String> = listing.problems.iter().map(ToString::to_string).collect();
    for words in ["input/b.png: unpaired", "input/c.png: cannot be read", "its name is not UTF-8"] {
        assert!(problems.iter().any(|problem| problem.contains(words)), "{words}: {problems:?}");
    }
    assert_eq!((problems.len(), listing.passed_over.is_empty()), (3, true));
}

#[test]
fn a_folder_without_images_says_what_it_has() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), &["a.gif", "b.heic", "c.heic"]);
    let error = scan(&find("folder").unwrap(), dir.path()).unwrap_err();
    assert!(
        matches!(error, ScanError::Nothing { .. }) && error.to_string().contains("found 1 .gif, 2 .heic"),
        "{error}"
    );
}

fn descriptor() -> defusion_datasets::Descriptor {
    let mut pairs = find("pairs").unwrap();
    pairs.degradations = vec![defusion_config::Degradation::Rain];
    pairs
}
