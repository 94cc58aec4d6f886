//! What can go wrong with images.

use std::io;
use std::path::PathBuf;

use crate::digest::Digest;
use crate::reference::Reference;

pub type Result<T> = std::result::Result<T, Error>;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot open the image store {}", path.display())]
    Open {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("cannot read {}", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("cannot write {}", path.display())]
    Write {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("blob {digest} is not in the store")]
    BlobMissing { digest: Digest },
    #[error("image {reference} is not in the store")]
    NotFound { reference: Box<Reference> },
    #[error("the content has digest {actual}, not {expected}")]
    DigestMismatch { expected: Digest, actual: Digest },
    #[error("a {what} may have at most {limit} bytes")]
    TooLarge { what: &'static str, limit: u64 },
    #[error("{what} {digest} is malformed")]
    Malformed {
        what: &'static str,
        digest: Digest,
        #[source]
        source: serde_json::Error,
    },
    #[error("image {digest} has {layers} layers but {diff_ids} diff ids")]
    LayerCount { digest: Digest, layers: usize, diff_ids: usize },
    #[error("image {digest} is an index without a manifest for {platform}")]
    Platform { digest: Digest, platform: String },
    #[error("cannot unpack layer {digest}: {problem}")]
    Unpack { digest: Digest, problem: String },
    #[error("cannot pack {}: {problem}", path.display())]
    Pack { path: PathBuf, problem: String },
    #[error("cannot import the archive: {problem}")]
    Archive { problem: String },
    #[error("cannot pull {reference}: {problem}")]
    Pull { reference: Box<Reference>, problem: String },
    #[error("cannot push {reference}: {problem}")]
    Push { reference: Box<Reference>, problem: String },
}

impl Error {
    /// True if there is no room for what was to be written.
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Open { source, .. } | Self::Write { source, .. } if is_full(source))
    }
}

/// No room on the disk, or none for us.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
