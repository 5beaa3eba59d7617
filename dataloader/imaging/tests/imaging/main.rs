//! Degradations, grounds, instructions and image files, from the outside.

mod degrade;
mod ground;
mod image_files;
mod jpeg;
mod oracle_degrade;
mod physics;
mod tiff;
