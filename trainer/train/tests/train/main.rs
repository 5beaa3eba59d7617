//! The engine's step, what a run logs.

mod engine_step;
mod monitor_log;
mod stages;

/// libtorch's generator is the process's: tests that draw from it take turns.
fn turn() -> std::sync::MutexGuard<'static, ()> {
    static TURN: std::sync::Mutex<()> = std::sync::Mutex::new(());
    TURN.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
