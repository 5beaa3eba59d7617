//! Work on many threads whose results come in order.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Mutex, PoisonError};

use crossbeam_channel::bounded;

/// Calls `work` on each item on `threads` threads and `sink` on this one with the results in the items' order. At most
/// `window` items are worked on or waiting for their turn. Stops at the first error of `sink` and gives it back;
/// a panic in `work` goes on here.
pub(crate) fn ordered_map<I, O, E>(
    threads: usize,
    window: usize,
    items: impl Iterator<Item = I> + Send,
    work: impl Fn(I) -> O + Sync,
    mut sink: impl FnMut(O) -> Result<(), E>,
) -> Result<(), E>
where
    O: Send,
{
    let items = Mutex::new(items.enumerate());
    let (give, tokens) = bounded(window.max(1));
    for _ in 0..window.max(1) {
        // The channel has room for them all, and its other end is held here.
        let _ = give.send(());
    }
    let (done, results) = bounded(window.max(1));
    std::thread::scope(|scope| {
        for _ in 0..threads.max(1) {
            let (items, work, tokens, done) = (&items, &work, tokens.clone(), done.clone());
            scope.spawn(move || {
                // A token comes first: whoever holds the oldest item then has one, and its result finds room.
                while tokens.recv().is_ok() {
                    let next = items.lock().unwrap_or_else(PoisonError::into_inner).next();
                    let Some((n, item)) = next else { break };
                    let result = catch_unwind(AssertUnwindSafe(|| work(item)));
                    if done.send((n, result)).is_err() {
                        break;
                    }
                }
            });
        }
        drop((tokens, done));
        // Moved in here, so that they are dropped, and the threads end, however this closure is left.
        let (results, give) = (results, give);
        let mut waiting = BTreeMap::new();
        let mut next = 0;
        while let Ok((n, result)) = results.recv() {
            waiting.insert(n, result);
            while let Some(result) = waiting.remove(&next) {
                sink(result.unwrap_or_else(|panic| resume_unwind(panic)))?;
                next += 1;
                // No thread waits for tokens any more once the items are out.
                let _ = give.send(());
            }
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn results_come_in_order_and_bounded() {
        let running = AtomicUsize::new(0);
        let mut got = Vec::new();
        let done: Result<(), ()> = ordered_map(
            4,
            6,
            0..500u64,
            |i| {
                assert!(running.fetch_add(1, Ordering::SeqCst) < 6);
                let spin = defusion_imaging::Rng::new(1, &[i]).below(3000);
                (i, (0..spin).fold(0, |a, b| a ^ (b * b)))
            },
            |(i, _)| {
                running.fetch_sub(1, Ordering::SeqCst);
                got.push(i);
                Ok(())
            },
        );
        assert_eq!(done, Ok(()));
        assert_eq!(got, (0..500).collect::<Vec<_>>());
    }

    #[test]
    #[should_panic(expected = "nine")]
    fn a_panic_goes_on() {
        let work = |i: u64| if i == 9 { panic!("nine") } else { i };
        let _: Result<(), ()> = ordered_map(3, 4, 0.., work, |_| Ok(()));
    }

    #[test]
    fn an_error_ends_it() {
        let done = ordered_map(3, 4, 0.., |i| i, |i| if i == 9 { Err(i) } else { Ok(()) });
        assert_eq!(done, Err(9));
    }
}
