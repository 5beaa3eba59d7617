//! Streams of a CUDA device: libtorch's, and one beside it.

use std::ffi::{c_uint, c_void};
use std::ptr::null_mut;
use std::sync::Arc;

use cudarc::driver::sys::CUstream;

use super::driver::Driver;
use super::event::Event;
use crate::error::ParallelError;

/// `CU_STREAM_NON_BLOCKING`: it does not wait for the default stream, which libtorch uses.
const NON_BLOCKING: c_uint = 1;
/// `CU_EVENT_DISABLE_TIMING`.
const DISABLE_TIMING: c_uint = 2;

/// A stream: libtorch's, or one of our own. Never destroyed, as it lives as long as the process.
pub(crate) struct Stream {
    driver: Arc<Driver>,
    raw: CUstream,
}

// SAFETY: a stream is a handle that the driver lets every thread use.
unsafe impl Send for Stream {}

impl Stream {
    /// A stream of its own, of the highest priority: what it does is what others wait for.
    pub(super) fn new(driver: &Arc<Driver>) -> Result<Self, ParallelError> {
        driver.enter()?;
        let (mut least, mut greatest, mut raw) = (0, 0, null_mut());
        let f = &driver.functions;
        // SAFETY: valid pointers, and this thread has a context.
        unsafe {
            driver.check("cuCtxGetStreamPriorityRange", (f.priorities)(&mut least, &mut greatest))?;
            driver.check("cuStreamCreateWithPriority", (f.stream_create)(&mut raw, NON_BLOCKING, greatest))?;
        }
        Ok(Self { driver: Arc::clone(driver), raw })
    }

    /// Libtorch's own, by its `cudaStream_t`, which is the driver's `CUstream`.
    ///
    /// # Safety
    /// The handle is valid as long as the result.
    pub(super) unsafe fn existing(driver: &Arc<Driver>, native: *mut c_void) -> Self {
        Self { driver: Arc::clone(driver), raw: native.cast() }
    }

    /// The `cudaStream_t`.
    pub fn native(&self) -> *mut c_void {
        self.raw.cast()
    }

    /// Lets what the stream is given from now on wait for the event. The host does not wait.
    pub fn wait(&self, event: &Event) -> Result<(), ParallelError> {
        self.driver.enter()?;
        // SAFETY: both handles are valid as long as the borrows.
        let code = unsafe { (self.driver.functions.stream_wait)(self.raw, event.raw, 0) };
        self.driver.check("cuStreamWaitEvent", code)
    }

    /// Records an event behind everything that the stream has been given.
    pub fn record(&self) -> Result<Event, ParallelError> {
        self.driver.enter()?;
        let mut event = Event { driver: Arc::clone(&self.driver), raw: null_mut() };
        let f = &self.driver.functions;
        // SAFETY: a valid pointer, this thread has a context, and both handles are valid.
        unsafe {
            self.driver.check("cuEventCreate", (f.event_create)(&mut event.raw, DISABLE_TIMING))?;
            self.driver.check("cuEventRecord", (f.event_record)(event.raw, self.raw))?;
        }
        Ok(event)
    }
}
