//! NCCL's C interface: the functions that are used, as `nccl.h` declares them from version 2.14 on.

use std::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::path::Path;

use cudarc::nccl::sys::{cudaStream_t, ncclComm_t, ncclDataType_t, ncclRedOp_t, ncclUniqueId};
use tch::Kind;

use crate::collective::ReduceOp;
use crate::cuda::shared_object::{SharedObject, functions};
use crate::error::ParallelError;

pub(super) const SUCCESS: c_uint = 0;
pub(super) const IN_PROGRESS: c_uint = 7;

/// The settings that a communicator is made with: `ncclConfig_t` as version 2.14 declared it. NCCL reads as many bytes
/// as `size` says, and takes its defaults for what later versions have added.
#[repr(C)]
pub(super) struct Config {
    size: usize,
    magic: c_uint,
    version: c_uint,
    blocking: c_int,
}

impl Config {
    /// Calls return at once, and how far they are is asked with `ncclCommGetAsyncError`.
    pub fn non_blocking() -> Self {
        Self { size: size_of::<Self>(), magic: 0xcafe_beef, version: 21400, blocking: 0 }
    }
}

functions!(Functions {
    get_version: c"ncclGetVersion" (*mut c_int),
    get_unique_id: c"ncclGetUniqueId" (*mut ncclUniqueId),
    comm_init: c"ncclCommInitRankConfig" (*mut ncclComm_t, c_int, ncclUniqueId, c_int, *mut Config),
    comm_async_error: c"ncclCommGetAsyncError" (ncclComm_t, *mut c_uint),
    comm_abort: c"ncclCommAbort" (ncclComm_t),
    comm_finalize: c"ncclCommFinalize" (ncclComm_t),
    comm_destroy: c"ncclCommDestroy" (ncclComm_t),
    all_reduce: c"ncclAllReduce"
        (*const c_void, *mut c_void, usize, ncclDataType_t, ncclRedOp_t, ncclComm_t, cudaStream_t),
    broadcast: c"ncclBroadcast"
        (*const c_void, *mut c_void, usize, ncclDataType_t, c_int, ncclComm_t, cudaStream_t),
});

/// A loaded NCCL.
pub(super) struct Library {
    pub functions: Functions,
    error_string: unsafe extern "C" fn(c_uint) -> *const c_char,
    last_error: unsafe extern "C" fn(ncclComm_t) -> *const c_char,
}

impl Library {
    /// Loads `path`, or else the NCCL that is installed; libtorch with CUDA has loaded it already.
    pub fn open(path: Option<&Path>) -> Result<Self, ParallelError> {
        let object = SharedObject::open(path, &["libnccl.so.2", "libnccl.so"])?;
        // SAFETY: the types are those that nccl.h declares for these names.
        let (error_string, last_error) =
            unsafe { (object.function(c"ncclGetErrorString")?, object.function(c"ncclGetLastError")?) };
        Ok(Self { functions: Functions::look_up(&object)?, error_string, last_error })
    }

    /// Returns the version as NCCL counts: 22907 is 2.29.7.
    pub fn version(&self) -> Result<i32, ParallelError> {
        let mut version = 0;
        // SAFETY: a valid pointer.
        self.check("ncclGetVersion", unsafe { (self.functions.get_version)(&mut version) })?;
        Ok(version)
    }

    /// Makes a new identity for a communicator, which all its ranks must be given: 128 bytes.
    pub fn unique_id(&self) -> Result<Vec<u8>, ParallelError> {
        let mut id = ncclUniqueId { internal: [0; 128] };
        // SAFETY: a valid pointer.
        self.check("ncclGetUniqueId", unsafe { (self.functions.get_unique_id)(&mut id) })?;
        Ok(id.internal.iter().map(|&b| b.cast_unsigned()).collect())
    }

    fn check(&self, call: &str, code: c_uint) -> Result<(), ParallelError> {
        if code == SUCCESS {
            return Ok(());
        }
        Err(ParallelError::Nccl(format!("{call}: {}", self.explain(code))))
    }

    /// Returns what a result code means, and what NCCL last said about it.
    pub fn explain(&self, code: c_uint) -> String {
        // SAFETY: both return NUL-terminated strings that stay; the communicator argument is not used by NCCL.
        let (meaning, last) = unsafe { ((self.error_string)(code), (self.last_error)(std::ptr::null_mut())) };
        let text = |p: *const c_char| {
            if p.is_null() {
                return String::new();
            }
            // SAFETY: not null, so one of the two strings above.
            unsafe { CStr::from_ptr(p) }.to_string_lossy().trim().to_owned()
        };
        match text(last) {
            last if last.is_empty() => format!("{} (code {code})", text(meaning)),
            last => format!("{} (code {code}): {last}", text(meaning)),
        }
    }
}

/// Returns version and a new identity of the NCCL in `path`, or else of the installed one, as the ranks exchange it:
/// the version as NCCL counts (22907 is 2.29.7), and 128 bytes. Needs no GPU.
///
/// # Errors
/// [`ParallelError::Library`]: it cannot be loaded or is too old. [`ParallelError::Nccl`]: it finds no network
/// interface.
pub fn nccl_identity(path: Option<&Path>) -> Result<(i32, Vec<u8>), ParallelError> {
    let library = Library::open(path)?;
    Ok((library.version()?, library.unique_id()?))
}

/// Returns NCCL's name of an element type, `None` if tensors of that kind are not reduced.
pub(super) fn data_type(kind: Kind) -> Option<ncclDataType_t> {
    match kind {
        Kind::Float => Some(ncclDataType_t::ncclFloat32),
        Kind::Double => Some(ncclDataType_t::ncclFloat64),
        Kind::Int64 => Some(ncclDataType_t::ncclInt64),
        Kind::BFloat16 => Some(ncclDataType_t::ncclBfloat16),
        _ => None,
    }
}

/// Returns NCCL's name of a reduction.
pub(super) fn reduction(op: ReduceOp) -> ncclRedOp_t {
    match op {
        ReduceOp::Sum => ncclRedOp_t::ncclSum,
        ReduceOp::Max => ncclRedOp_t::ncclMax,
    }
}

#[cfg(test)]
mod tests {
    use super::Config;

    #[test]
    fn the_config_has_the_size_that_version_2_14_gave_it() {
        assert_eq!(size_of::<Config>(), 24);
    }
}
