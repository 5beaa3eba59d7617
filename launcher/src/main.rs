//! `defusion-launch`: see the library.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    defusion_launch::run()
}
