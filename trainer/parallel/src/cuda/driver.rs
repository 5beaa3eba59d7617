//! The C interface of CUDA's driver, as far as streams and events need it.

use std::ffi::{CStr, c_char, c_int, c_uint};
use std::path::Path;
use std::ptr::null_mut;
use std::sync::Arc;

use cudarc::driver::sys::{CUcontext, CUdevice, CUevent, CUstream};

use super::shared_object::{SharedObject, functions};
use crate::error::ParallelError;

const SUCCESS: c_uint = 0;

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
    pub(super) functions: Functions,
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

    /// Turns a result code of `call` into an error, if it is one.
    pub(super) fn check(&self, call: &str, code: c_uint) -> Result<(), ParallelError> {
        if code == SUCCESS {
            return Ok(());
        }
        let mut text: *const c_char = std::ptr::null();
        // SAFETY: a valid pointer to a pointer, which becomes null or a string of the driver's own.
        let text = unsafe {
            (self.functions.error_string)(code, &mut text);
            if text.is_null() { "unknown error".into() } else { CStr::from_ptr(text).to_string_lossy().into_owned() }
        };
        Err(ParallelError::Cuda(format!("{call}: {text} (code {code})")))
    }
}
