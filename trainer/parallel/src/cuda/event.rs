//! Events: points in the work of a CUDA stream.

use std::ffi::c_uint;
use std::sync::Arc;

use cudarc::driver::sys::CUevent;

use super::driver::Driver;
use crate::error::ParallelError;

/// `CUDA_ERROR_NOT_READY`: the work before the event is not over.
const NOT_READY: c_uint = 600;

/// A point in a stream's work.
pub(crate) struct Event {
    pub(super) driver: Arc<Driver>,
    /// Null until it is made.
    pub(super) raw: CUevent,
}

// SAFETY: an event is a handle that the driver lets every thread use, several at a time.
unsafe impl Send for Event {}
// SAFETY: see above; nothing records it anew.
unsafe impl Sync for Event {}

impl Event {
    /// Returns whether the work before it is over.
    ///
    /// # Errors
    /// [`ParallelError::Cuda`]: the failure of any work that the device was given before.
    pub fn query(&self) -> Result<bool, ParallelError> {
        self.driver.enter()?;
        // SAFETY: the handle is valid as long as the borrow.
        match unsafe { (self.driver.functions.event_query)(self.raw) } {
            NOT_READY => Ok(false),
            code => self.driver.check("cuEventQuery", code).map(|()| true),
        }
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        if !self.raw.is_null() {
            // SAFETY: made by cuEventCreate and destroyed once. The driver keeps what pending work still needs of it.
            let _ = unsafe { (self.driver.functions.event_destroy)(self.raw) };
        }
    }
}
