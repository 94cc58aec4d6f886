//! What daemon and shim say to each other: one JSON value per line, over `shim.sock` (and the shim's stdout while it starts).

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::error::Failure;
use crate::spec::{Exit, Spec, User};

/// Raised when a message changes its meaning. A daemon of another version can still kill and wait: these two never change.
pub const PROTOCOL_VERSION: u32 = 1;

/// The longest line; an exec with a large environment is the largest.
pub(crate) const MESSAGE_BYTES_MAX: usize = 1 << 20;

/// What the daemon leaves for the shim in `spec.json`.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Order {
    pub version: u32,
    pub cgroup: PathBuf,
    pub spec: Spec,
}

/// `state.json`: written once, when the container exists and before its command runs.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct State {
    pub version: u32,
    pub id: String,
    pub pid: u32,
    pub started_at: Timestamp,
    pub labels: std::collections::BTreeMap<String, String>,
}

/// What the shim prints while it starts a container.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Report {
    /// First line: the process to kill when nothing follows.
    Shim {
        pid: u32,
    },
    Started {
        pid: u32,
        started_at: Timestamp,
        warnings: Vec<String>,
    },
    Failed(Failure),
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Request {
    pub version: u32,
    pub op: Operation,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Operation {
    /// Answered when the container has ended and that is recorded.
    Wait,
    Kill {
        signal: i32,
    },
    /// Comes with three descriptors: stdin, stdout, stderr. Closing the connection kills the process.
    Exec {
        args: Vec<String>,
        env: Vec<String>,
        cwd: Option<String>,
        user: Option<User>,
    },
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Answer {
    Version(u32),
    Exit(Exit),
    Killed,
    ExecStarted { pid: u32 },
    ExecExited { code: i32 },
    Failed(Failure),
}

/// The files of one container.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    pub directory: PathBuf,
}

impl Layout {
    pub fn new(directory: impl AsRef<Path>) -> Self {
        Self { directory: directory.as_ref().to_owned() }
    }
    pub fn order(&self) -> PathBuf {
        self.directory.join("spec.json")
    }
    pub fn state(&self) -> PathBuf {
        self.directory.join("state.json")
    }
    pub fn exit(&self) -> PathBuf {
        self.directory.join("exit.json")
    }
    pub fn lock(&self) -> PathBuf {
        self.directory.join("lock")
    }
    pub fn shim_log(&self) -> PathBuf {
        self.directory.join("shim.log")
    }
    pub fn rootfs(&self) -> PathBuf {
        self.directory.join("rootfs")
    }
    /// libcontainer's own state.
    pub fn runtime(&self) -> PathBuf {
        self.directory.join("runtime")
    }
}
