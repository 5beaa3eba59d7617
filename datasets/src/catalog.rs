//! The descriptors that come with Defusion.

use crate::{Descriptor, DescriptorError};

macro_rules! descriptor {
    ($name:literal) => {
        (concat!($name, ".yaml"), include_str!(concat!("../", $name, ".yaml")))
    };
}

/// The descriptor files, in the order of the paper's list of training sets; then the test sets; then the generic ones.
const FILES: [(&str, &str); 23] = [
    descriptor!("rain1400"),
    descriptor!("outdoor_rain"),
    descriptor!("lhp"),
    descriptor!("reside"),
    descriptor!("dense_haze"),
    descriptor!("snow100k"),
    descriptor!("realsnow"),
    descriptor!("raindrop"),
    descriptor!("rainds"),
    descriptor!("sidd"),
    descriptor!("gopro"),
    descriptor!("gopro_gamma"),
    descriptor!("realblur"),
    descriptor!("dpdd"),
    descriptor!("div2k"),
    descriptor!("flickr2k"),
    descriptor!("live1"),
    descriptor!("nh_haze"),
    descriptor!("wed"),
    descriptor!("euvp"),
    descriptor!("turbid"),
    descriptor!("folder"),
    descriptor!("pairs"),
];

/// Returns all descriptors: training sets, test sets, generic ones.
///
/// # Errors
/// [`DescriptorError::Invalid`] if one of them is damaged (a test reads them all).
pub fn list() -> Result<Vec<Descriptor>, DescriptorError> {
    FILES.iter().map(|(path, text)| Descriptor::parse(text, path)).collect()
}

/// Finds the descriptor called `name`.
///
/// # Errors
/// [`DescriptorError::Unknown`], which lists the names there are.
pub fn find(name: &str) -> Result<Descriptor, DescriptorError> {
    let all = list()?;
    let known = || all.iter().map(|d| d.name.as_str()).collect::<Vec<_>>().join(", ");
    let unknown = DescriptorError::Unknown { name: name.to_owned(), known: known() };
    all.into_iter().find(|d| d.name == name).ok_or(unknown)
}
