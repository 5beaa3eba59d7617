//! A page of captioned pictures.

use crate::Picture;

/// Pixels between cells.
pub(super) const GAP: usize = 4;
/// Height of a caption: letters of 9 px, twice their size, and some air.
pub(super) const CAPTION: usize = 20;

/// A grey page.
pub(super) struct Sheet {
    pub picture: Picture,
}

impl Sheet {
    pub fn new(width: usize, height: usize) -> Self {
        Self { picture: Picture::filled(width, height, 0.16) }
    }

    /// The middle of `picture`, at most `cell` pixels wide and high, centred in a cell.
    pub fn place(&mut self, left: usize, top: usize, cell: usize, picture: &Picture) {
        let [width, height] = [picture.width(), picture.height()].map(|n| n.min(cell));
        let (x0, y0) = ((picture.width() - width) / 2, (picture.height() - height) / 2);
        let (left, top) = (left + (cell - width) / 2, top + (cell - height) / 2);
        let (page_width, page) = (self.picture.width(), self.picture.width() * self.picture.height());
        for (c, plane) in picture.planes().enumerate() {
            for y in 0..height {
                let from = &plane[(y0 + y) * picture.width() + x0..][..width];
                self.picture.data_mut()[c * page + (top + y) * page_width + left..][..width].copy_from_slice(from);
            }
        }
    }

    /// A line of text, small letters only; as much of it as `width` pixels hold.
    pub fn caption(&mut self, left: usize, top: usize, width: usize, text: &str) {
        // Twice the size where that fits.
        let scale = if 12 * text.len() <= width { 2 } else { 1 };
        for (i, letter) in text.bytes().enumerate().take_while(|(i, _)| (i + 1) * 6 * scale <= width) {
            let rows = match letter {
                b'a'..=b'z' => LETTERS[usize::from(letter - b'a')],
                b'_' => [0, 0, 0, 0, 0, 0, 31, 0, 0],
                _ => continue,
            };
            for at in 0..45 * scale * scale {
                let (x, y) = (at % (5 * scale), at / (5 * scale));
                if rows[y / scale] >> (4 - x / scale) & 1 == 1 {
                    self.dot(left + 6 * scale * i + x, top + 2 + y);
                }
            }
        }
    }

    fn dot(&mut self, x: usize, y: usize) {
        let (width, page) = (self.picture.width(), self.picture.width() * self.picture.height());
        (0..3).for_each(|c| self.picture.data_mut()[c * page + y * width + x] = 0.9);
    }
}

/// Letters a to z, 5 x 9 dots, the last two rows below the line: one number per row, the leftmost dot its highest bit.
#[rustfmt::skip]
const LETTERS: [[u8; 9]; 26] = [
    [0, 0, 14, 1, 15, 17, 15, 0, 0],
    [16, 16, 30, 17, 17, 17, 30, 0, 0],
    [0, 0, 15, 16, 16, 16, 15, 0, 0],
    [1, 1, 15, 17, 17, 17, 15, 0, 0],
    [0, 0, 14, 17, 31, 16, 14, 0, 0],
    [6, 8, 30, 8, 8, 8, 8, 0, 0],
    [0, 0, 15, 17, 17, 17, 15, 1, 14],
    [16, 16, 30, 17, 17, 17, 17, 0, 0],
    [4, 0, 12, 4, 4, 4, 14, 0, 0],
    [2, 0, 6, 2, 2, 2, 2, 18, 12],
    [16, 16, 18, 20, 24, 20, 18, 0, 0],
    [12, 4, 4, 4, 4, 4, 14, 0, 0],
    [0, 0, 26, 21, 21, 21, 21, 0, 0],
    [0, 0, 30, 17, 17, 17, 17, 0, 0],
    [0, 0, 14, 17, 17, 17, 14, 0, 0],
    [0, 0, 30, 17, 17, 17, 30, 16, 16],
    [0, 0, 15, 17, 17, 17, 15, 1, 1],
    [0, 0, 22, 25, 16, 16, 16, 0, 0],
    [0, 0, 15, 16, 14, 1, 30, 0, 0],
    [8, 8, 30, 8, 8, 9, 6, 0, 0],
    [0, 0, 17, 17, 17, 19, 13, 0, 0],
    [0, 0, 17, 17, 17, 10, 4, 0, 0],
    [0, 0, 17, 21, 21, 21, 10, 0, 0],
    [0, 0, 17, 10, 4, 10, 17, 0, 0],
    [0, 0, 17, 17, 17, 17, 15, 1, 14],
    [0, 0, 31, 2, 4, 8, 31, 0, 0],
];
