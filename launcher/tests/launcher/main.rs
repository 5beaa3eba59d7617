//! The launcher's binary, run with the minimal worker (`examples/minimal_worker.rs`), most of it under real `mpirun`.

mod ending;
mod launch;
mod plan;
mod precision;
mod starting;
