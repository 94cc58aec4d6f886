//! Whose signature a commit or a tag bears: of SSH, worked out here (PROTOCOL.sshsig of OpenSSH); of GPG, by its program.

use crate::error::Error;
use crate::sign::{SIGNATURE_BEGIN, SIGNATURE_END, split_signature, string, take};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use model::trust::Signers;
use ring::digest::{SHA256, SHA512, digest};
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA512,
    RsaPublicKeyComponents, UnparsedPublicKey,
};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

/// gpg gets so long for one question.
const GPG_TIMEOUT: Duration = Duration::from_secs(20);

/// Something signed: what was signed, and the armoured signature.
pub struct Signed {
    text: Vec<u8>,
    signature: String,
}

/// The signature of a commit: in its header.
pub fn of_commit(commit: &[u8]) -> Option<Signed> {
    split_signature(commit).map(|(text, signature)| Signed { text, signature })
}

/// The signature of a tag: behind its message.
pub fn of_tag(tag: &[u8]) -> Option<Signed> {
    let begins = [SIGNATURE_BEGIN, "-----BEGIN PGP SIGNATURE-----"];
    let find = |begin: &str| tag.windows(begin.len()).rposition(|part| part == begin.as_bytes());
    let at = begins.iter().filter_map(|begin| find(begin)).max()?;
    (at == 0 || tag[at - 1] == b'\n')
        .then(|| Signed { text: tag[..at].to_vec(), signature: String::from_utf8_lossy(&tag[at..]).into_owned() })
}

/// Checks signatures of one set of signers.
pub struct Judge<'a> {
    signers: &'a Signers,
    /// Keys of Trimtab itself.
    own: String,
    /// Where gpg keeps the keys; made at first need.
    home: Option<Result<tempfile::TempDir, String>>,
    /// Directory in which that is.
    scratch: PathBuf,
}

impl<'a> Judge<'a> {
    pub fn new(signers: &'a Signers, own: String, scratch: &Path) -> Self {
        Self { signers, own, home: None, scratch: scratch.to_owned() }
    }

    /// Who signed; or why that does not count.
    pub async fn ask(&mut self, signed: Option<&Signed>) -> Result<Result<String, String>, Error> {
        let Some(signed) = signed else { return Ok(Err("it has none".to_owned())) };
        if signed.signature.trim_start().starts_with("-----BEGIN PGP") {
            return self.gpg(signed).await;
        }
        Ok(self.ssh(signed))
    }

    fn ssh(&self, signed: &Signed) -> Result<String, String> {
        let key = ssh_key(&signed.text, &signed.signature)?;
        let is = |text: &str| {
            let encoded = text.split_whitespace().find(|word| word.starts_with("AAAA"));
            encoded.and_then(|encoded| STANDARD.decode(encoded).ok()).is_some_and(|blob| blob == key)
        };
        if is(&self.own) {
            return Ok("trimtab".to_owned());
        }
        let known = self.signers.ssh.iter().find(|signer| is(&signer.key));
        known.map(|signer| signer.name.clone()).ok_or_else(|| {
            let print = STANDARD.encode(digest(&SHA256, &key).as_ref());
            format!("it is of a key that is not known here, SHA256:{}", print.trim_end_matches('='))
        })
    }

    async fn gpg(&mut self, signed: &Signed) -> Result<Result<String, String>, Error> {
        if self.signers.gpg.is_empty() {
            return Ok(Err("it is of GPG, and no key of GPG is named in `verify`".to_owned()));
        }
        if self.home.is_none() {
            self.home = Some(self.keys().await?);
        }
        let home = match self.home.as_ref().expect("it was just made") {
            Ok(home) => home,
            Err(why) => return Ok(Err(why.clone())),
        };
        let file = home.path().join("signature.asc");
        std::fs::write(&file, &signed.signature).map_err(Error::file("write", &file))?;
        let path = file.to_string_lossy().into_owned();
        let (_, told) = run(home.path(), &["--status-fd", "1", "--verify", &path, "-"], &signed.text).await?;
        let status = |name: &str| told.lines().find_map(|line| line.strip_prefix("[GNUPG:] ")?.strip_prefix(name));
        Ok(match (status("GOODSIG "), status("VALIDSIG ")) {
            (Some(good), Some(_)) => Ok(good.split_once(' ').map_or(good, |(_, name)| name).to_owned()),
            _ if status("EXPKEYSIG ").is_some() => Err("it is of a key of GPG that has expired".to_owned()),
            _ if status("REVKEYSIG ").is_some() => Err("it is of a key of GPG that was revoked".to_owned()),
            _ if status("NO_PUBKEY ").is_some() => {
                let key = status("NO_PUBKEY ").unwrap_or_default();
                Err(format!("it is of a key of GPG that is not known here, {key}"))
            }
            _ => Err("what it signs was changed".to_owned()),
        })
    }

    /// A directory with the keys; the inner error is for people.
    async fn keys(&self) -> Result<Result<tempfile::TempDir, String>, Error> {
        let made = tempfile::Builder::new().prefix(".gpg-").tempdir_in(&self.scratch);
        let home = made.map_err(Error::file("create", &self.scratch))?;
        for key in &self.signers.gpg {
            match run(home.path(), &["--import"], key.as_bytes()).await {
                Ok((true, _)) => {}
                Ok((false, _)) => return Ok(Err("a key in `verify.gpg` is no armoured public key of GPG".to_owned())),
                Err(Error::Spawn(error)) if error.kind() == std::io::ErrorKind::NotFound => {
                    return Ok(Err("it is of GPG, and gpg is not installed where Trimtab runs".to_owned()));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(Ok(home))
    }
}

/// Runs gpg on its own keys only: no agent, no configuration, no network.
async fn run(home: &Path, args: &[&str], input: &[u8]) -> Result<(bool, String), Error> {
    let mut command = Command::new("gpg");
    command
        .args(["--batch", "--no-tty", "--no-options", "--no-autostart", "--trust-model", "always", "--homedir"])
        .arg(home)
        .args(args)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("LC_ALL", "C")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true);
    let mut child = command.spawn().map_err(Error::Spawn)?;
    let mut stdin = child.stdin.take().expect("stdin is piped");
    let write = async move {
        // What it does not read it does not need.
        let _ = stdin.write_all(input).await;
        drop(stdin);
    };
    let work = async { tokio::join!(write, child.wait_with_output()).1 };
    let output = tokio::time::timeout(GPG_TIMEOUT, work).await;
    let output =
        output.map_err(|_| Error::Content(format!("gpg did not answer within {} s", GPG_TIMEOUT.as_secs())))?;
    let output = output.map_err(Error::Spawn)?;
    Ok((output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned()))
}

/// The key whose signature this is, if it is one.
fn ssh_key(text: &[u8], armoured: &str) -> Result<Vec<u8>, String> {
    let body = armoured.trim().strip_prefix(SIGNATURE_BEGIN).and_then(|rest| rest.strip_suffix(SIGNATURE_END));
    let body: String = body.ok_or("it is neither of SSH nor of GPG")?.split_whitespace().collect();
    let blob = STANDARD.decode(body).map_err(|_| "it is damaged")?;
    let parts = || {
        let mut rest = blob.strip_prefix(b"SSHSIG\0\0\0\x01")?;
        let (key, space, reserved, hash) = (take(&mut rest)?, take(&mut rest)?, take(&mut rest)?, take(&mut rest)?);
        Some((key, space, reserved, hash, take(&mut rest)?))
    };
    let (key, space, reserved, hash, signature) = parts().ok_or("it is damaged")?;
    if space != b"git" {
        return Err("it was made for something else than git".to_owned());
    }
    let hashed = match hash {
        b"sha512" => digest(&SHA512, text),
        b"sha256" => digest(&SHA256, text),
        _ => return Err("it is of a hash that is not known".to_owned()),
    };
    let mut message = b"SSHSIG".to_vec();
    for part in [space, reserved, hash, hashed.as_ref()] {
        string(&mut message, part);
    }
    good(key, signature, &message)?;
    Ok(key.to_vec())
}

fn good(key: &[u8], signature: &[u8], message: &[u8]) -> Result<(), String> {
    let damaged = || "it is damaged".to_owned();
    let changed = |_| "what it signs was changed".to_owned();
    let (mut key, mut signature) = (key, signature);
    let kind = take(&mut key).ok_or_else(damaged)?;
    let by = take(&mut signature).ok_or_else(damaged)?;
    let value = take(&mut signature).ok_or_else(damaged)?;
    match (kind, by) {
        (b"ssh-ed25519", b"ssh-ed25519") => {
            let public = take(&mut key).ok_or_else(damaged)?;
            UnparsedPublicKey::new(&ED25519, public).verify(message, value).map_err(changed)
        }
        // A key in hardware signs what it was asked for together with a counter.
        (b"sk-ssh-ed25519@openssh.com", b"sk-ssh-ed25519@openssh.com") => {
            let (public, application) = (take(&mut key).ok_or_else(damaged)?, take(&mut key).ok_or_else(damaged)?);
            let tail = signature.get(..5).ok_or_else(damaged)?;
            let hash = |bytes: &[u8]| digest(&SHA256, bytes).as_ref().to_vec();
            let message = [hash(application), tail.to_vec(), hash(message)].concat();
            UnparsedPublicKey::new(&ED25519, public).verify(&message, value).map_err(changed)
        }
        (b"ecdsa-sha2-nistp256", _) | (b"ecdsa-sha2-nistp384", _) if kind == by => {
            let (algorithm, size) = match kind {
                b"ecdsa-sha2-nistp256" => (&ECDSA_P256_SHA256_FIXED, 32),
                _ => (&ECDSA_P384_SHA384_FIXED, 48),
            };
            take(&mut key).ok_or_else(damaged)?;
            let public = take(&mut key).ok_or_else(damaged)?;
            let mut value = value;
            let mut fixed = Vec::with_capacity(2 * size);
            for _ in 0..2 {
                let number = take(&mut value).ok_or_else(damaged)?;
                let number = &number[number.iter().position(|byte| *byte != 0).unwrap_or(number.len())..];
                let missing = size.checked_sub(number.len()).ok_or_else(damaged)?;
                fixed.extend(std::iter::repeat_n(0, missing));
                fixed.extend_from_slice(number);
            }
            UnparsedPublicKey::new(algorithm, public).verify(message, &fixed).map_err(changed)
        }
        (b"ssh-rsa", b"rsa-sha2-512" | b"rsa-sha2-256") => {
            let number =
                |part: &'_ [u8]| part[part.iter().position(|byte| *byte != 0).unwrap_or(part.len())..].to_vec();
            let e = number(take(&mut key).ok_or_else(damaged)?);
            let n = number(take(&mut key).ok_or_else(damaged)?);
            let algorithm = match by {
                b"rsa-sha2-512" => &RSA_PKCS1_2048_8192_SHA512,
                _ => &RSA_PKCS1_2048_8192_SHA256,
            };
            RsaPublicKeyComponents { n, e }.verify(algorithm, message, value).map_err(changed)
        }
        _ => Err(format!("it is of a kind that is not supported here ({})", String::from_utf8_lossy(kind))),
    }
}
