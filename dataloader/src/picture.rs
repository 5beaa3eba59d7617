//! A colour picture in memory.

/// Three planes of float32 in [0, 1], sRGB-encoded, each row-major: shape `[3, height, width]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Picture {
    width: usize,
    height: usize,
    data: Vec<f32>,
}

impl Picture {
    /// A picture of one value.
    pub fn filled(width: usize, height: usize, value: f32) -> Self {
        Self { width, height, data: vec![value; 3 * width * height] }
    }

    /// From planes; `None` unless `data` has `3 * width * height` values.
    pub fn from_planes(width: usize, height: usize, data: Vec<f32>) -> Option<Self> {
        (data.len() == 3 * width * height).then_some(Self { width, height, data })
    }

    /// From interleaved 8-bit RGB; `None` unless `rgb` has `3 * width * height` bytes.
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

    /// Interleaved 8-bit RGB, clamped and rounded to nearest.
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
    pub fn width(&self) -> usize {
        self.width
    }

    /// Pixels down.
    pub fn height(&self) -> usize {
        self.height
    }

    /// All values, plane after plane.
    pub fn data(&self) -> &[f32] {
        &self.data
    }

    /// All values, plane after plane.
    pub fn data_mut(&mut self) -> &mut [f32] {
        &mut self.data
    }

    /// Plane `c`: 0 red, 1 green, 2 blue.
    ///
    /// # Panics
    /// If `c` is above 2.
    pub fn plane(&self, c: usize) -> &[f32] {
        let n = self.width * self.height;
        &self.data[c * n..(c + 1) * n]
    }

    /// The three planes.
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

    /// The part of `width` x `height` pixels whose left upper corner is (`x`, `y`); `None` where it leaves the picture.
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
