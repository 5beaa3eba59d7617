//! What can be wrong with the files of a dataset.

/// Something wrong with one file, or with one split as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The split it belongs to.
    pub split: String,
    /// The file, relative to the dataset's root; the split's list or folder if no single file is to blame.
    pub file: String,
    /// What is wrong.
    pub kind: ProblemKind,
}

/// What is wrong with a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProblemKind {
    /// A degraded image has no clean one. Holds what was looked for.
    NoClean(String),
    /// No degraded image belongs to a clean one.
    NoDegraded,
    /// Several clean images fit one degraded image.
    Ambiguous(Vec<String>),
    /// Pairing by rank, but the two sides have different numbers of files.
    RankCounts {
        /// Number of degraded images.
        degraded: usize,
        /// Number of clean images.
        clean: usize,
    },
    /// There are fewer or more pairs than published.
    Count {
        /// Number of pairs found.
        found: u64,
        /// Number of pairs published.
        published: u64,
    },
    /// A line of a list or CSV file cannot be used. Holds line and reason.
    Line(String),
    /// A list or CSV names a file that is not there.
    Missing,
    /// Two pairs have the same key.
    Duplicate,
    /// The file cannot be reached or its name is not UTF-8.
    Unreadable(String),
    /// Degraded and clean image have different sizes.
    SizeMismatch {
        /// Width and height of the degraded image, pixels.
        degraded: [u32; 2],
        /// Width and height of the clean image, pixels.
        clean: [u32; 2],
    },
    /// The image has more pixels than allowed.
    TooLarge {
        /// Width and height, pixels.
        size: [u32; 2],
        /// The limit on their product.
        limit: u64,
    },
    /// The image cannot be decoded. Holds the decoder's words.
    Undecodable(String),
}

impl Problem {
    pub(crate) fn new(split: &str, file: &str, kind: ProblemKind) -> Self {
        Self { split: split.to_owned(), file: file.to_owned(), kind }
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}: ", self.split, self.file)?;
        match &self.kind {
            ProblemKind::NoClean(wanted) => write!(f, "unpaired: no clean image {wanted}"),
            ProblemKind::NoDegraded => f.write_str("unpaired: no degraded image belongs to it"),
            ProblemKind::Ambiguous(files) => write!(f, "several clean images fit: {}", files.join(", ")),
            ProblemKind::RankCounts { degraded, clean } => {
                write!(f, "pairing by rank needs equal numbers, found {degraded} degraded and {clean} clean images")
            }
            ProblemKind::Count { found, published } => write!(f, "{found} pairs, but {published} are published"),
            ProblemKind::Line(why) => f.write_str(why),
            ProblemKind::Missing => f.write_str("listed, but not there"),
            ProblemKind::Duplicate => f.write_str("occurs twice"),
            ProblemKind::Unreadable(why) => write!(f, "cannot be read: {why}"),
            ProblemKind::SizeMismatch { degraded: [w, h], clean: [cw, ch] } => {
                write!(f, "is {w}x{h} but its clean image is {cw}x{ch}")
            }
            ProblemKind::TooLarge { size: [w, h], limit } => {
                write!(f, "is {w}x{h}, more than the {limit} pixels allowed")
            }
            ProblemKind::Undecodable(why) => write!(f, "cannot be decoded: {why}"),
        }
    }
}
