//! Links libtorch.

include!("../torch/link.rs");
