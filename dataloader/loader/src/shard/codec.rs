//! Names of the ways to pack a tile.

use serde::{Deserialize, Serialize};

/// Ways to pack a tile. All are lossless.
///
/// A tile of `w` x `h` pixels is three planes of `w * h` samples. *Predicted* planes hold green, red - green and
/// blue - green, each as the difference to the sample above (in the first row: to the left), modulo 256 or 65536:
/// undone with whole rows at a time. 16-bit samples are stored as all high bytes, then all low bytes, of
/// their differences folded to small numbers (0, -1, 1, -2, ... become 0, 1, 2, 3, ...).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TileCodec {
    /// Planes red, green, blue as they are.
    Raw,
    /// Predicted planes, one LZ4 block.
    Lz4,
    /// Predicted planes, one Zstandard frame.
    #[default]
    Zstd,
}

impl TileCodec {
    /// Name in options and files: `raw`, `lz4` or `zstd`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        }
    }
}

/// A name that is no tile codec. Holds the name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no tile codec; known are raw, lz4, zstd")]
pub struct ParseTileCodecError(String);

impl std::str::FromStr for TileCodec {
    type Err = ParseTileCodecError;

    fn from_str(name: &str) -> Result<Self, ParseTileCodecError> {
        [Self::Raw, Self::Lz4, Self::Zstd]
            .into_iter()
            .find(|codec| codec.name() == name)
            .ok_or_else(|| ParseTileCodecError(name.to_owned()))
    }
}
