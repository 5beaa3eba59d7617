//! Natural textures and the user's charts: crops of images.

use std::path::{Path, PathBuf};

use super::GroundError;
use crate::image_file::{self, ImageFileError};
use crate::{Image, Rng};

/// Images kept of a folder.
const MOST: usize = 512;
/// Larger images are reduced to this shorter side, so that a crop shows texture rather than a corner of a wall.
const SHORT_SIDE: u32 = 384;

/// The images of a folder, in memory, in the order of their names.
#[derive(Debug)]
pub(super) struct Folder {
    images: Vec<image::RgbImage>,
}

impl Folder {
    /// Reads every PNG and JPEG file directly in `path`.
    pub fn open(key: &'static str, path: &Path) -> Result<Self, GroundError> {
        let list = |source| GroundError::List { key, path: path.to_owned(), source };
        let mut files: Vec<PathBuf> = std::fs::read_dir(path)
            .map_err(list)?
            .map(|entry| entry.map(|e| e.path()).map_err(list))
            .collect::<Result<_, _>>()?;
        files.retain(|file| {
            let extension = file.extension().and_then(|e| e.to_str()).unwrap_or("").to_ascii_lowercase();
            file.is_file() && ["png", "jpg", "jpeg"].contains(&extension.as_str())
        });
        files.sort();
        match files.len() {
            0 => return Err(GroundError::Empty { key, path: path.to_owned() }),
            count if count > MOST => {
                return Err(GroundError::TooMany { key, path: path.to_owned(), count, most: MOST });
            }
            _ => {}
        }
        let images = files
            .iter()
            .map(|file| read(file).map_err(|source| GroundError::Decode { key, source }))
            .collect::<Result<_, _>>()?;
        Ok(Self { images })
    }

    /// A random square of a random image, `side` pixels wide.
    pub fn crop(&self, side: usize, rng: &mut Rng) -> Image {
        let image = &self.images[rng.below(self.images.len() as u64) as usize];
        let (width, height) = (image.width() as usize, image.height() as usize);
        let [x, y, part] = square(width, height, side, rng);
        let part_of = |row: usize| &image.as_raw()[3 * (row * width + x)..][..3 * part];
        let rgb: Vec<u8> = (y..y + part).flat_map(|row| part_of(row).iter().copied()).collect();
        // The crop has as many bytes as its side says, so an image there always is.
        let crop = Image::from_rgb8(part, part, &rgb).unwrap_or_else(|| Image::filled(part, part, 0.5));
        resize(&crop, side)
    }
}

/// Reads an image and reduces it to [`SHORT_SIDE`].
fn read(file: &Path) -> Result<image::RgbImage, ImageFileError> {
    let image = image_file::read_dynamic(file)?;
    let short = image.width().min(image.height());
    let image = if short > SHORT_SIDE {
        let scaled = |side: u32| (u64::from(side) * u64::from(SHORT_SIDE)).div_ceil(u64::from(short)) as u32;
        image.resize_exact(scaled(image.width()), scaled(image.height()), image::imageops::FilterType::CatmullRom)
    } else {
        image
    };
    Ok(image.into_rgb8())
}

/// A random square of `image`, `side` pixels wide.
pub(super) fn crop_of(image: &Image, side: usize, rng: &mut Rng) -> Image {
    let [x, y, part] = square(image.width(), image.height(), side, rng);
    let crop = image.crop(x, y, part, part).filter(|crop| part > 0 && !crop.data().is_empty());
    crop.map_or_else(|| Image::filled(side, side, 0.5), |crop| resize(&crop, side))
}

/// Left, top and side of a random square: between `side` and the whole of the image, evenly in scale.
fn square(width: usize, height: usize, side: usize, rng: &mut Rng) -> [usize; 3] {
    let most = width.min(height);
    let least = side.min(most);
    let part = least as f64 * (most as f64 / least.max(1) as f64).powf(rng.f64());
    let part = (part.round() as usize).clamp(least, most);
    let [x, y] = [width, height].map(|n| rng.below((n - part + 1) as u64) as usize);
    [x, y, part]
}

/// Resamples a square image to `side` pixels with a triangle as wide as the coarser of both grids' pixels.
fn resize(image: &Image, side: usize) -> Image {
    let from = image.width();
    if from == side {
        return image.clone();
    }
    let step = from as f64 / side as f64;
    let reach = step.max(1.0);
    // First source and weights of each output.
    let taps: Vec<(usize, Vec<f32>)> = (0..side)
        .map(|i| {
            let centre = (i as f64 + 0.5) * step - 0.5;
            let first = (centre - reach).ceil().max(0.0) as usize;
            let last = ((centre + reach).floor() as usize).min(from - 1);
            let weights: Vec<f64> =
                (first..=last).map(|j| (1.0 - (j as f64 - centre).abs() / reach).max(0.0)).collect();
            let sum: f64 = weights.iter().sum();
            (first, weights.into_iter().map(|w| (w / sum) as f32).collect())
        })
        .collect();
    let mut out = Image::filled(side, side, 0.0);
    let mut rows = vec![0.0; side * from];
    for (to, plane) in out.data_mut().chunks_exact_mut(side * side).zip(image.planes()) {
        for (row, source) in rows.chunks_exact_mut(side).zip(plane.chunks_exact(from)) {
            for (v, (first, weights)) in row.iter_mut().zip(&taps) {
                *v = weights.iter().zip(&source[*first..]).map(|(w, s)| w * s).sum();
            }
        }
        for (row, (first, weights)) in to.chunks_exact_mut(side).zip(&taps) {
            for (w, source) in weights.iter().zip(rows[first * side..].chunks_exact(side)) {
                row.iter_mut().zip(source).for_each(|(v, s)| *v += w * s);
            }
        }
    }
    out
}
