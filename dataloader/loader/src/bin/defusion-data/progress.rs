//! How far a command is, on standard error.

use std::io::IsTerminal;
use std::sync::Mutex;

use indicatif::{ProgressBar, ProgressStyle};

/// A bar on a terminal, otherwise a line at each tenth of the work.
pub(crate) struct ProgressDisplay {
    bar: Option<ProgressBar>,
    said: Mutex<(&'static str, u64)>,
}

impl ProgressDisplay {
    pub(crate) fn new() -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template("{msg:>10} {bar:40} {pos}/{len} {eta}");
            ProgressBar::new(0).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
        });
        Self { bar, said: Mutex::new(("", 0)) }
    }

    /// Shows that `done` of `total` are done of the part of the work that `what` names.
    pub(crate) fn at(&self, what: &'static str, done: u64, total: u64) {
        if let Some(bar) = &self.bar {
            if bar.message() != what {
                // A bar of its own for each part of the work: the time that the one before took says nothing.
                bar.reset();
                bar.set_length(total);
                bar.set_message(what);
            }
            bar.set_position(done);
            return;
        }
        if done == 0 {
            return;
        }
        let tenth = done * 10 / total.max(1);
        // A poisoned lock only means that another thread failed, which that thread tells.
        let Ok(mut said) = self.said.lock() else { return };
        if *said != (what, tenth) {
            *said = (what, tenth);
            eprintln!("{what} {done}/{total}");
        }
    }
}

impl Drop for ProgressDisplay {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
