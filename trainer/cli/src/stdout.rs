//! What commands print.

use std::fmt::Display;
use std::io::Write;

/// Prints a line on standard output. If nobody reads it any more (`| head -1`), the work goes on without a word.
pub(crate) fn say(line: impl Display) {
    let _ = writeln!(std::io::stdout(), "{line}");
}
