//! The arithmetic of samples, the same for both depths.

/// A sample of 8 or 16 bits, arithmetic modulo its range.
pub(crate) trait Sample: Copy + Default {
    /// Bytes of a sample.
    const BYTES: usize;
    fn plus(self, other: Self) -> Self;
    fn minus(self, other: Self) -> Self;
    /// Stores residuals as bytes.
    fn pack(residuals: &[Self], bytes: &mut Vec<u8>);
    /// The inverse of `pack`; `bytes` has `BYTES` times as many elements as `residuals`.
    fn unpack(bytes: &[u8], residuals: &mut [Self]);
    /// The value in [0, 1].
    fn unit(self) -> f32;
}

impl Sample for u8 {
    const BYTES: usize = 1;
    fn plus(self, other: Self) -> Self {
        self.wrapping_add(other)
    }
    fn minus(self, other: Self) -> Self {
        self.wrapping_sub(other)
    }
    fn pack(residuals: &[Self], bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(residuals);
    }
    fn unpack(bytes: &[u8], residuals: &mut [Self]) {
        residuals.copy_from_slice(bytes);
    }
    fn unit(self) -> f32 {
        f32::from(self) / 255.0
    }
}

impl Sample for u16 {
    const BYTES: usize = 2;
    fn plus(self, other: Self) -> Self {
        self.wrapping_add(other)
    }
    fn minus(self, other: Self) -> Self {
        self.wrapping_sub(other)
    }
    fn pack(residuals: &[Self], bytes: &mut Vec<u8>) {
        let folded = |r: &u16| (r << 1) ^ ((*r as i16 >> 15) as u16);
        bytes.extend(residuals.iter().map(|r| (folded(r) >> 8) as u8));
        bytes.extend(residuals.iter().map(|r| folded(r) as u8));
    }
    fn unpack(bytes: &[u8], residuals: &mut [Self]) {
        let (high, low) = bytes.split_at(residuals.len());
        for ((r, h), l) in residuals.iter_mut().zip(high).zip(low) {
            let folded = u16::from_be_bytes([*h, *l]);
            *r = (folded >> 1) ^ (folded & 1).wrapping_neg();
        }
    }
    fn unit(self) -> f32 {
        f32::from(self) / 65535.0
    }
}
