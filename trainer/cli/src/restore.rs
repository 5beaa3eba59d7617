//! `defusion restore`.

mod arguments;
mod error;
mod files;
mod memory;
mod run;

pub use arguments::RestoreArgs;
pub use error::{Failure, RestoreError};
pub use run::run_restore;
