//! The contact sheet: one row a picture, with what went in, what was asked, what came out, and what is right.

use defusion_dataloader::Picture;

use super::glyphs;

/// Pictures are shown at this size at most, pixels a side; larger ones are reduced.
const CELL: usize = 256;
/// White between pictures, pixels.
const GAP: usize = 6;
/// Labels are drawn twice their bitmap's size.
const SCALE: usize = 2;
/// Height of a line of text with its margins.
const LINE: usize = glyphs::HEIGHT * SCALE + 8;
/// Columns of the sheet.
pub const COLUMNS: [&str; 4] = ["degraded", "instruction", "restored", "clean"];

/// One row of the sheet.
#[derive(Clone, Debug)]
pub struct SheetRow {
    /// What stands above it.
    pub label: String,
    /// In the order of [`COLUMNS`].
    pub pictures: [Picture; 4],
}

/// Draws the sheet; `None` where there are no rows.
pub fn draw(rows: &[SheetRow]) -> Option<Picture> {
    if rows.is_empty() {
        return None;
    }
    let small: Vec<[Picture; 4]> = rows.iter().map(|row| row.pictures.each_ref().map(reduced)).collect();
    let column = |c: usize| small.iter().map(|row| row[c].width()).max().unwrap_or(0);
    let widths: [usize; 4] = std::array::from_fn(|c| column(c).max(text_width(COLUMNS[c])));
    let heights: Vec<usize> =
        small.iter().map(|row| row.iter().map(Picture::height).max().unwrap_or(0) + LINE + GAP).collect();
    let widest_label = rows.iter().map(|row| text_width(&row.label)).max().unwrap_or(0);
    let width = (widths.iter().sum::<usize>() + 3 * GAP).max(widest_label) + 2 * GAP;
    let height = LINE + heights.iter().sum::<usize>() + GAP;
    let mut sheet = Picture::filled(width, height, 1.0);

    let lefts: [usize; 4] = std::array::from_fn(|c| GAP + widths[..c].iter().map(|w| w + GAP).sum::<usize>());
    for (name, left) in COLUMNS.iter().zip(lefts) {
        text(&mut sheet, name, left, 4);
    }
    let mut top = LINE;
    for ((row, pictures), height) in rows.iter().zip(&small).zip(heights) {
        text(&mut sheet, &row.label, GAP, top + 4);
        for (picture, left) in pictures.iter().zip(lefts) {
            paste(&mut sheet, picture, left, top + LINE);
        }
        top += height;
    }
    Some(sheet)
}

fn text_width(text: &str) -> usize {
    text.chars().count() * (glyphs::WIDTH + 1) * SCALE
}

/// Averages whole blocks of pixels, so that the longer side is at most [`CELL`].
fn reduced(picture: &Picture) -> Picture {
    let factor = picture.width().max(picture.height()).div_ceil(CELL).max(1);
    let (width, height) = (picture.width() / factor, picture.height() / factor);
    let mut small = Picture::filled(width, height, 0.0);
    let area = (factor * factor) as f32;
    for (to, from) in small.data_mut().chunks_exact_mut((width * height).max(1)).zip(picture.planes()) {
        for (i, value) in to.iter_mut().enumerate() {
            let (x, y) = (i % width * factor, i / width * factor);
            let block = (y..y + factor).flat_map(|y| &from[y * picture.width() + x..][..factor]);
            *value = block.sum::<f32>() / area;
        }
    }
    small
}

fn paste(sheet: &mut Picture, picture: &Picture, left: usize, top: usize) {
    let (width, height) = (sheet.width(), sheet.height());
    for (to, from) in sheet.data_mut().chunks_exact_mut(width * height).zip(picture.planes()) {
        for (y, row) in from.chunks_exact(picture.width().max(1)).enumerate() {
            to[(top + y) * width + left..][..row.len()].copy_from_slice(row);
        }
    }
}

fn text(sheet: &mut Picture, text: &str, left: usize, top: usize) {
    let (width, height) = (sheet.width(), sheet.height());
    let data = sheet.data_mut();
    glyphs::ink(text, |x, y| {
        for (dx, dy) in (0..SCALE).flat_map(|dy| (0..SCALE).map(move |dx| (dx, dy))) {
            let (x, y) = (left + x * SCALE + dx, top + y * SCALE + dy);
            if x < width && y < height {
                (0..3).for_each(|c| data[c * width * height + y * width + x] = 0.1);
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_picture_stands_in_its_column_under_its_label() {
        let tone = |v: f32, side: usize| Picture::filled(side, side, v);
        let row = |label: &str| SheetRow {
            label: label.into(),
            pictures: [tone(0.2, 300), tone(0.4, 224), tone(0.6, 300), tone(0.8, 300)],
        };
        let sheet = draw(&[row("one"), row("two")]).unwrap();
        // 300 px are shown at half size: 150. The instruction keeps its 224.
        assert_eq!(sheet.width(), 150 * 3 + 224 + 5 * GAP);
        assert_eq!(sheet.height(), LINE + 2 * (LINE + 224 + GAP) + GAP);
        for top in [2 * LINE, 2 * LINE + LINE + 224 + GAP] {
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
        assert_eq!(ink(LINE) % 4, 0);
        assert!(ink(LINE) > 0 && ink(LINE) != ink(2 * LINE + 224 + GAP));
        assert!(draw(&[]).is_none());
    }
}
