//! The commands on tiny random networks, called as functions.

mod evaluate;
mod export;
mod restore;
#[path = "../../../restore/tests/restore/tiny.rs"]
mod tiny;
