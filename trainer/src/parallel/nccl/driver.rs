//! CUDA's driver interface, for one stream beside libtorch's and events between the two.

use std::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::path::Path;
use std::ptr::null_mut;
use std::sync::Arc;

use cudarc::driver::sys::{CUcontext, CUdevice, CUevent, CUstream};

use super::super::ParallelError;
use super::shared_object::{SharedObject, functions};

const SUCCESS: c_uint = 0;
/// `CUDA_ERROR_NOT_READY`: what an event is waited for is not over.
const NOT_READY: c_uint = 600;
/// `CU_STREAM_NON_BLOCKING`: it does not wait for the default stream, which libtorch uses.
const NON_BLOCKING: c_uint = 1;
/// `CU_EVENT_DISABLE_TIMING`.
const DISABLE_TIMING: c_uint = 2;

functions!(Functions {
    init: c"cuInit" (c_uint),
    device_get: c"cuDeviceGet" (*mut CUdevice, c_int),
    primary_context: c"cuDevicePrimaryCtxRetain" (*mut CUcontext, CUdevice),
    get_current: c"cuCtxGetCurrent" (*mut CUcontext),
    set_current: c"cuCtxSetCurrent" (CUcontext),
    priorities: c"cuCtxGetStreamPriorityRange" (*mut c_int, *mut c_int),
    stream_create: c"cuStreamCreateWithPriority" (*mut CUstream, c_uint, c_int),
    stream_wait: c"cuStreamWaitEvent" (CUstream, CUevent, c_uint),
    event_create: c"cuEventCreate" (*mut CUevent, c_uint),
    event_record: c"cuEventRecord" (CUevent, CUstream),
    event_query: c"cuEventQuery" (CUevent),
    event_destroy: c"cuEventDestroy_v2" (CUevent),
    error_string: c"cuGetErrorString" (c_uint, *mut *const c_char),
});

/// The loaded driver, and the context that libtorch uses on one device.
pub(super) struct Driver {
    functions: Functions,
    context: CUcontext,
}

// SAFETY: a context is a handle that the driver lets every thread use; the rest are function pointers.
unsafe impl Send for Driver {}
// SAFETY: see above; the driver's functions may be called by several threads at a time.
unsafe impl Sync for Driver {}

impl Driver {
    /// Loads `path`, or else the driver that is installed, and takes the primary context of device `ordinal`.
    pub fn open(path: Option<&Path>, ordinal: usize) -> Result<Arc<Self>, ParallelError> {
        let functions = Functions::look_up(&SharedObject::open(path, &["libcuda.so.1", "libcuda.so"])?)?;
        let mut driver = Self { functions, context: null_mut() };
        let (mut device, mut context) = (0, null_mut());
        let f = &driver.functions;
        // SAFETY: valid pointers; cuInit comes first, and the device is one that cuDeviceGet has given.
        unsafe {
            driver.check("cuInit", (f.init)(0))?;
            driver.check("cuDeviceGet", (f.device_get)(&mut device, ordinal as c_int))?;
            driver.check("cuDevicePrimaryCtxRetain", (f.primary_context)(&mut context, device))?;
        }
        driver.context = context;
        Ok(Arc::new(driver))
    }

    /// Makes the context the calling thread's current one, if it is not.
    pub fn enter(&self) -> Result<(), ParallelError> {
        let mut current = null_mut();
        // SAFETY: a valid pointer, and a context that is retained as long as the process lives.
        unsafe {
            self.check("cuCtxGetCurrent", (self.functions.get_current)(&mut current))?;
            if current != self.context {
                self.check("cuCtxSetCurrent", (self.functions.set_current)(self.context))?;
            }
        }
        Ok(())
    }

    fn check(&self, call: &str, code: c_uint) -> Result<(), ParallelError> {
        if code == SUCCESS {
            return Ok(());
        }
        let mut text: *const c_char = std::ptr::null();
        // SAFETY: a valid pointer to a pointer, which becomes null or a string of the driver's own.
        let text = unsafe {
            (self.functions.error_string)(code, &mut text);
            if text.is_null() { "unknown error".into() } else { CStr::from_ptr(text).to_string_lossy().into_owned() }
        };
        Err(ParallelError::Nccl(format!("{call}: {text} (code {code})")))
    }
}

/// A stream: libtorch's, or one of our own. Never destroyed, as it lives as long as the process.
pub(super) struct Stream {
    driver: Arc<Driver>,
    raw: CUstream,
}

// SAFETY: a stream is a handle that the driver lets every thread use.
unsafe impl Send for Stream {}

impl Stream {
    /// A stream of its own, of the highest priority: what it does is what others wait for.
    pub fn new(driver: &Arc<Driver>) -> Result<Self, ParallelError> {
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
    pub unsafe fn existing(driver: &Arc<Driver>, native: *mut c_void) -> Self {
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

/// A point in a stream's work.
pub(in crate::parallel) struct Event {
    driver: Arc<Driver>,
    raw: CUevent,
}

// SAFETY: an event is a handle that the driver lets every thread use, several at a time.
unsafe impl Send for Event {}
// SAFETY: see above; nothing records it anew.
unsafe impl Sync for Event {}

impl Event {
    /// Whether the work before it is over.
    ///
    /// # Errors
    /// The work's own, among others.
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
