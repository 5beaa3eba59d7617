//! Writing files of weights.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use defusion_torch::host;
use tch::Tensor;

use super::error::WeightsError;
use super::types::is_weight;

/// Writes `tensors` (sorted by name, as contiguous little-endian data) and `metadata` to `path`, through a file beside
/// it that is renamed at the end: `path` is either whole or untouched.
///
/// # Errors
/// [`WeightsError::Type`] if a tensor's type is none of float64, float32, float16, bfloat16 and int64,
/// [`WeightsError::Torch`] if it cannot be copied to the host, [`WeightsError::Io`] if the file cannot be written.
pub fn write(
    path: &Path,
    tensors: &BTreeMap<String, Tensor>,
    metadata: &BTreeMap<String, String>,
) -> Result<(), WeightsError> {
    let mut part = path.as_os_str().to_owned();
    part.push(".part");
    let part = PathBuf::from(part);
    let result = write_to(&part, tensors, metadata)
        .and_then(|()| std::fs::rename(&part, path).map_err(|source| WeightsError::Io { path: path.into(), source }));
    if result.is_err() {
        // Best effort: the error that is already on its way says more than a failed clean-up.
        let _ = std::fs::remove_file(&part);
    }
    result
}

fn write_to(
    path: &Path,
    tensors: &BTreeMap<String, Tensor>,
    metadata: &BTreeMap<String, String>,
) -> Result<(), WeightsError> {
    let io = |source| WeightsError::Io { path: path.to_owned(), source };
    let mut header = serde_json::Map::new();
    header.insert("__metadata__".into(), serde_json::json!(metadata));
    let mut offset = 0;
    for (name, tensor) in tensors {
        let dtype = host::dtype(tensor.kind());
        let Some(dtype) = dtype.filter(|&dtype| is_weight(dtype)) else {
            let dtype = dtype.map_or_else(|| format!("{:?}", tensor.kind()), |dtype| format!("{dtype:?}"));
            return Err(WeightsError::Type { path: path.into(), name: name.clone(), dtype });
        };
        let end = offset + host::byte_len(tensor);
        let info = serde_json::json!({ "dtype": dtype, "shape": tensor.size(), "data_offsets": [offset, end] });
        header.insert(name.clone(), info);
        offset = end;
    }
    let header = serde_json::to_vec(&header).map_err(|e| io(e.into()))?;
    let mut file = std::io::BufWriter::new(std::fs::File::create(path).map_err(io)?);
    file.write_all(&host::frame(header)).map_err(io)?;
    for tensor in tensors.values() {
        let mut bytes = vec![0u8; host::byte_len(tensor)];
        host::copy_bytes(tensor, &mut bytes).map_err(|source| WeightsError::Torch { path: path.to_owned(), source })?;
        file.write_all(&bytes).map_err(io)?;
    }
    file.into_inner().map_err(|e| io(e.into_error()))?.sync_all().map_err(io)
}
