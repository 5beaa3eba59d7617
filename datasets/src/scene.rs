//! Which degraded images of a split show the same scene.

use crate::{Descriptor, Source};

impl Descriptor {
    /// Whether some images of `split` have a part of what degrades others, as RainDS has each scene with streaks, with
    /// drops, and with both.
    pub fn has_partial(&self, split: &str) -> bool {
        let sources = || self.splits.get(split).into_iter().flat_map(|split| &split.sources);
        let present = |source: &Source| source.degradations.clone().unwrap_or_else(|| self.degradations.clone());
        sources().any(|whole| {
            let whole = present(whole);
            sources()
                .map(present)
                .any(|part| !part.is_empty() && part.len() < whole.len() && part.iter().all(|d| whole.contains(d)))
        })
    }

    /// Returns a name for the clean image of the degraded file `key` (a [`Pair::key`](crate::Pair::key)) of `split`: the same
    /// text for all images of a scene. `None` if the file fits no layout.
    pub fn scene(&self, split: &str, key: &str) -> Option<String> {
        let layouts = self.splits.get(split)?.sources.iter().flat_map(|source| &source.layouts);
        layouts.into_iter().find_map(|layout| {
            let names = layout.gt.names();
            let fields = layout.lq.as_ref()?.fields(key)?;
            let shared: Vec<String> =
                fields.iter().filter(|(name, _)| names.contains(name)).map(|(name, v)| format!("{name}={v}")).collect();
            Some(format!("{} {}", layout.gt, shared.join("/")))
        })
    }
}
