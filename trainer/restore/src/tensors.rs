//! Between images, which are plain memory in [0, 1], and the networks' tensors in [-1, 1].

use defusion_imaging::Image;
use tch::{Device, Kind, Tensor};

/// Images of one size as float32 `[B, 3, H, W]` in [-1, 1] on `device`.
pub fn to_tensor<'p>(images: impl Iterator<Item = &'p Image>, device: Device) -> Tensor {
    let tensors: Vec<Tensor> =
        images.map(|p| Tensor::from_slice(p.data()).view([3, p.height() as i64, p.width() as i64])).collect();
    (Tensor::stack(&tensors, 0).to_device(device)) * 2.0 - 1.0
}

/// The images of a batch `[B, 3, H, W]` in [-1, 1], of any kind and on any device.
pub fn from_tensor(batch: &Tensor) -> Vec<Image> {
    let unit = (batch + 1.0) * 0.5;
    let unit = unit.to_device(Device::Cpu).to_kind(Kind::Float).contiguous();
    let size = unit.size();
    let (height, width) = (size[2] as usize, size[3] as usize);
    (0..size[0])
        .map(|i| {
            let mut image = Image::filled(width, height, 0.0);
            unit.get(i).copy_data(image.data_mut(), 3 * width * height);
            image
        })
        .collect()
}
