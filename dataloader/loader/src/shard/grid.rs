//! The tiles of an image, and the ways of their samples.

use super::sample::Sample;

/// The tiles of an image: `across` x `down` of them, those at the right and bottom edges smaller.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TileGrid {
    pub(crate) width: usize,
    pub(crate) height: usize,
    pub(crate) tile: usize,
}

impl TileGrid {
    pub(crate) fn new(width: u32, height: u32, tile: u32) -> Self {
        Self { width: width as usize, height: height as usize, tile: tile as usize }
    }

    pub(crate) fn across(&self) -> usize {
        self.width.div_ceil(self.tile)
    }

    pub(crate) fn tiles(&self) -> usize {
        self.across() * self.height.div_ceil(self.tile)
    }

    /// Left, top, width, height of a tile.
    pub(crate) fn rect(&self, column: usize, row: usize) -> Rect {
        let (x, y) = (column * self.tile, row * self.tile);
        Rect { x, y, w: self.tile.min(self.width - x), h: self.tile.min(self.height - y) }
    }

    /// Bytes of the index.
    pub(crate) fn index_bytes(&self) -> usize {
        4 * (self.tiles() + 1)
    }
}

/// A part of an image, pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rect {
    pub(crate) x: usize,
    pub(crate) y: usize,
    pub(crate) w: usize,
    pub(crate) h: usize,
}

/// Copies the part of tile `r` that `want` holds, in [0, 1], into the planes of an image of `want`'s size.
pub(crate) fn paste<T: Sample>(planes: &[T], r: Rect, want: Rect, out: &mut [f32]) {
    let (x0, x1) = (r.x.max(want.x), (r.x + r.w).min(want.x + want.w));
    let (y0, y1) = (r.y.max(want.y), (r.y + r.h).min(want.y + want.h));
    for c in 0..3 {
        for y in y0..y1 {
            let from = &planes[c * r.w * r.h + (y - r.y) * r.w..][x0 - r.x..x1 - r.x];
            let to = &mut out[c * want.w * want.h + (y - want.y) * want.w..][x0 - want.x..x1 - want.x];
            for (t, f) in to.iter_mut().zip(from) {
                *t = f.unit();
            }
        }
    }
}

/// Copies tile `r` into interleaved samples of an image `width` across.
pub(crate) fn interleave<T: Copy>(planes: &[T], r: Rect, width: usize, out: &mut [T]) {
    for c in 0..3 {
        for y in 0..r.h {
            let from = &planes[c * r.w * r.h + y * r.w..][..r.w];
            let to = &mut out[3 * ((r.y + y) * width + r.x)..][..3 * r.w];
            for (t, f) in to.iter_mut().skip(c).step_by(3).zip(from) {
                *t = *f;
            }
        }
    }
}
