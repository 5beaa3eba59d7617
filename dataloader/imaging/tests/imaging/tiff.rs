//! TIFF files of a palette, or of luma and chroma.

use defusion_imaging::{DecodeError, Samples, decode_pixels};

const MAX: u64 = 1 << 20;

/// An entry of a directory: tag, type, and its values as they stand in the file.
type Entry = (u16, u16, u32, Vec<u8>);

/// A TIFF file of 2x1 pixels, uncompressed, in one strip.
fn tiff(little: bool, photometric: u16, samples: &[u8], more: Vec<Entry>) -> Vec<u8> {
    let short = |v: u16| if little { v.to_le_bytes() } else { v.to_be_bytes() };
    let long = |v: u32| if little { v.to_le_bytes() } else { v.to_be_bytes() };
    let shorts = |values: &[u16]| values.iter().flat_map(|v| short(*v)).collect::<Vec<u8>>();
    let channels = samples.len() / 2;
    let mut entries: Vec<Entry> = vec![
        (256, 3, 1, shorts(&[2])),
        (257, 3, 1, shorts(&[1])),
        (258, 3, channels as u32, shorts(&vec![8; channels])),
        (259, 3, 1, shorts(&[1])),
        (262, 3, 1, shorts(&[photometric])),
        (273, 4, 1, long(8).to_vec()),
        (277, 3, 1, shorts(&[channels as u16])),
        (278, 3, 1, shorts(&[1])),
        (279, 4, 1, long(samples.len() as u32).to_vec()),
    ];
    entries.extend(more);
    let mut file = if little { b"II*\0".to_vec() } else { b"MM\0*".to_vec() };
    let directory = 8 + samples.len() as u32;
    file.extend(long(directory));
    file.extend(samples);
    let mut behind = directory + 2 + 12 * entries.len() as u32 + 4;
    let mut values: Vec<u8> = Vec::new();
    file.extend(short(entries.len() as u16));
    for (tag, kind, count, bytes) in &entries {
        file.extend([short(*tag), short(*kind)].concat());
        file.extend(long(*count));
        if bytes.len() <= 4 {
            file.extend(bytes.iter().copied().chain([0; 4]).take(4));
        } else {
            file.extend(long(behind));
            behind += bytes.len() as u32;
            values.extend(bytes);
        }
    }
    file.extend(long(0));
    file.extend(values);
    file
}

fn rgb(file: &[u8]) -> Vec<u8> {
    match decode_pixels(file, MAX).unwrap().samples() {
        Samples::U8(samples) => samples.clone(),
        Samples::U16(_) => panic!("16 bits"),
    }
}

#[test]
fn numbers_of_a_palette_become_its_colours() {
    for little in [true, false] {
        let mut map = vec![0u16; 768];
        for (n, [r, g, b]) in [(7, [255, 128, 0]), (200, [1, 2, 3])] {
            (map[n], map[n + 256], map[n + 512]) = (r << 8 | r, g << 8 | g, b << 8 | b);
        }
        let bytes = map.iter().flat_map(|v| if little { v.to_le_bytes() } else { v.to_be_bytes() }).collect();
        let file = tiff(little, 3, &[7, 200], vec![(320, 3, 768, bytes)]);
        assert_eq!(rgb(&file), [255, 128, 0, 1, 2, 3]);
        // Without its colours it is refused.
        assert!(matches!(decode_pixels(&tiff(little, 3, &[7, 200], vec![]), MAX), Err(DecodeError::Format(_))));
    }
}

#[test]
fn luma_and_chroma_become_colours() {
    let whole = vec![(530, 3, 2, vec![1, 0, 1, 0])];
    // Grey; and red as JPEG (JFIF) codes it.
    let file = tiff(true, 6, &[90, 128, 128, 76, 85, 255], whole);
    assert_eq!(rgb(&file), [90, 90, 90, 254, 0, 0]);
    // Chroma of half the size lies otherwise, and is the default.
    for more in [vec![], vec![(530, 3, 2, vec![2, 0, 2, 0])]] {
        assert!(matches!(
            decode_pixels(&tiff(true, 6, &[90, 128, 128, 76, 85, 255], more), MAX),
            Err(DecodeError::Format(_))
        ));
    }
}

#[test]
fn damaged_directories_are_errors() {
    let map: Vec<u8> = (0..1536).map(|n| n as u8).collect();
    let file = tiff(true, 3, &[7, 200], vec![(320, 3, 768, map)]);
    rgb(&file);
    for len in 0..file.len() {
        assert!(decode_pixels(&file[..len], MAX).is_err(), "{len} bytes");
    }
    // Whatever byte is another: an image or an error, no panic.
    for at in 4..file.len().min(200) {
        for value in [0, 1, 0x7F, 0xFF] {
            let mut file = file.clone();
            file[at] = value;
            assert!(!matches!(decode_pixels(&file, MAX), Err(DecodeError::Panicked)), "byte {at} is {value}");
        }
    }
}
