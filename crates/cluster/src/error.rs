//! What the answers of an API server mean to who asked.

use kube::core::Status;
use model::ports::PortError;
use std::time::Duration;

/// What became of a request that failed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// There is no such object, or no namespace for it.
    Absent(Box<Status>),
    /// It collides with what is there: a name, a version, a uid.
    Conflict(String),
    /// Not a matter of the request: nobody answered, or not now.
    Unavailable(String),
    /// Refused, in the server's words.
    Refused(String),
}

impl From<kube::Error> for Failure {
    fn from(error: kube::Error) -> Self {
        match error {
            kube::Error::Api(status) => match status.code {
                401 => Self::Unavailable(format!("it does not accept the credentials: {}", status.message)),
                404 => Self::Absent(status),
                409 => Self::Conflict(status.message),
                429 | 502..=504 => Self::Unavailable(status.message),
                // Without that reason it is a refusal too, such as that of a field which the schema does not know.
                500 if status.reason == "InternalError" => Self::Unavailable(status.message),
                _ => Self::Refused(status.message),
            },
            kube::Error::BuildRequest(_)
            | kube::Error::SerdeError(_)
            | kube::Error::HttpError(_)
            | kube::Error::Auth(_) => Self::Refused(error.to_string()),
            other => Self::Unavailable(crate::trouble::cause(&other)),
        }
    }
}

/// An answer that does not come within this does not come.
const ANSWER: Duration = Duration::from_secs(20);

/// The answer of an API server, or that there was none.
pub(crate) async fn answered<T>(request: impl Future<Output = Result<T, kube::Error>>) -> Result<T, kube::Error> {
    match tokio::time::timeout(ANSWER, request).await {
        Ok(answer) => answer,
        Err(_) => Err(kube::Error::Service(format!("no answer within {} s", ANSWER.as_secs()).into())),
    }
}

impl Failure {
    /// For people.
    pub(crate) fn words(self) -> String {
        match self {
            Self::Absent(status) => status.message,
            Self::Conflict(words) | Self::Unavailable(words) | Self::Refused(words) => words,
        }
    }

    /// True if this very object's namespace does not exist.
    pub(crate) fn lacks_namespace(&self) -> bool {
        matches!(self, Self::Absent(status) if status.details.as_ref().is_some_and(|details| details.kind == "namespaces"))
    }
}

impl From<Failure> for PortError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Conflict(words) | Failure::Unavailable(words) => Self::Transient(words),
            Failure::Absent(status) => Self::Terminal(status.message),
            Failure::Refused(words) => Self::Terminal(words),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_may_pass_by_itself_is_transient() {
        // code, reason → transient
        let cases = [
            (409, "Conflict", true),
            (429, "TooManyRequests", true),
            (500, "InternalError", true),
            (500, "", false),
            (503, "ServiceUnavailable", true),
            (401, "Unauthorized", true),
            (400, "BadRequest", false),
            (403, "Forbidden", false),
            (404, "NotFound", false),
            (422, "Invalid", false),
        ];
        for (code, reason, transient) in cases {
            let status = Status::failure("words", reason).with_code(code);
            let error = PortError::from(Failure::from(kube::Error::Api(status.boxed())));
            assert_eq!(matches!(error, PortError::Transient(_)), transient, "{code} {reason}");
            assert!(error.to_string().ends_with("words"), "{error}");
        }
        let error = PortError::from(Failure::from(kube::Error::Service("no route".into())));
        assert!(matches!(error, PortError::Transient(_)));
    }
}
