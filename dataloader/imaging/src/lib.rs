//! Pixels, without libtorch and without storage: image files in and out, degradations, visual grounds and instructions, and
//! sheets of labelled images.
//!
//! The crate stands on `defusion-config` alone. The dataloader makes its samples with it; evaluation, restoring and
//! monitoring read, write and lay out images with it. Everything random is drawn from an [`Rng`], a pure function of its
//! key, so that a sample is the same at any number of threads and on any CPU of one kind.
//!
//! | module | |
//! |---|---|
//! | [`image_file`] | the only decoder and the only encoder of image files |
//! | [`Image`], [`pixels`] | an image as float planes, and at the depth of its file |
//! | [`degrade`] | the thirteen degradations, alone and in chains |
//! | [`ground`], [`instruction`] | the charts that instructions are drawn on, and instructions |
//! | [`sheet`] | labelled images in rows and columns on one page |
//! | [`rng`] | randomness without state |
//!
//! ```
//! use defusion_config::{Degradation, Grounds, Severity, Synthesis};
//! use defusion_imaging::ground::Pool;
//! use defusion_imaging::{Image, Rng, degrade, instruction};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let (clean, synthesis) = (Image::filled(96, 64, 0.5), Synthesis::default());
//! let mut rng = Rng::new(1, &[]);
//! // x_LQ: rain, then JPEG. T_v(x_LQ): the same image without the rain.
//! let chain = degrade::draw(&[Degradation::Rain, Degradation::Jpeg], &synthesis, Severity::Any, 1.0, &mut rng);
//! let (degraded, target) = chain.apply_both(&clean, &[Degradation::Rain]);
//! assert_ne!(degraded, target);
//!
//! // The instruction that shows rain, and its clean ground.
//! let pool = Pool::open(&Grounds::default())?;
//! let shown = instruction::centered(&pool, &synthesis, &[Degradation::Rain], Severity::Any, None, &mut rng);
//! assert_ne!(shown.v, shown.null);
//! # Ok(())
//! # }
//! ```

#![forbid(unsafe_code)]

pub mod degrade;
pub mod ground;
pub mod image_file;
pub mod instruction;
pub mod pixels;
mod planes;
pub mod rng;
pub mod sheet;

pub use image_file::{
    DecodeError, EncodeError, ImageEncoding, ImageFileError, ImageHeader, check_writable, decode_pixels, encode_image,
    read_header, read_image, read_pixels, write_image, write_image_as,
};
pub use pixels::{Pixels, Samples};
pub use planes::Image;
pub use rng::Rng;
