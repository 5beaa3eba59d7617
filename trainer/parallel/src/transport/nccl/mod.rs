//! Tensors on GPUs over NCCL.
//!
//! [`library`] is NCCL's C interface, [`communicator`] is one communicator, [`in_flight`] knows what the device was
//! given, [`transport`] is what the communication thread runs.

#[allow(unsafe_code)]
mod communicator;
mod in_flight;
#[allow(unsafe_code)]
mod library;
mod transport;

pub use library::nccl_identity;
pub(crate) use transport::NcclTransport;
