//! Files of weights: round trip, bytes that never change, and refusal of what does not fit.

use std::collections::BTreeMap;

use defusion_model::weights::{self, WeightsError, WeightsFile};
use sha2::{Digest, Sha256};
use tch::{Device, Kind, Tensor, nn};

fn tensors() -> BTreeMap<String, Tensor> {
    BTreeMap::from([
        ("net.b".to_owned(), Tensor::from_slice(&[1.5f32, -2.0, 3.0]).to_kind(Kind::BFloat16)),
        ("net.w".to_owned(), Tensor::arange(6, (Kind::Float, Device::Cpu)).view([2, 3]).transpose(0, 1)),
        ("other".to_owned(), Tensor::from_slice(&[7i64])),
    ])
}

fn written(folder: &tempfile::TempDir) -> std::path::PathBuf {
    let path = folder.path().join("w.safetensors");
    let metadata = (0..20).map(|i| (format!("key{i}"), format!("value {i}"))).collect();
    weights::write(&path, &tensors(), &metadata).unwrap();
    path
}

fn store() -> nn::VarStore {
    let store = nn::VarStore::new(Device::Cpu);
    let _ = store.root().zeros("w", &[3, 2]);
    let _ = store.root().zeros("b", &[3]);
    store
}

#[test]
fn what_is_written_is_read_back() {
    let folder = tempfile::tempdir().unwrap();
    let file = WeightsFile::open(&written(&folder)).unwrap();
    for (name, tensor) in tensors() {
        assert_eq!(file.tensor(&name).unwrap(), tensor);
    }
    assert_eq!(file.metadata("key7"), Some("value 7"));
    let store = store();
    file.fill(&store, "net.").unwrap();
    assert_eq!(store.variables()["w"].detach(), tensors()["net.w"]);
    assert_eq!(store.variables()["b"].detach(), tensors()["net.b"].to_kind(Kind::Float));
    assert_eq!(store.variables()["w"].kind(), Kind::Float);
    // Nothing is left beside it.
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn the_same_weights_give_the_same_bytes() {
    let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    assert_eq!(std::fs::read(written(&a)).unwrap(), std::fs::read(written(&b)).unwrap());
}

#[test]
fn the_bytes_of_a_file_never_change() {
    let file = std::fs::read(written(&tempfile::tempdir().unwrap())).unwrap();
    assert_eq!(hex::encode(Sha256::digest(&file)), "60cf30aa0b095f2789ba8e2cf4d7d96d24ec6c94f9d086f6de636b95bf5e6c00");
}

#[test]
fn types_that_are_no_weights_are_refused_by_name() {
    let path = tempfile::tempdir().unwrap().path().join("w.safetensors");
    for (kind, expected) in [(Kind::Uint8, "U8"), (Kind::ComplexFloat, "ComplexFloat")] {
        let tensors = BTreeMap::from([("w".to_owned(), Tensor::zeros([2], (kind, Device::Cpu)))]);
        let error = weights::write(&path, &tensors, &BTreeMap::new()).unwrap_err();
        assert!(
            matches!(&error, WeightsError::Type { name, dtype, .. } if name == "w" && dtype == expected),
            "{error}"
        );
    }

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("w.safetensors");
    let header = br#"{"w":{"dtype":"I32","shape":[1],"data_offsets":[0,4]}}"#;
    std::fs::write(&path, [&(header.len() as u64).to_le_bytes()[..], header, &[0; 4]].concat()).unwrap();
    let error = WeightsFile::open(&path).unwrap().tensor("w").unwrap_err();
    assert!(matches!(&error, WeightsError::Type { dtype, .. } if dtype == "I32"), "{error}");
    assert!(!error.is_transient());
}

#[test]
fn what_does_not_fit_leaves_the_network_alone() {
    let folder = tempfile::tempdir().unwrap();
    let file = WeightsFile::open(&written(&folder)).unwrap();

    let larger = store();
    let _ = larger.root().zeros("missing", &[1]);
    assert!(
        matches!(file.fill(&larger, "net."), Err(WeightsError::Missing { name, missing: 1, .. }) if name == "net.missing")
    );
    assert_eq!(larger.variables()["w"].abs().max().double_value(&[]), 0.0);

    let smaller = nn::VarStore::new(Device::Cpu);
    let _ = smaller.root().zeros("b", &[3]);
    assert!(matches!(file.fill(&smaller, "net."), Err(WeightsError::Unknown { name, .. }) if name == "net.w"));

    // A shape that would broadcast is refused as well.
    let wider = nn::VarStore::new(Device::Cpu);
    let _ = (wider.root().zeros("w", &[3, 2]), wider.root().zeros("b", &[2, 3]));
    assert!(matches!(file.fill(&wider, "net."), Err(WeightsError::Shape { name, .. }) if name == "net.b"));
    assert_eq!(wider.variables()["w"].abs().max().double_value(&[]), 0.0);
}

#[test]
fn a_damaged_file_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = written(&folder);
    let whole = std::fs::read(&path).unwrap();
    for cut in [0, 4, 100, whole.len() - 1] {
        std::fs::write(&path, &whole[..cut]).unwrap();
        let error = WeightsFile::open(&path).unwrap_err();
        assert!(matches!(error, WeightsError::Format { .. }) && error.to_string().contains("w.safetensors"));
    }
    assert!(matches!(WeightsFile::open(&folder.path().join("none")), Err(WeightsError::Io { .. })));
}
