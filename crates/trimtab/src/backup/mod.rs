//! Backups: one file that holds what cannot be made again, sealed so that a part of one is never taken for a whole.
//!
//! ```text
//!  backup.json                        first: which format, of which instance
//!  instance.json
//!  people.json                        who may do what: public keys, and tokens as digests
//!  objects.000000 …                   the store, a row a line: key, tab, JSON; without Secrets
//!  git/PROJECT/REPOSITORY/refs        references and what they name …
//!  git/PROJECT/REPOSITORY/pack.000000 … and everything that these reach
//!  images/names.json                  repositories, manifests and tags of …
//!  images/sha256/HEX                  … the blobs that pins and the last builds name
//!  logs/PROJECT/BUILD.log             of builds
//!  identity.age, secrets.000000 …     keys, tokens, credentials of clusters and Secrets, only with a passphrase
//!  seal.json                          last: size and digest of each part
//! ```
//!
//! It is a tar, compressed by zstd, so that common tools can look into it.

mod archive;
mod collect;
mod part;
mod restore;
mod secrets;

pub use archive::verify;
pub use collect::{Collection, stream};
pub use restore::{keys_only, restore};
pub use secrets::{Protection, passphrase};

/// Where a killed process is tested to recover: before and after what a backup makes durable.
pub const FAILPOINTS: &[&str] = &["backup.file.before", "backup.file.after", "restore.before", "restore.after"];

/// Ends the process as a crash would, if a test asks for it here.
pub fn failpoint(name: &'static str) {
    crate::instance::failpoint(name);
}
