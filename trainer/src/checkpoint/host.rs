//! Host memory for snapshots: buffers that are used again, and tensors written into them as safetensors.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use safetensors::Dtype;
use safetensors::tensor::{Metadata, SafeTensors, TensorInfo};
use tch::{Kind, Tensor};

/// Buffers that come back when the upload that holds them is done. A snapshot is as large as the last one, so after the
/// first no memory is allocated or given back to the kernel.
#[derive(Clone, Default)]
pub(super) struct Pool {
    free: Arc<Mutex<Vec<Vec<u8>>>>,
}

struct Pooled {
    data: Vec<u8>,
    len: usize,
    pool: Pool,
}

impl Pool {
    fn free(&self) -> std::sync::MutexGuard<'_, Vec<Vec<u8>>> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A buffer of `len` bytes of any content: the smallest free one that is large enough. Where none is, a free one
    /// is dropped for the new one, so that a change of sizes does not make the pool grow.
    fn take(&self, len: usize) -> Pooled {
        let mut free = self.free();
        let fit = (0..free.len()).filter(|&i| free[i].len() >= len).min_by_key(|&i| free[i].len());
        let data = match fit {
            Some(i) => free.swap_remove(i),
            None => {
                free.pop();
                drop(free);
                vec![0; len]
            }
        };
        Pooled { data, len, pool: self.clone() }
    }
}

impl AsRef<[u8]> for Pooled {
    fn as_ref(&self) -> &[u8] {
        &self.data[..self.len]
    }
}

impl Drop for Pooled {
    fn drop(&mut self) {
        self.pool.free().push(std::mem::take(&mut self.data));
    }
}

/// How safetensors calls what tch calls `kind`; `None` for kinds that no checkpoint holds.
fn dtype(kind: Kind) -> Option<Dtype> {
    KINDS.iter().find(|(k, _)| *k == kind).map(|(_, d)| *d)
}

const KINDS: [(Kind, Dtype); 10] = [
    (Kind::Float, Dtype::F32),
    (Kind::Double, Dtype::F64),
    (Kind::Half, Dtype::F16),
    (Kind::BFloat16, Dtype::BF16),
    (Kind::Int64, Dtype::I64),
    (Kind::Int, Dtype::I32),
    (Kind::Int16, Dtype::I16),
    (Kind::Int8, Dtype::I8),
    (Kind::Uint8, Dtype::U8),
    (Kind::Bool, Dtype::BOOL),
];

/// Bytes of a tensor's elements.
pub(super) fn byte_len(tensor: &Tensor) -> usize {
    tensor.numel() * tensor.kind().elt_size_in_bytes()
}

/// Writes tensors, from any device and in any memory format, as one safetensors file into a buffer of `pool`. The order
/// in the file is safetensors' own: by alignment, then by name.
///
/// # Errors
/// (tensor, why) for one that cannot be stored.
pub(super) fn encode(tensors: &[(&str, &Tensor)], pool: &Pool) -> Result<Bytes, (String, String)> {
    let mut entries = Vec::with_capacity(tensors.len());
    for &(name, tensor) in tensors {
        if !tensor.defined() {
            return Err((name.to_owned(), "the tensor is undefined".into()));
        }
        let dtype =
            dtype(tensor.kind()).ok_or_else(|| (name.to_owned(), format!("{:?} cannot be stored", tensor.kind())))?;
        entries.push((name, tensor, dtype));
    }
    entries.sort_by(|(a, _, da), (b, _, db)| db.cmp(da).then_with(|| a.cmp(b)));
    let mut offset = 0;
    let infos = entries
        .iter()
        .map(|&(name, tensor, dtype)| {
            let start = offset;
            offset += byte_len(tensor);
            let shape = tensor.size().iter().map(|&n| n as usize).collect();
            (name.to_owned(), TensorInfo { dtype, shape, data_offsets: (start, offset) })
        })
        .collect();
    let header = |e: String| (entries.first().map_or_else(String::new, |e| e.0.to_owned()), e);
    let metadata = Metadata::new(None, infos).map_err(|e| header(e.to_string()))?;
    let mut json = serde_json::to_vec(&metadata).map_err(|e| header(e.to_string()))?;
    json.resize(json.len().next_multiple_of(8), b' ');

    let mut buffer = pool.take(8 + json.len() + offset);
    let len = buffer.len;
    let (head, mut data) = buffer.data[..len].split_at_mut(8 + json.len());
    head[..8].copy_from_slice(&(json.len() as u64).to_le_bytes());
    head[8..].copy_from_slice(&json);
    for (name, tensor, _) in entries {
        let (place, rest) = data.split_at_mut(byte_len(tensor));
        tensor.f_copy_data_u8(place, tensor.numel()).map_err(|e| (name.to_owned(), e.to_string()))?;
        data = rest;
    }
    Ok(Bytes::from_owner(buffer))
}

/// Reads a safetensors file; the tensors are copies on the CPU.
///
/// # Errors
/// Why the file cannot be used.
pub(super) fn decode(file: &[u8]) -> Result<Vec<(String, Tensor)>, String> {
    let tensors = SafeTensors::deserialize(file).map_err(|e| e.to_string())?;
    let decode_one = |(name, view): (&str, safetensors::tensor::TensorView<'_>)| {
        let kind = KINDS.iter().find(|(_, d)| *d == view.dtype()).map(|(k, _)| *k);
        let kind = kind.ok_or_else(|| format!("tensor `{name}` has dtype {}, which is not supported", view.dtype()))?;
        if kind == Kind::Bool && view.data().iter().any(|&b| b > 1) {
            return Err(format!("tensor `{name}` is boolean and holds bytes other than 0 and 1"));
        }
        let shape: Result<Vec<i64>, _> = view.shape().iter().map(|&n| i64::try_from(n)).collect();
        let shape = shape.map_err(|_| format!("tensor `{name}` has an impossible shape {:?}", view.shape()))?;
        let tensor = Tensor::f_from_data_size(view.data(), &shape, kind).map_err(|e| format!("`{name}`: {e}"))?;
        Ok((name.to_owned(), tensor))
    };
    tensors.iter().map(decode_one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::Device;

    #[test]
    fn every_kind_and_layout_comes_back_bit_for_bit() {
        let base = Tensor::from_slice(&[0.1f64, -0.0, f64::NAN, f64::INFINITY, 1e-310, 7.9]).reshape([1, 3, 2, 1]);
        let pool = Pool::default();
        let mut tensors: Vec<(String, Tensor)> = KINDS
            .iter()
            .map(|(kind, _)| (format!("{kind:?}"), base.nan_to_num(Some(3.), 9., 9.).to_kind(*kind)))
            .collect();
        tensors.push(("nan".into(), base.shallow_clone()));
        tensors.push(("scalar".into(), Tensor::from(42i64)));
        tensors.push(("empty".into(), Tensor::zeros([0, 5], (Kind::Float, Device::Cpu))));
        tensors.push(("strided".into(), base.transpose(1, 2)));
        let views: Vec<(&str, &Tensor)> = tensors.iter().map(|(n, t)| (n.as_str(), t)).collect();
        let file = encode(&views, &pool).unwrap();
        let decoded = decode(&file).unwrap();
        assert_eq!(decoded.len(), tensors.len());
        for (name, got) in decoded {
            let want = &tensors.iter().find(|(n, _)| *n == name).unwrap().1;
            assert_eq!((got.size(), got.kind()), (want.size(), want.kind()), "{name}");
            let bytes = |t: &Tensor| {
                let mut bytes = vec![0u8; byte_len(t)];
                t.copy_data_u8(&mut bytes, t.numel());
                bytes
            };
            assert_eq!(bytes(&got), bytes(want), "{name}");
        }
    }

    #[test]
    fn buffers_are_used_again() {
        let pool = Pool::default();
        let tensor = Tensor::zeros([1000], (Kind::Float, Device::Cpu));
        let first = encode(&[("a", &tensor)], &pool).unwrap();
        let place = first.as_ptr();
        drop(first);
        let second = encode(&[("b", &tensor.slice(0, 0, 900, 1))], &pool).unwrap();
        assert_eq!(second.as_ptr(), place);
        assert_eq!(decode(&second).unwrap()[0].1.size(), [900]);
    }

    #[test]
    fn kinds_without_a_dtype_are_named() {
        let tensor = Tensor::zeros([2], (Kind::ComplexFloat, Device::Cpu));
        let (name, why) = encode(&[("w", &tensor)], &Pool::default()).unwrap_err();
        assert_eq!(name, "w");
        assert!(why.contains("ComplexFloat"), "{why}");
    }

    #[test]
    fn bad_files_are_refused() {
        let file =
            |header: &str, data: &[u8]| [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), data].concat();
        let bad = [
            file(r#"{"w":{"dtype":"F8_E4M3","shape":[1],"data_offsets":[0,1]}}"#, &[0]),
            file(r#"{"w":{"dtype":"BOOL","shape":[1],"data_offsets":[0,1]}}"#, &[2]),
            file(r#"{"w":{"dtype":"F32","shape":[1000000],"data_offsets":[0,4]}}"#, &[0; 4]),
            file(r#"{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#, &[0; 3]),
            vec![255; 16],
            Vec::new(),
        ];
        for file in bad {
            decode(&file).unwrap_err();
        }
    }
}
