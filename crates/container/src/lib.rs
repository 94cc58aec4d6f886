//! Runs one container: a bundle, a shim process beside it, an overlay, cgroups.
//!
//! ```text
//!  daemon (tokio)                     shim (one per container, single-threaded)        container
//!  Runtime::start ── spawns ────────▶ mounts the overlay in its own mount namespace
//!                 ◀─ pid ──────────── libcontainer: create, state.json, start ───────▶ pid 1
//!  Runtime::wait  ◀─ shim.sock ─────▶ waits, pumps stdout and stderr into the log ◀─── exits
//!                                     exit.json, then ends
//! ```
//!
//! All state stands in `<root>/<id>/`; [`Runtime`] keeps none, so a new one takes over every container of the old one.
//! The shim outlives the daemon. It holds a lock on its directory: a directory without a lock holder and without `exit.json`
//! belongs to a shim that was killed, and then the container is killed too and recorded as [`Exit::lost`].
//!
//! libcontainer forks without exec and allocates in between, which deadlocks in a process with threads. It is therefore
//! reachable only from the private module `shim`, which runs before any thread exists.

mod cgroup;
mod client;
mod durable;
mod error;
mod memory;
mod protocol;
mod runtime;
mod shim;
mod spec;

pub use client::ExecStream;
pub use durable::FAILPOINTS;
pub use error::{Error, Failure, FailureKind, Result};
pub use memory::give_back;
pub use protocol::PROTOCOL_VERSION;
pub use runtime::{Config, Info, Runtime, Started};
pub use shim::shim_main;
pub use spec::{
    Capabilities, ExecResult, ExecSpec, Exit, Mount, MountKind, Namespace, Network, Resources, Rootfs, Spec, User,
    Writable,
};

/// Whether seccomp profiles can be applied. They cannot: libcontainer is built without libseccomp, and would ignore a profile
/// silently. Whoever runs Pods refuses those that insist on one.
pub const fn seccomp_supported() -> bool {
    false
}
