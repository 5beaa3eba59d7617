//! How strong a degradation is.

use serde::{Deserialize, Serialize};

use super::Range;

/// How strong a synthetic degradation is: the third of each range that it is drawn from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The mildest third of every range.
    Light,
    /// The middle third.
    Medium,
    /// The strongest third.
    Heavy,
    /// The whole range: training.
    #[default]
    Any,
}

impl Severity {
    /// Returns the part of `range` that this severity draws from, if a higher value is a stronger degradation.
    pub fn rising(self, [low, high]: Range) -> Range {
        let third = (high - low) / 3.0;
        match self {
            Self::Light => [low, low + third],
            Self::Medium => [low + third, high - third],
            Self::Heavy => [high - third, high],
            Self::Any => [low, high],
        }
    }

    /// As [`Severity::rising`], if a lower value is a stronger degradation (JPEG quality).
    pub fn falling(self, range: Range) -> Range {
        match self {
            Self::Light => Self::Heavy.rising(range),
            Self::Heavy => Self::Light.rising(range),
            other => other.rising(range),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn severities_cut_a_range_into_thirds() {
        let range = [10.0, 40.0];
        assert_eq!(Severity::Light.rising(range), [10.0, 20.0]);
        assert_eq!(Severity::Medium.rising(range), [20.0, 30.0]);
        assert_eq!(Severity::Heavy.rising(range), [30.0, 40.0]);
        assert_eq!(Severity::Any.rising(range), range);
        assert_eq!(Severity::Heavy.falling(range), [10.0, 20.0]);
        assert_eq!(Severity::Light.falling(range), [30.0, 40.0]);
    }
}
