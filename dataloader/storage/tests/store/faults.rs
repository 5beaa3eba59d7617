//! Stores that fail, lie, or refuse.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use defusion_storage::testing::Faulty;
use defusion_storage::{Location, Retry, Store, StoreError};

const RETRY: Retry = Retry {
    tries: 3,
    first: Duration::from_millis(1),
    longest: Duration::from_millis(2),
    within: Duration::from_secs(60),
};

fn faulty() -> (Arc<Faulty>, Store) {
    let inner = Arc::new(Faulty::default());
    let store = Store::over(inner.clone(), "folder".into(), "faulty://folder").with_retry(RETRY);
    (inner, store)
}

#[test]
fn what_fails_is_tried_again() {
    let (inner, store) = faulty();
    let content = Bytes::from(vec![7u8; (32 << 20) + 1]);
    for content in [content.clone(), content.slice(..10)] {
        inner.fail_writes("x", 2, 0);
        store.put("x", content.clone()).unwrap();
        inner.fail_reads("x", 2);
        assert_eq!(store.size("x").unwrap(), Some(content.len() as u64));
        inner.fail_reads("x", 2);
        assert!(store.get("x", 1 << 30).unwrap() == content);
        inner.fail_reads("x", 2);
        assert_eq!(store.range("x", 2..5).unwrap(), content.slice(2..5));
        inner.fail_reads("x", 2);
        assert!(
            store.pieces("x", content.len() as u64).unwrap().map(Result::unwrap).collect::<Vec<_>>().concat()
                == content
        );
        assert_eq!(inner.faults_left(), 0);
    }
}

#[test]
fn what_keeps_failing_is_an_error_without_secrets() {
    let (inner, store) = faulty();
    store.put("x", Bytes::from_static(b"1")).unwrap();
    inner.fail_writes("x", 100, 0);
    inner.fail_reads("x", 100);
    let writes = inner.writes();
    let errors = [
        store.put("x", Bytes::new()).unwrap_err(),
        store.get("x", 9).unwrap_err(),
        store.size("x").unwrap_err(),
        store.sha256("x", 1).unwrap_err(),
    ];
    assert_eq!(inner.writes() - writes, 3);
    for error in errors {
        assert!(matches!(error, StoreError::Failed { .. }) && error.is_transient());
        let text = format!("{error} {error:?}");
        assert!(text.contains("faulty://folder/x: cannot ") && text.contains("connection reset"), "{text}");
        assert!(!text.contains(inner.secret()) && !text.contains("KEY"), "{text}");
    }
}

#[test]
fn creating_is_tried_once() {
    let (inner, store) = faulty();
    inner.fail_writes("x", 1, 0);
    let writes = inner.writes();
    assert!(matches!(store.put_new("x", Bytes::new()), Err(StoreError::Failed { .. })));
    assert_eq!(inner.writes() - writes, 1);
    store.put_new("x", Bytes::new()).unwrap();
}

#[test]
fn a_write_that_lies_is_found_out() {
    let (inner, store) = faulty();
    inner.fail_writes("x", 1, 1);
    store.put_verified("x", Bytes::from_static(b"content")).unwrap();
    assert_eq!(store.get("x", 99).unwrap(), "content");
    inner.fail_writes("x", 0, 100);
    let error = store.put_verified("x", Bytes::from_static(b"content")).unwrap_err();
    assert!(matches!(error, StoreError::Content { .. }), "{error}");
    assert!(error.is_transient() && error.to_string().contains("faulty://folder/x: cannot verify: sha256"), "{error}");
}

#[test]
fn no_text_of_a_store_holds_credentials() {
    for url in ["s3://KEY:SECRET@bucket/a", "https://SECRET@host/a", "https://host/c?sig=SECRET", "ftp://u:SECRET@h/x"]
    {
        let error = Store::at(url).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("SECRET"), "{error:?}");
    }
    let (_, store) = faulty();
    assert_eq!(format!("{store:?}"), "Store(faulty://folder)");
    assert_eq!(format!("{:?}", Location::parse("memory://a/b").unwrap()), "Remote(b)");
}

/// For a store that refuses the environment's credentials.
pub fn a_wrong_secret_is_not_shown(url: &str) {
    let store = Store::open(url).unwrap().with_retry(RETRY);
    let errors = [
        store.put("x", Bytes::new()).unwrap_err(),
        store.put_new("x", Bytes::new()).unwrap_err(),
        store.get("x", 9).unwrap_err(),
        store.pieces("x", 9).unwrap().next().unwrap().unwrap_err(),
        store.list().unwrap_err(),
    ];
    for (n, error) in errors.into_iter().enumerate() {
        // object_store does not say of a listing that it was denied.
        let denied = matches!(error, StoreError::Denied { .. }) || n == 4 && error.to_string().contains("403");
        assert!(denied, "{error:?}");
        assert!(error.is_transient(), "rights can be renewed");
        println!("{error} {error:?}");
    }
}
