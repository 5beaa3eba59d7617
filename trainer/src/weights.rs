//! Files of weights: safetensors in, safetensors out.
//!
//! Reading trusts nothing: sizes, names and shapes are checked before a network is touched. Writing streams one tensor
//! at a time and is deterministic (the `safetensors` crate's writer orders metadata by a random hash, and leaves files
//! that only their owner can read), so the same weights always give the same sha256.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use safetensors::tensor::{Dtype, Metadata};
use tch::{Kind, Tensor, nn};

/// What can be wrong with a file of weights. The text names the file and the tensor.
#[derive(Debug, thiserror::Error)]
pub enum WeightsError {
    /// The file cannot be read or written.
    #[error("weights {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is no safetensors file, or is cut short.
    #[error("weights {}: not a whole safetensors file: {reason}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// A tensor is missing.
    #[error("weights {}: no tensor `{name}` ({missing} are missing in all)", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
        /// The first missing tensor.
        name: String,
        /// How many are missing.
        missing: usize,
    },
    /// A tensor is there that the network has no place for.
    #[error("weights {}: tensor `{name}` has no place in the network ({unknown} such in all)", path.display())]
    Unknown {
        /// The file.
        path: PathBuf,
        /// The first such tensor.
        name: String,
        /// How many there are.
        unknown: usize,
    },
    /// A tensor has another shape than the network.
    #[error("weights {}: tensor `{name}` is {found:?} but the network needs {expected:?}", path.display())]
    Shape {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// Its shape.
        found: Vec<i64>,
        /// The network's.
        expected: Vec<i64>,
    },
    /// A tensor's type is not supported.
    #[error("weights {}: tensor `{name}` is {dtype:?}; expected a floating-point or int64 tensor", path.display())]
    Type {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// Its type.
        dtype: Dtype,
    },
    /// libtorch failed.
    #[error("weights {}: {source}", path.display())]
    Torch {
        /// The file.
        path: PathBuf,
        /// Why.
        source: tch::TchError,
    },
}

/// Longest header that is read, as in the `safetensors` crate.
const MAX_HEADER: u64 = 100_000_000;

/// An open safetensors file, read tensor by tensor.
#[derive(Debug)]
pub struct WeightsFile {
    path: PathBuf,
    file: File,
    /// Where the tensors' bytes begin.
    start: u64,
    header: Metadata,
}

impl WeightsFile {
    /// Opens `path` and checks its header: tensors lie side by side, have the size of their shapes, and fill the file.
    ///
    /// # Errors
    /// [`WeightsError`], which names the file.
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

    /// The file it was read from.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A value of the file's metadata.
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
    /// [`WeightsError`] where it is missing or of an unsupported type.
    pub fn tensor(&self, name: &str) -> Result<Tensor, WeightsError> {
        let path = || self.path.clone();
        let info = self.header.info(name).ok_or_else(|| WeightsError::Missing {
            path: path(),
            name: name.to_owned(),
            missing: 1,
        })?;
        let kind = match info.dtype {
            Dtype::F32 => Kind::Float,
            Dtype::F64 => Kind::Double,
            Dtype::F16 => Kind::Half,
            Dtype::BF16 => Kind::BFloat16,
            Dtype::I64 => Kind::Int64,
            dtype => return Err(WeightsError::Type { path: path(), name: name.to_owned(), dtype }),
        };
        let shape = self.shape(name);
        let (from, to) = info.data_offsets;
        let mut bytes = vec![0; to - from];
        self.file
            .read_exact_at(&mut bytes, self.start + from as u64)
            .map_err(|source| WeightsError::Io { path: path(), source })?;
        Tensor::f_from_data_size(&bytes, &shape, kind).map_err(|source| WeightsError::Torch { path: path(), source })
    }

    /// Fills every variable of `store` with the tensor of its name under `prefix` (such as `unet.`), converted to the
    /// variable's type. Nothing is written before every name and shape has been found to fit.
    ///
    /// # Errors
    /// [`WeightsError`] where a tensor is missing, has another shape, or (with that prefix) has no place.
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
            tch::no_grad(|| variable.f_copy_(&tensor)).map_err(|source| WeightsError::Torch { path: path(), source })
        })
    }

    /// The shape of tensor `name`; empty where there is none.
    pub fn shape(&self, name: &str) -> Vec<i64> {
        self.header.info(name).map(|info| info.shape.iter().map(|&n| n as i64).collect()).unwrap_or_default()
    }
}

/// Writes `tensors` (sorted by name, as contiguous little-endian data) and `metadata` to `path`, through a file beside
/// it that is renamed at the end: `path` is either whole or untouched.
///
/// # Errors
/// [`WeightsError`], which names the file.
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
    let torch = |source| WeightsError::Torch { path: path.to_owned(), source };
    let mut header = serde_json::Map::new();
    header.insert("__metadata__".into(), serde_json::json!(metadata));
    let mut offset = 0;
    for (name, tensor) in tensors {
        let dtype = match tensor.kind() {
            Kind::Float => Dtype::F32,
            Kind::Double => Dtype::F64,
            Kind::Half => Dtype::F16,
            Kind::BFloat16 => Dtype::BF16,
            Kind::Int64 => Dtype::I64,
            _ => return Err(WeightsError::Type { path: path.into(), name: name.clone(), dtype: Dtype::BOOL }),
        };
        let end = offset + tensor.numel() * tensor.kind().elt_size_in_bytes();
        let info = serde_json::json!({ "dtype": dtype, "shape": tensor.size(), "data_offsets": [offset, end] });
        header.insert(name.clone(), info);
        offset = end;
    }
    let mut header = serde_json::to_vec(&header).map_err(|e| io(e.into()))?;
    header.resize(header.len().next_multiple_of(8), b' ');
    let mut file = std::io::BufWriter::new(std::fs::File::create(path).map_err(io)?);
    file.write_all(&(header.len() as u64).to_le_bytes()).and_then(|()| file.write_all(&header)).map_err(io)?;
    for tensor in tensors.values() {
        let tensor = tensor.f_to_device(tch::Device::Cpu).and_then(|t| t.f_contiguous()).map_err(torch)?;
        let mut bytes = vec![0u8; tensor.numel() * tensor.kind().elt_size_in_bytes()];
        tensor.f_copy_data_u8(&mut bytes, tensor.numel()).map_err(torch)?;
        file.write_all(&bytes).map_err(io)?;
    }
    file.into_inner().map_err(|e| io(e.into_error()))?.sync_all().map_err(io)
}
