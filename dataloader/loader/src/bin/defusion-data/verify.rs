//! `defusion-data verify`.

use clap::Args;
use defusion_dataloader::verify;

use crate::failure::Failure;
use crate::progress::ProgressDisplay;

/// Arguments of `defusion-data verify`.
#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {
    /// Folders or URLs of prepared datasets.
    #[arg(required = true)]
    urls: Vec<String>,
    /// Threads; 0: one for each core.
    #[arg(long, default_value_t = 0)]
    threads: usize,
}

/// Checks every dataset and prints what is sound and what is not.
pub(crate) fn run(args: &VerifyArgs) -> Result<(), Failure> {
    let (mut damaged, mut unread) = (0, Vec::new());
    for url in &args.urls {
        let display = ProgressDisplay::new();
        let verified = verify::verify(url, args.threads, &|done, total| display.at("verified", done, total))?;
        drop(display);
        crate::show(&verified.to_string())?;
        damaged += verified.problems.len();
        unread.extend(verified.unread);
    }
    let count = unread.len();
    match (damaged, unread.into_iter().next()) {
        (0, None) => Ok(()),
        (0, Some(first)) => Err(Failure::Unread { count, first }),
        _ => Err(Failure::Damaged(damaged)),
    }
}
