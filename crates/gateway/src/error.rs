//! What can go wrong, by operation.

use crate::holder::Holder;
use model::ports::PortError;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Why the gateway could not do it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Somebody else listens there.
    #[error("{}", taken(*address, holder))]
    Taken {
        /// Where it should have listened.
        address: SocketAddr,
        /// Who does, if that could be found out.
        holder: Option<Holder>,
    },
    /// It cannot listen there for another reason.
    #[error("the gateway cannot listen on {address}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file system refused.
    #[error("cannot {action} {path}")]
    File {
        /// What was tried: "create", "write".
        action: &'static str,
        /// Where.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The process did not start.
    #[error("the gateway cannot be started")]
    Start(#[source] io::Error),
    /// The process started and said why it does not serve.
    #[error("{0}")]
    Failed(String),
    /// The process does not answer.
    #[error("the gateway does not answer")]
    Control(#[source] io::Error),
    /// The process answered, and said no.
    #[error("the gateway refuses: {0}")]
    Refused(String),
    /// Its arguments make no sense.
    #[error("{0}; usage: trimtab gateway --listen ADDRESS --state FILE --socket FILE [--take-over true]")]
    Arguments(String),
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

fn taken(address: SocketAddr, holder: &Option<Holder>) -> String {
    let who = holder.as_ref().map_or("another process".to_owned(), ToString::to_string);
    format!("{address} is taken by {who}: stop it, or choose another address with --listen")
}

impl From<Error> for PortError {
    fn from(error: Error) -> Self {
        match error {
            Error::Start(_) | Error::Control(_) | Error::File { .. } => Self::Transient(error.explain()),
            _ => Self::Terminal(error.explain()),
        }
    }
}
