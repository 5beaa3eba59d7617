//! Shards: prepared datasets, laid out so that a crop costs little more than its own pixels.
//!
//! A prepared dataset is a folder on any object store with `part-NNNNN.parquet` files and a `manifest.json`, which is
//! written last. One row is one image pair:
//!
//! | column | type | |
//! |---|---|---|
//! | `key` | string | the degraded file's path in the source |
//! | `split` | string | the same in all rows of a shard |
//! | `degradations` | list of string | categories of the degraded image, in order; empty for clean images |
//! | `width`, `height` | uint32 | pixels |
//! | `hq_bits`, `lq_bits` | uint8 | 8 or 16 bits a sample; `lq_bits` is null if there is no degraded image |
//! | `hq_bytes`, `lq_bytes` | uint64 | length of the blobs below |
//! | `hq`, `lq` | binary | the clean and the degraded image; `lq` is null for clean images only |
//!
//! *A blob* is an index and the image's tiles, row after row, each `tile` x `tile` pixels (less at the right and
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
mod codec;
mod error;
mod file;
mod format;
mod grid;
mod manifest;
mod open;
mod reader;
mod record;
mod sample;
mod tile;
mod writer;

pub(crate) use blob::BlobReader;
pub use codec::{ParseTileCodecError, TileCodec};
pub use defusion_datasets::shard_manifest::{MANIFEST, VERSION};
pub use error::{FormatError, ShardError};
pub(crate) use file::ShardFile;
pub(crate) use format::check_tile;
pub use format::{DEFAULT_TILE, MAX_PIXELS};
pub use manifest::read_manifest;
pub use reader::DatasetReader;
pub use record::{Pair, Record};
pub use writer::{EncodedRow, FinishedShard, RowMeta, ShardWriter};
