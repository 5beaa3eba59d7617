use super::*;

fn tone(value: f32, width: usize, height: usize) -> Image {
    Image::filled(width, height, value)
}

/// Dots of ink in the given rows of a light page.
fn ink(page: &Image, top: usize, rows: usize) -> usize {
    let line = &page.plane(1)[top * page.width()..(top + rows) * page.width()];
    line.iter().filter(|v| **v < 0.15).count()
}

#[test]
fn every_image_lies_in_its_column_under_its_label() {
    let gap = SheetStyle::LIGHT.gap;
    let mut sheet = Sheet::new(SheetStyle::LIGHT).with_heads(&["degraded", "instruction", "restored", "clean"]);
    for label in ["one", "two"] {
        sheet.add_row(label, [(0.2, 150), (0.4, 224), (0.6, 150), (0.8, 150)].map(|(v, side)| tone(v, side, side)));
    }
    let page = sheet.draw().unwrap();
    assert_eq!((page.width(), page.height()), sheet.size());
    assert_eq!(page.width(), 150 * 3 + 224 + 5 * gap);
    assert_eq!(page.height(), LINE + 2 * (LINE + 224 + gap) + gap);
    let labels = [gap + LINE, gap + LINE + LINE + 224 + gap];
    for top in labels.map(|label| label + LINE) {
        let at = |x: usize, y: usize| page.plane(0)[(top + y) * page.width() + x];
        let lefts = [gap, 2 * gap + 150, 3 * gap + 374, 4 * gap + 524];
        for (left, tone) in lefts.into_iter().zip([0.2, 0.4, 0.6, 0.8]) {
            assert_eq!([at(left, 0), at(left + 149, 149), at(left - 1, 75)], [tone, tone, 1.0]);
        }
    }
    // Strokes of "one" and "two", four pixels a dot; the heads lie above both.
    assert_eq!(ink(&page, labels[0], LINE) % 4, 0);
    assert!(ink(&page, labels[0], LINE) > 0 && ink(&page, labels[0], LINE) != ink(&page, labels[1], LINE));
    assert!(ink(&page, gap, LINE) > ink(&page, labels[0], LINE));
}

#[test]
fn rows_may_differ_in_number_and_size_of_their_images() {
    let mut sheet = Sheet::new(SheetStyle::GREY);
    sheet.add_row("", [tone(1.0, 4, 4), tone(0.0, 4, 4)]);
    sheet.add_row("", [tone(0.2, 3, 2)]);
    let page = sheet.draw().unwrap();
    assert_eq!((page.width(), page.height()), (14, 12));
    let rgb = page.to_rgb8();
    let at = |x: usize, y: usize| rgb[(y * 14 + x) * 3];
    assert_eq!([at(0, 0), at(2, 2), at(5, 5), at(6, 5), at(8, 2)], [128, 255, 255, 128, 0]);
    assert_eq!([at(2, 8), at(4, 9), at(5, 8), at(8, 8)], [51, 51, 128, 128]);
}

#[test]
fn captions_take_a_line_and_are_cut_to_their_column() {
    let mut sheet = Sheet::new(SheetStyle { background: 1.0, ink: 0.0, ..SheetStyle::DARK });
    let captions = ["ab", "a longer text", "far too long for any column of this width"];
    sheet.add_row("", captions.map(|caption| SheetCell::captioned(caption, tone(0.5, 80, 10))));
    let page = sheet.draw().unwrap();
    assert_eq!((page.width(), page.height()), (3 * 80 + 4 * 4, LINE + 10 + 8));
    let dark = |left: usize, width: usize| {
        let line = (4..4 + LINE).flat_map(|y| &page.plane(0)[y * page.width() + left..][..width]);
        line.filter(|v| **v == 0.0).count()
    };
    for column in 0..3 {
        assert!(dark(4 + 84 * column, 80) > 20);
        assert_eq!(dark(84 * column, 4), 0, "nothing is written between columns");
    }
}

#[test]
fn labels_widen_the_page_and_empty_sheets_are_none() {
    let mut sheet = Sheet::new(SheetStyle::LIGHT);
    assert_eq!(sheet.draw(), None);
    let label = "a label that is wider than the image";
    sheet.add_row(label, [tone(0.5, 8, 8)]);
    assert_eq!(sheet.size(), (label.len() * 12 + 12, LINE + 8 + 12));
    assert_eq!(Sheet::new(SheetStyle::GREY.inner()).draw(), None);
}
