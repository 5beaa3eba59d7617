//! Objects: written, read, listed, deleted.

use bytes::Bytes;
use defusion_storage::{Retry, Store, StoreError, sha256_hex};

/// `n` bytes that repeat nowhere near.
fn bytes(n: usize) -> Bytes {
    (0..n as u64).map(|i| (i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8).collect()
}

pub fn are_read_as_they_were_written(store: &Store) {
    for (name, content) in [("a", bytes(5)), ("empty", Bytes::new()), ("below/this/b.json", bytes(70_000))] {
        assert_eq!(store.size(name).unwrap(), None);
        assert_eq!(store.find(name, 1 << 20).unwrap(), None);
        store.put(name, content.clone()).unwrap();
        assert_eq!(store.size(name).unwrap(), Some(content.len() as u64));
        assert_eq!(store.get(name, 1 << 20).unwrap(), content);
        assert_eq!(store.find(name, 1 << 20).unwrap().unwrap(), content);
        assert_eq!(store.sha256(name, content.len() as u64).unwrap(), sha256_hex(&content));
    }
    store.put("a", bytes(9)).unwrap();
    assert_eq!(store.get("a", 9).unwrap(), bytes(9));
}

pub fn larger_than_the_limit_are_not_read(store: &Store) {
    store.put("x", bytes(10)).unwrap();
    assert_eq!(store.get("x", 10).unwrap(), bytes(10));
    let error = store.get("x", 9).unwrap_err();
    assert!(matches!(error, StoreError::TooLarge { bytes: 10, limit: 9, .. }), "{error}");
    assert!(error.to_string().contains("/x has 10 bytes"), "{error}");
    assert_eq!(store.find("x", 9).unwrap_err(), error);
    assert!(!error.is_transient());
}

pub fn are_read_in_ranges_and_pieces(store: &Store) {
    const PIECE: usize = 8 << 20;
    let content = bytes(2 * PIECE + 5);
    store.put("x", content.clone()).unwrap();
    for range in [0..1, 3..1000, PIECE..PIECE + 7, content.len() - 4..content.len()] {
        let got = store.range("x", range.start as u64..range.end as u64).unwrap();
        assert_eq!(got, content.slice(range));
    }
    let all = content.len() as u64;
    assert_eq!(store.range("x", all - 4..all + 4).unwrap(), content.slice(content.len() - 4..));
    let pieces: Vec<Bytes> = store.pieces("x", all).unwrap().map(Result::unwrap).collect();
    assert_eq!(pieces.iter().map(Bytes::len).collect::<Vec<_>>(), [PIECE, PIECE, 5]);
    assert_eq!(pieces.concat(), content);
    // Only a part is asked for, and an object is shorter than it is said to be.
    let pieces: Vec<Bytes> = store.pieces("x", 9).unwrap().map(Result::unwrap).collect();
    assert_eq!(pieces.concat(), content.slice(..9));
    let pieces: Vec<Bytes> = store.pieces("x", all + 100).unwrap().map(Result::unwrap).collect();
    assert_eq!(pieces.concat(), content);
    let error = store.read_exact("x", all + 100, |_| {}).unwrap_err();
    assert!(matches!(error, StoreError::Content { .. }) && error.to_string().contains("ends at byte"), "{error}");
    let mut none = store.with_retry(Retry::NONE).pieces("z", 9).unwrap();
    assert!(matches!(none.next(), Some(Err(StoreError::NotFound { .. }))));
    assert!(none.next().is_none());
    // Dropped before their end.
    store.pieces("x", all).unwrap().next().unwrap().unwrap();
}

pub fn large_ones_go_and_come_in_parts(store: &Store) {
    let content = bytes((32 << 20) + 3);
    store.put("large", content.clone()).unwrap();
    assert!(store.get("large", 1 << 30).unwrap() == content);
    assert_eq!(store.sha256("large", content.len() as u64).unwrap(), sha256_hex(&content));
}

pub fn verified_ones_have_their_digest(store: &Store) {
    for content in [bytes(0), bytes(100), bytes(9 << 20)] {
        assert_eq!(store.put_verified("x", content.clone()).unwrap(), sha256_hex(&content));
        assert_eq!(store.get("x", 1 << 30).unwrap(), content);
    }
}

pub fn are_listed_with_their_sizes(store: &Store) {
    assert_eq!((store.list().unwrap(), store.folders().unwrap()), (vec![], vec![]));
    for (name, n) in [("b", 2), ("a", 1), ("sub/c", 3), ("sub/deep/d", 4), ("subway", 5)] {
        store.put(name, bytes(n)).unwrap();
    }
    assert_eq!(
        (store.list().unwrap(), store.folders().unwrap()),
        (vec!["a", "b", "subway"].into_iter().map(String::from).collect(), vec!["sub".to_owned()])
    );
    let sizes = |pairs: &[(&str, u64)]| pairs.iter().map(|(name, n)| ((*name).to_owned(), *n)).collect::<Vec<_>>();
    assert_eq!(store.sizes().unwrap(), sizes(&[("a", 1), ("b", 2), ("sub/c", 3), ("sub/deep/d", 4), ("subway", 5)]));
    let sub = store.folder("sub").unwrap();
    assert_eq!(sub.sizes().unwrap(), sizes(&[("c", 3), ("deep/d", 4)]));
    assert_eq!((sub.list().unwrap(), sub.folders().unwrap()), (vec!["c".to_owned()], vec!["deep".to_owned()]));
    assert_eq!(sub.get("deep/d", 9).unwrap(), bytes(4));
    // Where nothing is, nothing is listed.
    assert_eq!(store.folder("none").unwrap().sizes().unwrap(), []);
}

pub fn more_than_a_page_is_listed(store: &Store) {
    // S3 gives a thousand names at a time.
    let mut names: Vec<String> = (0..1050).map(|n| format!("{n:05}")).collect();
    std::thread::scope(|scope| {
        for part in names.chunks(150) {
            scope.spawn(move || part.iter().for_each(|name| store.put(name, Bytes::from_static(b"1")).unwrap()));
        }
    });
    assert_eq!(store.list().unwrap(), names);
    assert_eq!(store.sizes().unwrap().len(), names.len());
    store.folder("00000x").unwrap().put("y", Bytes::new()).unwrap();
    assert_eq!(store.list().unwrap(), names);
    store.delete(&names.remove(500)).unwrap();
    assert_eq!(store.list().unwrap(), names);
    store.delete_all().unwrap();
    assert_eq!(store.sizes().unwrap(), []);
}

pub fn deleting_twice_is_no_error(store: &Store) {
    store.put("x", bytes(1)).unwrap();
    store.put("sub/y", bytes(1)).unwrap();
    for _ in 0..2 {
        store.delete("x").unwrap();
        assert!(matches!(store.get("x", 9), Err(StoreError::NotFound { .. })));
        store.delete("never/was/here").unwrap();
        store.folder("sub").unwrap().delete_all().unwrap();
        assert_eq!(store.sizes().unwrap(), []);
        // SeaweedFS keeps the empty folder for a while.
        assert!(store.folders().unwrap().is_empty() || store.url().starts_with("s3://"));
    }
}

pub fn missing_ones_are_named(store: &Store) {
    let missing = [
        store.get("gone.json", 9).unwrap_err(),
        store.range("gone.json", 0..4).unwrap_err(),
        store.get_version("gone.json", 9).unwrap_err(),
        store.sha256("gone.json", 4).unwrap_err(),
    ];
    for error in missing {
        assert_eq!(error, StoreError::NotFound { url: format!("{}/gone.json", store.url()) });
        assert!(!error.is_transient());
    }
}

pub fn are_reached_from_a_runtimes_threads(store: &Store) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
    let tasks: Vec<_> = (0..8u8)
        .map(|n| {
            let store = store.clone();
            runtime.spawn(async move {
                store.put(&format!("{n}"), Bytes::from(vec![n])).unwrap();
                store.pieces(&format!("{n}"), 1).unwrap().next().unwrap().unwrap()
            })
        })
        .collect();
    for (n, task) in tasks.into_iter().enumerate() {
        assert_eq!(runtime.block_on(task).unwrap(), [n as u8].as_slice());
    }
}
