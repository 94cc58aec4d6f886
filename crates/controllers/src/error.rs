//! What can go wrong, and the answers of the server that mean something to a controller.

use crate::objects::Key;

/// Why the controllers stopped, or one look at an object failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A part of the controllers ended though nobody asked it to.
    #[error("the {0} ended unexpectedly; this is a defect, please report it with the log")]
    Ended(&'static str),
    /// A request about one object failed; it is tried again.
    #[error("{action} {object} failed")]
    Request {
        /// What was being done, as `creating a Pod of`.
        action: &'static str,
        /// `<namespace>/<name>`.
        object: String,
        /// The server's answer.
        #[source]
        source: Box<kube::Error>,
    },
}

impl Error {
    pub(crate) fn is_conflict(&self) -> bool {
        matches!(self, Self::Request { source, .. } if is(source, 409))
    }
}

fn is(error: &kube::Error, code: u16) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == code)
}

/// Somebody else has the name.
pub(crate) fn already_exists(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.is_already_exists())
}

/// Nothing can be created in a namespace that is being deleted, and nothing needs to be.
pub(crate) fn namespace_is_ending(error: &kube::Error) -> bool {
    let kube::Error::Api(status) = error else { return false };
    let causes = status.details.iter().flat_map(|details| &details.causes);
    causes.into_iter().any(|cause| cause.reason == "NamespaceTerminating")
}

/// The server's own words, for conditions that people read.
pub(crate) fn words(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message.clone(),
        other => other.to_string(),
    }
}

pub(crate) trait WriteResult<T>: Sized {
    /// Names what failed.
    fn during(self, action: &'static str, object: &Key) -> Result<T, Error>;
    /// `None` where the object is not there (any more).
    fn unless_gone(self) -> Result<Option<T>, kube::Error>;
}

impl<T> WriteResult<T> for Result<T, kube::Error> {
    fn during(self, action: &'static str, object: &Key) -> Result<T, Error> {
        self.map_err(|source| Error::Request { action, object: object.to_string(), source: Box::new(source) })
    }

    fn unless_gone(self) -> Result<Option<T>, kube::Error> {
        match self {
            Ok(value) => Ok(Some(value)),
            Err(error) if is(&error, 404) => Ok(None),
            Err(error) => Err(error),
        }
    }
}
