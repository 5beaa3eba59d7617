//! The built programs, driven as their users drive them, in processes of their own.

mod bad_input;
mod changed_run;
mod data_prepare;
mod documented_commands;
mod field_data;
mod field_restore;
mod hang;
mod main_job;
mod object_storage;
mod old_formats;
mod precision;
mod restarts;
mod resume;
mod stopping;
mod terminal;
mod without_libtorch;
mod world_size;
