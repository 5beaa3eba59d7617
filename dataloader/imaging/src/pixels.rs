//! Decoded images at the depth of their file.

/// A decoded colour image, upright, with samples of 8 or 16 bits: what a shard stores and gives back bit for bit.
/// [`read_pixels`](crate::image_file::read_pixels) reads it from a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pixels {
    width: u32,
    height: u32,
    samples: Samples,
}

/// Samples of interleaved RGB, row after row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Samples {
    /// 8 bits a sample; white is 255.
    U8(Vec<u8>),
    /// 16 bits a sample; white is 65535.
    U16(Vec<u16>),
}

impl Pixels {
    /// Wraps interleaved RGB. Returns `None` unless there are `3 * width * height` samples and at least one pixel.
    pub fn new(width: u32, height: u32, samples: Samples) -> Option<Self> {
        let len = match &samples {
            Samples::U8(v) => v.len(),
            Samples::U16(v) => v.len(),
        };
        (len > 0 && len as u64 == 3 * u64::from(width) * u64::from(height)).then_some(Self { width, height, samples })
    }

    /// Pixels across.
    #[inline]
    pub fn width(&self) -> u32 {
        self.width
    }

    /// Pixels down.
    #[inline]
    pub fn height(&self) -> u32 {
        self.height
    }

    /// The samples.
    #[inline]
    pub fn samples(&self) -> &Samples {
        &self.samples
    }

    /// The centre part of `width` x `height`; `None` if the image is smaller.
    pub fn centre_crop(&self, width: u32, height: u32) -> Option<Self> {
        let x = self.width.checked_sub(width)? as usize / 2;
        let y = self.height.checked_sub(height)? as usize / 2;
        let (w, h, stride) = (width as usize, height as usize, self.width as usize);
        fn cut<T: Copy>(v: &[T], [x, y, w, h, stride]: [usize; 5]) -> Vec<T> {
            (y..y + h).flat_map(|row| v[3 * (row * stride + x)..][..3 * w].iter().copied()).collect()
        }
        let part = [x, y, w, h, stride];
        let samples = match &self.samples {
            Samples::U8(v) => Samples::U8(cut(v, part)),
            Samples::U16(v) => Samples::U16(cut(v, part)),
        };
        Self::new(width, height, samples)
    }
}
