//! The commands on tiny random networks, called as functions.

mod evaluate;
mod export;
mod restore;
mod restore_many;
#[path = "../../../restore/tests/restore/tiny.rs"]
mod tiny;
