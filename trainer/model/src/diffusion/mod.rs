//! The diffusion: noise schedule, training objective, DDIM sampling, and tiles for large images.
//!
//! The state is the degradation itself, `y_0 = x_LQ - T_v(x_LQ)` in [-2, 2]: what the instruction v says to remove. The
//! restored image is `clamp(x_LQ - y_0)` (Defusion, Sec. 3.2).

pub mod bands;
pub mod objective;
pub mod prediction;
pub mod sampler;
pub mod schedule;
pub mod tiling;
