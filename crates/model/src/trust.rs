//! Whose signatures count.

use crate::names::{CommitId, NameError};
use serde::{Deserialize, Serialize};

/// `verify` of an environment, or of a project for all environments that say nothing of their own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Verify {
    /// Commits of applications, and of the configuration, that come new with a movement.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub commits: Option<Keys>,
    /// Tags of releases.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tags: Option<Keys>,
}

/// Whose signatures count, besides those of people whose SSH keys are registered, and of Trimtab itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Keys {
    /// Lines of OpenSSH's allowed signers: `alice@example.com ssh-ed25519 AAAA…`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ssh: Vec<String>,
    /// Public keys of GPG, armoured.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub gpg: Vec<String>,
}

/// Somebody with an SSH key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Signer {
    /// For people.
    pub name: String,
    /// `ssh-ed25519 AAAA…`, no comment.
    pub key: String,
}

/// Everybody whose signatures count.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Signers {
    /// By SSH.
    pub ssh: Vec<Signer>,
    /// Public keys of GPG, armoured.
    pub gpg: Vec<String>,
}

/// A commit or a tag whose signature does not count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unsigned {
    /// Which, or what it is on.
    pub commit: CommitId,
    /// Who wrote it, as it says.
    pub author: String,
    /// Why it does not count: `it has none`.
    pub why: String,
}

impl Verify {
    /// The first key that cannot be used: its field, and why.
    pub fn problem(&self) -> Option<(String, NameError)> {
        let named = [("commits", &self.commits), ("tags", &self.tags)];
        named.into_iter().find_map(|(field, keys)| {
            let keys = keys.as_ref()?;
            let block = "-----BEGIN PGP PUBLIC KEY BLOCK-----";
            let armoured = keys.gpg.iter().all(|key| key.trim_start().starts_with(block));
            let error = NameError(format!("a public key of GPG begins with {block} (gpg --armor --export)"));
            let gpg = (!armoured).then(|| (format!("verify.{field}.gpg"), error));
            keys.signers().err().map(|error| (format!("verify.{field}.ssh"), error)).or(gpg)
        })
    }
}

impl Keys {
    /// The people of `ssh`.
    ///
    /// # Errors
    /// The first line that cannot be used, with the reason.
    pub fn signers(&self) -> Result<Vec<Signer>, NameError> {
        self.ssh.iter().map(|line| signer(line)).collect()
    }
}

fn signer(line: &str) -> Result<Signer, NameError> {
    let bad = |why: &str| NameError(format!("{line:?} is no allowed signer: {why}"));
    let words: Vec<&str> = line.split_whitespace().collect();
    let kinds = ["ssh-", "ecdsa-", "sk-"];
    let key = words.iter().position(|word| kinds.iter().any(|kind| word.starts_with(kind)));
    let key = key
        .filter(|key| words.len() > key + 1)
        .ok_or_else(|| bad("it needs a name and a key, `NAME ssh-ed25519 AAAA…`"))?;
    let name = words.first().filter(|_| key > 0).ok_or_else(|| bad("a name stands before the key"))?;
    if let Some(option) = words[1..key].iter().find(|option| **option != "namespaces=\"git\"") {
        return Err(bad(&format!("the option {option} is not supported")));
    }
    Ok(Signer { name: (*name).to_owned(), key: format!("{} {}", words[key], words[key + 1]) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_allowed_signers_are_read() {
        let read = |line: &str| Keys { ssh: vec![line.into()], gpg: Vec::new() }.signers().map(|mut all| all.remove(0));
        let alice = Signer { name: "alice@example.com".into(), key: "ssh-ed25519 AAAA".into() };
        assert_eq!(read("alice@example.com ssh-ed25519 AAAA her laptop"), Ok(alice.clone()));
        assert_eq!(read("alice@example.com namespaces=\"git\" ssh-ed25519 AAAA"), Ok(alice));
        for (line, why) in [
            ("", "a name and a key"),
            ("ssh-ed25519 AAAA", "a name stands before"),
            ("alice ssh-ed25519", "a name and a key"),
            ("alice cert-authority ssh-ed25519 AAAA", "cert-authority is not supported"),
        ] {
            let error = read(line).unwrap_err().to_string();
            assert!(error.contains(why), "{line}: {error}");
        }
    }
}
