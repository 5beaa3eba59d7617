//! Restoring pictures, from files, from datasets, or within training.

mod command;
mod networks;
mod picture_file;
mod restorer;
mod sampling;

pub use command::{RestoreArgs, RestoreError, default_device, parse_device, run_restore};
pub use networks::Networks;
pub use picture_file::{PictureFileError, check_writable, read as read_picture, write as write_picture};
pub use restorer::{Job, Restored, Restorer, RestorerError};
pub use sampling::restore_batch;
