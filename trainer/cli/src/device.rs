//! `--device` and `--precision`: what a command computes on, and how.

use defusion_config::{Arithmetic, Precision};
use defusion_torch::{TorchError, native_bfloat16};
use tch::Device;

/// Reads `cpu` or `cuda:N`.
///
/// # Errors
/// What is wrong, for clap to show: the name, or a GPU that libtorch does not see.
pub fn parse(name: &str) -> Result<Device, String> {
    match (name, name.strip_prefix("cuda:").map(str::parse)) {
        ("cpu", _) => Ok(Device::Cpu),
        (_, Some(Ok(index))) if (index as i64) < tch::Cuda::device_count() => Ok(Device::Cuda(index)),
        (_, Some(Ok(index))) => Err(format!("there is no GPU {index}; libtorch sees {}", tch::Cuda::device_count())),
        _ => Err(format!("`{name}` is neither cpu nor cuda:N")),
    }
}

/// Settles a precision for a device, and warns of bfloat16 on one that does not multiply it natively.
///
/// # Errors
/// A GPU that libtorch cannot ask.
pub fn arithmetic(precision: Precision, device: Device) -> Result<Arithmetic, TorchError> {
    let native = native_bfloat16(device)?;
    let arithmetic = precision.resolve(native.is_native);
    match native.objection() {
        Some(objection) if arithmetic == Arithmetic::Bf16 => tracing::warn!("--precision bf16, but {objection}"),
        _ => tracing::info!("computing in {} ({})", arithmetic.number_format(), native.why),
    }
    Ok(arithmetic)
}
