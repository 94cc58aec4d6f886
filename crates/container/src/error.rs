//! What can go wrong, as the daemon sees it.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub type Result<T> = std::result::Result<T, Error>;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(
        "container id {id:?} must be letters, digits, `_`, `.` and `-`, begin with a letter or digit, and have at most 128 characters"
    )]
    Id { id: String },
    #[error("the command of container {id} is empty")]
    Args { id: String },
    #[error("container {id} exists already")]
    Exists { id: String },
    #[error("container {id} does not exist")]
    NotFound { id: String },
    #[error("container {id} is not running")]
    NotRunning { id: String },
    #[error("cannot prepare the directory {}", path.display())]
    Prepare {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("cannot spawn the shim {}", exe.display())]
    Spawn {
        exe: PathBuf,
        #[source]
        source: io::Error,
    },
    /// Creating or starting was refused; the message is meant for the user.
    #[error("container {id}: {failure}")]
    Start { id: String, failure: Failure },
    #[error("container {id}: the shim did not start it within {}s", timeout.as_secs())]
    StartTimeout { id: String, timeout: Duration },
    #[error("container {id}: {failure}")]
    Exec { id: String, failure: Failure },
    #[error("container {id}: exec did not end within {}s and was killed", timeout.as_secs_f32())]
    ExecTimeout { id: String, timeout: Duration },
    #[error("container {id}: cannot talk to its shim")]
    Shim {
        id: String,
        #[source]
        source: io::Error,
    },
    #[error(
        "container {id}: its shim, of another version of this program, speaks protocol {theirs} and not {}: the container runs on \
         and can be stopped; commands run in it again once it was made anew (kubectl rollout restart)",
        crate::PROTOCOL_VERSION
    )]
    Version { id: String, theirs: u32 },
    #[error("cannot read {}", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("cannot write {}", path.display())]
    Write {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("cannot remove {}", path.display())]
    Remove {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("cannot end the processes of cgroup {}", path.display())]
    Cgroup {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

/// Why a container or an exec did not start; travels from the shim.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    pub kind: FailureKind,
    pub message: String,
}

impl Failure {
    pub(crate) fn new(kind: FailureKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }
}

/// What a failure is about, which tells whose mistake it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// The command is missing or cannot be executed.
    Command,
    /// The user or group is not in the image.
    User,
    /// The layers cannot be joined.
    Rootfs,
    /// The machine or the runtime refused.
    Runtime,
}
