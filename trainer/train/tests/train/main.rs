//! The engine's step, what a run logs.

mod engine_step;
mod monitor_log;
