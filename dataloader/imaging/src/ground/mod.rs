//! Visual grounds: the charts that instructions are drawn on (paper, section 3.1 and supplement, section 6). One element of
//! each of four pools, in the quadrants of a canvas, in random order.

mod colour;
mod element;
mod error;
mod natural;
mod pool;
mod random;
mod regular;
mod spectrum;

pub use element::Element;
pub use error::GroundError;
pub use pool::Pool;
