//! AdamW over named float32 parameters, and what is decided about a gradient before it is used.
//!
//! Nothing here waits for a GPU: the global norm, the clipping factor and "this step is not finite" stay on the device,
//! and the fused kernel reads them there. The gradient is the same on all ranks, so all ranks skip alike.

use defusion_config::Adam;
use tch::{Device, Kind, Tensor};

use crate::ema::copy_in;
use defusion_torch::{AdamWHyper, TorchError};

/// What is known about a step's gradient before it is used. Float32 scalars on the gradient's device.
#[derive(Debug)]
pub struct GradCheck {
    /// Global 2-norm, before clipping.
    pub norm: Tensor,
    /// What gradients are divided by, so that their norm is at most the limit; 1 if it is anyway.
    pub divisor: Tensor,
    /// 1 if the norm or the loss is not finite, else 0.
    pub nonfinite: Tensor,
}

/// Global norm of `gradients`, clipping to `clip_norm` (0: none), and whether norm and `loss` (scalar) are finite.
///
/// `loss` should be [`defusion_parallel::ReductionReport::mean_loss`]: then a loss that is non-finite on one rank counts on all.
/// The norm is the norm of each gradient's norm, in order, and so does not depend on how they lie in buckets.
///
/// # Errors
/// [`TorchError`] if there are no gradients or libtorch refuses.
pub fn grad_check(gradients: &[Tensor], loss: &Tensor, clip_norm: f64) -> Result<GradCheck, TorchError> {
    tch::no_grad(|| {
        let norm = defusion_torch::foreach_norm(gradients)?.f_norm()?;
        let divisor = if clip_norm > 0.0 {
            // As torch.nn.utils.clip_grad_norm_ does it.
            ((&norm + 1e-6) / clip_norm).f_clamp_min(1.0)?
        } else {
            norm.f_ones_like()?
        };
        // A sum of finite numbers may overflow; each is asked by itself.
        let finite = norm.f_isfinite()?.f_logical_and(&loss.to_device(norm.device()).f_isfinite()?)?;
        let nonfinite = finite.f_logical_not()?.to_kind(Kind::Float);
        Ok(GradCheck { norm, divisor, nonfinite })
    })
}

/// AdamW (Loshchilov and Hutter 2019) by libtorch's fused kernel. At weight decay 0 it is Adam.
pub struct AdamW {
    names: Vec<String>,
    params: Vec<Tensor>,
    exp_avg: Vec<Tensor>,
    exp_avg_sq: Vec<Tensor>,
    // Steps that were taken; skipped ones do not count. Float32 scalar on the parameters' device, as the kernel wants.
    step: Tensor,
    // Steps that were skipped in a row, up to now. Float32 scalar on the device.
    skipped: Tensor,
    adam: Adam,
}

impl AdamW {
    /// Fresh state for named float32 parameters on one device.
    ///
    /// # Errors
    /// [`TorchError`] if there are no parameters or libtorch refuses.
    pub fn new(params: &[(String, Tensor)], adam: Adam) -> Result<Self, TorchError> {
        let device = params.first().ok_or_else(|| TorchError("AdamW without parameters".into()))?.1.device();
        let zeros = || {
            params
                .iter()
                .map(|(_, p)| p.detach().f_zeros_like().map_err(TorchError::from))
                .collect::<Result<Vec<_>, _>>()
        };
        Ok(Self {
            names: params.iter().map(|(n, _)| n.clone()).collect(),
            params: params.iter().map(|(_, p)| p.shallow_clone()).collect(),
            exp_avg: zeros()?,
            exp_avg_sq: zeros()?,
            step: Tensor::f_zeros([], (Kind::Float, device))?,
            skipped: Tensor::f_zeros([], (Kind::Float, device))?,
            adam,
        })
    }

    /// One step with the given gradients (in the parameters' order, with their shapes and strides) and learning rate.
    /// A step whose gradient is not finite changes nothing but the count of [`AdamW::skipped_in_a_row`].
    ///
    /// # Errors
    /// [`TorchError`] if the gradients do not fit the parameters.
    pub fn step(&mut self, gradients: &[Tensor], check: &GradCheck, lr: f64) -> Result<(), TorchError> {
        tch::no_grad(|| {
            let bad = &check.nonfinite;
            self.step += bad.neg() + 1.0;
            self.skipped += 1.0;
            self.skipped *= bad;
            // On the CPU the host knows already, and the kernel is spared dividing by one and writing gradients back.
            let divisor =
                (self.step.device() != Device::Cpu || check.divisor.double_value(&[]) != 1.0).then_some(&check.divisor);
            let hyper = AdamWHyper {
                lr,
                beta1: self.adam.beta1,
                beta2: self.adam.beta2,
                weight_decay: self.adam.weight_decay,
                eps: self.adam.eps,
            };
            defusion_torch::fused_adamw_(
                &self.params,
                gradients,
                &self.exp_avg,
                &self.exp_avg_sq,
                &self.step,
                hyper,
                divisor,
                Some(bad),
            )
        })
    }

    /// Non-finite steps in a row, up to now. Waits for the device.
    pub fn skipped_in_a_row(&self) -> u64 {
        self.skipped.double_value(&[]) as u64
    }

    /// The state by name, for a checkpoint: `exp_avg.NAME` and `exp_avg_sq.NAME` (the parameters' shapes) and `step`
    /// and `skipped` (scalars), float32. They are the state itself, not copies.
    pub fn state(&self) -> Vec<(String, Tensor)> {
        let named = |kind: &str, list: &[Tensor]| -> Vec<(String, Tensor)> {
            self.names.iter().zip(list).map(|(n, t)| (format!("{kind}.{n}"), t.shallow_clone())).collect()
        };
        let mut state = named("exp_avg", &self.exp_avg);
        state.extend(named("exp_avg_sq", &self.exp_avg_sq));
        state.push(("step".into(), self.step.shallow_clone()));
        state.push(("skipped".into(), self.skipped.shallow_clone()));
        state
    }

    /// Copies a state in, such as that of a checkpoint.
    ///
    /// # Errors
    /// [`TorchError`] with the name that `lookup` does not know, or whose shape differs. The state is then undefined.
    pub fn load(&mut self, lookup: impl Fn(&str) -> Option<Tensor>) -> Result<(), TorchError> {
        for (name, mut tensor) in self.state() {
            let value = lookup(&name).ok_or_else(|| TorchError(format!("no optimizer state {name}")))?;
            copy_in(&name, &mut tensor, &value)?;
        }
        Ok(())
    }
}
