//! Ends a process whose communication thread is stuck in a call that cannot be called back.
//!
//! A rank that waits for others notices by itself that they do not come (`transport::rendezvous`) or are lost while
//! data is on its way (`transport::transfer`). What is left are calls that only return when they have what they want:
//! MPI's own sends, the CUDA driver's, a last barrier.

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use defusion_config::protocol::EXIT_HUNG;

use crate::call::Call;
use crate::error::ParallelError;
use crate::record::FlightRecord;
use crate::timeout::Timeout;

const POLL: Duration = Duration::from_millis(250);
/// Time beyond the limit: more than what a rank that gives up needs to ask the others where they are.
const GRACE: Duration = Duration::from_secs(3);

/// The call that the communication thread is in, and since when. The watchdog ends with it.
#[derive(Default)]
pub(crate) struct Busy(Mutex<Option<(Call, Instant)>>);

impl Busy {
    /// Notes that the thread begins a call; `None`: that it is between two.
    pub fn set(&self, call: Option<&Call>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = call.map(|c| (c.clone(), Instant::now()));
    }

    fn since(&self) -> Option<(Call, Instant)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Watches a communication thread until it ends.
pub(crate) fn watch(busy: &Arc<Busy>, timeout: Timeout, record: FlightRecord) -> Result<(), ParallelError> {
    let busy = Arc::downgrade(busy);
    let thread = std::thread::Builder::new().name("hang watchdog".into());
    let started = thread.spawn(move || {
        while let Some(stuck) = poll(&busy, &timeout) {
            if let Some((call, since)) = stuck {
                let seconds = since.elapsed().as_secs_f64();
                let who = "a call to MPI or the CUDA driver does not return; this process ends".to_owned();
                record.dump_failure(&ParallelError::Hung {
                    rank: record.rank(),
                    operation: call.to_string(),
                    seconds,
                    who,
                });
                std::process::exit(EXIT_HUNG);
            }
            std::thread::sleep(POLL);
        }
    });
    started.map(|_| ()).map_err(|e| ParallelError::Thread(format!("no hang watchdog: {e}")))
}

/// `None` once the communication thread has ended; else what it is stuck in.
fn poll(busy: &Weak<Busy>, timeout: &Timeout) -> Option<Option<(Call, Instant)>> {
    let limit = timeout.get();
    let is_stuck = |since: Instant| limit.is_some_and(|limit| since.elapsed() > limit.saturating_add(GRACE));
    Some(busy.upgrade()?.since().filter(|(_, since)| is_stuck(*since)))
}
