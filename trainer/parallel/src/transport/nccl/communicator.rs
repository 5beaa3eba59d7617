//! One NCCL communicator, non-blocking: every call returns at once, and is waited for by asking.

use std::ffi::{c_int, c_uint};
use std::ptr::null_mut;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Duration;

use cudarc::nccl::sys::{ncclComm_t, ncclUniqueId};
use tch::Tensor;

use super::library::{Config, IN_PROGRESS, Library, SUCCESS, data_type, reduction};
use crate::call::Call;
use crate::collective::ReduceOp;
use crate::cuda::Stream;
use crate::error::ParallelError;

/// Time that a rank which has failed gives NCCL to let its kernels go. Abort frees resources, and may itself hang.
const ABORT: Duration = Duration::from_secs(5);
/// Pause between two questions to a communicator that is at work.
const ASK: Duration = Duration::from_micros(100);

/// Called while a call is in progress; an error ends the waiting.
pub(super) type Meanwhile<'a> = &'a mut dyn FnMut() -> Result<(), ParallelError>;

/// The reason why a call did not succeed.
pub(super) enum Trouble {
    /// NCCL says so.
    Nccl(String),
    /// `meanwhile` says so.
    Other(ParallelError),
}

impl Trouble {
    /// Returns it as the error of a call on this rank.
    pub fn of(self, rank: usize, call: &Call) -> ParallelError {
        match self {
            Self::Nccl(what) => call.failed(rank, format!("NCCL: {what}")),
            Self::Other(error) => error,
        }
    }
}

/// One NCCL communicator of all workers.
pub(super) struct Communicator {
    library: Arc<Library>,
    raw: ncclComm_t,
}

/// A communicator's handle on its way to another thread.
struct Handle(ncclComm_t);
// SAFETY: NCCL lets any thread abort a communicator, and nothing else uses it any more.
unsafe impl Send for Handle {}

impl Communicator {
    /// Joins the communicator that `id` names, as one of `size` ranks.
    pub fn start(
        library: &Arc<Library>,
        id: &[u8; 128],
        rank: usize,
        size: usize,
        meanwhile: Meanwhile<'_>,
    ) -> Result<Self, Trouble> {
        let id = ncclUniqueId { internal: id.map(u8::cast_signed) };
        let mut communicator = Self { library: Arc::clone(library), raw: null_mut() };
        let (raw, mut config) = (&mut communicator.raw, Config::non_blocking());
        // SAFETY: valid pointers, and an identity made by ncclGetUniqueId.
        let code = unsafe { (library.functions.comm_init)(raw, size as c_int, id, rank as c_int, &mut config) };
        match communicator.settle(code, meanwhile) {
            Ok(()) => Ok(communicator),
            Err(trouble) => {
                communicator.abort();
                Err(trouble)
            }
        }
    }

    /// Enqueues the reduction of a contiguous tensor on the device, in place.
    pub fn all_reduce(&self, t: &Tensor, op: ReduceOp, on: &Stream, meanwhile: Meanwhile<'_>) -> Result<(), Trouble> {
        let (data, count, kind) = elements(t)?;
        let stream = on.native().cast();
        // SAFETY: `count` elements of that kind at `data`, which the caller keeps until the stream is past this call.
        let code =
            unsafe { (self.library.functions.all_reduce)(data, data, count, kind, reduction(op), self.raw, stream) };
        self.settle(code, meanwhile)
    }

    /// Enqueues the broadcast of a contiguous tensor on the device, in place.
    pub fn broadcast(&self, t: &Tensor, root: usize, on: &Stream, meanwhile: Meanwhile<'_>) -> Result<(), Trouble> {
        let (data, count, kind) = elements(t)?;
        let (root, stream) = (root as c_int, on.native().cast());
        // SAFETY: as above.
        let code = unsafe { (self.library.functions.broadcast)(data, data, count, kind, root, self.raw, stream) };
        self.settle(code, meanwhile)
    }

    /// Fails if something has gone wrong since, on this rank or as far as NCCL knows on another.
    pub fn health(&self) -> Result<(), Trouble> {
        match self.state()? {
            SUCCESS | IN_PROGRESS => Ok(()),
            code => Err(Trouble::Nccl(self.library.explain(code))),
        }
    }

    fn state(&self) -> Result<c_uint, Trouble> {
        let mut state = SUCCESS;
        // SAFETY: a communicator that is not destroyed, and a valid pointer to an enum of C's, which is an unsigned
        // int.
        match unsafe { (self.library.functions.comm_async_error)(self.raw, &mut state) } {
            SUCCESS => Ok(state),
            code => Err(Trouble::Nccl(self.library.explain(code))),
        }
    }

    /// Waits until a call that returned `code` is done.
    fn settle(&self, code: c_uint, meanwhile: Meanwhile<'_>) -> Result<(), Trouble> {
        let mut state = code;
        while state == IN_PROGRESS {
            meanwhile().map_err(Trouble::Other)?;
            std::thread::sleep(ASK);
            state = self.state()?;
        }
        match state {
            SUCCESS => Ok(()),
            code => Err(Trouble::Nccl(self.library.explain(code))),
        }
    }

    /// Ends all that is under way, so that nothing on the device waits for other ranks any more.
    pub fn abort(&mut self) {
        let handle = Handle(std::mem::replace(&mut self.raw, null_mut()));
        if handle.0.is_null() {
            return;
        }
        let (library, (done, ended)) = (Arc::clone(&self.library), channel());
        let thread = std::thread::Builder::new().name("ncclCommAbort".into()).spawn(move || {
            let handle = handle;
            // SAFETY: a communicator that nothing else uses from here on.
            let _ = unsafe { (library.functions.comm_abort)(handle.0) };
            let _ = done.send(());
        });
        if thread.is_ok() {
            let _ = ended.recv_timeout(ABORT);
        }
    }

    /// The orderly end, on all ranks together.
    pub fn finish(&mut self, meanwhile: Meanwhile<'_>) -> Result<(), Trouble> {
        // SAFETY: a communicator that is neither finalized nor destroyed.
        let code = unsafe { (self.library.functions.comm_finalize)(self.raw) };
        self.settle(code, meanwhile)?;
        let raw = std::mem::replace(&mut self.raw, null_mut());
        // SAFETY: finalized above, and not used any more.
        match unsafe { (self.library.functions.comm_destroy)(raw) } {
            SUCCESS => Ok(()),
            code => Err(Trouble::Nccl(self.library.explain(code))),
        }
    }
}

/// Address, number and kind of a tensor's elements.
fn elements(t: &Tensor) -> Result<(*mut std::ffi::c_void, usize, cudarc::nccl::sys::ncclDataType_t), Trouble> {
    let kind = t.f_kind().map_err(|e| Trouble::Nccl(e.to_string()))?;
    let data_type = data_type(kind).ok_or_else(|| Trouble::Nccl(format!("{kind:?} tensors cannot be sent")))?;
    if !t.is_contiguous() {
        return Err(Trouble::Nccl(format!("a tensor of shape {:?} is not contiguous", t.size())));
    }
    Ok((t.data_ptr(), t.numel(), data_type))
}
