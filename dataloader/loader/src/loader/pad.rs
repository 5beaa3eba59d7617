//! From images to the memory of a batch.

use defusion_imaging::Image;

/// Writes an image's values, from [0, 1] to [-1, 1].
pub(super) fn write(image: &Image, to: &mut [f32]) {
    for (t, v) in to.iter_mut().zip(image.data()) {
        *t = 2.0 * v - 1.0;
    }
}

/// Extends an image that is smaller than `side` to the right and the bottom by its mirror image, the edge pixels not
/// repeated; again and again if it is very small.
pub(super) fn reflect_pad(image: Image, side: usize) -> Image {
    let (width, height) = (image.width(), image.height());
    let (to_width, to_height) = (width.max(side), height.max(side));
    if (to_width, to_height) == (width, height) || width == 0 || height == 0 {
        return image;
    }
    let mirror = |at: usize, len: usize| {
        let period = (2 * (len - 1)).max(1);
        (at % period).min(period - at % period).min(len - 1)
    };
    let mut padded = Image::filled(to_width, to_height, 0.0);
    for (to, from) in padded.data_mut().chunks_exact_mut(to_width * to_height).zip(image.planes()) {
        for (y, row) in to.chunks_exact_mut(to_width).enumerate() {
            let source = &from[mirror(y, height) * width..][..width];
            for (x, v) in row.iter_mut().enumerate() {
                *v = source[mirror(x, width)];
            }
        }
    }
    padded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_images_are_mirrored() {
        let plane: Vec<f32> = (0..6).map(|v| v as f32).collect();
        let image = Image::from_planes(3, 2, plane.repeat(3)).unwrap();
        let padded = reflect_pad(image.clone(), 7);
        assert_eq!((padded.width(), padded.height()), (7, 7));
        assert_eq!(padded.plane(1)[..7], [0.0, 1.0, 2.0, 1.0, 0.0, 1.0, 2.0]);
        let column: Vec<f32> = (0..7).map(|y| padded.plane(2)[7 * y]).collect();
        assert_eq!(column, [0.0, 3.0, 0.0, 3.0, 0.0, 3.0, 0.0]);
        assert_eq!(reflect_pad(image.clone(), 2), image);
        let dot = Image::filled(1, 1, 0.5);
        assert_eq!(reflect_pad(dot, 4), Image::filled(4, 4, 0.5));
    }
}
