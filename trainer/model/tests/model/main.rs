//! Tests of the networks, the diffusion and the files of weights, in one binary, because each one links libtorch.

mod goldens;
mod metrics_lpips;
mod sizes;
mod weights_file;
