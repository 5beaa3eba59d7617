//! The parallel engine between real processes under `mpirun`: over MPI, and over NCCL with a stand-in for its library.

mod faults;
mod gradients;
mod harness;
mod identity;
mod networks;
mod order;
mod overlap;
mod transports;
