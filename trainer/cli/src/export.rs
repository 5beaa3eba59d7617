//! `defusion export`.

use std::path::PathBuf;

use clap::Args;
use defusion_checkpoint::{CheckpointId, RunFolder};
use defusion_model::weights::WeightsError;
use defusion_restore::export::{Export, ExportError, Part};
use tch::Tensor;

use crate::stdout::say;

/// Arguments of `defusion export`.
#[derive(Clone, Debug, Args)]
pub struct ExportArgs {
    /// Run folder: a path or an object_store URL.
    #[arg(long)]
    pub run: String,
    /// File to write.
    #[arg(long)]
    pub to: PathBuf,
    /// A checkpoint by name; the newest sound one otherwise.
    #[arg(long)]
    pub checkpoint: Option<CheckpointId>,
    /// Only the tokenizer, under taming-transformers' names.
    #[arg(long, conflicts_with = "unet")]
    pub tokenizer: bool,
    /// Only the U-Net, under guided-diffusion's names.
    #[arg(long)]
    pub unet: bool,
    /// Replace the file if it exists.
    #[arg(long)]
    pub force: bool,
}

/// Exports a run's averaged weights and prints what was written.
///
/// # Errors
/// [`ExportError`]; a file that exists is untouched then.
pub fn run_export(args: &ExportArgs) -> Result<(), ExportError> {
    if !args.force && args.to.symlink_metadata().is_ok() {
        return Err(ExportError::Exists { path: args.to.clone() });
    }
    let part = match (args.tokenizer, args.unet) {
        (true, _) => Part::Tokenizer,
        (_, true) => Part::Unet,
        _ => Part::Whole,
    };
    let export = Export::of_run(&RunFolder::open(&args.run)?, args.checkpoint, part)?;
    if let Some(folder) = args.to.parent() {
        std::fs::create_dir_all(folder).map_err(|source| WeightsError::Io { path: folder.to_owned(), source })?;
    }
    export.write(&args.to)?;
    let values: usize = export.tensors.values().map(Tensor::numel).sum();
    let tensors = export.tensors.len();
    say(format_args!("{}: {tensors} tensors, {values} values, of {}", args.to.display(), export.checkpoint));
    Ok(())
}
