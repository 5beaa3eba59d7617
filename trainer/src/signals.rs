//! The wish to stop, as told by SIGTERM, SIGINT or Slurm's SIGUSR2.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Set once this process has been asked to stop. The decision itself is taken by all ranks together, between steps.
#[derive(Clone, Debug)]
pub struct StopWish(Arc<AtomicBool>);

impl StopWish {
    /// Starts listening.
    ///
    /// # Errors
    /// Where the handlers cannot be installed.
    pub fn listen() -> std::io::Result<Self> {
        let wish = Arc::new(AtomicBool::new(false));
        for signal in [signal_hook::consts::SIGTERM, signal_hook::consts::SIGINT, signal_hook::consts::SIGUSR2] {
            signal_hook::flag::register(signal, Arc::clone(&wish))?;
        }
        Ok(Self(wish))
    }

    /// Whether this process has been asked to stop.
    pub fn made(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
