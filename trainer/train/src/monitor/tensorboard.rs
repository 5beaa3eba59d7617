//! TensorBoard's event files: records of TFRecord framing, each one `tensorflow.Event` in protobuf.
//!
//! The messages and field numbers are those of tensorflow/core/util/event.proto and
//! tensorflow/core/framework/summary.proto, as far as they are written here. The crates that hold them all do not pay for
//! themselves: `tensorboard-rs` stands on `protobuf` 2 (RUSTSEC-2024-0437) and an old `image`; `tfrecord` brings some 60
//! crates, among them an HTTP client and a protobuf compiler for its build script.

use crc_fast::{CrcAlgorithm, checksum};
use defusion_imaging::Image;
use prost::Message;

/// `tensorflow.Event`: one record.
#[derive(Clone, PartialEq, Message)]
struct Event {
    /// Seconds since 1970.
    #[prost(double, tag = "1")]
    wall_time: f64,
    #[prost(int64, tag = "2")]
    step: i64,
    #[prost(string, optional, tag = "3")]
    file_version: Option<String>,
    #[prost(message, optional, tag = "5")]
    summary: Option<Summary>,
    #[prost(message, optional, tag = "7")]
    session_log: Option<SessionLog>,
}

/// `tensorflow.Summary`: what there is to see at a step.
#[derive(Clone, PartialEq, Message)]
struct Summary {
    #[prost(message, repeated, tag = "1")]
    value: Vec<Value>,
}

/// `tensorflow.Summary.Value`: one point of a chart, or one image.
#[derive(Clone, PartialEq, Message)]
struct Value {
    #[prost(string, tag = "1")]
    tag: String,
    #[prost(float, optional, tag = "2")]
    simple_value: Option<f32>,
    #[prost(message, optional, tag = "4")]
    image: Option<EncodedImage>,
}

/// `tensorflow.Summary.Image`.
#[derive(Clone, PartialEq, Message)]
struct EncodedImage {
    #[prost(int32, tag = "1")]
    height: i32,
    #[prost(int32, tag = "2")]
    width: i32,
    /// Channels.
    #[prost(int32, tag = "3")]
    colorspace: i32,
    /// A PNG file.
    #[prost(bytes = "vec", tag = "4")]
    encoded_image_string: Vec<u8>,
}

/// `tensorflow.SessionLog`.
#[derive(Clone, PartialEq, Message)]
struct SessionLog {
    /// 1: START.
    #[prost(int32, tag = "1")]
    status: i32,
}

/// An event without content.
fn event(wall_time: f64, step: u64) -> Event {
    Event { wall_time, step: i64::try_from(step).unwrap_or(i64::MAX), ..Event::default() }
}

/// The first record of every file. Version 2 makes TensorBoard look for session starts.
pub(super) fn file_header(wall_time: f64) -> Vec<u8> {
    record(&Event { file_version: Some("brain.Event:2".into()), ..event(wall_time, 0) })
}

/// The step from which points of earlier files are void, when `resume_step` steps are complete.
pub(super) fn purge_from(resume_step: u64) -> u64 {
    if resume_step == 0 { 0 } else { resume_step + 1 }
}

/// The start of a session at `step`: TensorBoard forgets all points of earlier files at `step` and beyond.
pub(super) fn session_start(wall_time: f64, step: u64) -> Vec<u8> {
    record(&Event { session_log: Some(SessionLog { status: 1 }), ..event(wall_time, step) })
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

/// Figures, each a point of its chart.
pub(super) fn scalars(wall_time: f64, step: u64, values: &[(&str, f64)]) -> Vec<u8> {
    let point =
        |&(name, value): &(&str, f64)| Value { tag: chart(name), simple_value: Some(value as f32), ..Value::default() };
    record(&summary(wall_time, step, values.iter().map(point).collect()))
}

/// An image, of which `png` is the file.
pub(super) fn image(wall_time: f64, step: u64, name: &str, image: &Image, png: &[u8]) -> Vec<u8> {
    let encoded = EncodedImage {
        height: image.height() as i32,
        width: image.width() as i32,
        colorspace: 3,
        encoded_image_string: png.to_vec(),
    };
    let value = Value { tag: format!("images/{name}"), image: Some(encoded), ..Value::default() };
    record(&summary(wall_time, step, vec![value]))
}

fn summary(wall_time: f64, step: u64, value: Vec<Value>) -> Event {
    Event { summary: Some(Summary { value }), ..event(wall_time, step) }
}

/// TFRecord framing: length, its checksum, data, its checksum.
fn record(event: &Event) -> Vec<u8> {
    let data = event.encode_to_vec();
    let length = (data.len() as u64).to_le_bytes();
    let mut out = Vec::with_capacity(data.len() + 16);
    out.extend(length);
    out.extend(masked(crc32c(&length)).to_le_bytes());
    out.extend(&data);
    out.extend(masked(crc32c(&data)).to_le_bytes());
    out
}

/// TFRecord's mask, which keeps a checksum of data that holds checksums from being a trivial value.
fn masked(crc: u32) -> u32 {
    crc.rotate_right(15).wrapping_add(0xa282_ead8)
}

/// CRC-32C (Castagnoli).
fn crc32c(data: &[u8]) -> u32 {
    checksum(CrcAlgorithm::Crc32Iscsi, data) as u32
}

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
        assert_eq!((header.len(), &header[..8]), (40, &24u64.to_le_bytes()[..]));
        assert_eq!(header[12..21], [0x09, 0, 0, 0, 0, 0, 0, 0xf0, 0x3f]);
        assert!(header[21..].windows(13).any(|w| w == b"brain.Event:2"));
    }
}
