//! How gradients are laid out in buckets. Pure arithmetic; no tensors.

/// Elements between the starts of two gradients: 64 bytes, for vector loads.
const ALIGN: usize = 16;

/// Sizes of buckets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BucketSizes {
    /// Bytes of a bucket. One gradient that is larger has a bucket of its own.
    pub full: usize,
    /// Bytes of the first bucket, which shall start early, and of the last, which nothing hides.
    pub edge: usize,
}

impl BucketSizes {
    /// Makes buckets of so many MiB, with edges of 1 MiB at most (the first one's size in PyTorch's DDP).
    pub fn mib(full: f64) -> Self {
        let full = ((full * f64::from(1 << 20)) as usize).max(4);
        Self { full, edge: full.min(1 << 20) }
    }
}

/// One flat buffer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bucket {
    /// Parameters (their numbers) in it, in the order in which their gradients become ready.
    pub members: Vec<usize>,
    /// Length in elements.
    pub length: usize,
}

/// The place of each gradient.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Buckets in the order in which they are reduced.
    pub buckets: Vec<Bucket>,
    /// For each parameter: its bucket, and its first element there.
    pub places: Vec<(usize, usize)>,
    /// First element of the spare room at the end of the last bucket: `ALIGN` elements that no gradient uses.
    pub spare: usize,
}

impl Layout {
    /// Lays float32 gradients of `lengths` elements out in the order `order`, a permutation of their numbers.
    pub fn plan(order: &[usize], lengths: &[usize], sizes: BucketSizes) -> Self {
        debug_assert_eq!(order.len(), lengths.len());
        let bytes = |i: usize| 4 * lengths[i];
        let mut groups: Vec<Vec<usize>> = vec![Vec::new()];
        let mut filled = 0;
        for &i in order {
            let limit = if groups.len() == 1 { sizes.edge } else { sizes.full };
            if filled > 0 && filled + bytes(i) > limit {
                groups.push(Vec::new());
                filled = 0;
            }
            // There is one group at least.
            if let Some(group) = groups.last_mut() {
                group.push(i);
            }
            filled += bytes(i);
        }
        // The tail of the last bucket becomes a small one: its reduction is what the step waits for.
        if groups.len() > 1
            && let Some(last) = groups.last_mut()
        {
            let mut tail = 0;
            let kept = last.iter().rposition(|&i| {
                tail += bytes(i);
                tail > sizes.edge
            });
            if let Some(kept) = kept
                && kept + 1 < last.len()
            {
                let tail = last.split_off(kept + 1);
                groups.push(tail);
            }
        }
        let mut places = vec![(0, 0); lengths.len()];
        let mut buckets: Vec<Bucket> = Vec::new();
        for (b, members) in groups.into_iter().enumerate() {
            let mut length = 0;
            for &i in &members {
                places[i] = (b, length);
                length += lengths[i].next_multiple_of(ALIGN);
            }
            buckets.push(Bucket { members, length });
        }
        let mut spare = 0;
        if let Some(last) = buckets.last_mut() {
            spare = last.length;
            last.length += ALIGN;
        }
        Self { buckets, places, spare }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_gradient_has_a_place_of_its_own(
            lengths in proptest::collection::vec(1_usize..5000, 1..60),
            full in 1000_usize..40_000,
        ) {
            let order: Vec<usize> = (0..lengths.len()).rev().collect();
            let layout = Layout::plan(&order, &lengths, BucketSizes { full, edge: full / 4 });
            let listed: Vec<usize> = layout.buckets.iter().flat_map(|b| b.members.clone()).collect();
            prop_assert_eq!(listed, order);
            for (b, bucket) in layout.buckets.iter().enumerate() {
                let mut end = 0;
                for &i in &bucket.members {
                    let (at, start) = layout.places[i];
                    prop_assert_eq!(at, b);
                    prop_assert!(start >= end && start % ALIGN == 0);
                    end = start + lengths[i];
                }
                prop_assert!(end <= bucket.length);
                let bytes: usize = bucket.members.iter().map(|&i| 4 * lengths[i]).sum();
                prop_assert!(bytes <= full || bucket.members.len() == 1);
            }
            let last = layout.buckets.last().unwrap();
            prop_assert_eq!(layout.spare + ALIGN, last.length);
        }
    }

    #[test]
    fn first_and_last_buckets_are_small() {
        // Ten gradients of 1000 bytes, ready in the order 0, 1, ...
        let order: Vec<usize> = (0..10).collect();
        let layout = Layout::plan(&order, &[250; 10], BucketSizes { full: 4000, edge: 1000 });
        let members: Vec<&[usize]> = layout.buckets.iter().map(|b| &b.members[..]).collect();
        assert_eq!(members, [&[0][..], &[1, 2, 3, 4], &[5, 6, 7, 8], &[9]]);
    }
}
