//! What can go wrong, by operation.

use model::flow::Repository;
use model::ports::PortError;
use std::io;
use std::path::PathBuf;

/// Why the git plane could not do it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The git binary did not start.
    #[error("git cannot be run: install git 2.36 or later (Debian: apt-get install git)")]
    Spawn(#[source] io::Error),
    /// The git binary is older than what we need of it.
    #[error("{0} is too old: install git 2.36 or later")]
    Version(String),
    /// A git command ended with an error; the message is git's.
    #[error("git {command} failed in {directory}: {message}")]
    Git {
        /// Subcommand.
        command: String,
        /// Repository.
        directory: PathBuf,
        /// What git said, or how it ended.
        message: String,
    },
    /// Talking to a git process failed.
    #[error("git {command} broke off")]
    Pipe {
        /// Subcommand.
        command: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file system refused.
    #[error("cannot {action} {path}")]
    File {
        /// What was tried: "create", "read".
        action: &'static str,
        /// Where.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It is not hosted here.
    #[error("there is no repository {0}; `trimtab init` creates one")]
    NoRepository(Repository),
    /// A name that is no name, reference or path.
    #[error("{0}")]
    Name(String),
    /// What stands in the repository cannot be used; the message says where and why.
    #[error("{0}")]
    Content(String),
    /// What lies elsewhere cannot be fetched; neither holds a password.
    #[error("{address} cannot be fetched: {reason}")]
    Remote {
        /// What was asked for.
        address: String,
        /// Why not.
        reason: String,
    },
    /// What lies elsewhere may not be reached.
    #[error("{address} is not fetched: {reason}")]
    Forbidden {
        /// What was asked for.
        address: String,
        /// Why not, and who can change it.
        reason: String,
    },
    /// The key that signs commits cannot be used.
    #[error("the signing key {path} cannot be used: {reason}; move it away and a new one is made")]
    Key {
        /// Where.
        path: PathBuf,
        /// Why.
        reason: String,
    },
}

impl Error {
    pub(crate) fn file(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { action, path, source }
    }

    /// With its causes, for where only a text can go.
    pub(crate) fn explain(&self) -> String {
        let mut text = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(inner) = cause {
            text.push_str(": ");
            text.push_str(&inner.to_string());
            cause = inner.source();
        }
        text
    }
}

impl From<Error> for PortError {
    fn from(error: Error) -> Self {
        match error {
            Error::Spawn(_) | Error::Git { .. } | Error::Pipe { .. } | Error::File { .. } | Error::Remote { .. } => {
                Self::Transient(error.explain())
            }
            _ => Self::Terminal(error.explain()),
        }
    }
}
