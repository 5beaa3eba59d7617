//! Which device the engine works on, and with which libraries.

use std::ffi::c_void;
use std::path::PathBuf;

use defusion_torch::TorchError;
use tch::Device;

/// The device whose tensors go through NCCL, and where the libraries are.
#[derive(Clone, Debug)]
pub struct Platform {
    pub(crate) device: Device,
    pub(crate) ordinal: usize,
    /// NCCL; `None`: the one that the dynamic linker finds.
    pub(crate) nccl: Option<PathBuf>,
    /// The CUDA driver; `None`: the one that the dynamic linker finds.
    pub(crate) cuda: Option<PathBuf>,
    /// Returns the stream that libtorch works on in the calling thread.
    pub(super) current_stream: fn(usize) -> Result<*mut c_void, TorchError>,
}

impl Platform {
    /// A GPU, with the NCCL and the driver that the dynamic linker finds.
    pub fn cuda(ordinal: usize) -> Self {
        Self {
            device: Device::Cuda(ordinal),
            ordinal,
            nccl: None,
            cuda: None,
            current_stream: defusion_torch::current_cuda_stream,
        }
    }

    /// Host tensors, and one library that has NCCL's and the driver's interface over host memory: for tests on machines
    /// without a GPU. Its null stream is the host itself: what waits there blocks the caller.
    pub fn host(library: PathBuf) -> Self {
        Self {
            device: Device::Cpu,
            ordinal: 0,
            nccl: Some(library.clone()),
            cuda: Some(library),
            current_stream: |_| Ok(std::ptr::null_mut()),
        }
    }
}
