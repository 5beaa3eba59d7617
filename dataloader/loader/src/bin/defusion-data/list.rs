//! `defusion-data list`: a table of the known datasets, and what is prepared where.

use clap::Args;
use defusion_dataloader::prepare;
use defusion_datasets::{Descriptor, Role, ShardManifest};
use defusion_storage::{Store, join};

use crate::failure::Failure;

/// Arguments of `defusion-data list`.
#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// Folder or URL of shards: shows what is prepared there. May be repeated.
    #[arg(long)]
    shards: Vec<String>,
}

/// Prints the table.
pub(crate) fn run(args: &ListArgs) -> Result<(), Failure> {
    crate::show(&list(&args.shards)?)
}

/// The whole text.
fn list(shards: &[String]) -> Result<String, Failure> {
    let known = defusion_datasets::list()?;
    let mut text = table(&known);
    for url in shards {
        text.push('\n');
        prepared(url, &mut text)?;
    }
    if shards.is_empty() {
        text.push_str("\nWhat is prepared below a folder or URL of shards: --shards URL, which may be repeated.\n");
    }
    Ok(text)
}

fn table(known: &[Descriptor]) -> String {
    let head = ["name", "dataset", "role", "task", "published pairs"].map(str::to_owned);
    let rows = known.iter().map(|set| {
        let role = match set.role {
            Role::Train => "train",
            Role::Test => "test",
            Role::TrainTest => "train, test",
        };
        let counts = set.splits.iter().filter_map(|(name, split)| Some(format!("{} {name}", split.count?)));
        let counts = counts.collect::<Vec<_>>().join(", ");
        let counts = if counts.is_empty() { "-".into() } else { counts };
        [set.name.clone(), set.title.clone(), role.into(), set.task.clone(), counts]
    });
    let rows: Vec<[String; 5]> = std::iter::once(head).chain(rows).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..5).map(width).collect();
    let mut text = String::new();
    for row in &rows {
        let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        text.push_str(cells.join("  ").trim_end());
        text.push('\n');
    }
    text
}

/// The datasets below `url`, known ones and others, one line each.
fn prepared(url: &str, text: &mut String) -> Result<(), Failure> {
    let store = Store::open(url)?;
    text.push_str(&format!("Prepared in {}:\n", store.url()));
    let names = store.folders()?;
    let mut any = false;
    for name in names {
        let line = match prepare::prepared(url, &name)? {
            Some(manifest) => finished(&manifest),
            None if prepare::is_begun(&join(url, &name))? => "begun, not finished: prepare it again".into(),
            None => continue,
        };
        text.push_str(&format!("  {name}: {line}\n"));
        any = true;
    }
    if !any {
        text.push_str("  nothing\n");
    }
    Ok(())
}

fn finished(manifest: &ShardManifest) -> String {
    let splits: Vec<String> = manifest
        .splits()
        .iter()
        .map(|split| {
            let rows: u64 = manifest.shards.iter().filter(|s| s.split == **split).map(|s| s.rows).sum();
            format!("{rows} {split}")
        })
        .collect();
    let gib = manifest.bytes() as f64 / f64::from(1 << 30);
    let plural = if manifest.shards.len() == 1 { "" } else { "s" };
    format!("{} pairs, {} shard{plural}, {gib:.2} GiB", splits.join(", "), manifest.shards.len())
}
