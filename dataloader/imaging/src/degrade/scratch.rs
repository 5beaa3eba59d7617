//! Working planes that are given back instead of freed: an image's planes are large enough that the allocator would
//! fetch them from the kernel, zeroed page by page, for every operation.

use std::cell::RefCell;
use std::ops::{Deref, DerefMut};

/// Planes kept per thread.
const KEPT: usize = 8;
/// Larger planes (4 Mi values) are freed: they are rare, and their cost is small beside the work on them.
const LARGEST: usize = 1 << 22;

thread_local! {
    static FREE: RefCell<Vec<Vec<f32>>> = const { RefCell::new(Vec::new()) };
}

/// A plane of values on loan from this thread's store.
pub(crate) struct Scratch(Vec<f32>);

impl Scratch {
    /// `len` zeros.
    pub fn zeros(len: usize) -> Self {
        let mut values = Self::empty(len);
        values.0.resize(len, 0.0);
        values
    }

    /// No values, with room for `len`.
    pub fn empty(len: usize) -> Self {
        let mut values = FREE.with_borrow_mut(Vec::pop).unwrap_or_default();
        values.clear();
        values.reserve(len);
        Self(values)
    }

    /// Adds values at the end.
    pub fn vec(&mut self) -> &mut Vec<f32> {
        &mut self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if self.0.capacity() <= LARGEST {
            FREE.with_borrow_mut(|free| {
                if free.len() < KEPT {
                    free.push(std::mem::take(&mut self.0));
                }
            });
        }
    }
}

impl Deref for Scratch {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &self.0
    }
}

impl DerefMut for Scratch {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.0
    }
}
