//! The signal to stop: SIGTERM, SIGINT or Slurm's SIGUSR2.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Set once this process has been asked to stop. The decision itself is taken by all ranks together, between steps.
#[derive(Clone, Debug)]
pub struct StopSignal(Arc<AtomicBool>);

impl StopSignal {
    /// Starts listening.
    ///
    /// # Errors
    /// [`std::io::Error`] if the handlers cannot be installed.
    pub fn listen() -> std::io::Result<Self> {
        let flag = Arc::new(AtomicBool::new(false));
        for signal in [signal_hook::consts::SIGTERM, signal_hook::consts::SIGINT, signal_hook::consts::SIGUSR2] {
            signal_hook::flag::register(signal, Arc::clone(&flag))?;
        }
        Ok(Self(flag))
    }

    /// Whether this process has been asked to stop.
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
