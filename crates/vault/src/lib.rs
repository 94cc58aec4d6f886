//! Secrets: sealed with age to the key of a data plane, opened with it, and told apart by a keyed digest.
//!
//! The keys stand in one file, readable by its owner only and made when it is first needed: identities, the newest
//! first, and the key of the digests, which never changes, so that a new identity changes no digest.

use age::secrecy::ExposeSecret;
use age::x25519::{Identity, Recipient};
use hmac::{Hmac, Mac};
use sha2::Sha256;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// Bytes of the key of the digests.
const DIGEST_KEY_BYTES: usize = 32;
/// A value of a secret is no larger: Kubernetes takes a MiB for a whole Secret.
pub const VALUE_BYTES_MAX: usize = 256 * 1024;

/// Why something cannot be sealed or opened. No message holds a value.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file of the keys cannot be read or written.
    #[error("{}: {error}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What the system says.
        #[source]
        error: io::Error,
    },
    /// The file of the keys is no such file.
    #[error("{}: {problem}; restore it from a backup", path.display())]
    Damaged {
        /// Which.
        path: PathBuf,
        /// What was wrong.
        problem: &'static str,
    },
    /// It was sealed to somebody else.
    #[error("it is encrypted to another key than this instance's")]
    OtherKey,
    /// It is cut off, or was changed.
    #[error("it is damaged: cut off, or changed after it was encrypted")]
    Broken,
    /// A recipient is no recipient.
    #[error("{0:?} is no recipient (age1…)")]
    Recipient(String),
    /// Too much.
    #[error("a value has at most {VALUE_BYTES_MAX} bytes")]
    TooLarge,
    /// age refuses.
    #[error("it cannot be encrypted: {0}")]
    Seal(String),
}

/// Where a killed process is tested to recover: before and after the file of the keys has its name.
pub const FAILPOINTS: &[&str] = &["vault.keys.before", "vault.keys.after"];

/// Ends the process as a crash would, if a test asks for it here.
fn failpoint(name: &'static str) {
    static WANTED: OnceLock<Option<String>> = OnceLock::new();
    debug_assert!(FAILPOINTS.contains(&name), "{name} is not listed");
    if WANTED.get_or_init(|| std::env::var("TRIMTAB_FAILPOINT").ok()).as_deref() == Some(name) {
        std::process::abort();
    }
}

/// Of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// Seals a value to a recipient (`age1…`): a binary age file.
///
/// # Errors
/// No recipient, or a value that is too large.
pub fn seal(recipient: &str, value: &[u8]) -> Result<Vec<u8>> {
    let recipient: Recipient = recipient.trim().parse().map_err(|_| Error::Recipient(recipient.to_owned()))?;
    if value.len() > VALUE_BYTES_MAX {
        return Err(Error::TooLarge);
    }
    age::encrypt(&recipient, value).map_err(|error| Error::Seal(error.to_string()))
}

/// The keys of a data plane.
pub struct Vault {
    path: PathBuf,
    keys: Mutex<Option<Arc<Keys>>>,
}

struct Keys {
    digest: [u8; DIGEST_KEY_BYTES],
    /// The newest first; never empty.
    identities: Vec<Identity>,
}

impl Vault {
    /// With its keys in this file. Nothing is read or made yet.
    pub fn new(path: PathBuf) -> Self {
        Self { path, keys: Mutex::default() }
    }

    /// To whom secrets are sealed: `age1…`.
    ///
    /// # Errors
    /// The file of the keys.
    pub fn recipient(&self) -> Result<String> {
        Ok(self.keys()?.identities[0].to_public().to_string())
    }

    /// The value of a binary age file.
    ///
    /// # Errors
    /// Sealed to another key, damaged, or the file of the keys.
    pub fn open(&self, sealed: &[u8]) -> Result<Vec<u8>> {
        let keys = self.keys()?;
        for identity in &keys.identities {
            match age::decrypt(identity, sealed) {
                Ok(value) => return Ok(value),
                Err(age::DecryptError::NoMatchingKeys | age::DecryptError::DecryptionFailed) => {}
                Err(_) => return Err(Error::Broken),
            }
        }
        Err(Error::OtherKey)
    }

    /// Equal values have equal digests; without the key nobody can find a value by trying.
    ///
    /// # Errors
    /// The file of the keys.
    pub fn digest(&self, value: &[u8]) -> Result<[u8; 32]> {
        let mut mac = <Hmac<Sha256> as Mac>::new_from_slice(&self.keys()?.digest).expect("any length is a key");
        mac.update(value);
        Ok(mac.finalize().into_bytes().into())
    }

    /// A secret that belongs to this text for ever, and that no digest of a value gives away.
    ///
    /// # Errors
    /// The file of the keys.
    pub fn seed(&self, of: &str) -> Result<[u8; 32]> {
        let mac = |key: &[u8]| <Hmac<Sha256> as Mac>::new_from_slice(key).expect("any length is a key");
        // As HKDF has it: the key is what is hashed first, not what is hashed with, as it is for digests.
        let mut derived = mac(b"trimtab seed");
        derived.update(&self.keys()?.digest);
        let mut seed = mac(&derived.finalize().into_bytes());
        seed.update(of.as_bytes());
        Ok(seed.finalize().into_bytes().into())
    }

    /// A new identity, to which is sealed from now on. What was sealed to earlier ones can still be opened.
    ///
    /// # Errors
    /// The file of the keys.
    pub fn renew(&self) -> Result<String> {
        let keys = self.keys()?;
        let mut held = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        let identities = std::iter::once(Identity::generate()).chain(keys.identities.iter().cloned()).collect();
        let renewed = Keys { digest: keys.digest, identities };
        renewed.write(&self.path)?;
        let recipient = renewed.identities[0].to_public().to_string();
        *held = Some(Arc::new(renewed));
        Ok(recipient)
    }

    fn keys(&self) -> Result<Arc<Keys>> {
        let mut held = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(keys) = held.as_ref() {
            return Ok(keys.clone());
        }
        let keys = match fs::read_to_string(&self.path) {
            Ok(text) => Keys::parse(&self.path, &text)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let made = Keys { digest: rand::random(), identities: vec![Identity::generate()] };
                made.write(&self.path)?;
                made
            }
            Err(error) => return Err(Error::File { path: self.path.clone(), error }),
        };
        let keys = Arc::new(keys);
        *held = Some(keys.clone());
        Ok(keys)
    }
}

/// First word of the line that holds the key of the digests.
const DIGEST: &str = "digest";

impl Keys {
    fn parse(path: &Path, text: &str) -> Result<Self> {
        let damaged = |problem| Error::Damaged { path: path.to_owned(), problem };
        let mut digest = None;
        let mut identities = Vec::new();
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
            match line.strip_prefix(DIGEST) {
                Some(key) => {
                    digest = Some(unhex(key.trim()).ok_or_else(|| damaged("the key of the digests is no key"))?)
                }
                None => identities.push(line.parse().map_err(|_| damaged("a line is no identity of age"))?),
            }
        }
        match digest {
            Some(digest) if !identities.is_empty() => Ok(Self { digest, identities }),
            Some(_) => Err(damaged("there is no identity in it")),
            None => Err(damaged("the key of the digests is missing in it")),
        }
    }

    /// So that a crash leaves the old or the new file, never a part.
    fn write(&self, path: &Path) -> Result<()> {
        let mut text =
            "# Keys of Trimtab's secrets, the newest first. Without them no secret in git can be read.\n".to_owned();
        text.push_str(&format!(
            "{DIGEST} {}\n",
            self.digest.iter().map(|byte| format!("{byte:02x}")).collect::<String>()
        ));
        for identity in &self.identities {
            text.push_str(&format!("{}\n", identity.to_string().expose_secret()));
        }
        let temporary = path.with_extension("tmp");
        let write = || -> io::Result<()> {
            let _ = fs::remove_file(&temporary);
            let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            failpoint("vault.keys.before");
            fs::rename(&temporary, path)?;
            fs::File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()?;
            failpoint("vault.keys.after");
            Ok(())
        };
        write().map_err(|error| Error::File { path: path.to_owned(), error })
    }
}

fn unhex(text: &str) -> Option<[u8; DIGEST_KEY_BYTES]> {
    let digits = text.as_bytes();
    if digits.len() != 2 * DIGEST_KEY_BYTES || !text.is_ascii() {
        return None;
    }
    let mut bytes = [0; DIGEST_KEY_BYTES];
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn vault() -> (tempfile::TempDir, Vault) {
        let directory = tempfile::tempdir().unwrap();
        let vault = Vault::new(directory.path().join("secrets"));
        (directory, vault)
    }

    #[test]
    fn the_key_is_made_at_first_need_and_private() {
        let (directory, vault) = vault();
        let file = directory.path().join("secrets");
        assert!(!file.exists());
        let recipient = vault.recipient().unwrap();
        assert!(recipient.starts_with("age1"));
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(Vault::new(file).recipient().unwrap(), recipient, "a restart keeps it");
    }

    #[test]
    fn what_is_sealed_can_be_opened_here_and_nowhere_else() {
        let ((_a, ours), (_b, theirs)) = (vault(), vault());
        let sealed = seal(&ours.recipient().unwrap(), b"hunter2").unwrap();
        assert!(!sealed.windows(7).any(|part| part == b"hunter2"));
        assert_eq!(ours.open(&sealed).unwrap(), b"hunter2");
        assert!(matches!(theirs.open(&sealed), Err(Error::OtherKey)));
    }

    #[test]
    fn every_cut_and_every_changed_byte_is_found() {
        let (_directory, vault) = vault();
        let sealed = seal(&vault.recipient().unwrap(), b"hunter2").unwrap();
        for length in 0..sealed.len() {
            assert!(vault.open(&sealed[..length]).is_err(), "cut at {length}");
        }
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert!(vault.open(&changed).is_err(), "changed at {at}");
        }
    }

    #[test]
    fn a_new_key_opens_what_was_sealed_before_and_changes_no_digest() {
        let (_directory, vault) = vault();
        let (old, digest) = (vault.recipient().unwrap(), vault.digest(b"hunter2").unwrap());
        let sealed = seal(&old, b"hunter2").unwrap();
        let new = vault.renew().unwrap();
        assert_ne!(old, new);
        assert_eq!(vault.recipient().unwrap(), new);
        assert_eq!(vault.open(&sealed).unwrap(), b"hunter2");
        assert_eq!(vault.digest(b"hunter2").unwrap(), digest);
    }

    #[test]
    fn digests_tell_values_apart_and_belong_to_one_instance() {
        let ((_a, ours), (_b, theirs)) = (vault(), vault());
        let digest = ours.digest(b"a").unwrap();
        assert_eq!(digest, ours.digest(b"a").unwrap());
        assert_ne!(digest, ours.digest(b"b").unwrap());
        assert_ne!(digest, theirs.digest(b"a").unwrap());
    }

    #[test]
    fn seeds_stay_differ_by_text_and_are_no_digests() {
        let ((_a, ours), (_b, theirs)) = (vault(), vault());
        let seed = ours.seed("chart shop/dev/web").unwrap();
        ours.renew().unwrap();
        assert_eq!(ours.seed("chart shop/dev/web").unwrap(), seed);
        assert_ne!(ours.seed("chart shop/prod/web").unwrap(), seed);
        assert_ne!(theirs.seed("chart shop/dev/web").unwrap(), seed);
        // Digests of values are shown to people, and people choose values.
        let derived = ours.digest(b"trimtab seed").unwrap();
        let mut mac = <Hmac<Sha256> as Mac>::new_from_slice(&derived).unwrap();
        mac.update(b"chart shop/dev/web");
        assert_ne!(<[u8; 32]>::from(mac.finalize().into_bytes()), seed);
        assert_ne!(ours.digest(b"chart shop/dev/web").unwrap(), seed);
    }

    #[test]
    fn a_damaged_file_is_said_and_not_overwritten() {
        for text in ["", "digest 00\n", "AGE-SECRET-KEY-1\n", &format!("digest {}\n", "0".repeat(64)), "digest é\n"] {
            let (directory, vault) = vault();
            let file = directory.path().join("secrets");
            fs::write(&file, text).unwrap();
            assert!(vault.recipient().unwrap_err().to_string().contains("backup"), "{text:?}");
            assert_eq!(fs::read_to_string(&file).unwrap(), text);
        }
    }

    #[test]
    fn a_recipient_is_checked() {
        for bad in ["", "age1", "AGE-SECRET-KEY-1QQ", "ssh-ed25519 AAAA"] {
            assert!(matches!(seal(bad, b"x"), Err(Error::Recipient(_))), "{bad:?}");
        }
    }
}
