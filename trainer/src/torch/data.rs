//! The bytes of CPU tensors, for transports that move them.
#![allow(unsafe_code)]

use tch::{Device, Tensor, kind::Element};

use super::TorchError;

/// The elements of a contiguous CPU tensor, in place.
///
/// Other handles to the same storage exist as a rule (a bucket and the `.grad` views into it). The caller must be the
/// only one who touches the elements while the slice lives: the communication thread has a bucket to itself from the
/// moment it is handed over until the wait for it has returned. That is why this is not public.
///
/// # Errors
/// The tensor is not on the CPU, not contiguous, or not of `T`'s kind.
pub(crate) fn cpu_slice_mut<T: Element>(t: &mut Tensor) -> Result<&mut [T], TorchError> {
    check(t)?;
    if t.f_kind()? != T::KIND {
        return Err(TorchError(format!("a {:?} tensor where {:?} is needed", t.kind(), T::KIND)));
    }
    let n = t.numel();
    if n == 0 {
        return Ok(&mut []);
    }
    // SAFETY: data_ptr points at `numel` initialised elements of kind T, contiguous as checked, and lives as long as
    // the tensor, which is borrowed. Exclusive access is the caller's duty, see above.
    Ok(unsafe { std::slice::from_raw_parts_mut(t.data_ptr().cast::<T>(), n) })
}

/// The elements of a contiguous CPU tensor of a 16-bit kind `T`, as bit patterns, in place. See [`cpu_slice_mut`].
pub(crate) fn cpu_bits_mut<T: Element>(t: &mut Tensor) -> Result<&mut [u16], TorchError> {
    const { assert!(size_of::<T>() == 2 && align_of::<T>() == 2) };
    let elements = cpu_slice_mut::<T>(t)?;
    // SAFETY: as many elements of the same size and alignment, and u16 has no invalid bit patterns.
    Ok(unsafe { std::slice::from_raw_parts_mut(elements.as_mut_ptr().cast::<u16>(), elements.len()) })
}

/// The bytes of a contiguous CPU tensor, in place. See [`cpu_slice_mut`]. What is written must be the bytes of such a
/// tensor.
pub(crate) fn cpu_bytes_mut(t: &mut Tensor) -> Result<&mut [u8], TorchError> {
    check(t)?;
    let n = t.numel() * t.f_kind()?.elt_size_in_bytes();
    if n == 0 {
        return Ok(&mut []);
    }
    // SAFETY: data_ptr points at n initialised bytes, contiguous as checked, that live as long as the borrowed tensor.
    Ok(unsafe { std::slice::from_raw_parts_mut(t.data_ptr().cast::<u8>(), n) })
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
