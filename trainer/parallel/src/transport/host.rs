//! The memory of CPU tensors, which MPI reads and writes in place.

use defusion_torch::TorchError;
use tch::{Device, Kind, Tensor};

/// The elements of a tensor of one of the kinds that can be reduced.
pub(super) enum Elements<'a> {
    F32(&'a mut [f32]),
    F64(&'a mut [f64]),
    I64(&'a mut [i64]),
    /// Bit patterns.
    Bf16(&'a mut [u16]),
}

/// Returns the elements of a contiguous CPU tensor, in place.
///
/// # Errors
/// The tensor is not on the CPU, not contiguous, or of a kind that cannot be reduced.
///
/// # Safety
/// Other handles to the same storage exist as a rule (a bucket, and the `.grad` views into it). Nobody but the caller
/// touches the elements while the slice lives.
pub(super) unsafe fn elements(t: &mut Tensor) -> Result<Elements<'_>, TorchError> {
    check(t)?;
    // SAFETY: the tensor was checked, and of what kind it is; exclusive access is the caller's duty.
    unsafe {
        Ok(match t.f_kind()? {
            Kind::Float => Elements::F32(slice(t)),
            Kind::Double => Elements::F64(slice(t)),
            Kind::Int64 => Elements::I64(slice(t)),
            Kind::BFloat16 => Elements::Bf16(slice(t)),
            other => return Err(TorchError(format!("{other:?} tensors cannot be reduced"))),
        })
    }
}

/// Returns the bytes of a contiguous CPU tensor of any kind, in place.
///
/// # Errors
/// The tensor is not on the CPU or not contiguous.
///
/// # Safety
/// As for [`elements`]. What is written are the bytes of a tensor of the same kind.
pub(super) unsafe fn bytes(t: &mut Tensor) -> Result<&mut [u8], TorchError> {
    check(t)?;
    let n = t.numel() * t.f_kind()?.elt_size_in_bytes();
    if n == 0 {
        return Ok(&mut []);
    }
    // SAFETY: data_ptr points at n initialised bytes, contiguous as checked, that live as long as the borrowed tensor;
    // exclusive access is the caller's duty.
    Ok(unsafe { std::slice::from_raw_parts_mut(t.data_ptr().cast::<u8>(), n) })
}

/// # Safety
/// A contiguous CPU tensor whose elements have the size and alignment of `T`, for which all bit patterns are valid, and
/// which nobody else touches while the slice lives.
unsafe fn slice<T>(t: &mut Tensor) -> &mut [T] {
    let n = t.numel();
    if n == 0 {
        return &mut [];
    }
    // SAFETY: data_ptr points at `numel` initialised elements that live as long as the borrowed tensor; the rest is the
    // caller's duty.
    unsafe { std::slice::from_raw_parts_mut(t.data_ptr().cast::<T>(), n) }
}

fn check(t: &Tensor) -> Result<(), TorchError> {
    if t.device() != Device::Cpu {
        return Err(TorchError(format!("a {:?} tensor where one on the CPU is needed", t.device())));
    }
    if !t.is_contiguous() {
        return Err(TorchError(format!("a tensor of shape {:?} is not contiguous", t.size())));
    }
    Ok(())
}
