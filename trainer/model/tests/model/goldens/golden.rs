//! Reads golden files, fills networks by the rule of README.md, and says what "agrees" means.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hasher;
use std::path::PathBuf;

use fnv::FnvHasher;
use safetensors::{Dtype, SafeTensors};
use serde::de::{Deserializer, MapAccess, Visitor};
use tch::nn::VarStore;
use tch::{Kind, Tensor};

/// One golden file.
pub struct Golden {
    tensors: HashMap<String, Tensor>,
    /// Trainable parameters of the reference's network, in its order.
    pub parameters: Vec<(String, Vec<i64>)>,
    /// Configuration of the reference's network.
    pub config: serde_json::Value,
}

/// The path of a file beside this one.
pub fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/model/goldens").join(name)
}

impl Golden {
    pub fn open(name: &str) -> Self {
        let bytes = std::fs::read(path(name)).unwrap();
        let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
        let about = header.metadata().clone().unwrap_or_default();
        let tensors = SafeTensors::deserialize(&bytes).unwrap();
        let tensors = tensors.iter().map(|(name, view)| {
            let kind = match view.dtype() {
                Dtype::F32 => Kind::Float,
                Dtype::F64 => Kind::Double,
                Dtype::I64 => Kind::Int64,
                other => panic!("{name} is {other:?}"),
            };
            let shape: Vec<i64> = view.shape().iter().map(|&n| n as i64).collect();
            (name.to_owned(), Tensor::from_data_size(view.data(), &shape, kind))
        });
        Self {
            tensors: tensors.collect(),
            parameters: about.get("parameters").map(|json| parameters(json)).unwrap_or_default(),
            config: about.get("config").map(|json| serde_json::from_str(json).unwrap()).unwrap_or_default(),
        }
    }

    pub fn get(&self, name: &str) -> &Tensor {
        &self.tensors[name]
    }

    /// The tensor `name`, all elements, as float64.
    pub fn f64s(&self, name: &str) -> Vec<f64> {
        Vec::try_from(self.get(name).to_kind(Kind::Double).flatten(0, -1)).unwrap()
    }
}

/// Reads names and shapes out of a JSON object, in its order.
pub fn parameters(json: &str) -> Vec<(String, Vec<i64>)> {
    struct Pairs;
    impl<'de> Visitor<'de> for Pairs {
        type Value = Vec<(String, Vec<i64>)>;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("names and shapes")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            std::iter::from_fn(|| map.next_entry().transpose()).collect()
        }
    }
    serde_json::Deserializer::from_str(json).deserialize_map(Pairs).unwrap()
}

/// Names and shapes of the network's trainable parameters.
pub fn shapes(store: &VarStore) -> BTreeMap<String, Vec<i64>> {
    store.variables().into_iter().filter(|(_, v)| v.requires_grad()).map(|(name, v)| (name, v.size())).collect()
}

/// Asserts that the network has exactly these parameters, and gives them the values of the rule.
pub fn fill(store: &VarStore, parameters: &[(String, Vec<i64>)]) {
    assert_eq!(shapes(store), parameters.iter().cloned().collect());
    fill_under(store, "");
}

/// Gives the parameters under `prefix` the values of the rule, by their names after it.
pub fn fill_under(store: &VarStore, prefix: &str) {
    for (name, mut variable) in store.variables() {
        if let (Some(name), true) = (name.strip_prefix(prefix), variable.requires_grad()) {
            let value = Tensor::from_slice(&rule(name, &variable.size())).reshape(variable.size());
            tch::no_grad(|| variable.copy_(&value));
        }
    }
}

/// Values of the parameter `name` by the rule: SplitMix64 from the name's FNV-1a hash, scaled by what the parameter is.
fn rule(name: &str, shape: &[i64]) -> Vec<f32> {
    let elements: i64 = shape.iter().product();
    let mut hasher = FnvHasher::default();
    hasher.write(name.as_bytes());
    let hash = hasher.finish();
    let value = |j: i64| {
        let mut x = hash.wrapping_add((j as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
        x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        x ^= x >> 31;
        let r = 2.0 * ((x >> 40) as f64 / (1u64 << 24) as f64) - 1.0;
        match shape.len() {
            _ if name == "quantize.embedding.weight" => r,
            1 if name.ends_with("weight") => 1.0 + 0.1 * r,
            1 => 0.1 * r,
            _ => r * (3.0 / (elements / shape[0]) as f64).sqrt(),
        }
    };
    (0..elements).map(|j| value(j) as f32).collect()
}

#[test]
fn the_rule_gives_the_stated_values() {
    let digits = |values: &[f32]| values.iter().map(|v| format!("{v:.8}")).collect::<Vec<_>>();
    assert_eq!(digits(&rule("conv.weight", &[2, 3, 1, 1])[..3]), ["-0.62226295", "0.32015979", "0.72823870"]);
    assert_eq!(digits(&rule("norm.weight", &[2])), ["0.95258951", "0.90538293"]);
}

/// The greatest difference over the greatest expected magnitude.
pub fn error(actual: &Tensor, expected: &Tensor) -> f64 {
    assert_eq!(actual.size(), expected.size());
    let difference = (actual.to_kind(Kind::Double) - expected.to_kind(Kind::Double)).abs().max();
    f64::try_from(difference / expected.to_kind(Kind::Double).abs().max()).unwrap()
}

/// Asserts agreement to 1e-4, and prints what it is (seen with `--nocapture`).
#[track_caller]
pub fn assert_agrees(what: &str, actual: &Tensor, expected: &Tensor) {
    let error = error(&actual.detach(), expected);
    println!("{what}: {error:.1e}");
    assert!(error < 1e-4, "{what} is off by {error:.1e} of its greatest value");
}

/// The same values with channels innermost in memory.
pub fn channels_last(x: &Tensor) -> Tensor {
    x.permute([0, 2, 3, 1]).contiguous().permute([0, 3, 1, 2])
}
