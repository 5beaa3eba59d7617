//! A rank's share of a group as one safetensors file.

use bytes::Bytes;
use defusion_torch::host::{self, HostError, byte_len, copy_bytes, frame};
use safetensors::tensor::{Metadata, SafeTensors, TensorInfo};
use tch::Tensor;

use crate::pool::Pool;

/// A tensor that cannot be stored.
#[derive(Debug, thiserror::Error)]
#[error("`{tensor}`: {message}")]
pub(crate) struct EncodeError {
    pub tensor: String,
    pub message: String,
}

/// A file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DecodeError {
    #[error(transparent)]
    Format(#[from] safetensors::SafeTensorError),
    #[error(transparent)]
    Tensor(#[from] HostError),
}

/// Writes tensors, from any device and in any memory format, as one safetensors file into a buffer of `pool`. The order
/// in the file is safetensors' own: by alignment, then by name.
///
/// # Errors
/// [`EncodeError`] naming a tensor that is undefined or of a type that no file holds.
pub(crate) fn encode(tensors: &[(&str, &Tensor)], pool: &Pool) -> Result<Bytes, EncodeError> {
    let error = |tensor: &str, message: String| EncodeError { tensor: tensor.to_owned(), message };
    let mut entries = Vec::with_capacity(tensors.len());
    for &(name, tensor) in tensors {
        if !tensor.defined() {
            return Err(error(name, "the tensor is undefined".into()));
        }
        let dtype = host::dtype(tensor.kind());
        let dtype = dtype.ok_or_else(|| error(name, format!("{:?} cannot be stored", tensor.kind())))?;
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
    let first = entries.first().map_or("", |entry| entry.0);
    let metadata = Metadata::new(None, infos).map_err(|e| error(first, e.to_string()))?;
    let header = frame(serde_json::to_vec(&metadata).map_err(|e| error(first, e.to_string()))?);

    let mut buffer = pool.take(header.len() + offset);
    let (head, mut data) = buffer.bytes_mut().split_at_mut(header.len());
    head.copy_from_slice(&header);
    for (name, tensor, _) in entries {
        let (place, rest) = data.split_at_mut(byte_len(tensor));
        copy_bytes(tensor, place).map_err(|e| error(name, e.to_string()))?;
        data = rest;
    }
    Ok(buffer.freeze())
}

/// Reads a safetensors file; the tensors are copies on the CPU.
///
/// # Errors
/// [`DecodeError`] for bytes that are no such file, or a tensor that cannot be used.
pub(crate) fn decode(file: &[u8]) -> Result<Vec<(String, Tensor)>, DecodeError> {
    let tensors = SafeTensors::deserialize(file)?;
    let decode = |(name, view): (&str, safetensors::tensor::TensorView<'_>)| {
        Ok((name.to_owned(), host::tensor(name, view.dtype(), view.shape(), view.data())?))
    };
    tensors.iter().map(decode).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::{Device, Kind};

    #[test]
    fn every_kind_and_layout_comes_back_bit_for_bit() {
        let base = Tensor::from_slice(&[0.1f64, -0.0, f64::NAN, f64::INFINITY, 1e-310, 7.9]).reshape([1, 3, 2, 1]);
        let pool = Pool::default();
        let mut tensors: Vec<(String, Tensor)> = host::KINDS
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
        let error = encode(&[("w", &tensor)], &Pool::default()).unwrap_err();
        assert_eq!(error.tensor, "w");
        assert!(error.message.contains("ComplexFloat"), "{error}");
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
