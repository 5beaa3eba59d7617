//! What only local disks have.

use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use defusion_storage::{Store, StoreError};

#[test]
fn a_folder_must_be_there_to_be_opened() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("new/folder");
    let url = path.display().to_string();
    assert_eq!(Store::open(&url).unwrap_err(), StoreError::NotFound { url: url.clone() });
    // Meaning a folder and reading from it make nothing.
    let lazy = Store::at(&format!("{url}/")).unwrap();
    assert_eq!((lazy.url(), lazy.local_path()), (url.as_str(), Some(path.as_path())));
    assert_eq!((lazy.list().unwrap(), lazy.sizes().unwrap(), lazy.size("x").unwrap()), (vec![], vec![], None));
    lazy.delete("x").unwrap();
    lazy.delete_all().unwrap();
    assert!(!dir.path().join("new").exists());
    lazy.put("sub/x", Bytes::from_static(b"1")).unwrap();
    assert_eq!(Store::open(&url).unwrap().folders().unwrap(), ["sub"]);
    std::fs::write(path.join("file"), "").unwrap();
    assert!(matches!(Store::create(&format!("{url}/file")), Err(StoreError::Failed { .. })));
}

#[test]
fn a_write_is_never_seen_in_part() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::create(&dir.path().display().to_string()).unwrap();
    // Above and below the size that goes in parts.
    for size in [3 << 20, (32 << 20) + 1] {
        let content = |round: u8| Bytes::from(vec![round; size + usize::from(round)]);
        store.put("x", content(0)).unwrap();
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                (1..6).for_each(|round| store.put("x", content(round)).unwrap());
                done.store(true, Ordering::SeqCst);
            });
            while !done.load(Ordering::SeqCst) {
                // As another program sees it.
                let seen = std::fs::read(dir.path().join("x")).unwrap();
                assert!(seen == content(seen[0]), "{} bytes of round {}", seen.len(), seen[0]);
            }
        });
        assert!(store.get("x", 1 << 30).unwrap() == content(5));
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "nothing half-written stays");
    }
}

#[test]
fn a_folder_goes_with_half_written_files() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::create(&dir.path().display().to_string()).unwrap();
    store.put("sub/x", Bytes::new()).unwrap();
    std::fs::write(dir.path().join("sub/x#1"), "half").unwrap();
    let sub = store.folder("sub").unwrap();
    assert_eq!(sub.list().unwrap(), ["x"], "what is half-written is not listed");
    sub.delete_all().unwrap();
    assert!(!dir.path().join("sub").exists());
}
