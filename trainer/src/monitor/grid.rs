//! Pictures side by side in one RGB image.

use image::codecs::png::PngEncoder;
use image::{ExtendedColorType, ImageEncoder};
use tch::{Device, Kind, Tensor};

use super::MonitorError;

/// Pixels between pictures.
const GAP: usize = 2;
/// Grey between pictures.
const GREY: u8 = 128;

/// An RGB image, 8 bits a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grid {
    width: usize,
    height: usize,
    rgb: Vec<u8>,
}

impl Grid {
    /// Puts pictures side by side: each of `rows` is a tensor `[B, 3, H, W]` in [-1, 1] (clamped) and gives one row of B
    /// pictures. Rows may differ in B, H and W; the cells of a column are aligned.
    ///
    /// # Errors
    /// [`MonitorError::Grid`] for tensors of another shape.
    pub fn compose(name: &str, rows: &[&Tensor]) -> Result<Self, MonitorError> {
        let error = |message: String| MonitorError::Grid { name: name.to_owned(), message };
        let mut pictures = Vec::with_capacity(rows.len());
        for (i, row) in rows.iter().enumerate() {
            let [count, 3, height, width] = row.size()[..] else {
                return Err(error(format!("row {i} has shape {:?}, expected [B, 3, H, W]", row.size())));
            };
            let bytes = to_bytes(row).map_err(|e| error(e.to_string()))?;
            pictures.push((count as usize, height as usize, width as usize, bytes));
        }
        let cell = pictures.iter().map(|row| row.2).max().unwrap_or(0) + GAP;
        let width = GAP + cell * pictures.iter().map(|row| row.0).max().unwrap_or(0);
        let height = GAP + pictures.iter().map(|row| row.1 + GAP).sum::<usize>();
        if rows.is_empty() || u32::try_from(width.saturating_mul(height)).is_err() {
            return Err(error(format!("{} rows of {width}x{height} pixels in all make no picture", rows.len())));
        }
        let mut rgb = vec![GREY; width * height * 3];
        let mut top = GAP;
        for (count, h, w, bytes) in pictures {
            for (i, picture) in bytes.chunks_exact((h * w * 3).max(1)).take(count).enumerate() {
                for (y, line) in picture.chunks_exact(w * 3).enumerate() {
                    let start = ((top + y) * width + GAP + i * cell) * 3;
                    rgb[start..start + w * 3].copy_from_slice(line);
                }
            }
            top += h + GAP;
        }
        Ok(Self { width, height, rgb })
    }

    /// Width in pixels.
    pub fn width(&self) -> u32 {
        self.width as u32
    }

    /// Height in pixels.
    pub fn height(&self) -> u32 {
        self.height as u32
    }

    /// The pixels, row by row, three bytes each.
    pub fn rgb(&self) -> &[u8] {
        &self.rgb
    }

    /// The image as a PNG file.
    ///
    /// # Errors
    /// Why it could not be encoded.
    pub fn png(&self) -> Result<Vec<u8>, String> {
        let mut png = Vec::new();
        PngEncoder::new(&mut png)
            .write_image(&self.rgb, self.width(), self.height(), ExtendedColorType::Rgb8)
            .map_err(|e| e.to_string())?;
        Ok(png)
    }
}

/// `[B, 3, H, W]` in [-1, 1] to `[B, H, W, 3]` bytes; NaN is shown as mid-grey.
fn to_bytes(tensor: &Tensor) -> Result<Vec<u8>, tch::TchError> {
    tch::no_grad(|| {
        let x = tensor.f_detach()?.f_to_device(Device::Cpu)?.f_to_kind(Kind::Float)?;
        let x = x.f_nan_to_num(Some(0.0), Some(1.0), Some(-1.0))?.f_clamp(-1.0, 1.0)?;
        let x = ((x + 1.0) * 127.5).f_round()?.f_to_kind(Kind::Uint8)?.f_permute([0, 2, 3, 1])?.f_contiguous()?;
        let mut bytes = vec![0; x.numel()];
        x.f_copy_data_u8(&mut bytes, x.numel())?;
        Ok(bytes)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_stand_where_they_belong() {
        let colour =
            |rgb: [f32; 3], h: i64, w: i64| Tensor::from_slice(&rgb).reshape([1, 3, 1, 1]).expand([1, 3, h, w], false);
        let first = Tensor::cat(&[colour([1.0, -1.0, -1.0], 4, 4), colour([-1.0, 1.0, -1.0], 4, 4)], 0);
        let second = colour([f32::NAN, 7.0, -7.0], 2, 3);
        let grid = Grid::compose("t", &[&first, &second]).unwrap();
        assert_eq!((grid.width(), grid.height()), (14, 12));
        let at = |x: usize, y: usize| grid.rgb()[(y * 14 + x) * 3..][..3].to_vec();
        assert_eq!(at(0, 0), [GREY; 3]);
        assert_eq!(at(2, 2), [255, 0, 0]);
        assert_eq!(at(5, 5), [255, 0, 0]);
        assert_eq!(at(6, 5), [GREY; 3]);
        assert_eq!(at(8, 2), [0, 255, 0]);
        assert_eq!(at(2, 8), [128, 255, 0]);
        assert_eq!(at(5, 8), [GREY; 3]);
        let decoded = image::load_from_memory(&grid.png().unwrap()).unwrap().to_rgb8();
        assert_eq!(decoded.as_raw(), grid.rgb());
    }

    #[test]
    fn other_shapes_are_refused() {
        let bad = Tensor::zeros([1, 4, 2, 2], (Kind::Float, Device::Cpu));
        let error = Grid::compose("restored", &[&bad]).unwrap_err().to_string();
        assert!(error.contains("restored") && error.contains("[1, 4, 2, 2]"), "{error}");
        assert!(Grid::compose("none", &[]).is_err());
    }
}
