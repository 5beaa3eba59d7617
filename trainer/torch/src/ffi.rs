//! The C interface of `cpp/shim.h`, and how errors and closures cross it.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::fmt::Display;
use std::panic::{AssertUnwindSafe, catch_unwind};

use tch::Tensor;

use crate::error::TorchError;

/// `at::Tensor*`.
pub(super) type Handle = *mut c_void;
/// Null, or a message to be freed with [`dfx_free_message`].
pub(super) type Message = *mut c_char;

type Call = unsafe extern "C" fn(*mut c_void, *const Handle, usize, *mut Handle, usize) -> Message;

/// A Rust closure as C++ sees it; C++ owns it and drops it once.
#[repr(C)]
pub(super) struct Closure {
    data: *mut c_void,
    call: Call,
    drop: unsafe extern "C" fn(*mut c_void),
}

unsafe extern "C" {
    pub(super) fn dfx_free_message(message: Message);
    pub(super) fn dfx_new_message(text: *const c_char, length: usize) -> Message;

    pub(super) fn dfx_set_deterministic(on: bool) -> Message;
    pub(super) fn dfx_autocast_state(device: c_int, enabled: *mut bool, cache: *mut bool) -> Message;
    pub(super) fn dfx_autocast_enter(device: c_int, enabled: bool, cache: bool) -> Message;
    pub(super) fn dfx_autocast_leave(device: c_int, enabled: bool, cache: bool) -> Message;
    pub(super) fn dfx_cuda_multiplies_bfloat16(index: c_int, native: *mut bool) -> Message;
    pub(super) fn dfx_set_grad_layout_enforcement(on: bool);

    pub(super) fn dfx_set_grad(parameter: Handle, grad: Handle) -> Message;
    pub(super) fn dfx_take_grad(parameter: Handle, out: *mut Handle) -> Message;
    pub(super) fn dfx_accumulate(into: Handle, grad: Handle, scale: f64, overwrite: bool) -> Message;
    pub(super) fn dfx_set_grad_hook(parameter: Handle, closure: Closure) -> Message;
    pub(super) fn dfx_clear_grad_hook(parameter: Handle) -> Message;

    pub(super) fn dfx_fused_adamw(
        params: *const Handle,
        grads: *const Handle,
        exp_avgs: *const Handle,
        exp_avg_sqs: *const Handle,
        n: usize,
        step: Handle,
        lr: f64,
        beta1: f64,
        beta2: f64,
        weight_decay: f64,
        eps: f64,
        grad_scale: Handle,
        found_inf: Handle,
    ) -> Message;
    pub(super) fn dfx_foreach_lerp(tensors: *const Handle, ends: *const Handle, n: usize, weight: f64) -> Message;
    pub(super) fn dfx_foreach_norm(tensors: *const Handle, n: usize, out: *mut Handle) -> Message;

    pub(super) fn dfx_norm_takes(x: Handle) -> bool;
    pub(super) fn dfx_norm(
        x: Handle,
        weight: Handle,
        bias: Handle,
        film: Handle,
        groups: i64,
        eps: f64,
        silu: bool,
        out: *mut Handle,
    ) -> Message;

    pub(super) fn dfx_attention_takes(q: Handle, k: Handle, v: Handle) -> bool;
    pub(super) fn dfx_attention(q: Handle, k: Handle, v: Handle, out: *mut Handle) -> Message;

    pub(super) fn dfx_upsample_conv(x: Handle, weight: Handle, bias: Handle, out: *mut Handle) -> Message;

    pub(super) fn dfx_checkpoint(inputs: *const Handle, n: usize, closure: Closure, out: *mut Handle) -> Message;
    pub(super) fn dfx_custom(input: Handle, output: Handle, closure: Closure, out: *mut Handle) -> Message;

    pub(super) fn dfx_set_device(device: c_int) -> Message;
    pub(super) fn dfx_current_stream(device: c_int, native: *mut *mut c_void) -> Message;
}

/// Takes the message of a shim function and turns it into an error.
///
/// # Safety
/// `message` is null or came from a shim function and was not freed.
pub(super) unsafe fn check(message: Message) -> Result<(), TorchError> {
    if message.is_null() {
        return Ok(());
    }
    // SAFETY: not null, so a NUL-terminated string of the shim's, which is ours to free, once.
    let text = unsafe {
        let text = CStr::from_ptr(message).to_string_lossy().into_owned();
        dfx_free_message(message);
        text
    };
    Err(TorchError(text))
}

/// Returns the handle of a tensor, valid as long as the tensor is.
pub(super) fn handle(t: &Tensor) -> Handle {
    t.as_ptr().cast_mut().cast()
}

/// Returns the handles of some tensors, valid as long as the tensors are.
pub(super) fn handles<T: std::borrow::Borrow<Tensor>>(list: &[T]) -> Vec<Handle> {
    list.iter().map(|t| handle(t.borrow())).collect()
}

/// Wraps a handle that the shim returned.
///
/// # Safety
/// `h` was returned by the shim to be owned by the caller, and nothing else owns it.
pub(super) unsafe fn owned(h: Handle) -> Tensor {
    // SAFETY: the caller hands over a `new at::Tensor`, which is what tch wraps and deletes.
    unsafe { Tensor::from_ptr(h.cast()) }
}

/// Hands a closure to C++. It gets tensors and returns tensors, at most as many as C++ asks for.
///
/// Its panics and errors become C++ exceptions.
pub(super) fn closure<F, E>(f: F) -> Closure
where
    F: Fn(Vec<Tensor>) -> Result<Vec<Tensor>, E> + 'static,
    E: Display,
{
    unsafe extern "C" fn call<F, E>(
        data: *mut c_void,
        inputs: *const Handle,
        n_inputs: usize,
        outputs: *mut Handle,
        n_outputs: usize,
    ) -> Message
    where
        F: Fn(Vec<Tensor>) -> Result<Vec<Tensor>, E>,
        E: Display,
    {
        // SAFETY: C++ calls with the data pointer that `closure` made for this very F and that it has not dropped,
        // with n_inputs handles that are ours now, and with room for n_outputs handles.
        let (f, inputs, outputs) = unsafe {
            let inputs = std::slice::from_raw_parts(inputs, n_inputs).iter().map(|&h| owned(h)).collect();
            (&*data.cast::<F>(), inputs, std::slice::from_raw_parts_mut(outputs, n_outputs))
        };
        let result = catch_unwind(AssertUnwindSafe(|| f(inputs).map_err(|e| e.to_string())));
        let result = result.unwrap_or_else(|panic| Err(panic_text(&*panic)));
        match result {
            Ok(tensors) => {
                for (slot, t) in outputs.iter_mut().zip(tensors) {
                    *slot = handle(&t);
                    // Ownership goes to C++.
                    std::mem::forget(t);
                }
                std::ptr::null_mut()
            }
            // SAFETY: a pointer and its length; the shim copies.
            Err(text) => unsafe { dfx_new_message(text.as_ptr().cast(), text.len()) },
        }
    }
    unsafe extern "C" fn drop_it<F>(data: *mut c_void) {
        // SAFETY: C++ drops once, the pointer that `Box::into_raw` made below. A panic in a destructor must not unwind
        // into C++.
        let _ = catch_unwind(AssertUnwindSafe(|| drop(unsafe { Box::from_raw(data.cast::<F>()) })));
    }
    Closure { data: Box::into_raw(Box::new(f)).cast(), call: call::<F, E>, drop: drop_it::<F> }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    panic
        .downcast_ref::<String>()
        .cloned()
        .or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned()))
        .unwrap_or_else(|| "a callback panicked".to_owned())
}
