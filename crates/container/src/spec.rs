//! What to run: the vocabulary of [`crate::Runtime`].

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// One container. Paths are absolute.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Spec {
    /// Unique below the runtime's root: `[a-zA-Z0-9][a-zA-Z0-9_.-]*`, at most 128 characters.
    pub id: String,
    pub rootfs: Rootfs,
    /// Command and arguments; a command without `/` is searched in the container's `PATH`.
    pub args: Vec<String>,
    /// `NAME=value`. `PATH` and `HOME` get a default when absent.
    pub env: Vec<String>,
    /// Created when missing. Empty means `/`.
    pub cwd: String,
    pub user: User,
    pub hostname: Option<String>,
    pub network: Network,
    pub pid: Namespace,
    pub ipc: Namespace,
    pub uts: Namespace,
    pub mounts: Vec<Mount>,
    pub resources: Resources,
    pub capabilities: Capabilities,
    /// Everything the host's root can do: all capabilities, all devices, nothing masked.
    pub privileged: bool,
    pub no_new_privileges: bool,
    pub read_only_rootfs: bool,
    /// Where stdout and stderr go, in the CRI log format; kept below twice 10 MiB (`<log>` and `<log>.1`).
    pub log: PathBuf,
    /// Kept with the container and given back by [`crate::Runtime::list`].
    pub labels: BTreeMap<String, String>,
}

/// Layers under one writable directory, joined by overlayfs.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Rootfs {
    /// Unpacked layers, the base first, as in an image's configuration. None is an empty file system (`FROM scratch`).
    pub layers: Vec<PathBuf>,
    /// Where writes go; `None`: into the container's own directory, deleted with it.
    pub writable: Option<Writable>,
}

/// The writable half of an overlay: two directories of one file system, which is not an overlay itself. They are created.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Writable {
    pub upper: PathBuf,
    pub work: PathBuf,
}

/// Who the process is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// As in an image's configuration: empty (root), `uid`, `uid:gid`, `user`, `user:group`; names are looked up in the image.
    pub name: String,
    /// Supplementary group ids beside those of the image's `/etc/group`.
    pub extra: Vec<u32>,
}

impl User {
    pub fn ids(uid: u32, gid: u32) -> Self {
        Self { name: format!("{uid}:{gid}"), extra: Vec::new() }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Network {
    /// A namespace of its own that has only loopback.
    #[default]
    None,
    /// The host's.
    Host,
    /// An existing one, such as a Pod's: `/run/netns/…`.
    Namespace(PathBuf),
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Namespace {
    #[default]
    New,
    Host,
    /// An existing one: `/proc/<pid>/ns/…`.
    Path(PathBuf),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// A path of the host; unused for tmpfs.
    pub source: PathBuf,
    /// A path in the container; created when missing.
    pub target: PathBuf,
    pub read_only: bool,
    pub kind: MountKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MountKind {
    Bind,
    Tmpfs { size_bytes: Option<u64> },
}

/// Limits; `None` is no limit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resources {
    /// Thousandths of a CPU, as CFS quota over 100 ms.
    pub cpu_millis: Option<u64>,
    /// Relative weight under contention, 1024 per CPU requested.
    pub cpu_shares: Option<u64>,
    pub memory_bytes: Option<u64>,
    pub pids: Option<u64>,
    /// -1000..=1000. Best effort: lowering it needs CAP_SYS_RESOURCE.
    pub oom_score_adj: Option<i32>,
}

/// Linux capabilities, without the prefix `CAP_`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capabilities(pub BTreeSet<String>);

/// What Docker and containerd grant.
const DEFAULT_CAPABILITIES: [&str; 14] = [
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "NET_RAW",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];

const ALL_CAPABILITIES: [&str; 41] = [
    "AUDIT_CONTROL",
    "AUDIT_READ",
    "AUDIT_WRITE",
    "BLOCK_SUSPEND",
    "BPF",
    "CHECKPOINT_RESTORE",
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "IPC_LOCK",
    "IPC_OWNER",
    "KILL",
    "LEASE",
    "LINUX_IMMUTABLE",
    "MAC_ADMIN",
    "MAC_OVERRIDE",
    "MKNOD",
    "NET_ADMIN",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_RAW",
    "PERFMON",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYSLOG",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_CHROOT",
    "SYS_MODULE",
    "SYS_NICE",
    "SYS_PACCT",
    "SYS_PTRACE",
    "SYS_RAWIO",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "WAKE_ALARM",
];

impl Default for Capabilities {
    fn default() -> Self {
        Self(DEFAULT_CAPABILITIES.map(String::from).into())
    }
}

impl Capabilities {
    pub fn all() -> Self {
        Self(ALL_CAPABILITIES.map(String::from).into())
    }

    /// Applies a Kubernetes security context: `add` and `drop` name capabilities, with or without `CAP_`, or `ALL`.
    /// Returns the first name that is not a capability.
    pub fn adjusted(mut self, add: &[String], drop: &[String]) -> std::result::Result<Self, String> {
        for name in drop {
            match known(name)? {
                None => self.0.clear(),
                Some(name) => {
                    self.0.remove(name);
                }
            }
        }
        for name in add {
            match known(name)? {
                None => self = Self::all(),
                Some(name) => {
                    self.0.insert(name.to_owned());
                }
            }
        }
        Ok(self)
    }
}

/// `Ok(None)` for `ALL`.
fn known(name: &str) -> std::result::Result<Option<&'static str>, String> {
    let bare = name.strip_prefix("CAP_").unwrap_or(name);
    if bare == "ALL" {
        return Ok(None);
    }
    ALL_CAPABILITIES.iter().find(|known| **known == bare).map(|known| Some(*known)).ok_or_else(|| name.to_owned())
}

/// How a container ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// The exit code; 128 + signal when a signal ended it.
    pub code: i32,
    pub signal: Option<i32>,
    /// The kernel killed a process of this container for want of memory.
    pub oom: bool,
    /// The shim died before it could record the end (or the machine stopped): the container was killed, and `code` is assumed.
    #[serde(default)]
    pub lost: bool,
    pub finished_at: Timestamp,
}

/// A further process in a running container.
#[derive(Clone, Debug)]
pub struct ExecSpec {
    pub args: Vec<String>,
    /// Added to the container's; the same name replaces.
    pub env: Vec<String>,
    /// `None`: the container's.
    pub cwd: Option<String>,
    /// `None`: the container's.
    pub user: Option<User>,
    /// After this the process is killed and the result is [`crate::Error::ExecTimeout`].
    pub timeout: Duration,
    /// Of each of stdout and stderr; what exceeds it is read and dropped.
    pub output_bytes_max: usize,
}

impl ExecSpec {
    /// A command with the container's environment, directory and user, 10 s and 64 KiB of output.
    pub fn new(args: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self {
            args: args.into_iter().map(Into::into).collect(),
            env: Vec::new(),
            cwd: None,
            user: None,
            timeout: Duration::from_secs(10),
            output_bytes_max: 64 << 10,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExecResult {
    /// The exit code; 128 + signal when a signal ended it.
    pub code: i32,
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
}
