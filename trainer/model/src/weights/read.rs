//! Reading files of weights.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use defusion_torch::host;
use safetensors::tensor::Metadata;
use tch::{Tensor, nn};

use super::error::WeightsError;
use super::types::is_weight;

/// Longest header that is read, as in the `safetensors` crate.
const MAX_HEADER: u64 = 100_000_000;

/// An open safetensors file, read tensor by tensor.
///
/// Nothing in it is trusted: sizes, names and shapes are checked before a network is touched.
#[derive(Debug)]
pub struct WeightsFile {
    path: PathBuf,
    file: File,
    /// Offset of the tensors' bytes in the file.
    start: u64,
    header: Metadata,
}

impl WeightsFile {
    /// Opens `path` and checks its header: tensors lie side by side, have the size of their shapes, and fill the file.
    ///
    /// # Errors
    /// [`WeightsError::Io`] if the file cannot be read, [`WeightsError::Format`] if its header is not that of a whole
    /// safetensors file.
    pub fn open(path: &Path) -> Result<Self, WeightsError> {
        let io = |source| WeightsError::Io { path: path.to_owned(), source };
        let format = |reason: String| WeightsError::Format { path: path.to_owned(), reason };
        let file = File::open(path).map_err(io)?;
        let length = file.metadata().map_err(io)?.len();
        if length < 8 {
            return Err(format(format!("it has {length} bytes")));
        }
        let mut size = [0; 8];
        file.read_exact_at(&mut size, 0).map_err(io)?;
        let size = u64::from_le_bytes(size);
        if size > MAX_HEADER.min(length - 8) {
            return Err(format(format!("its header claims {size} of {length} bytes")));
        }
        let mut header = vec![0; size as usize];
        file.read_exact_at(&mut header, 8).map_err(io)?;
        let header: Metadata = serde_json::from_slice(&header).map_err(|e| format(e.to_string()))?;
        let expected = 8 + size + header.data_len() as u64;
        if expected != length {
            return Err(format(format!("it has {length} bytes, its header says {expected}")));
        }
        Ok(Self { path: path.to_owned(), file, start: 8 + size, header })
    }

    /// The path that it was opened at.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The value of `key` in the file's metadata.
    pub fn metadata(&self, key: &str) -> Option<&str> {
        self.header.metadata().as_ref()?.get(key).map(String::as_str)
    }

    /// Names of all tensors, in file order.
    pub fn names(&self) -> Vec<String> {
        self.header.offset_keys()
    }

    /// Tensor `name`, on the CPU, in its stored type.
    ///
    /// # Errors
    /// [`WeightsError::Missing`] if there is none, [`WeightsError::Type`] if its type is none of float64, float32,
    /// float16, bfloat16 and int64, [`WeightsError::Io`] if it cannot be read, [`WeightsError::Tensor`] if its bytes
    /// make none.
    pub fn tensor(&self, name: &str) -> Result<Tensor, WeightsError> {
        let path = || self.path.clone();
        let info = self.header.info(name).ok_or_else(|| WeightsError::Missing {
            path: path(),
            name: name.to_owned(),
            missing: 1,
        })?;
        if !is_weight(info.dtype) {
            return Err(WeightsError::Type { path: path(), name: name.to_owned(), dtype: format!("{:?}", info.dtype) });
        }
        let (from, to) = info.data_offsets;
        let mut bytes = vec![0; to - from];
        self.file
            .read_exact_at(&mut bytes, self.start + from as u64)
            .map_err(|source| WeightsError::Io { path: path(), source })?;
        host::tensor(name, info.dtype, &info.shape, &bytes)
            .map_err(|source| WeightsError::Tensor { path: path(), source })
    }

    /// Fills every variable of `store` with the tensor of its name under `prefix` (such as `unet.`), converted to the
    /// variable's type. Nothing is written before every name and shape has been found to fit.
    ///
    /// # Errors
    /// [`WeightsError::Missing`], [`WeightsError::Unknown`] (of those with that prefix) or [`WeightsError::Shape`] if
    /// names or shapes differ; as [`WeightsFile::tensor`] and [`WeightsError::Torch`] if a tensor cannot be read or
    /// copied.
    pub fn fill(&self, store: &nn::VarStore, prefix: &str) -> Result<(), WeightsError> {
        let variables: BTreeMap<String, Tensor> =
            store.variables().into_iter().map(|(name, tensor)| (format!("{prefix}{name}"), tensor)).collect();
        let path = || self.path.clone();
        let missing: Vec<&String> = variables.keys().filter(|name| self.header.info(name).is_none()).collect();
        if let Some(&name) = missing.first() {
            return Err(WeightsError::Missing { path: path(), name: name.clone(), missing: missing.len() });
        }
        let mut unknown = self.names();
        unknown.retain(|name| name.starts_with(prefix) && !variables.contains_key(name));
        if let Some(name) = unknown.first() {
            return Err(WeightsError::Unknown { path: path(), name: name.clone(), unknown: unknown.len() });
        }
        for (name, variable) in &variables {
            let (found, expected) = (self.shape(name), variable.size());
            if found != expected {
                return Err(WeightsError::Shape { path: path(), name: name.clone(), found, expected });
            }
        }
        variables.into_iter().try_for_each(|(name, mut variable)| {
            let tensor = self.tensor(&name)?;
            tch::no_grad(|| variable.f_copy_(&tensor))
                .map_err(|e| WeightsError::Torch { path: path(), source: e.into() })
        })
    }

    /// The shape of tensor `name`; empty if there is none.
    pub fn shape(&self, name: &str) -> Vec<i64> {
        self.header.info(name).map(|info| info.shape.iter().map(|&n| n as i64).collect()).unwrap_or_default()
    }
}
