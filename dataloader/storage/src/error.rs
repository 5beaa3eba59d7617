//! Why an operation on a store failed.

/// A folder or object that cannot be reached, read or written. Its text names the URL and never holds credentials.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The URL or the object's name cannot be used.
    #[error("{url}: {message}")]
    Url {
        /// The URL without credentials.
        url: String,
        /// Reason, and what to do.
        message: String,
    },
    /// There is no such folder or object.
    #[error("{url} does not exist")]
    NotFound {
        /// The object.
        url: String,
    },
    /// The object was to be created and is there.
    #[error("{url} exists already")]
    AlreadyExists {
        /// The object.
        url: String,
    },
    /// The object was to be replaced, and is no longer what was read.
    #[error("{url} was changed by another in the meantime")]
    Changed {
        /// The object.
        url: String,
    },
    /// The object is larger than anything of its kind can be.
    #[error("{url} has {bytes} bytes, more than the {limit} allowed")]
    TooLarge {
        /// The object.
        url: String,
        /// Its size.
        bytes: u64,
        /// The limit.
        limit: u64,
    },
    /// Credentials are missing, wrong, or lack a right.
    #[error("{url}: cannot {action}: {message}")]
    Denied {
        /// The object.
        url: String,
        /// The operation, as in `read` or `list`.
        action: &'static str,
        /// The store's answer.
        message: String,
    },
    /// The store cannot do this at all.
    #[error("{url}: cannot {action}: {message}")]
    Unsupported {
        /// The object.
        url: String,
        /// The operation, as in `read` or `list`.
        action: &'static str,
        /// The store's answer.
        message: String,
    },
    /// The object's bytes are not those that were written or are expected.
    #[error("{url}: cannot {action}: {message}")]
    Content {
        /// The object.
        url: String,
        /// The operation, as in `read` or `list`.
        action: &'static str,
        /// The difference.
        message: String,
    },
    /// Any other failure, after all retries: network, disk, server.
    #[error("{url}: cannot {action}: {message}")]
    Failed {
        /// The object.
        url: String,
        /// The operation, as in `read` or `list`.
        action: &'static str,
        /// The cause.
        message: String,
    },
}

impl StoreError {
    /// Returns whether the same call can succeed later. Rights may be renewed or arrive late, and what came back wrong
    /// may come back right; what is not there, not allowed by its size, or named wrongly needs a person.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Denied { .. } | Self::Content { .. } | Self::Failed { .. })
    }
}
