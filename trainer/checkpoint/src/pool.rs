//! Host memory for snapshots, used again.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

/// Buffers that come back when the upload that holds them is done. A snapshot is as large as the last one, so after the
/// first no memory is allocated or given back to the kernel.
#[derive(Clone, Default)]
pub(crate) struct Pool {
    free: Arc<Mutex<Vec<Vec<u8>>>>,
}

/// A buffer that goes back to its pool when it is dropped.
pub(crate) struct Buffer {
    data: Vec<u8>,
    len: usize,
    pool: Pool,
}

impl Pool {
    fn free(&self) -> MutexGuard<'_, Vec<Vec<u8>>> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a buffer of `len` bytes of any content: the smallest free one that is large enough. If none is, a free one
    /// is dropped for the new one, so that a change of sizes does not make the pool grow.
    pub(crate) fn take(&self, len: usize) -> Buffer {
        let mut free = self.free();
        let fit = (0..free.len()).filter(|&i| free[i].len() >= len).min_by_key(|&i| free[i].len());
        let data = match fit {
            Some(i) => free.swap_remove(i),
            None => {
                free.pop();
                drop(free);
                vec![0; len]
            }
        };
        Buffer { data, len, pool: self.clone() }
    }
}

impl Buffer {
    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.data[..self.len]
    }

    pub(crate) fn freeze(self) -> Bytes {
        Bytes::from_owner(self)
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.data[..self.len]
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.pool.free().push(std::mem::take(&mut self.data));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_of_sizes_does_not_make_the_pool_grow() {
        let pool = Pool::default();
        drop(pool.take(10));
        drop(pool.take(20));
        assert_eq!(pool.free().iter().map(Vec::len).collect::<Vec<_>>(), [20]);
        assert_eq!(pool.take(15).as_ref().len(), 15);
        let both = (pool.take(5), pool.take(5));
        drop(both);
        assert_eq!(pool.free().len(), 2);
    }
}
