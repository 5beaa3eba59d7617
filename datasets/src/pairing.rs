//! Which degraded file belongs to which clean one.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::Hasher;
use std::path::Path;

use defusion_config::Degradation;
use fnv::FnvHasher;

use crate::template::{EXTENSION, Fields};
use crate::{Descriptor, Layout, Pair, Pairing, Problem, ProblemKind, Share, Source, Take, Template};

/// A pair before its share is decided.
struct Candidate {
    lq: Option<String>,
    gt: String,
    fields: HashMap<String, String>,
}

/// What has been found of one split.
pub(crate) struct Found<'a> {
    pub(crate) split: &'a str,
    pub(crate) root: &'a Path,
    pub(crate) pairs: Vec<Pair>,
    pub(crate) problems: Vec<Problem>,
    /// Whether a file of the split is there.
    pub(crate) any: bool,
}

impl Found<'_> {
    /// Adds the pairs of the first layout that fits.
    pub(crate) fn source(&mut self, set: &Descriptor, source: &Source, degradations: &[Degradation], files: &[String]) {
        for start in std::iter::once("").chain(set.roots.iter().map(String::as_str)) {
            let prefix = if start.is_empty() { String::new() } else { format!("{start}/") };
            let below: Vec<&str> = files.iter().filter_map(|f| f.strip_prefix(prefix.as_str())).collect();
            for layout in &source.layouts {
                let candidates = match &layout.list {
                    Some(list) => self.listed(list, layout, &prefix, &below),
                    None => self.matched(layout, &prefix, &below, source),
                };
                let Some(mut candidates) = candidates else { continue };
                self.any = true;
                candidates.retain(|c| within(source, &c.fields));
                if let Some(share) = &source.share {
                    take_share(share, &mut candidates);
                }
                for c in candidates {
                    let path = |file: &str| self.root.join(&prefix).join(file);
                    let clean_only = c.lq.is_none();
                    self.pairs.push(Pair {
                        key: c.lq.clone().unwrap_or_else(|| c.gt.clone()),
                        split: self.split.to_owned(),
                        degradations: if clean_only { Vec::new() } else { degradations.to_vec() },
                        lq: c.lq.as_deref().map(path),
                        gt: path(&c.gt),
                        fit: layout.fit,
                    });
                }
                return;
            }
        }
    }

    /// Finds pairs by file names; `None` if no file fits the layout.
    fn matched(&mut self, layout: &Layout, prefix: &str, below: &[&str], source: &Source) -> Option<Vec<Candidate>> {
        let clean = fitting(&layout.gt, below);
        let Some(lq_template) = &layout.lq else {
            let own =
                |(file, fields): &(&str, Fields)| Candidate { lq: None, gt: (*file).to_owned(), fields: owned(fields) };
            return (!clean.is_empty()).then(|| clean.iter().map(own).collect());
        };
        let degraded = fitting(lq_template, below);
        if degraded.is_empty() {
            return None;
        }
        let gt_names = layout.gt.names();
        let shared: Vec<&str> = lq_template.names().into_iter().filter(|name| gt_names.contains(name)).collect();
        let key = |fields: &Fields| -> Vec<String> {
            let value = |name: &&str| fields.iter().find(|(n, _)| n == name).map(|(_, v)| (*v).to_owned());
            shared.iter().filter_map(value).collect()
        };
        /// Degraded files with their fields, and clean files.
        type Group<'a> = (Vec<(&'a str, Fields<'a>)>, Vec<&'a str>);
        let mut groups: BTreeMap<Vec<String>, Group<'_>> = BTreeMap::new();
        for (file, fields) in degraded {
            groups.entry(key(&fields)).or_default().0.push((file, fields));
        }
        for (file, fields) in clean {
            groups.entry(key(&fields)).or_default().1.push(file);
        }
        let mut pairs = Vec::new();
        for (lqs, gts) in groups.into_values() {
            match layout.pairing {
                Pairing::Fields => self.by_fields(layout, prefix, lqs, &gts, source, &mut pairs),
                Pairing::Rank if lqs.len() == gts.len() => {
                    for ((lq, fields), gt) in lqs.into_iter().zip(gts) {
                        pairs.push(Candidate { lq: Some(lq.into()), gt: gt.into(), fields: owned(&fields) });
                    }
                }
                Pairing::Rank => {
                    let file = lqs.first().map_or(gts.first().copied().unwrap_or_default(), |(file, _)| *file);
                    let kind = ProblemKind::RankCounts { degraded: lqs.len(), clean: gts.len() };
                    self.problems.push(Problem::new(self.split, &format!("{prefix}{file}"), kind));
                }
            }
        }
        Some(pairs)
    }

    fn by_fields(
        &mut self,
        layout: &Layout,
        prefix: &str,
        lqs: Vec<(&str, Fields)>,
        gts: &[&str],
        source: &Source,
        pairs: &mut Vec<Candidate>,
    ) {
        let mut report =
            |file: &str, kind| self.problems.push(Problem::new(self.split, &format!("{prefix}{file}"), kind));
        if lqs.is_empty() {
            for gt in gts {
                // A clean image outside the split's range belongs to another split.
                let fields = layout.gt.fields(gt).map(|f| owned(&f)).unwrap_or_default();
                if source.within.keys().all(|k| fields.contains_key(k)) && within(source, &fields) {
                    report(gt, ProblemKind::NoDegraded);
                }
            }
            return;
        }
        for (lq, fields) in lqs {
            let fields = owned(&fields);
            match gts {
                [gt] => pairs.push(Candidate { lq: Some(lq.into()), gt: (*gt).into(), fields }),
                _ if !within(source, &fields) => {}
                [] => report(lq, ProblemKind::NoClean(layout.gt.to_string())),
                _ => report(lq, ProblemKind::Ambiguous(gts.iter().map(|g| (*g).to_owned()).collect())),
            }
        }
    }

    /// Finds pairs by a list file; `None` if the list is not there.
    fn listed(&mut self, list: &str, layout: &Layout, prefix: &str, below: &[&str]) -> Option<Vec<Candidate>> {
        below.contains(&list).then_some(())?;
        let shown = format!("{prefix}{list}");
        let lq_template = layout.lq.as_ref()?;
        let text = match std::fs::read_to_string(self.root.join(&shown)) {
            Ok(text) => text,
            Err(e) => {
                self.problems.push(Problem::new(self.split, &shown, ProblemKind::Unreadable(e.to_string())));
                return Some(Vec::new());
            }
        };
        let there: BTreeSet<&str> = below.iter().copied().collect();
        let mut pairs = Vec::new();
        for (n, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            let columns = || line.split_whitespace().map(|c| c.trim_start_matches("./").trim_start_matches('/'));
            let lq = columns().find_map(|c| lq_template.fields(c).map(|fields| (c, fields)));
            let gt = columns().find(|c| layout.gt.fields(c).is_some());
            let (Some((lq, fields)), Some(gt)) = (lq, gt) else {
                let why = format!("line {}: no columns like {lq_template} and {}", n + 1, layout.gt);
                self.problems.push(Problem::new(self.split, &shown, ProblemKind::Line(why)));
                continue;
            };
            let gone = [lq, gt].into_iter().find(|file| !there.contains(file));
            match gone {
                Some(file) => {
                    self.problems.push(Problem::new(self.split, &format!("{prefix}{file}"), ProblemKind::Missing));
                }
                None => pairs.push(Candidate { lq: Some(lq.into()), gt: gt.into(), fields: owned(&fields) }),
            }
        }
        Some(pairs)
    }
}

fn fitting<'a>(template: &'a Template, files: &[&'a str]) -> Vec<(&'a str, Fields<'a>)> {
    files.iter().filter_map(|file| Some((*file, template.fields(file)?))).collect()
}

fn owned(fields: &Fields) -> HashMap<String, String> {
    fields.iter().filter(|(n, _)| *n != EXTENSION).map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect()
}

fn within(source: &Source, fields: &HashMap<String, String>) -> bool {
    source.within.iter().all(|(field, [first, last])| {
        fields.get(field).and_then(|v| v.parse::<u64>().ok()).is_some_and(|v| (*first..=*last).contains(&v))
    })
}

fn take_share(share: &Share, candidates: &mut Vec<Candidate>) {
    let value = |c: &Candidate| match &share.by {
        Some(field) => c.fields.get(field).cloned().unwrap_or_default(),
        None => c.lq.clone().unwrap_or_else(|| c.gt.clone()),
    };
    let values: BTreeSet<String> = candidates.iter().map(value).collect();
    let mut ranked: Vec<(u64, String)> = values.into_iter().map(|v| (hash(share.seed, &v), v)).collect();
    ranked.sort_unstable();
    let cut = (share.first * ranked.len() as f64).round() as usize;
    let first: BTreeSet<&str> = ranked[..cut].iter().map(|(_, v)| v.as_str()).collect();
    candidates.retain(|c| first.contains(value(c).as_str()) == (share.take == Take::First));
}

/// A text's place in the division: FNV-1a of it with the seed folded into the start value, then splitmix64's mix. The same
/// on every machine and in every version, since published splits depend on it.
fn hash(seed: u64, text: &str) -> u64 {
    const OFFSET_BASIS: u64 = 0xcbf2_9ce4_8422_2325;
    let mut fnv = FnvHasher::with_key(OFFSET_BASIS ^ seed.wrapping_mul(0x9E37_79B9_7F4A_7C15));
    fnv.write(text.as_bytes());
    let h = fnv.finish();
    let h = (h ^ (h >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let h = (h ^ (h >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    h ^ (h >> 31)
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_hash_is_the_one_that_earlier_versions_divided_by() {
        // Known values; FNV-1a of an empty text and seed 0 is the offset basis itself, before it is mixed.
        let known =
            [(0, "", 0xf52a15e9a9b5e89b), (0, "00001", 0xbe985a880aeb1a01), (7, "scene/ü.png", 0xeee577668a873fd8)];
        for (seed, text, hash) in known {
            assert_eq!(super::hash(seed, text), hash, "{seed} {text:?}");
        }
    }
}
