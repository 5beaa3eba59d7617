//! Sheets of labelled images: rows and columns on one page, for people to look at.

mod font;

use crate::Image;

/// Height of a line of text with the air around it, pixels.
pub const LINE: usize = font::HEIGHT * SCALE + 8;
/// Letters are drawn at this multiple of their bitmap; captions that do not fit are drawn at its own size.
const SCALE: usize = 2;
/// Air above a line of text, pixels.
const AIR: usize = 4;

/// Colours and distances of a page.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SheetStyle {
    /// Pixels around the page.
    pub margin: usize,
    /// Pixels between images.
    pub gap: usize,
    /// Value of the page in [0, 1].
    pub background: f32,
    /// Value of the text in [0, 1].
    pub ink: f32,
}

impl SheetStyle {
    /// Dark text on white.
    pub const LIGHT: Self = Self { margin: 6, gap: 6, background: 1.0, ink: 0.1 };
    /// Light text on dark grey.
    pub const DARK: Self = Self { margin: 4, gap: 4, background: 0.16, ink: 0.9 };
    /// Middle grey and narrow gaps, for images without text.
    pub const GREY: Self = Self { margin: 2, gap: 2, background: 128.0 / 255.0, ink: 1.0 };

    /// The same style without a margin: for a sheet that becomes a cell of another one.
    pub fn inner(self) -> Self {
        Self { margin: 0, ..self }
    }
}

/// An image of a sheet, with a caption above it or none.
#[derive(Clone, Debug, PartialEq)]
pub struct SheetCell {
    caption: Option<String>,
    image: Image,
}

impl SheetCell {
    /// An image below a caption, of which as much is shown as the column's width holds.
    pub fn captioned(caption: impl Into<String>, image: Image) -> Self {
        Self { caption: Some(caption.into()), image }
    }
}

impl From<Image> for SheetCell {
    fn from(image: Image) -> Self {
        Self { caption: None, image }
    }
}

/// Images in rows and columns. A column is as wide as its widest image or head, a row as high as its highest image;
/// images lie in the left upper corner of their cell.
///
/// ```
/// use defusion_imaging::Image;
/// use defusion_imaging::sheet::{Sheet, SheetStyle};
///
/// let mut sheet = Sheet::new(SheetStyle::LIGHT).with_heads(&["degraded", "restored"]);
/// sheet.add_row("rain-1.png", [Image::filled(64, 48, 0.3), Image::filled(64, 48, 0.6)]);
/// let page = sheet.draw().expect("a sheet with a row can be drawn");
/// assert_eq!(page.width(), sheet.size().0);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Sheet {
    style: SheetStyle,
    heads: Vec<String>,
    rows: Vec<Row>,
}

#[derive(Clone, Debug, PartialEq)]
struct Row {
    label: Option<String>,
    cells: Vec<SheetCell>,
}

impl Row {
    /// Heights of the label's line, of the captions' line, and of the images, pixels.
    fn heights(&self) -> [usize; 3] {
        let captions = self.cells.iter().any(|cell| cell.caption.is_some());
        let images = self.cells.iter().map(|cell| cell.image.height()).max().unwrap_or(0);
        [if self.label.is_some() { LINE } else { 0 }, if captions { LINE } else { 0 }, images]
    }
}

impl Sheet {
    /// An empty sheet.
    pub fn new(style: SheetStyle) -> Self {
        Self { style, heads: Vec::new(), rows: Vec::new() }
    }

    /// The sheet with a line of column heads at its top.
    pub fn with_heads(mut self, heads: &[&str]) -> Self {
        self.heads = heads.iter().map(|head| (*head).to_owned()).collect();
        self
    }

    /// Appends a row below a label; an empty label takes no room. Rows may differ in their number of cells.
    pub fn add_row(&mut self, label: &str, cells: impl IntoIterator<Item = impl Into<SheetCell>>) {
        let label = (!label.is_empty()).then(|| label.to_owned());
        self.rows.push(Row { label, cells: cells.into_iter().map(Into::into).collect() });
    }

    /// Width and height of the page, pixels.
    pub fn size(&self) -> (usize, usize) {
        let SheetStyle { margin, gap, .. } = self.style;
        let spread = |sizes: &[usize]| sizes.iter().sum::<usize>() + gap * sizes.len().saturating_sub(1);
        let widest_label = self.rows.iter().filter_map(|row| row.label.as_deref()).map(text_width).max().unwrap_or(0);
        let heights: Vec<usize> = self.rows.iter().map(|row| row.heights().iter().sum()).collect();
        let width = spread(&self.column_widths()).max(widest_label);
        (2 * margin + width, 2 * margin + self.heads_height() + spread(&heights))
    }

    /// Draws the page. Returns `None` if the sheet has no rows, or more pixels than 32 bits count.
    pub fn draw(&self) -> Option<Image> {
        let (width, height) = self.size();
        if self.rows.is_empty() || width == 0 || height == 0 {
            return None;
        }
        u32::try_from(width.checked_mul(height)?).ok()?;
        let SheetStyle { margin, gap, background, ink } = self.style;
        let mut page = Image::filled(width, height, background);
        let widths = self.column_widths();
        let lefts: Vec<usize> =
            (0..widths.len()).map(|c| margin + widths[..c].iter().map(|w| w + gap).sum::<usize>()).collect();
        for (head, left) in self.heads.iter().zip(&lefts) {
            write(&mut page, head, SCALE, [*left, margin], ink);
        }
        let mut top = margin + self.heads_height();
        for row in &self.rows {
            let [label, captions, images] = row.heights();
            if let Some(text) = &row.label {
                write(&mut page, text, SCALE, [margin, top], ink);
            }
            for ((cell, left), width) in row.cells.iter().zip(&lefts).zip(&widths) {
                if let Some(caption) = &cell.caption {
                    let (text, scale) = fitted(caption, *width);
                    write(&mut page, &text, scale, [*left, top + label], ink);
                }
                page.paste(&cell.image, *left, top + label + captions);
            }
            top += label + captions + images + gap;
        }
        Some(page)
    }

    fn heads_height(&self) -> usize {
        if self.heads.is_empty() { 0 } else { LINE }
    }

    fn column_widths(&self) -> Vec<usize> {
        let columns = self.rows.iter().map(|row| row.cells.len()).max().unwrap_or(0).max(self.heads.len());
        let head = |c: usize| self.heads.get(c).map_or(0, |head| text_width(head));
        let images = |c: usize| self.rows.iter().filter_map(move |row| row.cells.get(c)).map(|cell| cell.image.width());
        (0..columns).map(|c| images(c).max().unwrap_or(0).max(head(c))).collect()
    }
}

/// Width of a text with the column behind its last letter, pixels.
fn text_width(text: &str) -> usize {
    text.chars().count() * (font::WIDTH + 1) * SCALE
}

/// As much of a caption as `width` pixels hold, and its scale: the full one if all of it fits so.
fn fitted(caption: &str, width: usize) -> (String, usize) {
    let scale = if text_width(caption) <= width { SCALE } else { 1 };
    (caption.chars().take(width / ((font::WIDTH + 1) * scale)).collect(), scale)
}

/// Draws a line of text whose left upper corner, air included, is at (`left`, `top`).
fn write(page: &mut Image, text: &str, scale: usize, [left, top]: [usize; 2], ink: f32) {
    let (width, height) = (page.width(), page.height());
    let data = page.data_mut();
    font::ink(text, |x, y| {
        for (dx, dy) in (0..scale).flat_map(|dy| (0..scale).map(move |dx| (dx, dy))) {
            let (x, y) = (left + x * scale + dx, top + AIR + y * scale + dy);
            if x < width && y < height {
                (0..3).for_each(|c| data[c * width * height + y * width + x] = ink);
            }
        }
    });
}

#[cfg(test)]
mod tests;
