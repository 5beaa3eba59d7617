//! `defusion-launch`: see the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    defusion_launch::run()
}
