//! sha256, as 64 lower-case hexadecimal digits.

use sha2::{Digest, Sha256};

use crate::{Store, StoreError};

/// A sha256 over bytes that come in pieces.
#[derive(Clone, Debug, Default)]
pub struct Digester(Sha256);

impl Digester {
    /// Adds bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// Returns the digest of all bytes added.
    pub fn finish(self) -> String {
        hex::encode(self.0.finalize())
    }
}

/// sha256 of `bytes`.
pub fn sha256_hex(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

impl Store {
    /// sha256 of an object of `size` bytes.
    ///
    /// # Errors
    /// [`StoreError`] of [`Store::read_exact`].
    pub fn sha256(&self, name: &str, size: u64) -> Result<String, StoreError> {
        let mut digest = Digester::default();
        self.read_exact(name, size, |piece| digest.update(piece))?;
        Ok(digest.finish())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_the_standard_ones() {
        let want = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        let mut pieces = Digester::default();
        pieces.update(b"a");
        pieces.update(b"bc");
        assert_eq!((sha256_hex(b"abc").as_str(), pieces.finish().as_str()), (want, want));
    }
}
