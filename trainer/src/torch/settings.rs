//! Process-wide and thread-wide switches of libtorch and the allocator.
#![allow(unsafe_code)]

use std::ffi::c_int;

use tch::Device;

use super::TorchError;
use super::ffi::{self, check};

/// Keeps large tensors' memory in the process, instead of returning it to the kernel and faulting it in again at every
/// step (about 10% of a CPU step). Call it once, before the first tensor. False: the allocator refused.
pub fn tune_malloc() -> bool {
    // glibc clamps the mmap threshold to 32 MiB (HEAP_MAX_SIZE / 2); larger blocks are mapped whatever is asked.
    const MMAP_THRESHOLD: c_int = 1 << 30;
    const TRIM_THRESHOLD: c_int = c_int::MAX;
    // SAFETY: plain integers to mallopt.
    unsafe { ffi::dfx_tune_malloc(MMAP_THRESHOLD, TRIM_THRESHOLD) != 0 }
}

/// Deterministic kernels only; operations that have none fail. cuDNN's autotuning goes off with it.
///
/// # Errors
/// libtorch's own.
pub fn set_deterministic(on: bool) -> Result<(), TorchError> {
    // SAFETY: a plain flag.
    unsafe { check(ffi::dfx_set_deterministic(on)) }
}

/// Lets autograd keep a gradient in the memory format that it was computed in, on this thread and in the backward
/// passes that it starts: for those who copy it into place anyway ([`crate::parallel::DataParallel`]). Undone on drop.
#[derive(Debug)]
pub struct RelaxedGradLayout(());

/// See `RelaxedGradLayout`.
pub fn relax_grad_layout() -> RelaxedGradLayout {
    // SAFETY: sets a thread-local flag.
    unsafe { ffi::dfx_set_grad_layout_enforcement(false) };
    RelaxedGradLayout(())
}

impl Drop for RelaxedGradLayout {
    fn drop(&mut self) {
        // SAFETY: sets a thread-local flag.
        unsafe { ffi::dfx_set_grad_layout_enforcement(true) };
    }
}

/// bfloat16 autocast on one kind of device, on this thread, until dropped. May be nested.
#[derive(Debug)]
pub struct Autocast {
    device: c_int,
    was: (bool, bool),
}

impl Autocast {
    /// Turns autocast on, or off where an outer one is on.
    ///
    /// # Errors
    /// A device without autocast.
    pub fn enter(device: Device, enabled: bool) -> Result<Self, TorchError> {
        // c10::DeviceType.
        let device = match device {
            Device::Cpu => 0,
            Device::Cuda(_) => 1,
            other => return Err(TorchError(format!("no autocast on {other:?}"))),
        };
        let mut was = (false, false);
        // SAFETY: valid pointers to two bools.
        unsafe {
            check(ffi::dfx_autocast_state(device, &mut was.0, &mut was.1))?;
            check(ffi::dfx_autocast_enter(device, enabled, true))?;
        }
        Ok(Self { device, was })
    }
}

impl Drop for Autocast {
    fn drop(&mut self) {
        // SAFETY: plain values; the state that was found on entry.
        let _ = unsafe { check(ffi::dfx_autocast_leave(self.device, self.was.0, self.was.1)) };
    }
}
