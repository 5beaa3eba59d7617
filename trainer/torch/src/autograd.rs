//! Custom autograd functions whose bodies are Rust closures.

use std::fmt::Display;

use tch::Tensor;

use crate::error::TorchError;
use crate::ffi::{self, check, closure, handle, handles, owned};

/// Computes `f(inputs)` without keeping its activations; backward computes it again.
///
/// `f` must compute the same thing both times from `inputs` and from what it holds (a network's block, shared by `Rc`
/// or `Arc`). Autocast and the random generators are as they were the first time. Gradients flow into `inputs` and
/// into the parameters that `f` holds, whose hooks run; a parameter that is reduced between ranks must not be used by
/// two checkpointed regions, because its hook would then run twice. If no gradients are taken, or no input needs one,
/// `f` is simply called.
///
/// # Errors
/// A panic within `f`, or an exception of libtorch.
pub fn checkpoint<F>(f: F, inputs: &[Tensor]) -> Result<Tensor, TorchError>
where
    F: Fn(&[Tensor]) -> Tensor + 'static,
{
    let call = closure(move |inputs| Ok::<_, TorchError>(vec![f(&inputs)]));
    let list = handles(inputs);
    let mut out = std::ptr::null_mut();
    // SAFETY: the handles outlive the call; `out` is a tensor of our own on success. The closure is not Send, and the
    // graph that owns it is part of `out`, which is: C++ runs and drops it on the thread that runs backward, or on
    // autograd's device thread while that thread waits for it, and never on two threads at a time.
    unsafe {
        check(ffi::dfx_checkpoint(list.as_ptr(), list.len(), call, &mut out))?;
        Ok(owned(out))
    }
}

/// Applies a function with a derivative of its own: the value is `forward(input)`, computed without a graph, and the
/// gradient of `input` is `backward(gradient of the value)`.
///
/// # Errors
/// The errors of `forward`, or an exception of libtorch. Errors of `backward` end the backward pass.
pub fn custom<F, B, E>(input: &Tensor, forward: F, backward: B) -> Result<Tensor, E>
where
    F: FnOnce(&Tensor) -> Result<Tensor, E>,
    B: Fn(&Tensor) -> Result<Tensor, E> + Send + 'static,
    E: From<TorchError> + Display,
{
    let output = tch::no_grad(|| forward(input))?;
    let call = closure(move |grads: Vec<Tensor>| backward(&grads[0]).map(|g| vec![g]));
    let mut out = std::ptr::null_mut();
    // SAFETY: both handles outlive the call; on success `out` is a tensor of our own.
    unsafe {
        check(ffi::dfx_custom(handle(input), handle(&output), call, &mut out)).map_err(E::from)?;
        Ok(owned(out))
    }
}
