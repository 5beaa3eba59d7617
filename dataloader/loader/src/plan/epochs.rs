//! Which image of a dataset its `n`-th sample shows: without replacement within a epoch, in long runs over few shards.

use std::sync::{Arc, Mutex, PoisonError};

use super::permutation::Permutation;
use defusion_imaging::Rng;

/// The order of a dataset's images, epoch after epoch.
///
/// In every epoch the shards come in a new order; their rows, laid end to end in it, are cut into windows of
/// `window` rows (the last one takes the rest too), and the rows of a window are shuffled. So each epoch shows every
/// image once, and only the shards of one window are needed at a time.
#[derive(Debug)]
pub(crate) struct Epochs {
    key: Rng,
    window: u64,
    /// First row of each shard, and the number of rows.
    starts: Vec<u64>,
    /// The shard orders used last: a memory of what would be computed anyway.
    orders: Mutex<Vec<(u64, Arc<ShardOrder>)>>,
}

/// The shards of one epoch.
#[derive(Debug)]
struct ShardOrder {
    /// Number of each shard, in the epoch's order.
    shards: Vec<usize>,
    /// Rows before each of them.
    before: Vec<u64>,
}

/// Place of a sample in its epoch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Position {
    pub(crate) epoch: u64,
    /// First row of its window, in the epoch's order, and the window's length.
    window: (u64, u64),
    /// Its place in the window.
    place: u64,
}

impl Epochs {
    /// The epochs of a dataset with shards of these numbers of rows, at least one in all.
    pub(crate) fn new(key: Rng, shard_rows: &[u64], window: u64) -> Self {
        let mut starts = vec![0];
        for rows in shard_rows {
            starts.push(starts[starts.len() - 1] + rows);
        }
        Self { key, window: window.max(1), starts, orders: Mutex::default() }
    }

    pub(crate) fn len(&self) -> u64 {
        self.starts[self.starts.len() - 1]
    }

    pub(crate) fn position(&self, ordinal: u64) -> Position {
        let (epoch, at) = (ordinal / self.len(), ordinal % self.len());
        let windows = (self.len() / self.window).max(1);
        let n = (at / self.window).min(windows - 1);
        let start = n * self.window;
        let len = if n + 1 == windows { self.len() - start } else { self.window };
        Position { epoch, window: (start, len), place: at - start }
    }

    /// Returns the image of the sample at this position.
    pub(crate) fn image(&self, position: Position) -> u64 {
        let (start, len) = position.window;
        let shuffle = Permutation::new(self.key.fork(position.epoch).fork(start), len);
        self.row(position.epoch, start + shuffle.at(position.place))
    }

    /// Draws any image of the same window, whose shards are at hand.
    pub(crate) fn neighbour(&self, position: Position, rng: &mut Rng) -> u64 {
        let (start, len) = position.window;
        self.row(position.epoch, start + rng.below(len))
    }

    /// Row `at` of the epoch's order.
    fn row(&self, epoch: u64, at: u64) -> u64 {
        let order = self.order(epoch);
        let n = order.before.partition_point(|before| *before <= at) - 1;
        self.starts[order.shards[n]] + at - order.before[n]
    }

    fn order(&self, epoch: u64) -> Arc<ShardOrder> {
        let mut orders = self.orders.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, order)) = orders.iter().find(|(p, _)| *p == epoch) {
            return order.clone();
        }
        let count = self.starts.len() - 1;
        let shuffle = Permutation::new(self.key.fork(epoch), count as u64);
        let rows = |shard: usize| self.starts[shard + 1] - self.starts[shard];
        // Shards without rows hold no place.
        let shards: Vec<usize> = (0..count).map(|n| shuffle.at(n as u64) as usize).filter(|s| rows(*s) > 0).collect();
        let mut before = Vec::with_capacity(shards.len());
        let mut next = 0;
        for shard in &shards {
            before.push(next);
            next += rows(*shard);
        }
        let order = Arc::new(ShardOrder { shards, before });
        // Threads work at the end of one epoch and at the start of the next.
        if orders.len() == 2 {
            orders.remove(0);
        }
        orders.push((epoch, order.clone()));
        order
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use defusion_imaging::Rng;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_pass_shows_every_image_once(
            rows in proptest::collection::vec(0u64..40, 1..12),
            window in 1u64..200,
            epoch in 0u64..1 << 30,
            seed: u64,
        ) {
            prop_assume!(rows.iter().sum::<u64>() > 0);
            let epochs = Epochs::new(Rng::new(seed, &[]), &rows, window);
            let mut seen = vec![false; epochs.len() as usize];
            for n in 0..epochs.len() {
                let position = epochs.position(epoch * epochs.len() + n);
                prop_assert_eq!(position.epoch, epoch);
                prop_assert!(!std::mem::replace(&mut seen[epochs.image(position) as usize], true));
                prop_assert!(epochs.neighbour(position, &mut Rng::new(n, &[])) < epochs.len());
            }
        }
    }

    #[test]
    fn a_window_needs_few_shards_and_passes_differ() {
        let rows = [100u64; 1000];
        let epochs = Epochs::new(Rng::new(5, &[]), &rows, 1000);
        let images =
            |from: u64| -> Vec<u64> { (from..from + 1000).map(|n| epochs.image(epochs.position(n))).collect() };
        let shards = |images: &[u64]| images.iter().map(|i| i / 100).collect::<std::collections::BTreeSet<_>>().len();
        assert_eq!(shards(&images(0)), 10);
        assert_eq!(shards(&images(7000)), 10);
        assert_ne!(images(0), images(100_000));
        let in_order = images(0).windows(2).filter(|w| w[1] == w[0] + 1).count();
        assert!(in_order < 20, "{in_order}");
    }
}
