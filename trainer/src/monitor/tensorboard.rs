//! TensorBoard's event files: records of TFRecord framing, each one `tensorflow.Event` in protobuf.
//!
//! Four messages with a dozen fields are written and none is read, so they are encoded here by hand. The crates that
//! could do it do not pay for themselves: `tensorboard-rs` stands on `protobuf` 2 (RUSTSEC-2024-0437) and an old `image`;
//! `tfrecord` brings some 60 crates, among them an HTTP client and a protobuf compiler for its build script.
//!
//! Field numbers: tensorflow/core/util/event.proto and tensorflow/core/framework/summary.proto.

/// A protobuf message under construction.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    fn varint_raw(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    fn tag(&mut self, field: u64, wire: u64) {
        self.varint_raw(field << 3 | wire);
    }

    fn varint(mut self, field: u64, value: u64) -> Self {
        self.tag(field, 0);
        self.varint_raw(value);
        self
    }

    fn double(mut self, field: u64, value: f64) -> Self {
        self.tag(field, 1);
        self.0.extend(value.to_le_bytes());
        self
    }

    fn bytes(mut self, field: u64, value: &[u8]) -> Self {
        self.tag(field, 2);
        self.varint_raw(value.len() as u64);
        self.0.extend(value);
        self
    }

    fn message(self, field: u64, value: Self) -> Self {
        self.bytes(field, &value.0)
    }

    fn float(mut self, field: u64, value: f32) -> Self {
        self.tag(field, 5);
        self.0.extend(value.to_le_bytes());
        self
    }
}

/// `Event { wall_time = 1; step = 2 }`.
fn event(wall_time: f64, step: u64) -> Message {
    Message::default().double(1, wall_time).varint(2, step)
}

/// The first record of every file: `Event.file_version = 3`. Version 2 makes TensorBoard look for session starts.
pub(super) fn file_header(wall_time: f64) -> Vec<u8> {
    record(&event(wall_time, 0).bytes(3, b"brain.Event:2"))
}

/// The step from which points of earlier files are void, when `resume_step` steps are complete.
pub(super) fn purge_from(resume_step: u64) -> u64 {
    if resume_step == 0 { 0 } else { resume_step + 1 }
}

/// `Event.session_log = 7 { status = 1: START }` at `step`: TensorBoard forgets all points of earlier files at `step` and
/// beyond.
pub(super) fn session_start(wall_time: f64, step: u64) -> Vec<u8> {
    record(&event(wall_time, step).message(7, Message::default().varint(1, 1)))
}

/// The chart of a figure. TensorBoard makes a section of what stands before the slash: one section a figure would bury
/// the loss between milliseconds.
fn chart(name: &str) -> String {
    let section = match name {
        _ if name.contains('/') => return name.to_owned(),
        "samples_per_s" | "data_wait" => "throughput",
        _ if name.ends_with("_s") => "seconds_per_step",
        _ => "train",
    };
    format!("{section}/{name}")
}

/// `Event.summary = 5` of `Summary.value = 1 { tag = 1; simple_value = 2 }`, each in its section.
pub(super) fn scalars(wall_time: f64, step: u64, values: &[(&str, f64)]) -> Vec<u8> {
    let summary = values.iter().fold(Message::default(), |summary, (tag, value)| {
        summary.message(1, Message::default().bytes(1, chart(tag).as_bytes()).float(2, *value as f32))
    });
    record(&event(wall_time, step).message(5, summary))
}

/// `Summary.value { tag = 1; image = 4 { height = 1; width = 2; colorspace = 3; encoded_image_string = 4 } }`, RGB.
pub(super) fn image(wall_time: f64, step: u64, tag: &str, width: u32, height: u32, png: &[u8]) -> Vec<u8> {
    let image = Message::default().varint(1, height.into()).varint(2, width.into()).varint(3, 3).bytes(4, png);
    let value = Message::default().bytes(1, format!("pictures/{tag}").as_bytes()).message(4, image);
    record(&event(wall_time, step).message(5, Message::default().message(1, value)))
}

/// TFRecord framing: length, its checksum, data, its checksum.
fn record(message: &Message) -> Vec<u8> {
    let data = &message.0;
    let length = (data.len() as u64).to_le_bytes();
    let mut out = Vec::with_capacity(data.len() + 16);
    out.extend(length);
    out.extend(masked(crc32c(&length)).to_le_bytes());
    out.extend(data);
    out.extend(masked(crc32c(data)).to_le_bytes());
    out
}

/// TFRecord's mask, which keeps a checksum of data that holds checksums from being a trivial value.
fn masked(crc: u32) -> u32 {
    crc.rotate_right(15).wrapping_add(0xa282_ead8)
}

/// CRC-32C (Castagnoli), reflected.
fn crc32c(data: &[u8]) -> u32 {
    !data.iter().fold(!0, |crc, byte| CRC_TABLE[((crc ^ u32::from(*byte)) & 0xff) as usize] ^ (crc >> 8))
}

const CRC_TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut i = 0;
    while i < 256 {
        let mut crc = i as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = (crc >> 1) ^ if crc & 1 == 1 { 0x82f6_3b78 } else { 0 };
            bit += 1;
        }
        table[i] = crc;
        i += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_are_the_published_ones() {
        // RFC 3720, B.4.
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c(&[0xff; 32]), 0x62a8_ab43);
    }

    #[test]
    fn a_header_is_what_tensorflow_writes() {
        // The first 24 + 16 bytes of a file that tensorboard 2.20's EventFileWriter wrote at time 1.0.
        let header = file_header(1.0);
        assert_eq!(header[..8], 26u64.to_le_bytes());
        assert_eq!(header[12..21], [0x09, 0, 0, 0, 0, 0, 0, 0xf0, 0x3f]);
        assert!(header[21..].windows(13).any(|w| w == b"brain.Event:2"));
    }

    #[test]
    fn varints_of_several_bytes() {
        assert_eq!(Message::default().varint(2, 300).0, [0x10, 0xac, 0x02]);
        assert_eq!(Message::default().varint(1, u64::MAX).0.len(), 11);
    }
}
