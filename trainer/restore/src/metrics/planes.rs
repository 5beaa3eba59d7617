//! Images as the metrics see them: float64 planes of 8-bit values.

use defusion_imaging::Image;

use super::MetricError;

/// One or three planes of float64 in [0, 255], each row-major: shape `[channels, height, width]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Planes {
    pub(super) width: usize,
    pub(super) height: usize,
    pub(super) planes: Vec<Vec<f64>>,
}

impl Planes {
    /// The 8-bit RGB values of an image, as whole numbers.
    pub fn rgb(image: &Image) -> Self {
        let round = |v: &f32| f64::from((v.clamp(0.0, 1.0) * 255.0 + 0.5).floor());
        Self {
            width: image.width(),
            height: image.height(),
            planes: image.planes().map(|plane| plane.iter().map(round).collect()).collect(),
        }
    }

    /// Luma of ITU-R BT.601 in its studio range [16, 235], not rounded: `16 + (65.481 R + 128.553 G + 24.966 B) / 255`
    /// (MATLAB's `rgb2ycbcr` and BasicSR's `rgb2ycbcr` in floating point). A single plane is returned as it is.
    pub fn luma(&self) -> Self {
        let [r, g, b] = self.planes.as_slice() else { return self.clone() };
        let y = r.iter().zip(g).zip(b).map(|((r, g), b)| 16.0 + (65.481 * r + 128.553 * g + 24.966 * b) / 255.0);
        Self { width: self.width, height: self.height, planes: vec![y.collect()] }
    }

    pub(super) fn check(&self, other: &Self) -> Result<(), MetricError> {
        if (self.width, self.height) != (other.width, other.height) {
            return Err(MetricError::Size(self.width, self.height, other.width, other.height));
        }
        if self.planes.len() != other.planes.len() {
            return Err(MetricError::Channels(self.planes.len(), other.planes.len()));
        }
        Ok(())
    }
}
