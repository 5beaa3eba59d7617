//! The process's one tokio runtime for storage, and waiting for it from any thread.

use std::sync::OnceLock;
use std::sync::mpsc::{Receiver, sync_channel};

use tokio::runtime::{Builder, Handle, Runtime, RuntimeFlavor};
use tokio::task::AbortHandle;

/// The reason that there is no answer to a request.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum RuntimeError {
    #[error("the threads for requests cannot be started: {0}")]
    Start(String),
    #[error("the request's task panicked")]
    Panicked,
}

/// A request under way. Dropping it ends it.
#[derive(Debug)]
pub(crate) struct Request<T> {
    answer: Receiver<T>,
    task: AbortHandle,
}

/// Starts `work` on the runtime.
pub(crate) fn start<T: Send + 'static>(
    work: impl Future<Output = T> + Send + 'static,
) -> Result<Request<T>, RuntimeError> {
    let (sender, answer) = sync_channel(1);
    let task = runtime()?.spawn(async move {
        // Whoever asked may have dropped the request meanwhile.
        let _ = sender.send(work.await);
    });
    Ok(Request { answer, task: task.abort_handle() })
}

impl<T> Request<T> {
    /// Waits for the answer.
    pub(crate) fn wait(self) -> Result<T, RuntimeError> {
        blocking(|| self.answer.recv()).map_err(|_| RuntimeError::Panicked)
    }
}

impl<T> Drop for Request<T> {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Runs `work`, which blocks. A thread of a tokio runtime first hands its other tasks on, so that a request never waits
/// for a thread that waits for it.
pub(crate) fn blocking<T>(work: impl FnOnce() -> T) -> T {
    match Handle::try_current() {
        Ok(handle) if handle.runtime_flavor() == RuntimeFlavor::MultiThread => tokio::task::block_in_place(work),
        // No runtime, or one of a single thread, which is not ours: ours goes on meanwhile.
        _ => work(),
    }
}

fn runtime() -> Result<&'static Runtime, RuntimeError> {
    static RUNTIME: OnceLock<Result<Runtime, String>> = OnceLock::new();
    let runtime = RUNTIME.get_or_init(|| {
        // Encryption of what is sent and received takes a processor's time.
        let threads = std::thread::available_parallelism().map_or(2, |n| n.get().clamp(2, 4));
        let builder = &mut Builder::new_multi_thread();
        builder.worker_threads(threads).thread_name("storage").enable_all().build().map_err(|e| e.to_string())
    });
    runtime.as_ref().map_err(|message| RuntimeError::Start(message.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_thread_of_the_runtime_may_wait_for_it() {
        let nested = || start(async { start(async { 7 }).unwrap().wait().unwrap() }).unwrap();
        let requests: Vec<_> = (0..64).map(|_| nested()).collect();
        assert!(requests.into_iter().all(|request| request.wait().unwrap() == 7));
    }

    #[test]
    fn a_runtime_of_one_thread_may_wait_too() {
        let single = Builder::new_current_thread().build().unwrap();
        assert_eq!(single.block_on(async { start(async { 7 }).unwrap().wait().unwrap() }), 7);
    }

    #[test]
    fn a_panic_is_an_error() {
        let request = start(async { panic!("as a test") }).unwrap();
        assert!(matches!(request.wait(), Err::<(), _>(RuntimeError::Panicked)));
    }
}
