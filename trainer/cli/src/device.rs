//! `--device`: what a command computes on.

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
