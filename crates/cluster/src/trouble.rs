//! Why nobody answers, for people: the innermost cause instead of the layers around it.

use jiff::Timestamp;
use rustls::{AlertDescription, CertificateError, Error as Tls};
use std::error::Error;
use std::io;

/// An error of the connection in a sentence that does not change from try to try.
pub(crate) fn cause(error: &(dyn Error + 'static)) -> String {
    let mut innermost = error;
    loop {
        if let Some(tls) = innermost.downcast_ref::<Tls>() {
            return of_tls(tls);
        }
        // What an io::Error wraps is not its source.
        let wrapped = innermost.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        match wrapped.map(|inner| inner as &(dyn Error + 'static)).or_else(|| innermost.source()) {
            Some(next) => innermost = next,
            None => return innermost.to_string(),
        }
    }
}

fn of_tls(error: &Tls) -> String {
    match error {
        Tls::InvalidCertificate(CertificateError::ExpiredContext { not_after, .. }) => {
            let seconds = i64::try_from(not_after.as_secs()).unwrap_or(i64::MAX);
            let when =
                Timestamp::from_second(seconds).map_or_else(|_| "some time ago".to_owned(), |t| format!("on {t}"));
            format!("the certificate of its API server expired {when}")
        }
        Tls::InvalidCertificate(CertificateError::Expired) => "the certificate of its API server has expired".into(),
        Tls::InvalidCertificate(CertificateError::UnknownIssuer) => {
            "the certificate of its API server is not signed by the authority in the kubeconfig".into()
        }
        Tls::AlertReceived(AlertDescription::CertificateExpired) => {
            "the client certificate of its kubeconfig has expired".into()
        }
        Tls::AlertReceived(AlertDescription::BadCertificate | AlertDescription::UnknownCA) => {
            "it does not accept the client certificate of its kubeconfig".into()
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::pki_types::UnixTime;
    use std::time::Duration;

    #[test]
    fn the_innermost_cause_is_said() {
        let at = |seconds| UnixTime::since_unix_epoch(Duration::from_secs(seconds));
        let expired = CertificateError::ExpiredContext { time: at(1_800_000_001), not_after: at(1_800_000_000) };
        let cases: Vec<(io::Error, &str)> = vec![
            (io::Error::other(Tls::InvalidCertificate(expired)), "expired on 2027-01-15T08:00:00Z"),
            (io::Error::other(Tls::InvalidCertificate(CertificateError::UnknownIssuer)), "not signed by the authority"),
            (io::Error::new(io::ErrorKind::ConnectionRefused, "refused"), "refused"),
        ];
        for (inner, words) in cases {
            let layered = io::Error::other(kube::Error::Service(Box::new(inner)));
            let said = cause(&layered);
            assert!(said.contains(words), "{said}");
        }
    }
}
