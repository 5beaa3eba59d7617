//! Images larger than the network's crops: overlapping tiles whose predicted noise is averaged at every step
//! (Ozdenizci and Legenstein 2023, WeatherDiffusion).
//!
//! The whole image shares one y_t, so tiles cannot drift apart: each step predicts eps tile by tile, averages it with a
//! window that falls towards the tiles' edges, and takes one DDIM step of the whole.

use tch::{Device, Kind, Tensor};

/// Pads `[B, C, H, W]` right and below by reflection to multiples of `unit` pixels; of any size, even 1x1.
pub fn reflect_pad(x: &Tensor, unit: i64) -> Tensor {
    let (_, _, h, w) = x.size4().expect("a batch of images has four dimensions");
    let pad = |x: Tensor, dim: i64, n: i64| match n % unit {
        0 => x,
        _ => x.index_select(dim, &reflected(n, (n + unit - 1) / unit * unit, x.device())),
    };
    pad(pad(x.shallow_clone(), 2, h), 3, w)
}

/// Returns the first `to` of the indices 0, 1, ..., n-1, n-2, ..., 1, 0, 1, ..., as an i64 tensor `[to]`.
fn reflected(n: i64, to: i64, device: Device) -> Tensor {
    let period = (2 * (n - 1)).max(1);
    let index: Vec<i64> = (0..to).map(|i| i % period).map(|i| i.min(period - i)).map(|i| i.min(n - 1)).collect();
    Tensor::from_slice(&index).to_device(device)
}

/// The places of the tiles of one image, and their weights.
#[derive(Debug)]
pub struct Tiling {
    /// Height and width of a tile.
    tile: [i64; 2],
    /// Top left corners, (y, x).
    corners: Vec<[i64; 2]>,
    /// Weights within a tile, `[1, 1, tile, tile]` float32, above 0 everywhere.
    window: Tensor,
    /// Sum of the windows over the image, `[1, 1, H, W]`.
    total: Tensor,
}

impl Tiling {
    /// Lays tiles of `tile` pixels, `stride` apart (the last ones closer, flush with the edge), over an image of
    /// `[H, W]`.
    ///
    /// An image smaller than a tile is one tile of its own size. `stride` lies in 1..=`tile`.
    pub fn new([h, w]: [i64; 2], tile: i64, stride: i64, device: Device) -> Self {
        let tile = [tile.min(h), tile.min(w)];
        let rows = starts(h, tile[0], stride);
        let columns = starts(w, tile[1], stride);
        let corners: Vec<[i64; 2]> = rows.iter().flat_map(|&y| columns.iter().map(move |&x| [y, x])).collect();
        let window = ramp(tile[0], device).unsqueeze(1) * ramp(tile[1], device).unsqueeze(0);
        let window = window.reshape([1, 1, tile[0], tile[1]]);
        let mut total = Tensor::zeros([1, 1, h, w], (Kind::Float, device));
        let mut tiling = Self { tile, corners, window, total: Tensor::new() };
        for &corner in &tiling.corners {
            tiling.add(&mut total, corner, &tiling.window);
        }
        tiling.total = total;
        tiling
    }

    /// Number of tiles, at least 1.
    pub fn tiles(&self) -> usize {
        self.corners.len()
    }

    /// Returns one tile's part of `[B, C, H, W]`, a view `[B, C, tile, tile]`.
    fn cut(&self, x: &Tensor, [top, left]: [i64; 2]) -> Tensor {
        x.narrow(2, top, self.tile[0]).narrow(3, left, self.tile[1])
    }

    /// Adds `tile` at its place in `sum`.
    fn add(&self, sum: &mut Tensor, corner: [i64; 2], tile: &Tensor) {
        let mut place = self.cut(sum, corner);
        place += tile;
    }

    /// Predicts the noise of whole images `y_t` `[B, 3, H, W]` by a network that sees tiles.
    ///
    /// `lq` is x_LQ, of y_t's shape. `eps(y_t, lq)` is called with up to `batch` tiles of each image at once,
    /// `[n * B, 3, tile, tile]`, tile by tile, and returns the noise in that shape. Beside the result there is no tensor of
    /// the image's size.
    pub fn eps(
        &self,
        y_t: &Tensor,
        lq: &Tensor,
        batch: usize,
        mut eps: impl FnMut(&Tensor, &Tensor) -> Tensor,
    ) -> Tensor {
        let mut sum = Tensor::zeros_like(y_t);
        for corners in self.corners.chunks(batch.max(1)) {
            let stack = |x: &Tensor| {
                let tiles: Vec<Tensor> = corners.iter().map(|&corner| self.cut(x, corner)).collect();
                Tensor::cat(&tiles, 0)
            };
            let tiles = eps(&stack(y_t), &stack(lq)) * &self.window;
            for (&corner, tile) in corners.iter().zip(tiles.chunk(corners.len() as i64, 0)) {
                self.add(&mut sum, corner, &tile);
            }
        }
        sum /= &self.total;
        sum
    }
}

/// Returns the starts of tiles along one side of `n` pixels.
fn starts(n: i64, tile: i64, stride: i64) -> Vec<i64> {
    let last = n - tile;
    (0..last).step_by(stride.max(1) as usize).chain([last]).collect()
}

/// Returns sin^2 over `n` pixels, `[n]` float32, sampled at their centres, so that no pixel has weight 0.
fn ramp(n: i64, device: Device) -> Tensor {
    let centres = (Tensor::arange(n, (Kind::Float, device)) + 0.5) * (std::f64::consts::PI / n as f64);
    centres.sin().square()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(h: i64, w: i64) -> Tensor {
        (Tensor::arange(3 * h * w, (Kind::Float, Device::Cpu)) * 0.37).sin().reshape([1, 3, h, w])
    }

    fn largest(x: &Tensor) -> f64 {
        x.abs().max().double_value(&[])
    }

    #[test]
    fn padding_reflects_and_repeats() {
        assert_eq!(Vec::<i64>::try_from(reflected(4, 10, Device::Cpu)).unwrap(), [0, 1, 2, 3, 2, 1, 0, 1, 2, 3]);
        assert_eq!(Vec::<i64>::try_from(reflected(1, 3, Device::Cpu)).unwrap(), [0, 0, 0]);
        let x = image(20, 31);
        assert_eq!(reflect_pad(&x, 32), x.reflection_pad2d([0, 1, 0, 12]));
        assert_eq!(reflect_pad(&image(64, 32), 32), image(64, 32));
        assert_eq!(reflect_pad(&image(1, 3), 32).size(), [1, 3, 32, 32]);
    }

    #[test]
    fn tiles_cover_the_image_and_end_flush() {
        assert_eq!(starts(640, 256, 192), [0, 192, 384]);
        assert_eq!(starts(641, 256, 192), [0, 192, 384, 385]);
        assert_eq!(starts(257, 256, 192), [0, 1]);
        assert_eq!(starts(256, 256, 192), [0]);
        assert_eq!(Tiling::new([96, 640], 256, 192, Device::Cpu).tiles(), 3);
    }

    #[test]
    fn what_depends_on_pixels_alone_comes_out_as_without_tiles() {
        let (y, lq) = (image(50, 70), image(50, 70).flip([3]));
        let per_pixel = |y: &Tensor, lq: &Tensor| y * 0.5 - lq;
        let expected = per_pixel(&y, &lq);
        for (tile, stride, tiles) in [(32, 24, 6), (32, 32, 6), (64, 8, 2), (128, 96, 1)] {
            let tiling = Tiling::new([50, 70], tile, stride, Device::Cpu);
            assert_eq!(tiling.tiles(), tiles);
            for batch in [1, 4, 100] {
                let mut calls = 0;
                let out = tiling.eps(&y, &lq, batch, |y, lq| {
                    calls += 1;
                    assert!(y.size()[0] <= batch as i64 && y.size()[2] == tile.min(50) && y.size() == lq.size());
                    per_pixel(y, lq)
                });
                assert_eq!(calls, tiles.div_ceil(batch));
                assert!(largest(&(out - &expected)) < 1e-5, "tile {tile}, stride {stride}, batch {batch}");
            }
        }
    }

    #[test]
    fn tiles_are_weighed_by_their_window() {
        let tiling = Tiling::new([4, 6], 4, 2, Device::Cpu);
        let zero = Tensor::zeros([1, 3, 4, 6], (Kind::Float, Device::Cpu));
        let mut call = 0.0;
        let out = tiling.eps(&zero, &zero, 1, |y, _| {
            call += 1.0;
            Tensor::full_like(y, call)
        });
        // Column 2: the first tile weighs sin^2(5 pi / 8), the second sin^2(pi / 8); column 3 the other way round.
        let (far, near) =
            ((5.0 * std::f64::consts::PI / 8.0).sin().powi(2), (std::f64::consts::PI / 8.0).sin().powi(2));
        for (column, expected) in [(0, 1.0), (2, (far + 2.0 * near) / (far + near)), (5, 2.0)] {
            assert!((out.double_value(&[0, 0, 1, column]) - expected).abs() < 1e-6, "column {column}");
        }
    }

    #[test]
    fn images_of_a_batch_stay_apart() {
        let batch = Tensor::cat(&[image(40, 40), image(40, 40).flip([2])], 0);
        let tiling = Tiling::new([40, 40], 32, 24, Device::Cpu);
        let mean = |y: &Tensor, _: &Tensor| y - y.mean_dim([1i64, 2, 3].as_slice(), true, Kind::Float);
        let together = tiling.eps(&batch, &batch, 3, mean);
        for i in 0..2 {
            let one = batch.narrow(0, i, 1);
            assert!(largest(&(tiling.eps(&one, &one, 1, mean) - together.narrow(0, i, 1))) < 1e-6);
        }
    }
}
