//! The descriptors that come with Defusion.

use crate::{Descriptor, DescriptorError};

const FILES: [(&str, &str); 2] =
    [("folder.yaml", include_str!("../folder.yaml")), ("pairs.yaml", include_str!("../pairs.yaml"))];

/// All descriptors, the generic ones last.
///
/// # Errors
/// [`DescriptorError::Invalid`] where one of them is damaged (a test reads them all).
pub fn list() -> Result<Vec<Descriptor>, DescriptorError> {
    FILES.iter().map(|(path, text)| Descriptor::parse(text, path)).collect()
}

/// The descriptor called `name`.
///
/// # Errors
/// [`DescriptorError::Unknown`], which lists the names there are.
pub fn find(name: &str) -> Result<Descriptor, DescriptorError> {
    let all = list()?;
    let known = || all.iter().map(|d| d.name.as_str()).collect::<Vec<_>>().join(", ");
    let unknown = DescriptorError::Unknown { name: name.to_owned(), known: known() };
    all.into_iter().find(|d| d.name == name).ok_or(unknown)
}
