//! The contact sheet: one row an image, with what went in, what was asked, what came out, and what is right.

use defusion_imaging::Image;
use defusion_imaging::sheet::{Sheet, SheetStyle};

/// Images are shown at this size at most, pixels a side; larger ones are reduced.
const CELL: usize = 256;
/// Columns of the sheet.
pub const COLUMNS: [&str; 4] = ["degraded", "instruction", "restored", "clean"];

/// One row of the sheet.
#[derive(Clone, Debug)]
pub struct SheetRow {
    /// What stands above it.
    pub label: String,
    /// In the order of [`COLUMNS`].
    pub images: [Image; 4],
}

/// Draws the sheet; `None` if there are no rows.
pub fn draw(rows: &[SheetRow]) -> Option<Image> {
    let mut sheet = Sheet::new(SheetStyle::LIGHT).with_heads(&COLUMNS);
    for row in rows {
        sheet.add_row(&row.label, row.images.each_ref().map(|image| image.reduced(CELL)));
    }
    sheet.draw()
}

#[cfg(test)]
mod tests {
    use defusion_imaging::sheet::LINE;

    use super::*;

    const GAP: usize = SheetStyle::LIGHT.gap;

    #[test]
    fn every_image_stands_in_its_column_under_its_label() {
        let tone = |v: f32, side: usize| Image::filled(side, side, v);
        let row = |label: &str| SheetRow {
            label: label.into(),
            images: [tone(0.2, 300), tone(0.4, 224), tone(0.6, 300), tone(0.8, 300)],
        };
        let sheet = draw(&[row("one"), row("two")]).unwrap();
        // 300 px are shown at half size: 150. The instruction keeps its 224.
        assert_eq!(sheet.width(), 150 * 3 + 224 + 5 * GAP);
        assert_eq!(sheet.height(), LINE + 2 * (LINE + 224 + GAP) + GAP);
        for top in [GAP + 2 * LINE, GAP + 2 * LINE + LINE + 224 + GAP] {
            let at = |x: usize| sheet.plane(0)[(top + 75) * sheet.width() + x];
            let lefts = [GAP, 2 * GAP + 150, 3 * GAP + 374, 4 * GAP + 524];
            for (left, tone) in lefts.into_iter().zip([0.2, 0.4, 0.6, 0.8]) {
                assert!((at(left + 75) - tone).abs() < 1e-6);
            }
        }
        let ink = |top: usize| {
            let line = &sheet.plane(1)[top * sheet.width()..(top + LINE) * sheet.width()];
            line.iter().filter(|v| **v < 0.15).count()
        };
        // Strokes of "one" and "two", each four pixels.
        assert_eq!(ink(GAP + LINE) % 4, 0);
        assert!(ink(GAP + LINE) > 0 && ink(GAP + LINE) != ink(2 * GAP + 2 * LINE + 224));
        assert!(draw(&[]).is_none());
    }
}
