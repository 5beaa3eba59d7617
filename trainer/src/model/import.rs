//! Public weights, imported by the reference implementations' parameter names.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use safetensors::tensor::{Dtype, Metadata, SafeTensors};
use tch::nn::VarStore;
use tch::{Kind, Tensor};

/// Whose names a file of weights has, and what of it is not for us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reference {
    /// guided-diffusion's U-Net. A file with a learned variance head (6 rows in `out.2`) loads into a network without one:
    /// the first 3 rows are eps. The reverse is refused.
    Unet,
    /// taming-transformers' VQGAN; its losses (`loss.*`) are left out.
    Tokenizer,
    /// The discriminator out of a taming-transformers checkpoint (`loss.discriminator.*`), or alone (`main.*`).
    Discriminator,
}

/// Prefixes that training frameworks put before every name.
const WRAPPERS: [&str; 3] = ["state_dict.", "model.", "module."];

impl Reference {
    /// The network's name for the file's `key`; `None` where it is not part of the network.
    fn rename(self, key: &str) -> Option<&str> {
        let mut name = key;
        while let Some(inner) = WRAPPERS.iter().find_map(|wrapper| name.strip_prefix(wrapper)) {
            name = inner;
        }
        match self {
            Self::Unet => Some(name),
            Self::Tokenizer => (!name.starts_with("loss.")).then_some(name),
            // PyTorch's count of batches is not used with a fixed momentum.
            Self::Discriminator if name.ends_with(".num_batches_tracked") => None,
            Self::Discriminator => {
                name.strip_prefix("loss.discriminator.").or_else(|| name.starts_with("main.").then_some(name))
            }
        }
    }
}

/// Why weights were not imported. Nothing of the network has changed then, unless reading failed half-way.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The file cannot be read.
    #[error("cannot read weights {}: {source}", file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is no whole safetensors file.
    #[error("weights {} are no whole safetensors file: {reason}. Convert pickled checkpoints with \
             `safetensors.torch.save_file(state_dict, ...)`", file.display())]
    Format {
        /// The file.
        file: PathBuf,
        /// Why.
        reason: String,
    },
    /// Names or shapes are not the network's.
    #[error("weights {} do not fit the configured network:{mismatch}", file.display())]
    Mismatch {
        /// The file.
        file: PathBuf,
        /// All that does not fit.
        mismatch: Mismatch,
    },
}

/// All differences between a file of weights and a network.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Mismatch {
    /// Parameters that the file lacks.
    pub missing: Vec<String>,
    /// Keys of the file that the network lacks.
    pub unexpected: Vec<String>,
    /// Keys with their shape in the file and in the network.
    pub misshaped: Vec<(String, Vec<i64>, Vec<i64>)>,
}

impl Mismatch {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl std::fmt::Display for Mismatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        const SHOWN: usize = 12;
        let mut list = |title: &str, items: Vec<String>| {
            if items.is_empty() {
                return Ok(());
            }
            write!(f, "\n  {} {title}: {}", items.len(), items[..items.len().min(SHOWN)].join(", "))?;
            if items.len() > SHOWN { write!(f, ", ...") } else { Ok(()) }
        };
        list("missing", self.missing.clone())?;
        list("unexpected", self.unexpected.clone())?;
        let shape = |(key, file, net): &(String, Vec<i64>, Vec<i64>)| format!("{key} is {file:?}, not {net:?}");
        list("of another shape", self.misshaped.iter().map(shape).collect())
    }
}

/// Loads `file` into the variables of `store` under `prefix` (`"unet"`; empty for all), converting to their kind.
///
/// Names and shapes are all checked before anything is written. One tensor at a time is held in memory.
///
/// # Errors
/// See [`ImportError`]; a mismatch lists every missing, unexpected and mis-shaped key.
pub fn import(file: &Path, reference: Reference, store: &VarStore, prefix: &str) -> Result<(), ImportError> {
    let mut weights = Weights::open(file)?;
    let dot = if prefix.is_empty() { "" } else { "." };
    let start = format!("{prefix}{dot}");
    let mut variables: BTreeMap<String, Tensor> =
        store.variables().into_iter().filter_map(|(k, v)| Some((k.strip_prefix(&start)?.to_owned(), v))).collect();

    let mut mismatch = Mismatch::default();
    let mut plan = Vec::new();
    for key in weights.metadata.offset_keys() {
        let Some(name) = reference.rename(&key) else { continue };
        let Some(variable) = variables.remove(name) else {
            mismatch.unexpected.push(key);
            continue;
        };
        let shape = weights.shape(&key);
        if shape == variable.size() || (reference == Reference::Unet && is_variance_head(name, &shape, &variable)) {
            plan.push((key, variable));
        } else {
            mismatch.misshaped.push((key, shape, variable.size()));
        }
    }
    mismatch.missing = variables.into_keys().collect();
    if !mismatch.is_empty() {
        return Err(ImportError::Mismatch { file: file.to_owned(), mismatch });
    }
    for (key, mut variable) in plan {
        let value = weights.read(&key)?.narrow(0, 0, variable.size()[0]);
        tch::no_grad(|| variable.copy_(&value));
    }
    Ok(())
}

/// Whether the file's `out.2` has rows for the variance after the network's rows for eps.
fn is_variance_head(name: &str, shape: &[i64], variable: &Tensor) -> bool {
    let net = variable.size();
    matches!(name, "out.2.weight" | "out.2.bias")
        && shape.len() == net.len()
        && shape[0] == 2 * net[0]
        && shape[1..] == net[1..]
}

/// A safetensors file, read tensor by tensor.
struct Weights {
    path: PathBuf,
    file: File,
    metadata: Metadata,
    /// Where the tensors' bytes begin.
    data: u64,
}

impl Weights {
    fn open(path: &Path) -> Result<Self, ImportError> {
        let read = |source| ImportError::Read { file: path.to_owned(), source };
        let format = |reason: String| ImportError::Format { file: path.to_owned(), reason };
        let mut file = File::open(path).map_err(read)?;
        let length = file.metadata().map_err(read)?.len();
        let mut header = vec![0; 8];
        file.read_exact(&mut header).map_err(|_| format("it is shorter than 8 bytes".into()))?;
        let size = u64::from_le_bytes(header[..8].try_into().expect("8 bytes"));
        if size > length.saturating_sub(8) {
            return Err(format(format!("its header claims {size} bytes of {length}")));
        }
        header.resize(8 + size as usize, 0);
        file.read_exact(&mut header[8..]).map_err(read)?;
        let (_, metadata) = SafeTensors::read_metadata(&header).map_err(|e| format(e.to_string()))?;
        let data = 8 + size;
        if data + metadata.data_len() as u64 != length {
            return Err(format(format!(
                "it has {length} bytes, its header says {}",
                data + metadata.data_len() as u64
            )));
        }
        Ok(Self { path: path.to_owned(), file, metadata, data })
    }

    fn shape(&self, key: &str) -> Vec<i64> {
        self.metadata.info(key).map(|info| info.shape.iter().map(|&n| n as i64).collect()).unwrap_or_default()
    }

    fn read(&mut self, key: &str) -> Result<Tensor, ImportError> {
        let format = |reason: String| ImportError::Format { file: self.path.clone(), reason };
        let info = self.metadata.info(key).ok_or_else(|| format(format!("{key} vanished")))?;
        let kind = match info.dtype {
            Dtype::F64 => Kind::Double,
            Dtype::F32 => Kind::Float,
            Dtype::F16 => Kind::Half,
            Dtype::BF16 => Kind::BFloat16,
            other => return Err(format(format!("{key} is {other:?}, not floating-point"))),
        };
        let (from, to) = info.data_offsets;
        let mut bytes = vec![0; to - from];
        let read = |source| ImportError::Read { file: self.path.clone(), source };
        self.file.seek(SeekFrom::Start(self.data + from as u64)).map_err(read)?;
        self.file.read_exact(&mut bytes).map_err(read)?;
        let shape: Vec<i64> = info.shape.iter().map(|&n| n as i64).collect();
        Ok(Tensor::from_data_size(&bytes, &shape, kind))
    }
}
