//! Public weights, imported by the reference implementations' parameter names; and what `defusion export` wrote, whole.
//!
//! Published checkpoints are pickles; convert them once with `safetensors.torch.save_file(state_dict, ...)`. What
//! training frameworks put before every name (`state_dict.`, `model.`, `module.`) may stay.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use defusion_config::protocol::EXIT_USAGE;
use tch::Tensor;
use tch::nn::VarStore;

use crate::weights::{WeightsError, WeightsFile};

/// What stands before the tokenizer's names in an exported file.
const TOKENIZER: &str = "tokenizer.";

/// An import that was refused. The networks are unchanged then, unless the file failed while it was read.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The file cannot be read.
    #[error(transparent)]
    File(#[from] WeightsError),
    /// Names or shapes are not the network's.
    #[error("weights {} do not fit the configured {network}:{mismatch}", file.display())]
    Mismatch {
        /// The file.
        file: PathBuf,
        /// The network that the file was to be imported into.
        network: &'static str,
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

impl ImportError {
    /// Returns whether the same file can serve later. It cannot: a person names another, or changes the networks.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::File(source) => source.is_transient(),
            Self::Mismatch { .. } => false,
        }
    }

    /// Returns the exit code that tells the launcher not to start again.
    pub fn exit_code(&self) -> i32 {
        match self {
            Self::File(source) => source.exit_code(),
            Self::Mismatch { .. } => EXIT_USAGE,
        }
    }
}

impl std::fmt::Display for Mismatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        const SHOWN: usize = 12;
        let shape = |(key, file, net): &(String, Vec<i64>, Vec<i64>)| format!("{key} is {file:?}, not {net:?}");
        let misshaped: Vec<String> = self.misshaped.iter().map(shape).collect();
        for (title, items) in
            [("missing", &self.missing), ("unexpected", &self.unexpected), ("of another shape", &misshaped)]
        {
            if !items.is_empty() {
                let more = if items.len() > SHOWN { ", ..." } else { "" };
                write!(f, "\n  {} {title}: {}{more}", items.len(), items[..items.len().min(SHOWN)].join(", "))?;
            }
        }
        Ok(())
    }
}

/// Imports into a [`DefusionUnet`](crate::networks::defusion::DefusionUnet) registered at the root of `store`.
///
/// Of an exported file the U-Net, the bridge and the adapter are taken; of any other file guided-diffusion's U-Net, and
/// the rest of the network stays as it is.
///
/// A file with a learned variance head (6 rows in `out.2`) loads into a network without one (3 rows): the first half is
/// eps. The reverse is refused.
///
/// # Errors
/// [`ImportError::File`] if the file cannot be read; [`ImportError::Mismatch`], which lists every missing, unexpected
/// and mis-shaped key, if it is not the network's.
pub fn unet(store: &VarStore, file: impl AsRef<Path>) -> Result<(), ImportError> {
    let file = WeightsFile::open(file.as_ref())?;
    copy(&file, pair_unet(&file, store.variables(), |variable| variable.size())?)
}

/// Makes sure that [`unet`] can import `file` into a network with parameters of these names and shapes, without building it.
///
/// # Errors
/// Those of [`unet`].
pub fn check_unet(
    parameters: impl IntoIterator<Item = (String, Vec<u64>)>,
    file: impl AsRef<Path>,
) -> Result<(), ImportError> {
    let file = WeightsFile::open(file.as_ref())?;
    // No dimension of a network comes near the largest i64.
    let shape = |shape: &Vec<u64>| shape.iter().map(|n| i64::try_from(*n).unwrap_or(i64::MAX)).collect();
    pair_unet(&file, parameters, shape).map(|_| ())
}

fn pair_unet<V>(
    file: &WeightsFile,
    variables: impl IntoIterator<Item = (String, V)>,
    shape: impl Fn(&V) -> Vec<i64>,
) -> Result<Vec<(String, V)>, ImportError> {
    match is_export(file) {
        true => pair(file, "U-Net, bridge and adapter", under("", variables), shape, |key| {
            Some(key).filter(|key| !key.starts_with(TOKENIZER))
        }),
        false => pair(file, "U-Net", under("unet.", variables), shape, |key| Some(unwrapped(key))),
    }
}

/// Imports taming-transformers' VQGAN, or the tokenizer of an exported file, into a
/// [`Tokenizer`](crate::networks::tokenizer::Tokenizer) registered at the root of `store` and, if both the file and the
/// caller have one, into its discriminator.
///
/// Returns whether the discriminator came with it. The other parts of the losses (`loss.*`) are left out.
///
/// # Errors
/// [`ImportError::File`] if the file cannot be read; [`ImportError::Mismatch`], which lists every missing, unexpected
/// and mis-shaped key, if it is not the networks'. Then neither network has changed.
pub fn tokenizer(
    store: &VarStore,
    discriminator: Option<&VarStore>,
    file: impl AsRef<Path>,
) -> Result<bool, ImportError> {
    let file = WeightsFile::open(file.as_ref())?;
    let name = if is_export(&file) { exported_name } else { autoencoder_name };
    let size = |variable: &Tensor| variable.size();
    let autoencoder = pair(&file, "tokenizer", under("", store.variables()), size, name)?;
    let in_file = file.names().iter().any(|key| discriminator_name(key).is_some());
    let discriminator = discriminator
        .filter(|_| in_file)
        .map(|store| pair(&file, "discriminator", under("", store.variables()), size, discriminator_name))
        .transpose()?;
    copy(&file, autoencoder)?;
    let imported = discriminator.is_some();
    discriminator.map_or(Ok(()), |pairs| copy(&file, pairs))?;
    Ok(imported)
}

/// Returns whether `defusion export` wrote the file with all its networks.
fn is_export(file: &WeightsFile) -> bool {
    file.names().iter().any(|key| key.starts_with("unet.")) && file.names().iter().any(|key| key.starts_with(TOKENIZER))
}

fn exported_name(key: &str) -> Option<&str> {
    key.strip_prefix(TOKENIZER)
}

fn autoencoder_name(key: &str) -> Option<&str> {
    Some(unwrapped(key)).filter(|name| !name.starts_with("loss."))
}

fn discriminator_name(key: &str) -> Option<&str> {
    // PyTorch's count of batches has no use if the momentum is fixed.
    unwrapped(key).strip_prefix("loss.discriminator.").filter(|name| !name.ends_with("num_batches_tracked"))
}

/// Returns `key` without what training frameworks put before it.
fn unwrapped(key: &str) -> &str {
    let inner = ["state_dict.", "model.", "module."].iter().find_map(|wrapper| key.strip_prefix(wrapper));
    inner.map_or(key, unwrapped)
}

/// Returns those variables whose names begin with `prefix`, without it.
fn under<V>(prefix: &str, variables: impl IntoIterator<Item = (String, V)>) -> BTreeMap<String, V> {
    variables
        .into_iter()
        .filter_map(|(name, variable)| Some((name.strip_prefix(prefix)?.to_owned(), variable)))
        .collect()
}

/// Pairs a file's keys with the variables that they go to, if all fit. `name` gives a key's name in the network, or none if
/// the key is not meant for it.
fn pair<V>(
    file: &WeightsFile,
    network: &'static str,
    mut variables: BTreeMap<String, V>,
    shape: impl Fn(&V) -> Vec<i64>,
    name: impl Fn(&str) -> Option<&str>,
) -> Result<Vec<(String, V)>, ImportError> {
    let mut mismatch = Mismatch::default();
    let mut pairs = Vec::new();
    for key in file.names() {
        let Some(name) = name(&key) else { continue };
        let Some(variable) = variables.remove(name) else {
            mismatch.unexpected.push(key);
            continue;
        };
        let (found, expected) = (file.shape(&key), shape(&variable));
        if found == expected || is_variance_head(name, &found, &expected) {
            pairs.push((key, variable));
        } else {
            mismatch.misshaped.push((key, found, expected));
        }
    }
    mismatch.missing = variables.into_keys().collect();
    match mismatch == Mismatch::default() {
        true => Ok(pairs),
        false => Err(ImportError::Mismatch { file: file.path().to_owned(), network, mismatch }),
    }
}

/// Copies one tensor at a time, converted to its variable's type.
fn copy(file: &WeightsFile, pairs: Vec<(String, Tensor)>) -> Result<(), ImportError> {
    pairs.into_iter().try_for_each(|(key, mut variable)| {
        let value = file.tensor(&key)?;
        let copied = tch::no_grad(|| variable.f_copy_(&value.f_narrow(0, 0, variable.size()[0])?));
        copied.map_err(|e| WeightsError::Torch { path: file.path().to_owned(), source: e.into() })?;
        Ok(())
    })
}

/// Returns whether the file's last layer has as many rows for the variance as the network has for eps.
fn is_variance_head(name: &str, found: &[i64], expected: &[i64]) -> bool {
    matches!(name, "out.2.weight" | "out.2.bias")
        && found.len() == expected.len()
        && found[0] == 2 * expected[0]
        && found[1..] == expected[1..]
}
