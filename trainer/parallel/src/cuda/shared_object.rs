//! Libraries that are loaded while the program runs.
//!
//! `cudarc` can load NCCL and the driver too, and its declarations are used here. Its loading is not: it looks for
//! `libnccl.so` and other names, but not for `libnccl.so.2`, the only one that NVIDIA's wheels and Debian's runtime
//! package hold; it panics if a library or function is missing; it reads result codes into enums, for which a code of a
//! newer library is undefined behaviour; and it takes no path, so that a test could not bring a library of its own.

use std::ffi::{CStr, CString, c_void};
use std::path::Path;

use crate::error::ParallelError;

/// A loaded library. It stays loaded as long as the process lives: it has threads and exit handlers of its own.
pub(crate) struct SharedObject {
    handle: *mut c_void,
    name: String,
}

impl SharedObject {
    /// Loads `path`, or else the first of `names` that the dynamic linker finds (`LD_LIBRARY_PATH`, libraries that are
    /// loaded already, the system's folders).
    ///
    /// # Errors
    /// [`ParallelError::Library`] if none of them can be loaded: all names that were tried, and the linker's reasons.
    pub fn open(path: Option<&Path>, names: &[&str]) -> Result<Self, ParallelError> {
        let candidates: Vec<String> = match path {
            Some(path) => vec![path.display().to_string()],
            None => names.iter().map(|&name| name.to_owned()).collect(),
        };
        let mut reasons = Vec::new();
        for name in &candidates {
            let Ok(text) = CString::new(name.as_str()) else { continue };
            // SAFETY: a NUL-terminated name. The library's initializers run; it is the one that the user has installed.
            let handle = unsafe { libc::dlopen(text.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL) };
            if !handle.is_null() {
                return Ok(Self { handle, name: name.clone() });
            }
            reasons.push(last_error());
        }
        Err(ParallelError::Library(format!(
            "cannot load {}: {}. `scripts/setup --cuda` unpacks NCCL, and the NVIDIA driver's package holds libcuda; a \
             library elsewhere is found through LD_LIBRARY_PATH",
            candidates.join(" or "),
            reasons.join("; ")
        )))
    }

    /// Looks a function up by its name.
    ///
    /// # Errors
    /// [`ParallelError::Library`] if there is none: the library is too old.
    ///
    /// # Safety
    /// `F` is the C function's type, as a function pointer.
    pub unsafe fn function<F: Copy>(&self, name: &CStr) -> Result<F, ParallelError> {
        const { assert!(size_of::<F>() == size_of::<*mut c_void>()) };
        // SAFETY: a handle of dlopen's that is never closed, and a NUL-terminated name.
        let address = unsafe { libc::dlsym(self.handle, name.as_ptr()) };
        if address.is_null() {
            return Err(ParallelError::Library(format!("{} has no function {}", self.name, name.to_string_lossy())));
        }
        // SAFETY: the caller vouches for the type; a function pointer has a data pointer's size, as asserted.
        Ok(unsafe { std::mem::transmute_copy(&address) })
    }
}

fn last_error() -> String {
    // SAFETY: dlerror returns null or a NUL-terminated string, valid until this thread's next call.
    unsafe {
        let text = libc::dlerror();
        if text.is_null() { "unknown reason".to_owned() } else { CStr::from_ptr(text).to_string_lossy().into_owned() }
    }
}

/// Declares a struct of C functions that are looked up by name, all of them returning a result code.
macro_rules! functions {
    ($name:ident { $($field:ident: $symbol:literal ($($argument:ty),*),)* }) => {
        pub(super) struct $name {
            $(pub $field: unsafe extern "C" fn($($argument),*) -> std::ffi::c_uint,)*
        }

        impl $name {
            fn look_up(
                object: &$crate::cuda::shared_object::SharedObject,
            ) -> Result<Self, $crate::error::ParallelError> {
                Ok(Self {
                    // SAFETY: the types stand beside the names, as the library's header declares them.
                    $($field: unsafe { object.function($symbol)? },)*
                })
            }
        }
    };
}
pub(crate) use functions;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_library_is_an_error_that_names_what_was_looked_for() {
        let error = SharedObject::open(None, &["libnothing.so.2", "libnothing.so"]).err().unwrap().to_string();
        for words in ["libnothing.so.2 or libnothing.so", "cannot open shared object file", "LD_LIBRARY_PATH"] {
            assert!(error.contains(words), "{words:?} is missing: {error}");
        }
        let error = SharedObject::open(Some(Path::new("/no/such/libnccl.so.2")), &[]).err().unwrap().to_string();
        assert!(error.contains("/no/such/libnccl.so.2"), "{error}");
    }

    #[test]
    fn a_missing_function_is_named() {
        let object = SharedObject::open(None, &["libc.so.6"]).unwrap();
        // SAFETY: never called.
        let found = unsafe { object.function::<unsafe extern "C" fn()>(c"ncclNoSuchFunction") };
        let error = found.unwrap_err().to_string();
        assert!(error.contains("libc.so.6") && error.contains("ncclNoSuchFunction"), "{error}");
    }
}
