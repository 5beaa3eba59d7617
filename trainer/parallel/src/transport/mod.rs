//! What carries data between ranks.
//!
//! [`interface`] is what the communication thread asks of a transport. [`mpi`] carries host memory: ranks meet
//! ([`rendezvous`]) before they exchange data ([`exchange`], [`transfer`]). [`nccl`] carries tensors on GPUs, and
//! leaves everything else to MPI.

mod exchange;
#[allow(unsafe_code)]
mod host;
pub(crate) mod interface;
#[allow(unsafe_code)]
pub(crate) mod mpi;
pub(crate) mod nccl;
mod rendezvous;
mod transfer;
