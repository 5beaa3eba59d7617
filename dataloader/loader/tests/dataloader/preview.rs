//! Galleries: what is on them, and where.

use defusion_config::{Degradation, Grounds, Synthesis};
use defusion_dataloader::preview;
use defusion_imaging::Rng;
use defusion_imaging::ground::{Element, Pool};
use defusion_imaging::sheet::LINE;

#[test]
fn a_gallery_has_a_row_for_every_category_and_both_pages_are_written() {
    let mut clean = Element::DeadLeaves.draw(64, &mut Rng::new(1, &[]));
    clean.quantize();
    let pool = Pool::open(&Grounds { canvas: 80, size: 64, ..Grounds::default() }).unwrap();
    let cell = 64;
    let page = preview::degradations(&clean, &pool, &Synthesis::default(), &Degradation::ALL, 0, cell);
    // Clean and ground, and three severities of degraded, instruction and residual; captions above, gaps between.
    assert_eq!(page.width(), 4 + 11 * (cell + 4));
    let row = (page.height() - 4) / Degradation::ALL.len();
    let shown = |column: usize, n: usize| page.crop(4 + column * (cell + 4), 4 + n * row + LINE, cell, cell).unwrap();
    for n in 0..Degradation::ALL.len() {
        assert_eq!(shown(0, n), clean);
        let ground = shown(1, n);
        for severity in 0..3 {
            let [degraded, instruction, residual] = [2, 3, 4].map(|i| shown(i + 3 * severity, n));
            // So small an image may miss the few drops of light severity.
            assert!(severity < 2 || (degraded != clean && instruction != ground), "{}", Degradation::ALL[n]);
            let difference = instruction.data().iter().zip(ground.data()).map(|(v, n)| v - n + 0.5);
            assert!(residual.data().iter().zip(difference).all(|(r, d)| (r - d).abs() < 1e-6));
        }
    }

    let folder = tempfile::tempdir().unwrap();
    for (name, format) in [("page.png", image::ImageFormat::Png), ("page.jpg", image::ImageFormat::Jpeg)] {
        let path = folder.path().join(name);
        let written = preview::write(&path, &clean, &pool, &Synthesis::default(), &Degradation::ALL, 0, cell).unwrap();
        assert!(written[0] == path && written[1] != path);
        for file in written {
            let reader = image::ImageReader::open(&file).unwrap().with_guessed_format().unwrap();
            assert_eq!(reader.format(), Some(format));
            reader.decode().unwrap();
        }
    }
    let missing = folder.path().join("missing/page.png");
    let error = preview::write(&missing, &clean, &pool, &Synthesis::default(), &Degradation::ALL, 0, cell).unwrap_err();
    assert!(error.to_string().contains("missing/page.png"), "{error}");
}
