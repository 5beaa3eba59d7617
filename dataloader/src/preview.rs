//! Galleries to look at: what each degradation does to a photograph, what its instruction looks like, and the grounds.

mod sheet;

use std::path::{Path, PathBuf};

use defusion_config::{Degradation, Severity, Synthesis};

use crate::ground::{Element, Pool};
use crate::{Picture, Rng, degrade, instruction};
use sheet::{CAPTION, GAP, Sheet};

/// Why a gallery could not be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write {}: {source}", path.display())]
pub struct PreviewError {
    path: PathBuf,
    source: image::ImageError,
}

/// Draws of each element on the page of grounds, and composed canvases.
const ELEMENT_DRAWS: usize = 4;
const CANVASES: usize = 9;

/// One row for each of `categories`: the clean picture and a ground, and at each of three severities the degraded picture, the
/// instruction, and the instruction's residual (its difference from the ground, about middle grey).
///
/// Cells are `cell` pixels wide and show the middle of what they show, at its own size. A row's severities share their
/// ground and their draws, so that only strength differs.
pub fn degradations(
    clean: &Picture,
    pool: &Pool,
    synthesis: &Synthesis,
    categories: &[Degradation],
    seed: u64,
    cell: usize,
) -> Picture {
    const SEVERITIES: [(Severity, &str); 3] =
        [(Severity::Light, "light"), (Severity::Medium, "medium"), (Severity::Heavy, "heavy")];
    let columns = 2 + 3 * SEVERITIES.len();
    let row_height = cell + CAPTION + GAP;
    let mut sheet = Sheet::new(GAP + columns * (cell + GAP), GAP + categories.len() * row_height);
    for (row, category) in categories.iter().copied().enumerate() {
        let top = GAP + row * row_height;
        let mut left = GAP;
        let mut show = |caption: &str, picture: &Picture| {
            sheet.caption(left, top, cell, caption);
            sheet.place(left, top + CAPTION, cell, picture);
            left += cell + GAP;
        };
        show(category.name(), clean);
        for (i, (severity, caption)) in SEVERITIES.into_iter().enumerate() {
            let rng = Rng::new(seed, &[category as u64]);
            let chain = degrade::draw(&[category], synthesis, severity, 1.0, &mut rng.fork(0));
            let pair = instruction::centered(pool, synthesis, &[category], severity, Some(clean), &mut rng.fork(1));
            if i == 0 {
                show("ground", &pair.null);
            }
            show(caption, &chain.apply(clean));
            show("instruction", &pair.v);
            show("residual", &residual(&pair.v, &pair.null));
        }
    }
    sheet.picture
}

/// Four draws of every procedural element, and nine composed canvases.
pub fn grounds(pool: &Pool, natural: Option<&Picture>, seed: u64) -> Picture {
    let side = pool.canvas() / 2;
    let elements: Vec<Element> = [&Element::REGULAR[..], &Element::RANDOM, &Element::COLOUR].concat();
    let rng = Rng::new(seed, &[]);
    let row_height = side + CAPTION + GAP;
    // Elements fill the left half, row by row two elements; canvases the right half, three across.
    let left_width = 2 * ELEMENT_DRAWS * (side + GAP);
    let rows = elements.len().div_ceil(2);
    let canvas_row = pool.canvas() + GAP;
    let height = (rows * row_height).max(CANVASES.div_ceil(3) * canvas_row + CAPTION);
    let mut sheet = Sheet::new(2 * GAP + left_width + 3 * canvas_row, GAP + height);
    for (i, element) in elements.into_iter().enumerate() {
        let (left, top) = (GAP + (i % 2) * ELEMENT_DRAWS * (side + GAP), GAP + i / 2 * row_height);
        sheet.caption(left, top, ELEMENT_DRAWS * side, element.name());
        for draw in 0..ELEMENT_DRAWS {
            let tile = element.draw(side, &mut rng.fork((i * ELEMENT_DRAWS + draw) as u64));
            sheet.place(left + draw * (side + GAP), top + CAPTION, side, &tile);
        }
    }
    let left = 2 * GAP + left_width;
    sheet.caption(left, GAP, 3 * canvas_row, "canvases");
    for i in 0..CANVASES {
        let canvas = pool.draw(natural, &mut rng.fork(1000 + i as u64));
        let (x, y) = (left + i % 3 * canvas_row, GAP + CAPTION + i / 3 * canvas_row);
        sheet.place(x, y, pool.canvas(), &canvas);
    }
    sheet.picture
}

/// Writes both pages: the degradations to `path`, and the grounds beside it, `-grounds` added to the name. As JPEG where
/// `path` ends so, otherwise as PNG.
///
/// # Errors
/// [`PreviewError`], which names the file.
pub fn write(
    path: &Path,
    clean: &Picture,
    pool: &Pool,
    synthesis: &Synthesis,
    categories: &[Degradation],
    seed: u64,
    cell: usize,
) -> Result<[PathBuf; 2], PreviewError> {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let extension = path.extension().unwrap_or("png".as_ref()).to_string_lossy();
    let beside = path.with_file_name(format!("{stem}-grounds.{extension}"));
    write_page(path, &degradations(clean, pool, synthesis, categories, seed, cell))?;
    write_page(&beside, &grounds(pool, Some(clean), seed))?;
    Ok([path.to_owned(), beside])
}

fn write_page(path: &Path, picture: &Picture) -> Result<(), PreviewError> {
    let (width, height) = (picture.width() as u32, picture.height() as u32);
    let format = match image::ImageFormat::from_path(path) {
        Ok(image::ImageFormat::Jpeg) => image::ImageFormat::Jpeg,
        _ => image::ImageFormat::Png,
    };
    image::save_buffer_with_format(path, &picture.to_rgb8(), width, height, image::ExtendedColorType::Rgb8, format)
        .map_err(|source| PreviewError { path: path.to_owned(), source })
}

fn residual(v: &Picture, null: &Picture) -> Picture {
    let mut residual = v.clone();
    residual.data_mut().iter_mut().zip(null.data()).for_each(|(v, n)| *v += 0.5 - n);
    residual
}
