//! What objects and folders may be called.

use bytes::Bytes;
use defusion_storage::{Store, StoreError};

const ODD: [&str; 6] = ["with space", "50%", "a%20b", "exp#2x", "[1]~{2}", "grün-画像"];

pub fn are_kept_as_they_are(store: &Store) {
    let mut names: Vec<String> = ODD.iter().map(|name| format!("{name}.json")).collect();
    for name in &names {
        store.put(name, Bytes::from(name.clone())).unwrap();
    }
    names.sort();
    assert_eq!(store.list().unwrap(), names);
    for name in store.list().unwrap() {
        assert_eq!(store.get(&name, 99).unwrap(), name);
        if let Some(folder) = store.local_path() {
            assert_eq!(std::fs::read_to_string(folder.join(&name)).unwrap(), name);
        }
        store.delete(&name).unwrap();
    }
    assert_eq!(store.sizes().unwrap(), []);
}

pub fn of_folders_are_kept_as_they_are(store: &Store) {
    let mut names: Vec<String> = ODD.iter().chain(&["exp#2"]).map(|name| (*name).to_owned()).collect();
    for name in &names {
        store.folder(name).unwrap().put("x", Bytes::from(name.clone())).unwrap();
    }
    names.sort();
    assert_eq!(store.folders().unwrap(), names);
    for name in &names {
        let folder = store.folder(name).unwrap();
        assert_eq!(folder.get("x", 99).unwrap(), *name);
        assert_eq!(folder.url(), store.url_of(name));
        // The same folder by its URL. A path is no URL: there nothing is escaped.
        let escaped = name.replace('%', "%25").replace('#', "%23").replace(' ', "%20");
        let url = match store.local_path() {
            Some(_) if !store.url().contains("://") => folder.url().to_owned(),
            _ => store.url_of(&escaped),
        };
        assert_eq!(Store::open(&url).unwrap().get("x", 99).unwrap(), *name, "{url}");
    }
    assert_eq!(store.sizes().unwrap().len(), names.len());
    if store.url().contains("://") {
        let error = Store::open(&store.url_of("exp#2")).unwrap_err();
        assert!(matches!(error, StoreError::Url { .. }) && error.to_string().contains("%23"), "{error}");
    }
}

pub fn that_lead_elsewhere_are_refused(store: &Store) {
    for name in ["..", "../x", "a/../b", "a//b", "./a", "a\n"] {
        let refused = [
            store.put(name, Bytes::new()).unwrap_err(),
            store.get(name, 9).unwrap_err(),
            store.delete(name).unwrap_err(),
            store.folder(name).unwrap_err(),
        ];
        for error in refused {
            assert!(matches!(error, StoreError::Url { .. }), "{name}: {error}");
        }
    }
}
