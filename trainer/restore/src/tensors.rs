//! Between images, which are plain memory in [0, 1], and the networks' tensors in [-1, 1]. Piece by piece, so that a large
//! image takes no memory beside the result.

use defusion_imaging::Image;
use defusion_model::diffusion::bands::{band_rows, bands};
use tch::{Device, Kind, Tensor};

/// Values that are copied at once.
const PIECE: usize = 1 << 20;

/// Images of one size as float32 `[B, 3, H, W]` in [-1, 1] on `device`.
pub fn to_tensor<'p>(images: impl Iterator<Item = &'p Image>, device: Device) -> Tensor {
    let images: Vec<&Image> = images.collect();
    let (width, height) = images.first().map_or((0, 0), |p| (p.width() as i64, p.height() as i64));
    let mut tensor = Tensor::empty([images.len() as i64, 3, height, width], (Kind::Float, device));
    for (i, image) in images.into_iter().enumerate() {
        fill(&tensor.get(i as i64), image.data().chunks(PIECE));
    }
    tensor *= 2.0;
    tensor -= 1.0;
    tensor
}

/// Fills a contiguous tensor with values, piece after piece.
pub(crate) fn fill<P: AsRef<[f32]>>(tensor: &Tensor, pieces: impl Iterator<Item = P>) {
    let flat = tensor.view([-1]);
    let mut start = 0;
    for piece in pieces {
        let piece = Tensor::from_slice(piece.as_ref());
        flat.narrow(0, start, piece.size()[0]).copy_(&piece);
        start += piece.size()[0];
    }
}

/// The images of a batch `[B, 3, H, W]` in [-1, 1], of any kind and on any device.
pub fn from_tensor(batch: &Tensor) -> Vec<Image> {
    let size = batch.size();
    let (height, width) = (size[2] as usize, size[3] as usize);
    let mut images = vec![Image::filled(width, height, 0.0); size[0] as usize];
    for (top, rows) in bands(size[2], band_rows(&size)) {
        let unit = (batch.narrow(2, top, rows) + 1.0) * 0.5;
        let unit = unit.to_device(Device::Cpu).to_kind(Kind::Float).contiguous();
        let (start, len) = (top as usize * width, rows as usize * width);
        for (i, image) in images.iter_mut().enumerate() {
            for (c, plane) in image.data_mut().chunks_exact_mut((width * height).max(1)).enumerate() {
                unit.get(i as i64).get(c as i64).contiguous().view([-1]).copy_data(&mut plane[start..start + len], len);
            }
        }
    }
    images
}
