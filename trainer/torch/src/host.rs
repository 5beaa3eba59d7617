//! Tensors as bytes in host memory, as safetensors files hold them: the types that can be stored, and the frame around
//! a file's header. Checkpoints and files of weights both stand on it.

use safetensors::Dtype;
use tch::{Kind, Tensor};

use crate::TorchError;

/// The element types that can be stored, and what safetensors calls them.
pub const KINDS: [(Kind, Dtype); 10] = [
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

/// Bytes of a file that make no tensor. The text names the tensor.
#[derive(Clone, Debug, thiserror::Error)]
pub enum HostError {
    /// The type is none of [`KINDS`].
    #[error("tensor `{name}` has dtype {dtype}, which is not supported")]
    Type {
        /// The tensor.
        name: String,
        /// Its type in the file.
        dtype: Dtype,
    },
    /// A boolean tensor holds bytes other than 0 and 1.
    #[error("tensor `{name}` is boolean and holds bytes other than 0 and 1")]
    Bool {
        /// The tensor.
        name: String,
    },
    /// The shape does not fit the bytes, or is larger than libtorch can count.
    #[error("tensor `{name}` has an impossible shape {shape:?}")]
    Shape {
        /// The tensor.
        name: String,
        /// Its shape in the file.
        shape: Vec<usize>,
    },
    /// libtorch refused to make the tensor.
    #[error("tensor `{name}`: {source}")]
    Torch {
        /// The tensor.
        name: String,
        /// libtorch's reason.
        source: TorchError,
    },
}

impl HostError {
    /// Returns whether the same bytes can be read later; they cannot.
    pub fn is_transient(&self) -> bool {
        false
    }
}

/// What safetensors calls `kind`; `None` for types that no file holds.
pub fn dtype(kind: Kind) -> Option<Dtype> {
    KINDS.iter().find(|(k, _)| *k == kind).map(|(_, d)| *d)
}

/// What libtorch calls `dtype`; `None` for types that no file of ours holds.
pub fn kind(dtype: Dtype) -> Option<Kind> {
    KINDS.iter().find(|(_, d)| *d == dtype).map(|(k, _)| *k)
}

/// Bytes of a tensor's elements.
pub fn byte_len(tensor: &Tensor) -> usize {
    tensor.numel() * tensor.kind().elt_size_in_bytes()
}

/// The head of a safetensors file around its JSON header: the header's length as eight little-endian bytes, and the
/// header, padded with spaces so that the data begin at a multiple of eight.
pub fn frame(mut json: Vec<u8>) -> Vec<u8> {
    json.resize(json.len().next_multiple_of(8), b' ');
    [&(json.len() as u64).to_le_bytes()[..], &json].concat()
}

/// Copies a tensor's elements, from any device and in any memory format, into `place`, which has [`byte_len`] bytes, in
/// the order of a contiguous tensor.
///
/// # Errors
/// [`TorchError`] if the copy fails or `place` is too short.
pub fn copy_bytes(tensor: &Tensor, place: &mut [u8]) -> Result<(), TorchError> {
    Ok(tensor.f_copy_data_u8(place, tensor.numel())?)
}

/// Makes a tensor on the CPU out of a copy of `bytes`. `name` is for messages.
///
/// # Errors
/// [`HostError`], naming the tensor, for a type that is not supported, a shape that does not fit the bytes, or a boolean
/// that is neither 0 nor 1.
pub fn tensor(name: &str, dtype: Dtype, shape: &[usize], bytes: &[u8]) -> Result<Tensor, HostError> {
    let kind = kind(dtype).ok_or_else(|| HostError::Type { name: name.to_owned(), dtype })?;
    if kind == Kind::Bool && bytes.iter().any(|&b| b > 1) {
        return Err(HostError::Bool { name: name.to_owned() });
    }
    let impossible = || HostError::Shape { name: name.to_owned(), shape: shape.to_owned() };
    let size: Vec<i64> = shape.iter().map(|&n| i64::try_from(n)).collect::<Result<_, _>>().map_err(|_| impossible())?;
    let elements = shape.iter().try_fold(1usize, |n, &m| n.checked_mul(m)).ok_or_else(impossible)?;
    if elements.checked_mul(kind.elt_size_in_bytes()) != Some(bytes.len()) {
        return Err(impossible());
    }
    Tensor::f_from_data_size(bytes, &size, kind)
        .map_err(|e| HostError::Torch { name: name.to_owned(), source: e.into() })
}
