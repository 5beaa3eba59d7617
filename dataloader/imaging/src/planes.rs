//! A colour image in memory, as float planes.

/// A colour image: three planes of float32 in [0, 1], sRGB-encoded, each row-major; shape `[3, height, width]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Image {
    width: usize,
    height: usize,
    data: Vec<f32>,
}

impl Image {
    /// An image of one value.
    pub fn filled(width: usize, height: usize, value: f32) -> Self {
        Self { width, height, data: vec![value; 3 * width * height] }
    }

    /// Wraps planes red, green, blue. Returns `None` unless `data` has `3 * width * height` values.
    pub fn from_planes(width: usize, height: usize, data: Vec<f32>) -> Option<Self> {
        (data.len() == 3 * width * height).then_some(Self { width, height, data })
    }

    /// Spreads interleaved 8-bit RGB over planes. Returns `None` unless `rgb` has `3 * width * height` bytes.
    pub fn from_rgb8(width: usize, height: usize, rgb: &[u8]) -> Option<Self> {
        let n = width * height;
        if rgb.len() != 3 * n {
            return None;
        }
        let mut data = vec![0.0; 3 * n];
        let (r, rest) = data.split_at_mut(n);
        let (g, b) = rest.split_at_mut(n);
        for (i, px) in rgb.chunks_exact(3).enumerate() {
            r[i] = f32::from(px[0]) / 255.0;
            g[i] = f32::from(px[1]) / 255.0;
            b[i] = f32::from(px[2]) / 255.0;
        }
        Some(Self { width, height, data })
    }

    /// Returns the image as interleaved 8-bit RGB, clamped and rounded to nearest.
    pub fn to_rgb8(&self) -> Vec<u8> {
        let n = self.width * self.height;
        let mut rgb = vec![0; 3 * n];
        for (c, plane) in self.planes().enumerate() {
            for (i, v) in plane.iter().enumerate() {
                rgb[3 * i + c] = (v.clamp(0.0, 1.0) * 255.0 + 0.5) as u8;
            }
        }
        rgb
    }

    /// Pixels across.
    #[inline]
    pub fn width(&self) -> usize {
        self.width
    }

    /// Pixels down.
    #[inline]
    pub fn height(&self) -> usize {
        self.height
    }

    /// All values, plane after plane.
    #[inline]
    pub fn data(&self) -> &[f32] {
        &self.data
    }

    /// All values, plane after plane, to be changed in place.
    #[inline]
    pub fn data_mut(&mut self) -> &mut [f32] {
        &mut self.data
    }

    /// Plane `c`: 0 red, 1 green, 2 blue.
    ///
    /// # Panics
    /// Panics if `c` is above 2.
    #[inline]
    pub fn plane(&self, c: usize) -> &[f32] {
        let n = self.width * self.height;
        &self.data[c * n..(c + 1) * n]
    }

    /// The three planes.
    #[inline]
    pub fn planes(&self) -> impl Iterator<Item = &[f32]> {
        (0..3).map(|c| self.plane(c))
    }

    /// Clamps to [0, 1] and rounds to multiples of 1/255: what an 8-bit file would hold.
    pub fn quantize(&mut self) {
        for v in &mut self.data {
            // Adding a half and truncating is several times faster than `round`, which is a call.
            *v = f32::from((v.clamp(0.0, 1.0) * 255.0 + 0.5) as u8) / 255.0;
        }
    }

    /// The part of `width` x `height` pixels whose left upper corner is (`x`, `y`); `None` if it leaves the image.
    pub fn crop(&self, x: usize, y: usize, width: usize, height: usize) -> Option<Self> {
        if x.checked_add(width)? > self.width || y.checked_add(height)? > self.height {
            return None;
        }
        let mut data = Vec::with_capacity(3 * width * height);
        for plane in self.planes() {
            for row in y..y + height {
                let start = row * self.width + x;
                data.extend_from_slice(&plane[start..start + width]);
            }
        }
        Some(Self { width, height, data })
    }

    /// Copies `image` into this one, its left upper corner at (`left`, `top`); what reaches beyond this image is left out.
    pub fn paste(&mut self, image: &Self, left: usize, top: usize) {
        let width = image.width.min(self.width.saturating_sub(left));
        let height = image.height.min(self.height.saturating_sub(top));
        if width == 0 {
            return;
        }
        let to_width = self.width;
        for (to, from) in self.data.chunks_exact_mut(self.width * self.height).zip(image.planes()) {
            for y in 0..height {
                to[(top + y) * to_width + left..][..width].copy_from_slice(&from[y * image.width..][..width]);
            }
        }
    }

    /// The middle of the image as a square of `side` pixels; if the image is smaller, it lies in the middle of a square
    /// of `background`.
    pub fn middle(&self, side: usize, background: f32) -> Self {
        let [width, height] = [self.width, self.height].map(|n| n.min(side));
        let part = self.crop((self.width - width) / 2, (self.height - height) / 2, width, height);
        let mut square = Self::filled(side, side, background);
        if let Some(part) = part {
            square.paste(&part, (side - width) / 2, (side - height) / 2);
        }
        square
    }

    /// The image reduced by the smallest whole factor after which its longer side is at most `side` pixels; each pixel is
    /// the mean of a block.
    pub fn reduced(&self, side: usize) -> Self {
        let factor = self.width.max(self.height).div_ceil(side.max(1)).max(1);
        let (width, height) = (self.width / factor, self.height / factor);
        let mut small = Self::filled(width, height, 0.0);
        let area = (factor * factor) as f32;
        for (to, from) in small.data.chunks_exact_mut((width * height).max(1)).zip(self.planes()) {
            for (i, value) in to.iter_mut().enumerate() {
                let (x, y) = (i % width * factor, i / width * factor);
                let block = (y..y + factor).flat_map(|y| &from[y * self.width + x..][..factor]);
                *value = block.sum::<f32>() / area;
            }
        }
        small
    }

    /// Mirrors left and right.
    pub fn flip_horizontal(&mut self) {
        let width = self.width.max(1);
        self.data.chunks_exact_mut(width).for_each(<[f32]>::reverse);
    }

    /// Mirrors top and bottom.
    pub fn flip_vertical(&mut self) {
        let (width, height) = (self.width, self.height);
        for plane in self.data.chunks_exact_mut((width * height).max(1)) {
            for row in 0..height / 2 {
                let (top, bottom) = plane.split_at_mut((height - 1 - row) * width);
                top[row * width..(row + 1) * width].swap_with_slice(&mut bottom[..width]);
            }
        }
    }
}
