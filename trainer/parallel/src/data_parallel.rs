//! Data parallelism: every rank's gradients become their mean over all ranks, while backward goes on.
//!
//! Gradients lie in flat buckets which the parameters' `.grad` alias from [`DataParallel::finish`] to the next
//! [`DataParallel::begin_step`]. In between, `.grad` is undefined, so that autograd hands each gradient over as it is
//! instead of adding it to zeros; a hook moves it into its bucket (scaled on the way) and, when the bucket is full,
//! gives the bucket to the communication thread.
//!
//! There is one bucket layout for the whole life of a process. The first backward pass only records the order in which
//! gradients become ready; the buckets are built in rank 0's order at its end, and everything of that pass is reduced
//! then. So a resumed run computes with the layout that the unbroken run had.
//!
//! After Li et al. 2020, "PyTorch Distributed: Experiences on Accelerating Data Parallel Training".

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use defusion_torch::{self as torch, GradHook};
use tch::{Device, Kind, Tensor};

use crate::collective::Collective;
use crate::error::ParallelError;
use crate::flat_gradients::FlatGradients;
use crate::hooks::{Phase, Reducer};
use crate::replicate::replicate;
use crate::step::{DataParallelOptions, ReductionReport, Unused};

/// A network whose gradients are reduced over all ranks.
///
/// One step:
/// ```text
/// dp.begin_step(micro_batches);
/// for m in 0..micro_batches { dp.backward(&loss, m + 1 == micro_batches)?; }
/// let report = dp.finish()?;          // .grad is the mean gradient over ranks and micro-batches
/// ```
/// Several networks may share one collective; a network's backward outside of its own [`DataParallel::backward`]
/// touches no bucket. The crate's front page has an example.
pub struct DataParallel {
    params: Vec<Tensor>,
    device: Device,
    options: DataParallelOptions,
    reducer: Arc<Mutex<Reducer>>,
    backward: Duration,
    backward_ended: Option<Instant>,
    loss: Tensor,
    _hooks: Vec<GradHook>,
}

impl DataParallel {
    /// Takes over the gradients of `params` (named, float32, trainable, all on one device), and makes them and the
    /// `buffers` equal to rank 0's.
    ///
    /// # Errors
    /// [`ParallelError::Network`]: a parameter that does not fit, by name, or ranks whose networks differ. Else a
    /// collective's or libtorch's own.
    pub fn new(
        network: &str,
        params: Vec<(String, Tensor)>,
        buffers: &[(String, Tensor)],
        comm: Arc<dyn Collective>,
        options: DataParallelOptions,
    ) -> Result<Self, ParallelError> {
        let refuse = |what: String| ParallelError::Network { rank: comm.rank(), network: network.to_owned(), what };
        let device = params.first().map(|(_, p)| p.device()).ok_or_else(|| refuse("no parameters".into()))?;
        for (name, p) in &params {
            if p.f_kind()? != Kind::Float || p.device() != device || !p.requires_grad() || !p.is_leaf() {
                return Err(refuse(format!(
                    "parameter {name} must be a float32 leaf on {device:?} that requires a gradient (it is {:?} on \
                     {:?})",
                    p.kind(),
                    p.device()
                )));
            }
        }
        let everything: Vec<(&str, &Tensor)> = params.iter().chain(buffers).map(|(n, t)| (n.as_str(), t)).collect();
        replicate(network, &everything, &*comm)?;
        let (names, params): (Vec<String>, Vec<Tensor>) = params.into_iter().unzip();
        let reducer = Arc::new(Mutex::new(Reducer {
            network: network.to_owned(),
            names,
            comm,
            phase: Phase::Idle,
            order: Vec::new(),
            buckets: None,
            scale: 1.0,
        }));
        let mut hooks = Vec::new();
        for (i, p) in params.iter().enumerate() {
            let reducer = Arc::clone(&reducer);
            hooks.push(torch::on_grad(p, move |p| lock(&reducer).ready(i, p))?);
        }
        let loss = Tensor::f_zeros([], (Kind::Float, device))?;
        Ok(Self {
            params,
            device,
            options,
            reducer,
            backward: Duration::ZERO,
            backward_ended: None,
            loss,
            _hooks: hooks,
        })
    }

    /// Returns the parameters, in the order in which they were given.
    pub fn parameters(&self) -> &[Tensor] {
        &self.params
    }

    /// Forgets the gradients of the step before, and begins one of so many micro-batches of equal size.
    ///
    /// # Errors
    /// An exception of libtorch.
    pub fn begin_step(&mut self, micro_batches: u32) -> Result<(), ParallelError> {
        for p in &self.params {
            torch::set_grad(p, None)?;
        }
        let mut reducer = lock(&self.reducer);
        reducer.scale = 1.0 / (reducer.comm.size() as f64 * f64::from(micro_batches.max(1)));
        if let Some(b) = &mut reducer.buckets {
            b.written.fill(false);
        }
        drop(reducer);
        self.backward = Duration::ZERO;
        self.backward_ended = None;
        let _ = self.loss.f_zero_()?;
        Ok(())
    }

    /// Runs backward from a scalar loss, the mean over this rank's micro-batch. `last` says that it is the step's last
    /// micro-batch, whose gradients are reduced together with those before it.
    ///
    /// # Errors
    /// [`ParallelError::Backward`]: libtorch's error, a hook's, or that of a collective within. After the first
    /// backward pass also a collective's or libtorch's own. The step cannot be continued then.
    pub fn backward(&mut self, loss: &Tensor, last: bool) -> Result<(), ParallelError> {
        {
            let mut reducer = lock(&self.reducer);
            torch::accumulate_(&self.loss, &loss.detach(), reducer.scale, false)?;
            reducer.phase = if last { Phase::Reduce } else { Phase::Accumulate };
            if let Some(b) = &mut reducer.buckets {
                b.begin_pass();
                torch::accumulate_(&b.loss, &self.loss, 1.0, true)?;
            }
        }
        let begun = Instant::now();
        let result = {
            let _any_layout = torch::relax_grad_layout();
            loss.f_backward()
        };
        let ended = Instant::now();
        self.backward += ended - begun;
        self.backward_ended = Some(ended);
        let mut reducer = lock(&self.reducer);
        reducer.phase = Phase::Idle;
        result.map_err(|e| ParallelError::Backward {
            rank: reducer.comm.rank(),
            network: reducer.network.clone(),
            what: e.to_string(),
        })?;
        if reducer.buckets.is_none() {
            self.build_buckets(&mut reducer)?;
        }
        Ok(())
    }

    /// Moves the gradients of the first backward pass into buckets in the order in which they came.
    fn build_buckets(&self, reducer: &mut Reducer) -> Result<(), ParallelError> {
        let order = reducer.agree_on_order()?;
        let mut buckets = FlatGradients::new(&self.params, &order, self.options.sizes, self.device)?;
        for &i in &order {
            if let Some(grad) = torch::take_grad(&self.params[i])? {
                buckets.write(i, &grad, reducer.scale)?;
            }
        }
        torch::accumulate_(&buckets.loss, &self.loss, 1.0, true)?;
        reducer.buckets = Some(buckets);
        Ok(())
    }

    /// Waits until the gradients of the step are reduced, and makes them the parameters' `.grad`.
    ///
    /// # Errors
    /// [`ParallelError::Network`]: no backward pass before, or unused parameters that are refused. Else a collective's
    /// or an exception of libtorch.
    pub fn finish(&mut self) -> Result<ReductionReport, ParallelError> {
        let mut guard = lock(&self.reducer);
        let reducer = &mut *guard;
        let refuse =
            |what: String| ParallelError::Network { rank: reducer.comm.rank(), network: reducer.network.clone(), what };
        let (Some(buckets), Some(backward_ended)) = (&mut reducer.buckets, self.backward_ended) else {
            return Err(refuse("finish without a backward pass".into()));
        };
        let unused: Vec<usize> = (0..self.params.len()).filter(|&i| !buckets.written[i]).collect();
        if self.options.unused == Unused::Refuse && !unused.is_empty() {
            let names: Vec<&str> = unused.iter().map(|&i| reducer.names[i].as_str()).collect();
            return Err(refuse(format!("parameters without a gradient in this step: {}", names.join(", "))));
        }
        for i in unused {
            let _ = buckets.views[i].f_zero_()?;
        }
        let begun = Instant::now();
        buckets.start(&*reducer.comm, &reducer.network, true);
        let mut timings = Vec::new();
        for pending in buckets.started.drain(..) {
            timings.push(pending.wait()?);
        }
        let exposed = begun.elapsed();
        for (p, view) in self.params.iter().zip(&buckets.views) {
            torch::set_grad(p, Some(view))?;
        }
        let mean_loss = buckets.loss.copy();
        Ok(ReductionReport { backward: self.backward, exposed, backward_ended, buckets: timings, mean_loss })
    }

    /// Returns the gradients, in the order of the parameters; after [`DataParallel::finish`] the means over all ranks.
    pub fn gradients(&self) -> Vec<Tensor> {
        match &lock(&self.reducer).buckets {
            Some(b) => b.views.iter().map(Tensor::shallow_clone).collect(),
            None => Vec::new(),
        }
    }

    /// Runs `f` with the parameters frozen: a backward pass through the network computes no gradients for them. For
    /// the generator's pass through the discriminator.
    pub fn frozen<T>(&self, f: impl FnOnce() -> T) -> T {
        struct Thaw<'a>(&'a [Tensor]);
        impl Drop for Thaw<'_> {
            fn drop(&mut self) {
                for p in self.0 {
                    let _ = p.set_requires_grad(true);
                }
            }
        }
        for p in &self.params {
            let _ = p.set_requires_grad(false);
        }
        let _thaw = Thaw(&self.params);
        f()
    }
}

// A panic inside backward leaves nothing half done that a later step could use: it ends the run.
fn lock(reducer: &Mutex<Reducer>) -> MutexGuard<'_, Reducer> {
    reducer.lock().unwrap_or_else(PoisonError::into_inner)
}
