//! What lies in a dataset's folder and is no part of the dataset.

use std::collections::BTreeMap;
use std::fmt;

use crate::template::{extension, is_image};

/// Files and folders that were passed over, by kind. Its text is one line: `1 hidden folder, 2 .txt`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PassedOver {
    kinds: BTreeMap<Kind, u64>,
}

/// Kinds of what is passed over.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// A folder whose name begins with a dot, with all below it.
    HiddenFolder,
    /// A file whose name begins with a dot: macOS' `._a.png` is one.
    HiddenFile,
    /// A folder in which a system keeps thumbnails or what was deleted.
    SystemFolder,
    /// A system's database of thumbnails or settings.
    SystemFile,
    /// A link to a folder that it lies in.
    Circle,
    /// A file that no template fits, by its extension in lower case.
    Extension(String),
}

impl PassedOver {
    /// Whether there was nothing.
    pub fn is_empty(&self) -> bool {
        self.kinds.is_empty()
    }

    pub(crate) fn count(&mut self, kind: Kind) {
        *self.kinds.entry(kind).or_default() += 1;
    }

    /// Counts a file that is no part of the dataset.
    pub(crate) fn file(&mut self, path: &str) {
        self.count(Kind::Extension(extension(path).to_ascii_lowercase()));
    }
}

impl fmt::Display for PassedOver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, (kind, n)) in self.kinds.iter().enumerate() {
            let comma = if i == 0 { "" } else { ", " };
            let s = if *n == 1 { "" } else { "s" };
            write!(f, "{comma}{n} ")?;
            match kind {
                Kind::HiddenFolder => write!(f, "hidden folder{s}"),
                Kind::HiddenFile => write!(f, "hidden file{s}"),
                Kind::SystemFolder => write!(f, "system folder{s}"),
                Kind::SystemFile => write!(f, "system file{s}"),
                Kind::Circle => write!(f, "link{s} to a folder above"),
                Kind::Extension(e) if e.is_empty() => write!(f, "file{s} without an extension"),
                Kind::Extension(e) if is_image(&format!("a.{e}")) => write!(f, ".{e} (no pattern of the layout fits)"),
                Kind::Extension(e) => write!(f, ".{e}"),
            }?;
        }
        Ok(())
    }
}

/// Why an entry of a folder is passed over, whatever the layout; `None` if it is not.
pub(crate) fn unwanted(name: &str, is_folder: bool) -> Option<Kind> {
    const FOLDERS: [&str; 5] = ["__MACOSX", "@eaDir", "$RECYCLE.BIN", "System Volume Information", "lost+found"];
    const FILES: [&str; 4] = ["Thumbs.db", "ehthumbs.db", "ehthumbs_vista.db", "desktop.ini"];
    let among = |names: &[&str]| names.iter().any(|known| known.eq_ignore_ascii_case(name));
    match (name.starts_with('.'), is_folder) {
        (true, true) => Some(Kind::HiddenFolder),
        (true, false) => Some(Kind::HiddenFile),
        (false, true) => among(&FOLDERS).then_some(Kind::SystemFolder),
        (false, false) => among(&FILES).then_some(Kind::SystemFile),
    }
}
