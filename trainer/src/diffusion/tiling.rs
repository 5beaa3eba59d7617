//! Pictures larger than the network's crops: overlapping tiles whose predicted noise is averaged at every step
//! (WeatherDiffusion).
//!
//! The whole picture shares one y_t, so tiles cannot drift apart: each step predicts eps tile by tile, averages it with a
//! window that falls towards the tiles' edges, and takes one DDIM step of the whole.

use tch::{Device, Kind, Tensor};

/// Pads `[B, C, H, W]` right and below by reflection to multiples of `unit` pixels; of any size, even 1x1.
pub fn reflect_pad(x: &Tensor, unit: i64) -> Tensor {
    let (_, _, h, w) = x.size4().expect("a batch of pictures has four dimensions");
    let pad = |x: Tensor, dim: i64, n: i64| match n % unit {
        0 => x,
        _ => x.index_select(dim, &reflected(n, (n + unit - 1) / unit * unit, x.device())),
    };
    pad(pad(x.shallow_clone(), 2, h), 3, w)
}

/// 0, 1, ..., n-1, n-2, ..., 1, 0, 1, ...: `to` of them.
fn reflected(n: i64, to: i64, device: Device) -> Tensor {
    let period = (2 * (n - 1)).max(1);
    let index: Vec<i64> = (0..to).map(|i| i % period).map(|i| i.min(period - i)).map(|i| i.min(n - 1)).collect();
    Tensor::from_slice(&index).to_device(device)
}

/// Where the tiles of one picture lie, and how they are weighed.
#[derive(Debug)]
pub struct Tiling {
    tile: [i64; 2],
    /// Top left corners, (y, x).
    corners: Vec<[i64; 2]>,
    /// `[1, 1, tile, tile]`, above 0 everywhere.
    window: Tensor,
    /// Sum of the windows over the picture, `[1, 1, H, W]`.
    total: Tensor,
}

impl Tiling {
    /// Tiles of `tile` pixels, `stride` apart (the last ones closer, flush with the edge), for a picture of `[H, W]`.
    ///
    /// A picture smaller than a tile is one tile of its own size. `stride` lies in 1..=`tile`.
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

    /// One tile's part of `[B, C, H, W]`, a view.
    fn cut(&self, x: &Tensor, [top, left]: [i64; 2]) -> Tensor {
        x.narrow(2, top, self.tile[0]).narrow(3, left, self.tile[1])
    }

    /// Adds `tile` at its place in `sum`.
    fn add(&self, sum: &mut Tensor, corner: [i64; 2], tile: &Tensor) {
        let mut place = self.cut(sum, corner);
        place += tile;
    }

    /// The noise of whole pictures `y_t` `[B, 3, H, W]` by a network that sees tiles.
    ///
    /// `eps(y_t, lq)` is called with up to `batch` tiles at once, `[n * B, 3, tile, tile]`, and gives as much back.
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
        sum / &self.total
    }
}

/// Starts of tiles along one side of `n` pixels.
fn starts(n: i64, tile: i64, stride: i64) -> Vec<i64> {
    let last = n - tile;
    (0..last).step_by(stride.max(1) as usize).chain([last]).collect()
}

/// sin^2 over `n` pixels, sampled at their centres, so that no pixel has weight 0.
fn ramp(n: i64, device: Device) -> Tensor {
    let centres = (Tensor::arange(n, (Kind::Float, device)) + 0.5) * (std::f64::consts::PI / n as f64);
    centres.sin().square()
}
