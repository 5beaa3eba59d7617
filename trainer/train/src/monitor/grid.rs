//! Images of a training batch, side by side in one.

use defusion_imaging::Image;
use defusion_imaging::sheet::{Sheet, SheetStyle};
use defusion_restore::from_tensor;
use tch::Tensor;

use super::MonitorError;

/// Puts images side by side: each of `rows` is a tensor `[B, 3, H, W]` in [-1, 1] (clamped; NaN is mid-grey) and gives
/// one row of B images. Rows may differ in B, H and W; the cells of a column are aligned.
///
/// # Errors
/// [`MonitorError::Grid`] for tensors of another shape.
pub fn compose(name: &str, rows: &[&Tensor]) -> Result<Image, MonitorError> {
    let error = |message: String| MonitorError::Grid { name: name.to_owned(), message };
    let mut sheet = Sheet::new(SheetStyle::GREY);
    for (i, row) in rows.iter().enumerate() {
        if !matches!(row.size()[..], [_, 3, _, _]) {
            return Err(error(format!("row {i} has shape {:?}, expected [B, 3, H, W]", row.size())));
        }
        let shown = tch::no_grad(|| row.f_detach()?.f_nan_to_num(Some(0.0), Some(1.0), Some(-1.0))?.f_clamp(-1.0, 1.0));
        sheet.add_row("", from_tensor(&shown.map_err(|e| error(e.to_string()))?));
    }
    sheet.draw().ok_or_else(|| error(format!("{} rows make no image", rows.len())))
}

#[cfg(test)]
mod tests {
    use defusion_imaging::image_file::{ImageEncoding, encode_image};
    use tch::{Device, Kind};

    use super::*;

    #[test]
    fn images_stand_where_they_belong() {
        let colour =
            |rgb: [f32; 3], h: i64, w: i64| Tensor::from_slice(&rgb).reshape([1, 3, 1, 1]).expand([1, 3, h, w], false);
        let first = Tensor::cat(&[colour([1.0, -1.0, -1.0], 4, 4), colour([-1.0, 1.0, -1.0], 4, 4)], 0);
        let second = colour([f32::NAN, 7.0, -7.0], 2, 3);
        let grid = compose("t", &[&first, &second]).unwrap();
        assert_eq!((grid.width(), grid.height()), (14, 12));
        let rgb = grid.to_rgb8();
        let at = |x: usize, y: usize| rgb[(y * 14 + x) * 3..][..3].to_vec();
        assert_eq!(at(0, 0), [128; 3]);
        assert_eq!(at(2, 2), [255, 0, 0]);
        assert_eq!(at(5, 5), [255, 0, 0]);
        assert_eq!(at(6, 5), [128; 3]);
        assert_eq!(at(8, 2), [0, 255, 0]);
        assert_eq!(at(2, 8), [128, 255, 0]);
        assert_eq!(at(5, 8), [128; 3]);
        let decoded = image::load_from_memory(&encode_image(&grid, ImageEncoding::Png).unwrap()).unwrap().to_rgb8();
        assert_eq!(*decoded.as_raw(), rgb);
    }

    #[test]
    fn other_shapes_are_refused() {
        let bad = Tensor::zeros([1, 4, 2, 2], (Kind::Float, Device::Cpu));
        let error = compose("restored", &[&bad]).unwrap_err().to_string();
        assert!(error.contains("restored") && error.contains("[1, 4, 2, 2]"), "{error}");
        assert!(compose("none", &[]).is_err());
    }
}
