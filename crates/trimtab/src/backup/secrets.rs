//! Keys in a backup: encrypted to an identity that is itself encrypted with the passphrase, so that the control process
//! encrypts without ever knowing the passphrase.

use age::secrecy::{ExposeSecret, SecretString};
use age::x25519::{Identity, Recipient};
use anyhow::{Context, Result, anyhow, bail};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use std::io::{Read, Write};
use std::path::Path;

/// What the control process is given.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Protection {
    /// `age1…`: to whom keys are encrypted.
    pub recipient: String,
    /// The identity behind it, encrypted with the passphrase, in base64.
    pub identity: String,
}

impl Protection {
    /// A fresh identity under a passphrase.
    pub fn new(passphrase: SecretString) -> Result<Self> {
        let identity = Identity::generate();
        let mut sealed = Vec::new();
        let mut writer = age::Encryptor::with_user_passphrase(passphrase).wrap_output(&mut sealed)?;
        writer.write_all(identity.to_string().expose_secret().as_bytes())?;
        writer.finish()?;
        Ok(Self { recipient: identity.to_public().to_string(), identity: STANDARD.encode(sealed) })
    }

    /// The encrypted identity.
    pub fn sealed(&self) -> Result<Vec<u8>> {
        STANDARD.decode(&self.identity).context("the identity is no base64")
    }

    /// To whom to encrypt.
    pub fn encryptor(&self) -> Result<age::Encryptor> {
        let recipient: Recipient = self.recipient.parse().map_err(|error: &str| anyhow!("the recipient: {error}"))?;
        Ok(age::Encryptor::with_recipients(std::iter::once(&recipient as &dyn age::Recipient))?)
    }
}

/// The identity of a backup.
pub fn unlock(sealed: &[u8], passphrase: SecretString) -> Result<Identity> {
    let identity = age::scrypt::Identity::new(passphrase);
    let decryptor = age::Decryptor::new(sealed).context("the keys of the backup")?;
    let mut reader = decryptor
        .decrypt(std::iter::once(&identity as &dyn age::Identity))
        .map_err(|_| anyhow!("the passphrase is not the one of this backup. Nothing was changed"))?;
    let mut text = String::new();
    reader.read_to_string(&mut text)?;
    text.parse().map_err(|error: &str| anyhow!("the keys of the backup: {error}"))
}

/// The first line of a file that only its owner should read.
pub fn passphrase(path: &Path) -> Result<SecretString> {
    let text = std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
    let line = text.lines().next().unwrap_or_default().trim_end();
    if line.is_empty() {
        bail!("{} holds no passphrase in its first line", path.display());
    }
    Ok(SecretString::from(line.to_owned()))
}

/// One secret; a line of JSON each.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum Secret {
    /// A file of the data directory: `keys/commits`, `admin.token`.
    File { path: String, mode: u32, content: String },
    /// A row of the store.
    Object { key: String, json: String },
}
