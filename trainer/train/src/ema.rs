//! Exponential moving average of a network's weights.

use tch::Tensor;

use defusion_torch::TorchError;

/// A moving average of named parameters, which evaluation and export use.
pub struct Ema {
    names: Vec<String>,
    params: Vec<Tensor>,
    average: Vec<Tensor>,
    decay: f64,
}

impl Ema {
    /// Starts from the parameters as they are. `decay` is the share that stays at each update.
    ///
    /// # Errors
    /// [`TorchError`] if libtorch refuses.
    pub fn new(params: &[(String, Tensor)], decay: f64) -> Result<Self, TorchError> {
        let copy = |p: &Tensor| {
            let mut average = p.detach().f_zeros_like()?;
            average.f_copy_(&p.detach())?;
            Ok::<_, TorchError>(average)
        };
        Ok(Self {
            names: params.iter().map(|(n, _)| n.clone()).collect(),
            params: params.iter().map(|(_, p)| p.shallow_clone()).collect(),
            average: params.iter().map(|(_, p)| copy(p)).collect::<Result<_, _>>()?,
            decay,
        })
    }

    /// `average = decay * average + (1 - decay) * parameter`, in one fused pass on CUDA.
    ///
    /// # Errors
    /// [`TorchError`] if libtorch refuses.
    pub fn update(&mut self) -> Result<(), TorchError> {
        defusion_torch::foreach_lerp_(&self.average, &self.params, 1.0 - self.decay)
    }

    /// The averages by name, in the parameters' order. They are the averages themselves, not copies.
    pub fn state(&self) -> Vec<(String, Tensor)> {
        self.names.iter().zip(&self.average).map(|(n, t)| (n.clone(), t.shallow_clone())).collect()
    }

    /// Copies averages in, such as those of a checkpoint.
    ///
    /// # Errors
    /// [`TorchError`] with the name that `lookup` does not know, or whose shape differs. The averages are then undefined.
    pub fn load(&mut self, lookup: impl Fn(&str) -> Option<Tensor>) -> Result<(), TorchError> {
        for (name, average) in self.names.iter().zip(&mut self.average) {
            let value = lookup(name).ok_or_else(|| TorchError(format!("no moving average of {name}")))?;
            copy_in(name, average, &value)?;
        }
        Ok(())
    }

    /// Runs `f` while the network's weights are the averages; afterwards they are what they were. No copy is made.
    pub fn with_average<T>(&mut self, f: impl FnOnce() -> T) -> T {
        struct Swapped<'a>(&'a mut Ema);
        impl Drop for Swapped<'_> {
            fn drop(&mut self) {
                self.0.swap();
            }
        }
        self.swap();
        let swapped = Swapped(self);
        let result = f();
        drop(swapped);
        result
    }

    fn swap(&mut self) {
        for (p, a) in self.params.iter_mut().zip(&mut self.average) {
            let weights = p.detach();
            p.set_data(a);
            *a = weights;
        }
    }
}

/// Copies `value` into `into`, which must have the same shape.
pub(crate) fn copy_in(name: &str, into: &mut Tensor, value: &Tensor) -> Result<(), TorchError> {
    if into.size() != value.size() {
        return Err(TorchError(format!("{name} has shape {:?}, not {:?}", value.size(), into.size())));
    }
    tch::no_grad(|| Ok(into.f_copy_(value)?))
}
