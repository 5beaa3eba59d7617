//! What tests of storage need: a store that fails on purpose, and a real S3 server.

mod faulty;
mod s3;

pub use faulty::Faulty;
pub use s3::ObjectStorage;
