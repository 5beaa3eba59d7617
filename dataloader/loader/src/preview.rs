//! Galleries to look at: what each degradation does to a photograph, what its instruction looks like, and the grounds.

use std::path::{Path, PathBuf};

use defusion_config::{Degradation, Severity, Synthesis};
use defusion_imaging::ground::{Element, Pool};
use defusion_imaging::sheet::{Sheet, SheetCell, SheetStyle};
use defusion_imaging::{Image, ImageEncoding, ImageFileError, Rng, degrade, instruction, write_image_as};

const STYLE: SheetStyle = SheetStyle::DARK;
/// Draws of each element on the page of grounds, and composed canvases.
const ELEMENT_DRAWS: usize = 4;
const CANVASES: usize = 9;

/// One row for each of `categories`: the clean image and a ground, and at each of three severities the degraded image, the
/// instruction, and the instruction's residual (its difference from the ground, about middle grey).
///
/// Cells are `cell` pixels wide and show the middle of what they show, at its own size. A row's severities share their
/// ground and their draws, so that only strength differs.
pub fn degradations(
    clean: &Image,
    pool: &Pool,
    synthesis: &Synthesis,
    categories: &[Degradation],
    seed: u64,
    cell: usize,
) -> Image {
    const SEVERITIES: [(Severity, &str); 3] =
        [(Severity::Light, "light"), (Severity::Medium, "medium"), (Severity::Heavy, "heavy")];
    let show = |caption: &str, image: &Image| SheetCell::captioned(caption, image.middle(cell, STYLE.background));
    let mut sheet = Sheet::new(STYLE);
    for category in categories.iter().copied() {
        let mut row = vec![show(category.name(), clean)];
        for (i, (severity, caption)) in SEVERITIES.into_iter().enumerate() {
            let rng = Rng::new(seed, &[category as u64]);
            let chain = degrade::draw(&[category], synthesis, severity, 1.0, &mut rng.fork(0));
            let pair = instruction::centered(pool, synthesis, &[category], severity, Some(clean), &mut rng.fork(1));
            if i == 0 {
                row.push(show("ground", &pair.null));
            }
            row.push(show(caption, &chain.apply(clean)));
            row.push(show("instruction", &pair.v));
            row.push(show("residual", &residual(&pair.v, &pair.null)));
        }
        sheet.add_row("", row);
    }
    drawn(&sheet)
}

/// Four draws of every procedural element on the left, and nine composed canvases on the right.
pub fn grounds(pool: &Pool, natural: Option<&Image>, seed: u64) -> Image {
    let side = pool.canvas() / 2;
    let rng = Rng::new(seed, &[]);
    let elements: Vec<Element> = [&Element::REGULAR[..], &Element::RANDOM, &Element::COLOUR].concat();
    let strips = elements.into_iter().enumerate().map(|(i, element)| {
        let draw = |n: usize| element.draw(side, &mut rng.fork((i * ELEMENT_DRAWS + n) as u64));
        let mut strip = Sheet::new(STYLE.inner());
        strip.add_row(element.name(), (0..ELEMENT_DRAWS).map(draw));
        drawn(&strip)
    });
    let strips: Vec<Image> = strips.collect();
    let mut left = Sheet::new(STYLE.inner());
    strips.chunks(2).for_each(|pair| left.add_row("", pair.iter().cloned()));

    let canvases: Vec<Image> = (0..CANVASES).map(|i| pool.draw(natural, &mut rng.fork(1000 + i as u64))).collect();
    let mut right = Sheet::new(STYLE.inner());
    for (i, row) in canvases.chunks(3).enumerate() {
        right.add_row(if i == 0 { "canvases" } else { "" }, row.iter().cloned());
    }

    let mut page = Sheet::new(STYLE);
    page.add_row("", [drawn(&left), drawn(&right)]);
    drawn(&page)
}

/// Writes both pages: the degradations to `path`, and the grounds beside it, `-grounds` added to the name. As JPEG if
/// `path` ends so, otherwise as PNG.
///
/// # Errors
/// [`ImageFileError`], which names the file.
pub fn write(
    path: &Path,
    clean: &Image,
    pool: &Pool,
    synthesis: &Synthesis,
    categories: &[Degradation],
    seed: u64,
    cell: usize,
) -> Result<[PathBuf; 2], ImageFileError> {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let extension = path.extension().unwrap_or("png".as_ref()).to_string_lossy();
    let beside = path.with_file_name(format!("{stem}-grounds.{extension}"));
    let encoding = ImageEncoding::of(path).unwrap_or(ImageEncoding::Png);
    write_image_as(path, &degradations(clean, pool, synthesis, categories, seed, cell), encoding, true)?;
    write_image_as(&beside, &grounds(pool, Some(clean), seed), encoding, true)?;
    Ok([path.to_owned(), beside])
}

/// The sheet's page; a dot if there is nothing to show.
fn drawn(sheet: &Sheet) -> Image {
    sheet.draw().unwrap_or_else(|| Image::filled(1, 1, STYLE.background))
}

fn residual(v: &Image, null: &Image) -> Image {
    let mut residual = v.clone();
    residual.data_mut().iter_mut().zip(null.data()).for_each(|(v, n)| *v += 0.5 - n);
    residual
}
