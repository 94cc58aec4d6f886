//! Small files that survive a crash, and the points where the tests crash.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;
use std::sync::OnceLock;

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Every point at which `TRIMTAB_FAILPOINT=<name>` aborts the process that reaches it (the daemon for `spec`, else the shim).
pub const FAILPOINTS: &[&str] = &[
    "container.spec.before",
    "container.spec.after",
    "container.state.before",
    "container.state.after",
    "container.exit.before",
    "container.exit.after",
];

/// The variable a shim inherits, alone of the daemon's environment.
pub(crate) const FAILPOINT_VARIABLE: &str = "TRIMTAB_FAILPOINT";

pub(crate) fn failpoint(name: &'static str) {
    static ARMED: OnceLock<Option<String>> = OnceLock::new();
    let armed = ARMED.get_or_init(|| std::env::var(FAILPOINT_VARIABLE).ok());
    if armed.as_deref() == Some(name) {
        std::process::abort();
    }
}

/// Replaces `path` by `value` as JSON, so that a reader sees the old or the new file and a crash keeps one of them.
pub(crate) fn write_json(path: &Path, value: &impl Serialize) -> io::Result<()> {
    let directory = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    let temporary = path.with_extension("tmp");
    let mut file = File::create(&temporary)?;
    file.write_all(&serde_json::to_vec(value)?)?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    File::open(directory)?.sync_all()
}

/// `Ok(None)` when there is no such file.
pub(crate) fn read_json<T: DeserializeOwned>(path: &Path) -> io::Result<Option<T>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
