//! Bands of whole rows, in which large images are computed where no network is concerned.
//!
//! A step written on whole tensors makes some ten of them; in bands it makes none of the image's size, and the same values.

/// Values of a band, roughly: 16 MiB of float32.
const VALUES: i64 = 1 << 22;

/// Returns the rows of a band of images `[B, C, H, W]`, at least 1.
pub fn band_rows(size: &[i64]) -> i64 {
    let row: i64 = size.iter().take(2).chain(size.iter().skip(3)).product();
    (VALUES / row.max(1)).max(1)
}

/// Cuts `height` rows into bands of `rows`: first row, and number of rows.
pub fn bands(height: i64, rows: i64) -> impl Iterator<Item = (i64, i64)> {
    let rows = rows.max(1);
    (0..height).step_by(rows as usize).map(move |top| (top, rows.min(height - top)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bands_cover_every_row_once() {
        assert_eq!(bands(7, 3).collect::<Vec<_>>(), [(0, 3), (3, 3), (6, 1)]);
        assert_eq!(bands(3, 100).collect::<Vec<_>>(), [(0, 3)]);
        assert_eq!(bands(0, 0).count(), 0);
        assert_eq!(band_rows(&[1, 3, 4000, 6000]), 233);
        assert_eq!(band_rows(&[8, 3, 9, i64::from(u32::MAX)]), 1);
    }
}
