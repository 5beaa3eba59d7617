//! What writers and readers of shard files agree on.

use super::FormatError;

/// Key of the layout's version in a file's metadata.
pub(crate) const KEY_VERSION: &str = "defusion.version";
/// Key of the side of a tile, pixels.
pub(crate) const KEY_TILE: &str = "defusion.tile";
/// Key of the name of the tile codec.
pub(crate) const KEY_CODEC: &str = "defusion.codec";

/// Side of a tile, pixels, unless another one is asked for.
pub const DEFAULT_TILE: u32 = 64;
/// No image in a shard has more pixels.
pub const MAX_PIXELS: u64 = 1 << 28;

/// Refuses sides of a tile that no reader takes.
pub(crate) fn check_tile(tile: u32) -> Result<(), FormatError> {
    match (8..=1024).contains(&tile) {
        true => Ok(()),
        false => Err(FormatError::Tile(tile)),
    }
}
