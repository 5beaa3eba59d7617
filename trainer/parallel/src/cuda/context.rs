//! A device's primary context, which libtorch uses too.

use std::sync::Arc;

use tch::Device;

use super::driver::Driver;
use super::event::Event;
use super::platform::Platform;
use super::stream::Stream;
use crate::error::ParallelError;

/// A platform whose driver is loaded. Used by every thread that hands tensors over.
#[derive(Clone)]
pub(crate) struct Context {
    platform: Platform,
    driver: Arc<Driver>,
}

impl Context {
    /// Loads the platform's driver and takes the device's primary context.
    pub fn open(platform: Platform) -> Result<Self, ParallelError> {
        let driver = Driver::open(platform.cuda.as_deref(), platform.ordinal)?;
        Ok(Self { platform, driver })
    }

    /// Returns the device whose tensors are handed over.
    pub fn device(&self) -> Device {
        self.platform.device
    }

    /// Makes the context the calling thread's current one.
    pub fn enter(&self) -> Result<(), ParallelError> {
        self.driver.enter()
    }

    /// Makes a stream beside libtorch's.
    pub fn new_stream(&self) -> Result<Stream, ParallelError> {
        Stream::new(&self.driver)
    }

    /// Returns the stream that libtorch works on in the calling thread.
    pub fn current_stream(&self) -> Result<Stream, ParallelError> {
        let native = (self.platform.current_stream)(self.platform.ordinal)?;
        // SAFETY: libtorch's streams live as long as the process, and the null stream always exists.
        Ok(unsafe { Stream::existing(&self.driver, native) })
    }

    /// Records an event behind all that the calling thread has given libtorch.
    pub fn record(&self) -> Result<Event, ParallelError> {
        self.current_stream()?.record()
    }
}
