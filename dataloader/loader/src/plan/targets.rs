//! The set of degradations that an instruction names.

use defusion_config::{Degradation, TargetMix};

use defusion_imaging::Rng;

/// The relation of the indicated set S to the degradations D of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TargetKind {
    /// S = D: all is to be removed.
    All,
    /// S is a strict, non-empty subset of D, if D has two or more and any of them can be removed alone; all
    /// otherwise.
    Subset,
    /// S is a strict superset of D: all is to be removed.
    Superset,
    /// S and D are disjoint: nothing is to be removed.
    Disjoint,
}

impl TargetKind {
    pub(crate) fn draw(mix: &TargetMix, rng: &mut Rng) -> Self {
        let at = rng.f64() * (mix.all + mix.subset + mix.superset + mix.disjoint);
        match at {
            at if at < mix.all => Self::All,
            at if at < mix.all + mix.subset => Self::Subset,
            at if at < mix.all + mix.subset + mix.superset => Self::Superset,
            _ if mix.disjoint > 0.0 => Self::Disjoint,
            // The sum was rounded up.
            _ => Self::All,
        }
    }
}

/// Categories that look alike or contain each other: one of them is never named as absent if the other is present.
fn akin(a: Degradation, b: Degradation) -> bool {
    use Degradation as D;
    const KIN: [(D, D); 8] = [
        (D::Rain, D::HeavyRain),
        (D::Haze, D::HeavyRain),
        (D::GaussianNoise, D::RealNoise),
        (D::GaussianBlur, D::DefocusBlur),
        (D::LowLight, D::GaussianNoise),
        (D::LowLight, D::RealNoise),
        (D::Underwater, D::Haze),
        (D::Underwater, D::LowLight),
    ];
    a == b || KIN.contains(&(a, b)) || KIN.contains(&(b, a))
}

/// Draws the indicated set of an image degraded by `present`, in the order in which the instruction applies it.
///
/// `divisible`: any part of `present` can be removed alone, as in synthetic chains and in real images with siblings.
/// `known` are the categories that may be named beside those present. Kinds that are impossible (nothing left to name)
/// become [`TargetKind::All`].
pub fn indicated(
    kind: TargetKind,
    present: &[Degradation],
    divisible: bool,
    known: &[Degradation],
    rng: &mut Rng,
) -> Vec<Degradation> {
    let mut all: Vec<Degradation> = Vec::new();
    for d in present {
        if !all.contains(d) {
            all.push(*d);
        }
    }
    match kind {
        TargetKind::Subset if all.len() > 1 && divisible => {
            let masks = (1u64 << all.len().min(60)) - 2;
            let mask = 1 + rng.below(masks);
            let mut n = 0;
            all.retain(|_| {
                n += 1;
                mask >> (n - 1) & 1 == 1
            });
            all
        }
        TargetKind::Superset => {
            let mut others: Vec<Degradation> = known.iter().copied().filter(|k| !all.contains(k)).collect();
            rng.shuffle(&mut others);
            others.truncate(1 + rng.below(2) as usize);
            all.extend(others);
            rng.shuffle(&mut all);
            all
        }
        TargetKind::Disjoint => {
            let stranger = |k: &Degradation| all.iter().all(|d| !akin(*d, *k));
            let mut others: Vec<Degradation> = known.iter().copied().filter(stranger).collect();
            rng.shuffle(&mut others);
            others.truncate(1 + rng.below(2) as usize);
            if others.is_empty() { all } else { others }
        }
        TargetKind::All | TargetKind::Subset => all,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Degradation as D;

    const PRESENT: [D; 3] = [D::Rain, D::Snow, D::GaussianNoise];

    #[test]
    fn each_kind_has_its_relation() {
        for seed in 0..500 {
            let draw = |kind| indicated(kind, &PRESENT, true, &D::ALL, &mut Rng::new(seed, &[]));
            assert_eq!(draw(TargetKind::All), PRESENT);
            let subset = draw(TargetKind::Subset);
            assert!(!subset.is_empty() && subset.len() < 3 && subset.iter().all(|d| PRESENT.contains(d)));
            let superset = draw(TargetKind::Superset);
            assert!(superset.len() > 3 && PRESENT.iter().all(|d| superset.contains(d)));
            let disjoint = draw(TargetKind::Disjoint);
            assert!(!disjoint.is_empty());
            for d in disjoint {
                assert!(!PRESENT.contains(&d) && ![D::HeavyRain, D::RealNoise, D::LowLight].contains(&d));
            }
        }
    }

    #[test]
    fn every_subset_occurs() {
        let mut seen = std::collections::BTreeSet::new();
        for seed in 0..500 {
            seen.insert(indicated(TargetKind::Subset, &PRESENT, true, &D::ALL, &mut Rng::new(seed, &[])));
        }
        assert_eq!(seen.len(), 6);
    }

    #[test]
    fn real_pairs_and_single_degradations_have_no_subsets() {
        let mut rng = Rng::new(1, &[]);
        assert_eq!(indicated(TargetKind::Subset, &PRESENT, false, &D::ALL, &mut rng), PRESENT);
        assert_eq!(indicated(TargetKind::Subset, &[D::Jpeg], true, &D::ALL, &mut rng), [D::Jpeg]);
        assert_eq!(indicated(TargetKind::Disjoint, &[D::Jpeg], true, &[D::Jpeg], &mut rng), [D::Jpeg]);
        assert_eq!(indicated(TargetKind::All, &[D::Jpeg, D::Jpeg], true, &D::ALL, &mut rng), [D::Jpeg]);
    }

    #[test]
    fn kinds_come_in_their_shares() {
        let mix = TargetMix { all: 7.0, subset: 1.5, superset: 0.5, disjoint: 1.0 };
        let mut counts = std::collections::HashMap::new();
        for seed in 0..20_000 {
            *counts.entry(TargetKind::draw(&mix, &mut Rng::new(seed, &[]))).or_insert(0) += 1;
        }
        // Five standard deviations of each.
        for (kind, share) in [(TargetKind::All, 0.7_f64), (TargetKind::Subset, 0.15), (TargetKind::Superset, 0.05)] {
            let deviation = (20_000.0 * share * (1.0 - share)).sqrt();
            assert!((f64::from(counts[&kind]) - 20_000.0 * share).abs() < 5.0 * deviation, "{counts:?}");
        }
    }
}
