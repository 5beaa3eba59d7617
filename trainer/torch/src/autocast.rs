//! Mixed precision: bfloat16 autocast around forward and losses. Weights, gradients and optimizer state stay float32.

use std::ffi::c_int;

use defusion_config::Arithmetic;
use defusion_config::hardware::NativeBfloat16;
use tch::Device;

use crate::error::TorchError;
use crate::ffi::{self, check};

/// Returns whether a device multiplies bfloat16 natively, and how that is known.
///
/// # Errors
/// A GPU that libtorch cannot ask.
pub fn native_bfloat16(device: Device) -> Result<NativeBfloat16, TorchError> {
    match device {
        Device::Cuda(index) => {
            let mut is_native = false;
            // SAFETY: a valid pointer to a bool.
            unsafe { check(ffi::dfx_cuda_multiplies_bfloat16(index as c_int, &mut is_native))? };
            let why = match is_native {
                true => "this GPU has compute capability 8.0 or higher",
                false => "this GPU has no native bfloat16 with a compute capability below 8.0",
            };
            Ok(NativeBfloat16 { is_native, why: why.to_owned() })
        }
        _ => Ok(NativeBfloat16::of_cpu()),
    }
}

/// Runs `f` in the given arithmetic: with bfloat16, convolutions and matrix products take and give bfloat16, while
/// losses and normalisations stay float32, as libtorch's autocast lists say. Backward runs outside of it.
///
/// # Errors
/// A device that has no autocast.
pub fn autocast<T>(device: Device, arithmetic: Arithmetic, f: impl FnOnce() -> T) -> Result<T, TorchError> {
    let _guard = match arithmetic {
        Arithmetic::Fp32 => None,
        Arithmetic::Bf16 => Some(Autocast::enter(device, true)?),
    };
    Ok(f())
}

/// Runs `f` without autocast, inside of [`autocast`]: for what must be float32.
///
/// # Errors
/// A device that has no autocast.
pub fn full_precision<T>(device: Device, f: impl FnOnce() -> T) -> Result<T, TorchError> {
    let _guard = Autocast::enter(device, false)?;
    Ok(f())
}

/// bfloat16 autocast on one kind of device, on this thread, until dropped. May be nested.
#[derive(Debug)]
struct Autocast {
    device: c_int,
    was: (bool, bool),
}

impl Autocast {
    /// Turns autocast on, or off within an outer one.
    ///
    /// # Errors
    /// A device that has no autocast.
    fn enter(device: Device, enabled: bool) -> Result<Self, TorchError> {
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

#[cfg(test)]
mod tests {
    use tch::{Kind, Tensor};

    use super::*;

    #[test]
    fn autocast_is_on_inside_only_and_can_be_lifted() {
        let (a, b) =
            (Tensor::ones([2, 2], (Kind::Float, Device::Cpu)), Tensor::ones([2, 2], (Kind::Float, Device::Cpu)));
        let kind = |p| autocast(Device::Cpu, p, || a.matmul(&b).kind()).unwrap();
        assert_eq!(kind(Arithmetic::Bf16), Kind::BFloat16);
        assert_eq!(kind(Arithmetic::Fp32), Kind::Float);
        let inner = || full_precision(Device::Cpu, || a.matmul(&b).kind()).unwrap();
        assert_eq!(autocast(Device::Cpu, Arithmetic::Bf16, inner).unwrap(), Kind::Float);
        assert_eq!(a.matmul(&b).kind(), Kind::Float);
    }

    #[test]
    fn gradients_of_float32_weights_are_float32() {
        let w = Tensor::randn([4, 4], (Kind::Float, Device::Cpu)).set_requires_grad(true);
        let x = Tensor::randn([2, 4], (Kind::Float, Device::Cpu));
        let loss = autocast(Device::Cpu, Arithmetic::Bf16, || x.matmul(&w).square().mean(Kind::Float)).unwrap();
        loss.backward();
        assert_eq!(w.grad().kind(), Kind::Float);
        assert!(w.grad().abs().sum(Kind::Float).double_value(&[]) > 0.0);
    }
}
