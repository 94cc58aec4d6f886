//! What can go wrong on a node.

use std::io;
use std::path::{Path, PathBuf};

/// An operation of the node that failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Reading or writing below the node's data directory.
    #[error("{what} {path}", path = path.display())]
    File {
        /// Verb: `reading`, `writing`, `mounting` …
        what: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A recorded file does not hold what this version writes.
    #[error("{path} is damaged; remove it when no container of this instance runs", path = path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where in it.
        #[source]
        source: serde_json::Error,
    },
    /// A change of links, addresses, routes or network namespaces.
    #[error("network: {what}")]
    Network {
        /// What was being done to what.
        what: String,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The packet filter.
    #[error("the rules of nftables: {0}")]
    Nft(String),
    /// No free subnet or address.
    #[error("{0}")]
    Exhausted(String),
    /// The container part.
    #[error("{what}")]
    Container {
        /// What was being done to which container.
        what: String,
        /// Its answer.
        #[source]
        source: container::Error,
    },
    /// There is no such container (any more).
    #[error("container {id} does not exist")]
    NoContainer {
        /// Its id.
        id: String,
    },
    /// The image store.
    #[error("image {reference}")]
    Image {
        /// As the Pod names it.
        reference: String,
        /// Its answer.
        #[source]
        source: oci::Error,
    },
    /// The Pod asks for something that does not hold here.
    #[error("{0}")]
    Invalid(String),
    /// The Kubernetes API.
    #[error("{what}")]
    Api {
        /// What was being asked.
        what: String,
        /// Its answer.
        #[source]
        source: Box<kube::Error>,
    },
}

impl Error {
    pub(crate) fn file(what: &'static str, path: impl AsRef<Path>) -> impl FnOnce(io::Error) -> Self {
        let path = path.as_ref().to_owned();
        move |source| Self::File { what, path, source }
    }

    pub(crate) fn network<E: Into<io::Error>>(what: impl Into<String>) -> impl FnOnce(E) -> Self {
        let what = what.into();
        move |source| Self::Network { what, source: source.into() }
    }

    pub(crate) fn api(what: impl Into<String>) -> impl FnOnce(kube::Error) -> Self {
        let what = what.into();
        move |source| Self::Api { what, source: Box::new(source) }
    }

    /// The whole chain on one line, for a Pod's status and for events.
    pub(crate) fn line(&self) -> String {
        let mut line = self.to_string();
        let mut next = std::error::Error::source(self);
        while let Some(error) = next {
            let text = error.to_string();
            // Some libraries repeat their source in their own text.
            if !line.contains(&text) {
                line = format!("{line}: {text}");
            }
            next = error.source();
        }
        line
    }
}
