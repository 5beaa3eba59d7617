//! The paper's figures, to stand beside ours.

use defusion_config::Degradation;
use serde::{Deserialize, Serialize};

/// One row of one of the paper's tables.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Target {
    /// Number of the table.
    pub table: u32,
    /// Name of the dataset, as its descriptor has it.
    pub dataset: String,
    /// Synthetic degradations in the order in which they are applied; none: the dataset's own degraded images.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub chain: Vec<Degradation>,
    /// dB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub psnr: Option<f64>,
    /// SSIM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ssim: Option<f64>,
    /// LPIPS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lpips: Option<f64>,
    /// FID.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fid: Option<f64>,
}

/// The paper's rows for `dataset` with `chain`.
pub fn of(dataset: &str, chain: &[Degradation]) -> Vec<Target> {
    all().into_iter().filter(|t| t.dataset == dataset && t.chain == chain).collect()
}

fn all() -> Vec<Target> {
    // The file is compiled in and read by the test below.
    serde_yaml::from_str(include_str!("targets.yaml")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_papers_tables_parse() {
        assert_eq!(all().len(), 19);
        let gopro = of("gopro", &[]);
        assert_eq!(gopro.iter().map(|t| t.table).collect::<Vec<_>>(), [1, 6]);
        assert_eq!(gopro[0].psnr, Some(34.53));
        assert_eq!(of("gopro", &[Degradation::Rain]), []);
        let chain = [Degradation::GaussianNoise, Degradation::Snow, Degradation::Rain];
        assert_eq!(of("wed", &chain)[0].ssim, Some(0.855));
    }
}
