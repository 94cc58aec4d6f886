//! The instance's SSH key, and signatures that `git verify-commit` and `ssh-keygen -Y verify` accept.
//!
//! Formats: PROTOCOL.key and PROTOCOL.sshsig of OpenSSH. Made here, because a small Debian has git but no ssh-keygen.

use crate::error::Error;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::digest::{SHA512, digest};
use ring::rand::{SecureRandom as _, SystemRandom};
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

const KIND: &[u8] = b"ssh-ed25519";
const MAGIC: &[u8] = b"openssh-key-v1\0";
const BEGIN: &str = "-----BEGIN OPENSSH PRIVATE KEY-----";
const END: &str = "-----END OPENSSH PRIVATE KEY-----";
const SEED_BYTES: usize = 32;

/// Signs commits.
pub struct Signer(Ed25519KeyPair);

impl Signer {
    /// Reads the key, or makes one, readable only by us.
    pub fn open(path: &Path) -> Result<Self, Error> {
        match std::fs::read_to_string(path) {
            Ok(text) => {
                let bad = || Error::Key {
                    path: path.to_owned(),
                    reason: "it is not an unencrypted ed25519 key of OpenSSH".into(),
                };
                let seed = parse(&text).ok_or_else(bad)?;
                Ok(Self(Ed25519KeyPair::from_seed_unchecked(&seed).map_err(|_| bad())?))
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Self::create(path),
            Err(error) => Err(Error::file("read", path)(error)),
        }
    }

    fn create(path: &Path) -> Result<Self, Error> {
        let mut seed = [0; SEED_BYTES];
        SystemRandom::new()
            .fill(&mut seed)
            .map_err(|_| Error::Key { path: path.to_owned(), reason: "the system gives no random numbers".into() })?;
        let pair = Ed25519KeyPair::from_seed_unchecked(&seed).expect("any 32 bytes are a seed");
        let text = print(&seed, pair.public_key().as_ref());
        let write = || -> std::io::Result<()> {
            let parent = path.parent().unwrap_or(Path::new("."));
            std::fs::create_dir_all(parent)?;
            // Written aside first: half a key would never be replaced.
            let aside = path.with_extension("new");
            let mut options = std::fs::OpenOptions::new();
            let mut file = options.create(true).truncate(true).write(true).mode(0o600).open(&aside)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            crate::failpoint("source.key.before");
            std::fs::rename(&aside, path)?;
            std::fs::File::open(parent)?.sync_all()?;
            crate::failpoint("source.key.after");
            Ok(())
        };
        write().map_err(Error::file("write", path))?;
        Ok(Self(pair))
    }

    /// `ssh-ed25519 AAAA…`, for `allowed_signers`.
    pub fn public_key(&self) -> String {
        format!("ssh-ed25519 {}", STANDARD.encode(self.public_blob()))
    }

    /// The armoured signature of a message in the namespace `git`.
    pub fn sign(&self, message: &[u8]) -> String {
        let hash = digest(&SHA512, message);
        let mut signed = b"SSHSIG".to_vec();
        for part in [b"git".as_slice(), b"", b"sha512", hash.as_ref()] {
            string(&mut signed, part);
        }
        let mut signature = Vec::new();
        string(&mut signature, KIND);
        string(&mut signature, self.0.sign(&signed).as_ref());

        let mut blob = b"SSHSIG\0\0\0\x01".to_vec();
        for part in [self.public_blob().as_slice(), b"git", b"", b"sha512", &signature] {
            string(&mut blob, part);
        }
        armour(SIGNATURE_BEGIN, &blob, SIGNATURE_END)
    }

    fn public_blob(&self) -> Vec<u8> {
        public_blob(self.0.public_key().as_ref())
    }
}

/// The public key of the text of a signing key, as [`Signer::public_key`] has it.
pub fn public_key_of(text: &str) -> Option<String> {
    let pair = Ed25519KeyPair::from_seed_unchecked(&parse(text)?).ok()?;
    Some(Signer(pair).public_key())
}

/// Whether a commit bears a signature of one of these keys (`ssh-ed25519 AAAA…`, comments allowed); if not, why.
pub fn verified(commit: &[u8], keys: &[String]) -> Result<(), String> {
    let (signed, armoured) = split_signature(commit).ok_or("it has none")?;
    let body: String = armoured
        .trim()
        .strip_prefix(SIGNATURE_BEGIN)
        .and_then(|rest| rest.strip_suffix(SIGNATURE_END))
        .ok_or("it is not one of SSH")?
        .split_whitespace()
        .collect();
    let blob = STANDARD.decode(body).map_err(|_| "it is damaged")?;
    let parts = || {
        let mut rest = blob.strip_prefix(b"SSHSIG\0\0\0\x01")?;
        let (key, space, _, hash) = (take(&mut rest)?, take(&mut rest)?, take(&mut rest)?, take(&mut rest)?);
        let mut signature = take(&mut rest)?;
        let kind = take(&mut signature)?;
        Some((key, space, hash, kind, take(&mut signature)?))
    };
    let (key, space, hash, kind, signature) = parts().ok_or("it is damaged")?;
    if space != b"git" || hash != b"sha512" || kind != KIND {
        return Err("it is of another kind".to_owned());
    }
    let known = |text: &&String| {
        let encoded = text.split_whitespace().find(|word| word.starts_with("AAAA"));
        encoded.and_then(|encoded| STANDARD.decode(encoded).ok()).is_some_and(|blob| blob == key)
    };
    keys.iter().find(known).ok_or("it is of a key that is not trusted here")?;
    let mut rest = key;
    take(&mut rest);
    let public = take(&mut rest).ok_or("its key is damaged")?;
    let mut message = b"SSHSIG".to_vec();
    for part in [b"git".as_slice(), b"", b"sha512", digest(&SHA512, &signed).as_ref()] {
        string(&mut message, part);
    }
    UnparsedPublicKey::new(&ED25519, public)
        .verify(&message, signature)
        .map_err(|_| "what it signs was changed".to_owned())
}

const SIGNATURE_BEGIN: &str = "-----BEGIN SSH SIGNATURE-----";
const SIGNATURE_END: &str = "-----END SSH SIGNATURE-----";

/// A commit without its header `gpgsig`, and that header's value.
fn split_signature(commit: &[u8]) -> Option<(Vec<u8>, String)> {
    let (mut signed, mut signature) = (Vec::with_capacity(commit.len()), None::<String>);
    let (mut inside, mut header) = (false, true);
    for line in commit.split_inclusive(|b| *b == b'\n') {
        header = header && line != b"\n";
        if header && inside && line.starts_with(b" ") {
            signature.get_or_insert_default().push_str(&String::from_utf8_lossy(&line[1..]));
            continue;
        }
        inside = header && signature.is_none() && line.starts_with(b"gpgsig ");
        match inside {
            true => signature = Some(String::from_utf8_lossy(&line[b"gpgsig ".len()..]).into_owned()),
            false => signed.extend_from_slice(line),
        }
    }
    Some((signed, signature?))
}

fn public_blob(public: &[u8]) -> Vec<u8> {
    let mut blob = Vec::new();
    string(&mut blob, KIND);
    string(&mut blob, public);
    blob
}

fn string(out: &mut Vec<u8>, bytes: &[u8]) {
    let length = u32::try_from(bytes.len()).expect("parts of keys and signatures are short");
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(bytes);
}

fn armour(begin: &str, blob: &[u8], end: &str) -> String {
    let text = STANDARD.encode(blob);
    let mut out = format!("{begin}\n");
    for line in text.as_bytes().chunks(70) {
        out.push_str(std::str::from_utf8(line).expect("base64 is ASCII"));
        out.push('\n');
    }
    out.push_str(end);
    out.push('\n');
    out
}

fn print(seed: &[u8; SEED_BYTES], public: &[u8]) -> String {
    let mut secret = vec![0; 8]; // Two equal numbers: they only show that a decryption worked, and there is none.
    string(&mut secret, KIND);
    string(&mut secret, public);
    string(&mut secret, &[seed.as_slice(), public].concat());
    string(&mut secret, b"trimtab");
    let padding = (8 - secret.len() % 8) % 8;
    secret.extend((1..=padding).map(|n| n as u8));

    let mut blob = MAGIC.to_vec();
    for part in [b"none".as_slice(), b"none", b""] {
        string(&mut blob, part);
    }
    blob.extend_from_slice(&1_u32.to_be_bytes());
    string(&mut blob, &public_blob(public));
    string(&mut blob, &secret);
    armour(BEGIN, &blob, END)
}

fn parse(text: &str) -> Option<[u8; SEED_BYTES]> {
    let body: String = text.trim().strip_prefix(BEGIN)?.strip_suffix(END)?.split_whitespace().collect();
    let blob = STANDARD.decode(body).ok()?;
    let mut rest = blob.strip_prefix(MAGIC)?;
    if take(&mut rest)? != b"none" || take(&mut rest)? != b"none" {
        return None; // Encrypted: nobody could type the passphrase.
    }
    take(&mut rest)?;
    rest = rest.strip_prefix(&1_u32.to_be_bytes())?;
    take(&mut rest)?;
    let mut secret = take(&mut rest)?.get(8..)?;
    if take(&mut secret)? != KIND {
        return None;
    }
    take(&mut secret)?;
    take(&mut secret)?.get(..SEED_BYTES)?.try_into().ok()
}

fn take<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, after) = rest.split_first_chunk::<4>()?;
    let (part, after) = after.split_at_checked(u32::from_be_bytes(*length) as usize)?;
    *rest = after;
    Some(part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_made_once_and_read_again() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("keys/signing");
        let first = Signer::open(&path).unwrap();
        let again = Signer::open(&path).unwrap();
        assert_eq!(first.public_key(), again.public_key());
        assert_eq!(first.sign(b"x"), again.sign(b"x"));
        use std::os::unix::fs::PermissionsExt as _;
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_file_that_is_no_key_is_an_error_and_stays() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("signing");
        for bad in ["", "hello", "-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----\n"] {
            std::fs::write(&path, bad).unwrap();
            let error = Signer::open(&path).err().expect("refused").to_string();
            assert!(error.contains("ed25519"), "{error}");
            assert_eq!(std::fs::read_to_string(&path).unwrap(), bad);
        }
    }
}
