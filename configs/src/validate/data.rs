//! `data` and `evaluation`.

use super::{Problem, ensure};
use crate::{Config, DatasetUse, Grounds};

pub(super) fn validate(c: &Config) -> Result<(), Problem> {
    let d = &c.data;
    ensure!(
        !d.shards.trim().is_empty(),
        "data.shards",
        "must name the folder of shards: a path or an object_store URL"
    );
    ensure!(!d.datasets.is_empty(), "data.datasets", "at least one dataset is needed");
    datasets("data.datasets", &d.datasets)?;
    datasets("evaluation.datasets", &c.evaluation.datasets)?;
    for set in &c.evaluation.datasets {
        ensure!(set.weight == 1.0, "evaluation.datasets.weight", "has no meaning here (dataset {})", set.name);
    }
    ensure!(
        c.evaluation.validate_every == 0 || !c.evaluation.datasets.is_empty(),
        "evaluation.validate_every",
        "needs evaluation.datasets to validate on"
    );

    let (levels, unit) = unit(c.model.unet.channel_mult.len());
    ensure!(
        d.crop.is_multiple_of(unit),
        "data.crop",
        "{} is no multiple of {unit}, which a U-Net of {levels} levels needs",
        d.crop
    );
    grounds(&d.grounds, c.model.tokenizer.ch_mult.len())?;
    let t = &d.targets;
    ensure!(t.all + t.subset + t.superset + t.disjoint > 0.0, "data.targets", "all shares are 0");
    Ok(())
}

/// Returns the number of levels, and what a side must be a multiple of.
pub(super) fn unit(levels: usize) -> (usize, u32) {
    (levels, 1 << (levels - 1))
}

fn datasets(key: &'static str, sets: &[DatasetUse]) -> Result<(), Problem> {
    for (i, set) in sets.iter().enumerate() {
        let name = &set.name;
        // It is a folder's name, and part of URLs.
        let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        ensure!(
            name.starts_with(|c: char| c.is_ascii_alphanumeric()) && name.chars().all(plain),
            key,
            "`{name}` is no dataset's name: letters, digits, `-`, `_` and `.`, the first a letter or digit"
        );
        ensure!(sets[..i].iter().all(|other| other.name != *name), key, "dataset {name} is listed twice");
        for chain in &set.synthesize {
            ensure!(!chain.is_empty(), key, "dataset {name} has an empty chain in synthesize");
            let twice = (1..chain.len()).find(|n| chain[..*n].contains(&chain[*n]));
            if let Some(n) = twice {
                return Err((key.into(), format!("dataset {name} has {} twice in one chain of synthesize", chain[n])));
            }
        }
    }
    Ok(())
}

fn grounds(g: &Grounds, tokenizer_levels: usize) -> Result<(), Problem> {
    ensure!(
        g.canvas >= g.size && g.canvas.is_multiple_of(2),
        "data.grounds.canvas",
        "is {}; it must be even and at least data.grounds.size, {}",
        g.canvas,
        g.size
    );
    let (levels, unit) = unit(tokenizer_levels);
    ensure!(
        g.size.is_multiple_of(unit),
        "data.grounds.size",
        "{} is no multiple of {unit}, which a tokenizer of {levels} levels needs",
        g.size
    );
    Ok(())
}
