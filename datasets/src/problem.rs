//! What can be wrong with the files of a dataset.

/// Something wrong with one file, or with one split as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The split it belongs to.
    pub split: String,
    /// The file, relative to the dataset's root; the split's list or folder where no single file is to blame.
    pub file: String,
    /// What is wrong.
    pub kind: ProblemKind,
}

/// What is wrong with a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProblemKind {
    /// A degraded picture without a clean one. Holds what was looked for.
    NoClean(String),
    /// A clean picture that no degraded one belongs to.
    NoDegraded,
    /// Several clean pictures fit one degraded picture.
    Ambiguous(Vec<String>),
    /// Pairing by rank, but the two sides have different numbers of files.
    RankCounts {
        /// Degraded pictures.
        degraded: usize,
        /// Clean pictures.
        clean: usize,
    },
    /// Fewer or more pairs than published.
    Count {
        /// Pairs found.
        found: u64,
        /// Pairs published.
        published: u64,
    },
    /// A line of a list or CSV file that cannot be used. Holds line and reason.
    Line(String),
    /// A list or CSV that names a file that is not there.
    Missing,
    /// Two pairs with the same key.
    Duplicate,
    /// The file cannot be reached or its name is not UTF-8.
    Unreadable(String),
    /// Degraded and clean picture have different sizes.
    SizeMismatch {
        /// Width and height of the degraded picture.
        degraded: [u32; 2],
        /// Width and height of the clean picture.
        clean: [u32; 2],
    },
    /// More pixels than allowed.
    TooLarge {
        /// Width and height.
        size: [u32; 2],
        /// The limit on their product.
        limit: u64,
    },
    /// The picture cannot be decoded. Holds the decoder's words.
    Undecodable(String),
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}: ", self.split, self.file)?;
        match &self.kind {
            ProblemKind::NoClean(wanted) => write!(f, "unpaired: no clean picture {wanted}"),
            ProblemKind::NoDegraded => f.write_str("unpaired: no degraded picture belongs to it"),
            ProblemKind::Ambiguous(files) => write!(f, "several clean pictures fit: {}", files.join(", ")),
            ProblemKind::RankCounts { degraded, clean } => {
                write!(f, "pairing by rank needs equal numbers, found {degraded} degraded and {clean} clean pictures")
            }
            ProblemKind::Count { found, published } => write!(f, "{found} pairs, but {published} are published"),
            ProblemKind::Line(why) => f.write_str(why),
            ProblemKind::Missing => f.write_str("listed, but not there"),
            ProblemKind::Duplicate => f.write_str("occurs twice"),
            ProblemKind::Unreadable(why) => write!(f, "cannot be read: {why}"),
            ProblemKind::SizeMismatch { degraded: [w, h], clean: [cw, ch] } => {
                write!(f, "is {w}x{h} but its clean picture is {cw}x{ch}")
            }
            ProblemKind::TooLarge { size: [w, h], limit } => {
                write!(f, "is {w}x{h}, more than the {limit} pixels allowed")
            }
            ProblemKind::Undecodable(why) => write!(f, "cannot be decoded: {why}"),
        }
    }
}
