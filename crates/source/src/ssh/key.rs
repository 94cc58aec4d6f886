//! Keys: those of people, as `ssh-keygen` writes them, and the host's own.

use crate::error::Error;
use crate::sign::Signer;
use russh::keys::ssh_key;
use ssh_key::{Algorithm, HashAlg, PrivateKey};
use std::path::Path;

/// Longer lines are no keys.
const LINE_BYTES_MAX: usize = 4096;

/// A person's public key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKey {
    /// `ssh-ed25519 AAAA…`, without comment.
    pub line: String,
    /// What stood behind it, mostly `user@machine`.
    pub comment: String,
    /// `SHA256:…`, as `ssh-keygen -l` prints it.
    pub fingerprint: String,
}

impl PublicKey {
    /// Reads one line of a `.pub` file. The error says what is wrong with it and what to do.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if text.contains("PRIVATE KEY") {
            return Err(
                "this is a private key, which nobody else should ever see: give the file that ends in .pub".into()
            );
        }
        if text.len() > LINE_BYTES_MAX || text.lines().count() != 1 {
            return Err("a public key is one line, as in ~/.ssh/id_ed25519.pub".into());
        }
        let key = ssh_key::PublicKey::from_openssh(text).map_err(|error| {
            format!("this is no public key of OpenSSH ({error}): give a file such as ~/.ssh/id_ed25519.pub")
        })?;
        let algorithm = key.algorithm();
        if !matches!(algorithm, Algorithm::Ed25519 | Algorithm::Ecdsa { .. }) {
            let name = algorithm.as_str();
            return Err(format!("keys of type {name} are not accepted: make one with `ssh-keygen -t ed25519`"));
        }
        let comment = key.comment().to_string();
        let fingerprint = fingerprint(&key);
        let bare = ssh_key::PublicKey::new(key.key_data().clone(), "");
        let line = bare.to_openssh().map_err(|error| format!("this key cannot be written: {error}"))?;
        Ok(Self { line: line.trim().to_owned(), comment, fingerprint })
    }
}

/// `SHA256:…`.
pub fn fingerprint(key: &ssh_key::PublicKey) -> String {
    key.fingerprint(HashAlg::Sha256).to_string()
}

/// The host's key; made if the file is absent.
pub fn host_key(path: &Path) -> Result<PrivateKey, Error> {
    Signer::open(path)?;
    let text = std::fs::read_to_string(path).map_err(Error::file("read", path))?;
    PrivateKey::from_openssh(&text).map_err(|error| Error::Key { path: path.to_owned(), reason: error.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f";

    #[test]
    fn a_line_is_read_with_or_without_a_comment() {
        let plain = PublicKey::parse(KEY).unwrap();
        let named = PublicKey::parse(&format!("{KEY} alice@laptop\n")).unwrap();
        assert_eq!((plain.line.as_str(), plain.comment.as_str()), (KEY, ""));
        assert_eq!((named.line.as_str(), named.comment.as_str()), (KEY, "alice@laptop"));
        assert!(plain.fingerprint.starts_with("SHA256:") && plain.fingerprint == named.fingerprint);
    }

    #[test]
    fn what_is_no_key_is_refused_with_what_to_do() {
        for (text, words) in [
            ("", "one line"),
            ("hello", "no public key"),
            ("-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n", "private key"),
            (&format!("{KEY}\n{KEY}"), "one line"),
            ("ssh-ed25519 AAAA", "no public key"),
            (&"x".repeat(5000), "one line"),
            (
                "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAAAgQDEXHbLWTBbTXXkYPDgQL8iYgyfC7hEAsdMpBg1Vkuvw7Q4N0uCVqFXzjUUjbJkFYDX\
                 rKmVCLIBpRRHFzeq2CqOYGDO8ocKnMdPPfh7J1mUUJ0LJ6Dx7pYEkTz3SfhFrVd3oyEBAwRNpA0dcWTCkjSfc9TXfWYBNGWlNWnKfBAdqQ==",
                "ssh-keygen -t ed25519",
            ),
        ] {
            let error = PublicKey::parse(text).unwrap_err();
            assert!(error.contains(words), "{words:?} is missing in: {error}");
        }
    }

    #[test]
    fn the_host_key_is_made_once() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("keys/host");
        let first = fingerprint(host_key(&path).unwrap().public_key());
        assert_eq!(first, fingerprint(host_key(&path).unwrap().public_key()));
    }
}
