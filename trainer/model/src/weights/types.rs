//! The types of tensors that a file of weights may hold.

use safetensors::tensor::Dtype;

/// Returns whether a file of weights may hold tensors of `dtype`: floating point, and int64 for the counters among
/// buffers.
pub(super) fn is_weight(dtype: Dtype) -> bool {
    matches!(dtype, Dtype::F32 | Dtype::F64 | Dtype::F16 | Dtype::BF16 | Dtype::I64)
}
