//! Writes that happen only if nobody else was faster.

use bytes::Bytes;
use defusion_storage::{Store, StoreError};

pub fn of_many_that_create_one_wins(store: &Store) {
    const RACERS: u8 = 8;
    for round in 0..3 {
        let name = format!("owner-{round}");
        let start = std::sync::Barrier::new(RACERS.into());
        let race = |n: u8| {
            start.wait();
            match store.put_new(&name, Bytes::from(vec![n; 1000])) {
                Ok(()) => Some(n),
                Err(StoreError::AlreadyExists { url }) => {
                    assert_eq!(url, store.url_of(&name));
                    None
                }
                Err(error) => panic!("{error}"),
            }
        };
        let race = &race;
        let won: Vec<u8> = std::thread::scope(|scope| {
            let racers: Vec<_> = (0..RACERS).map(|n| scope.spawn(move || race(n))).collect();
            racers.into_iter().filter_map(|racer| racer.join().unwrap()).collect()
        });
        assert_eq!(won.len(), 1, "{won:?}");
        assert_eq!(store.get(&name, 1000).unwrap(), vec![won[0]; 1000]);
    }
    let error = store.put_new("owner-0", Bytes::new()).unwrap_err();
    assert!(!error.is_transient() && error.to_string().ends_with("/owner-0 exists already"), "{error}");
}

pub fn only_what_was_read_is_replaced(store: &Store) {
    let text = |text: &'static str| Bytes::from_static(text.as_bytes());
    store.put("x", text("one")).unwrap();
    let (content, version) = store.get_version("x", 9).unwrap();
    assert_eq!(content, "one");
    match store.put_if("x", text("two"), &version) {
        Ok(()) => {}
        // Local disks can only create.
        Err(StoreError::Unsupported { .. }) if store.local_path().is_some() => return,
        Err(error) => panic!("{error}"),
    }
    let error = store.put_if("x", text("three"), &version).unwrap_err();
    assert_eq!(error, StoreError::Changed { url: store.url_of("x") });
    assert_eq!(store.get("x", 9).unwrap(), "two");
    let (_, version) = store.get_version("x", 9).unwrap();
    store.delete("x").unwrap();
    assert!(matches!(store.put_if("x", text("four"), &version), Err(StoreError::Changed { .. })));
    assert_eq!(store.size("x").unwrap(), None);
}
