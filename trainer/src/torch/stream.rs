//! CUDA streams and events, as libtorch has them.
#![allow(unsafe_code)]

use std::ffi::{c_int, c_void};
use std::ptr::null;

use super::TorchError;
use super::ffi::{self, check};

/// Makes a CUDA device the calling thread's current one.
///
/// # Errors
/// A libtorch without CUDA, or no such device.
pub fn set_cuda_device(device: usize) -> Result<(), TorchError> {
    // SAFETY: a plain integer.
    unsafe { check(ffi::dfx_set_device(device as c_int)) }
}

/// A stream beside libtorch's current one.
#[derive(Debug)]
pub struct Stream {
    device: c_int,
    stream: *mut c_void,
    native: *mut c_void,
}

// SAFETY: a c10::Stream is a pair of integers that nobody changes; the native handle is only passed on.
unsafe impl Send for Stream {}

impl Stream {
    /// A high-priority stream of the device's pool.
    ///
    /// # Errors
    /// A libtorch without CUDA, or no such device.
    pub fn new(device: usize) -> Result<Self, TorchError> {
        let (mut stream, mut native) = (std::ptr::null_mut(), std::ptr::null_mut());
        // SAFETY: valid pointers to two pointers.
        unsafe { check(ffi::dfx_stream_new(device as c_int, &mut stream, &mut native))? };
        Ok(Self { device: device as c_int, stream, native })
    }

    /// The `cudaStream_t`, valid as long as the process: streams of the pool are never destroyed.
    pub fn native(&self) -> *mut c_void {
        self.native
    }

    /// Makes the stream wait for the event. The host does not wait.
    ///
    /// # Errors
    /// CUDA's own.
    pub fn wait(&self, event: &Event) -> Result<(), TorchError> {
        // SAFETY: both pointers are valid for as long as the two borrows.
        unsafe { check(ffi::dfx_event_block(event.event, self.device, self.stream)) }
    }

    /// Records an event behind everything that the stream has been given.
    ///
    /// # Errors
    /// CUDA's own.
    pub fn record(&self) -> Result<Event, TorchError> {
        Event::record_on(self.device, self.stream)
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        // SAFETY: made by dfx_stream_new and freed once.
        unsafe { ffi::dfx_stream_free(self.stream) }
    }
}

/// A point in a stream's work.
#[derive(Debug)]
pub struct Event {
    device: c_int,
    event: *mut c_void,
}

// SAFETY: CUDA events may be used from any thread; nothing here is used from two threads at a time.
unsafe impl Send for Event {}

impl Event {
    /// Records an event on libtorch's current stream of the device.
    ///
    /// # Errors
    /// A libtorch without CUDA, or CUDA's own.
    pub fn record(device: usize) -> Result<Self, TorchError> {
        Self::record_on(device as c_int, null())
    }

    fn record_on(device: c_int, stream: *const c_void) -> Result<Self, TorchError> {
        let mut event = std::ptr::null_mut();
        // SAFETY: a stream of ours or null (the current one), and a valid pointer to a pointer.
        unsafe { check(ffi::dfx_event_record(device, stream, &mut event))? };
        Ok(Self { device, event })
    }

    /// Makes libtorch's current stream wait for the event. The host does not wait.
    ///
    /// # Errors
    /// CUDA's own.
    pub fn block_current_stream(&self) -> Result<(), TorchError> {
        // SAFETY: the event is valid as long as the borrow; null is the current stream.
        unsafe { check(ffi::dfx_event_block(self.event, self.device, null())) }
    }

    /// Whether the work before the event is done.
    ///
    /// # Errors
    /// CUDA's own, among them those of the work itself.
    pub fn query(&self) -> Result<bool, TorchError> {
        let mut done = false;
        // SAFETY: the event is valid as long as the borrow.
        unsafe { check(ffi::dfx_event_query(self.event, &mut done))? };
        Ok(done)
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        // SAFETY: made by dfx_event_record and freed once.
        unsafe { ffi::dfx_event_free(self.event) }
    }
}
