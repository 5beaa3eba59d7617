//! Shards: prepared datasets, laid out so that a crop costs little more than its own pixels.
//!
//! A prepared dataset is a folder on any object store with `part-NNNNN.parquet` files and a `manifest.json`, which is
//! written last. One row is one picture pair:
//!
//! | column | type | |
//! |---|---|---|
//! | `key` | string | the degraded file's path in the source |
//! | `split` | string | the same in all rows of a shard |
//! | `degradations` | list of string | categories of the degraded picture, in order; empty for clean pictures |
//! | `width`, `height` | uint32 | pixels |
//! | `hq_bits`, `lq_bits` | uint8 | 8 or 16 bits a sample; `lq_bits` is null where there is no degraded picture |
//! | `hq_bytes`, `lq_bytes` | uint64 | length of the blobs below |
//! | `hq`, `lq` | binary | the clean and the degraded picture; `lq` is null for clean pictures only |
//!
//! *A blob* is an index and the picture's tiles, row after row, each `tile` x `tile` pixels (less at the right and
//! bottom edges). The index has one more little-endian uint32 than there are tiles: where each tile starts, from the
//! blob's first byte, and where the last one ends. [`TileCodec`] says what is in a tile.
//!
//! *In the file* every blob is a data page of its own, PLAIN and uncompressed, so its bytes lie in the file as they
//! are, at the end of that page, and Parquet's offset index says where. A crop reads the few index entries it needs
//! and the tiles it touches with positional reads; no other part of the file is looked at. Any Parquet reader can read
//! the columns.
//!
//! The file's key-value metadata holds `defusion.version`, `defusion.tile` and `defusion.codec`.

mod blob;
mod error;
mod file;
mod grid;
mod manifest;
mod open;
mod reader;
mod tile;
mod writer;

pub(crate) use blob::BlobReader;
pub use error::ShardError;
pub(crate) use file::{ShardFile, check_tile};
pub use manifest::{MANIFEST, Manifest, ShardEntry};
pub use reader::{DatasetReader, Pair, Record};
pub use tile::TileCodec;
pub(crate) use writer::hex;
pub use writer::{EncodedRow, FinishedShard, RowMeta, ShardWriter};

/// Version of the layout; readers refuse any other.
pub const VERSION: u32 = 1;
/// Side of a tile, pixels, unless asked otherwise.
pub const DEFAULT_TILE: u32 = 64;
/// No picture in a shard has more pixels.
pub const MAX_PIXELS: u64 = 1 << 28;
