//! The built programs, driven as their users drive them, in processes of their own.

mod bad_input;
mod data_prepare;
mod hang;
mod main_job;
mod object_storage;
mod old_formats;
mod resume;
mod terminal;
mod without_libtorch;
mod world_size;
