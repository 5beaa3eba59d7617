//! Whether a JPEG file is whole: its decoder paints what is missing grey and says nothing.

/// Whether the markers of a JPEG file go on to the end of its image. Images embedded in its segments, such as the thumbnail
/// in EXIF, do not count; what follows the end of the image does not matter.
pub(super) fn is_whole(jpeg: &[u8]) -> bool {
    const END_OF_IMAGE: u8 = 0xD9;
    let mut rest = jpeg;
    loop {
        // Between markers lie entropy-coded data, in which 0xFF is followed by 0, and now and then stray bytes.
        let Some(at) = rest.iter().position(|byte| *byte == 0xFF) else { return false };
        rest = &rest[at + 1..];
        let Some((marker, behind)) = rest.split_first() else { return false };
        match marker {
            // A fill byte: the marker is what follows.
            0xFF => continue,
            &END_OF_IMAGE => return true,
            // A byte of data, or a marker without a segment: restart, start of image, TEM.
            0x00 | 0x01 | 0xD0..=0xD8 => rest = behind,
            _ => {
                let Some(length) = behind.first_chunk().map(|bytes| usize::from(u16::from_be_bytes(*bytes))) else {
                    return false;
                };
                match behind.get(length..) {
                    Some(after) => rest = after,
                    None => return false,
                }
            }
        }
    }
}
