//! What the engine stands on: a device's tensors, libtorch's stream there, and the two libraries.

use std::ffi::c_void;
use std::path::PathBuf;
use std::sync::Arc;

use tch::Device;

use super::super::ParallelError;
use super::driver::{Driver, Event, Stream};
use crate::torch::{self, TorchError};

/// Which device's tensors go through NCCL, and where the libraries are.
#[derive(Clone, Debug)]
pub struct Platform {
    pub(super) device: Device,
    pub(super) ordinal: usize,
    pub(super) nccl: Option<PathBuf>,
    pub(super) cuda: Option<PathBuf>,
    current_stream: fn(usize) -> Result<*mut c_void, TorchError>,
}

impl Platform {
    /// A GPU, with the NCCL and the driver that the dynamic linker finds.
    pub fn cuda(ordinal: usize) -> Self {
        Self {
            device: Device::Cuda(ordinal),
            ordinal,
            nccl: None,
            cuda: None,
            current_stream: torch::current_cuda_stream,
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

/// A platform whose driver is loaded. Used from every thread that hands tensors over.
#[derive(Clone)]
pub(super) struct Ground {
    pub platform: Platform,
    pub driver: Arc<Driver>,
}

impl Ground {
    pub fn open(platform: Platform) -> Result<Self, ParallelError> {
        let driver = Driver::open(platform.cuda.as_deref(), platform.ordinal)?;
        Ok(Self { platform, driver })
    }

    /// The stream that libtorch works on in the calling thread.
    fn current_stream(&self) -> Result<Stream, ParallelError> {
        let native = (self.platform.current_stream)(self.platform.ordinal)?;
        // SAFETY: libtorch's streams live as long as the process, and the null stream always exists.
        Ok(unsafe { Stream::existing(&self.driver, native) })
    }

    /// An event behind all that libtorch has been given by the calling thread.
    pub fn mark(&self) -> Result<Event, ParallelError> {
        self.current_stream()?.record()
    }
}

/// An event behind a collective.
pub(in crate::parallel) struct Mark {
    pub(super) event: Arc<Event>,
    pub(super) ground: Ground,
}

impl Mark {
    /// Lets what libtorch is given from now on wait for the collective. On a GPU the host does not wait.
    pub fn block_current_stream(&self) -> Result<(), ParallelError> {
        self.ground.current_stream()?.wait(&self.event)
    }
}

impl std::fmt::Debug for Mark {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Mark on {:?}", self.ground.platform.device)
    }
}
