//! Custom autograd functions whose bodies are Rust closures.
#![allow(unsafe_code)]

use tch::Tensor;

use super::TorchError;
use super::ffi::{self, check, closure, handle, handles, owned};

/// Computes `f(inputs)` without keeping its activations; backward computes it again.
///
/// `f` must compute the same thing both times from `inputs` and from what it holds (a network's block, shared by `Rc`
/// or `Arc`). Autocast and the random generators are as they were the first time. Gradients flow into `inputs` and
/// into the parameters that `f` holds, whose hooks run; a parameter that is reduced between ranks must not be used by
/// two checkpointed regions, because its hook would then run twice. Where no gradients are taken, or no input needs
/// one, `f` is simply called.
///
/// # Errors
/// A panic within `f`, or libtorch's own exception.
pub fn checkpoint<F>(f: F, inputs: &[Tensor]) -> Result<Tensor, TorchError>
where
    F: Fn(&[Tensor]) -> Tensor + 'static,
{
    let call = closure(move |inputs| Ok(vec![f(&inputs)]));
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

/// A function of `input` with a derivative of its own: the value is `forward(input)`, computed without a graph, and the
/// gradient of `input` is `backward(gradient of the value)`.
///
/// # Errors
/// Those of `forward`, or libtorch's own. Those of `backward` end the backward pass.
pub fn custom<F, B, E>(input: &Tensor, forward: F, backward: B) -> Result<Tensor, E>
where
    F: FnOnce(&Tensor) -> Result<Tensor, E>,
    B: Fn(&Tensor) -> Result<Tensor, String> + Send + 'static,
    E: From<TorchError>,
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
