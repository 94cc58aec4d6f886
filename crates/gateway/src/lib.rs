//! The gateway: sends HTTP requests to the endpoints that the published [`RouteTable`](model::RouteTable) names.
//!
//! ```text
//!  control process                    gateway process (outlives it)
//!  Client ──unix socket, JSON lines──▶ server ──▶ table ◀── proxy ◀── clients
//!  (starts it, publishes)                └─▶ routes.json            └──▶ endpoints
//! ```
//!
//! The way of a request: `serve` (a thread with its own runtime) → `session` (one client's connection) → `proxy` (picks
//! an endpoint and hands the request over) → `talk` (its body goes, the answer comes) → `tunnel` (after an upgrade).
//!
//! It is a process of its own, so that traffic flows while the control process is restarted or dead. It knows hosts,
//! weights and addresses, nothing else.

mod buffer;
mod client;
mod control;
pub mod descriptors;
mod endpoint;
mod error;
mod handover;
mod holder;
mod http;
mod inspect;
mod measure;
mod patience;
mod proxy;
mod serve;
mod server;
mod session;
mod table;
mod talk;
mod tunnel;

pub use client::{Client, Options as ClientOptions, stop};
pub use control::{Started, Status};
pub use error::Error;
pub use holder::{Holder, port_holder};
pub use inspect::{at_rest, measures};
pub use server::{Options, run};

use std::ffi::OsString;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::OnceLock;

/// Where a killed process is tested to recover: before and after each write that lasts.
pub const FAILPOINTS: &[&str] = &["gateway.routes.before", "gateway.routes.after"];

const FAILPOINT_VARIABLE: &str = "TRIMTAB_FAILPOINT";

/// Ends the process as a crash would, if a test asks for it here.
fn failpoint(name: &'static str) {
    static WANTED: OnceLock<Option<String>> = OnceLock::new();
    debug_assert!(FAILPOINTS.contains(&name), "{name} is not listed");
    if WANTED.get_or_init(|| std::env::var(FAILPOINT_VARIABLE).ok()).as_deref() == Some(name) {
        std::process::abort();
    }
}

/// `trimtab gateway --listen ADDRESS --state FILE --socket FILE [--take-over true]`: the whole life of a gateway process.
/// `args` are what follows the subcommand. The first line of its output says where it serves, or why not.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    // A session of its own: Ctrl-C and the end of the terminal are meant for whoever started us.
    let _ = rustix::process::setsid();
    match parse(args).and_then(|(options, take_over)| serve(options, take_over)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error = error.explain(), "gateway");
            ExitCode::FAILURE
        }
    }
}

fn serve(options: Options, take_over: bool) -> Result<(), Error> {
    // Only for control connections: threads of their own serve traffic.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Error::Start)?;
    let result = runtime.block_on(run(options, take_over, tell));
    // Streams that are still open end with the process.
    runtime.shutdown_background();
    result
}

/// To whoever started us; nobody may be there any more.
fn tell(started: Started) {
    let mut line = serde_json::to_vec(&started).expect("an address or a text is JSON");
    line.push(b'\n');
    let mut output = std::io::stdout().lock();
    let _ = output.write_all(&line).and_then(|()| output.flush());
}

/// Where to serve, and whether to take that over from a gateway that does.
fn parse(args: impl IntoIterator<Item = OsString>) -> Result<(Options, bool), Error> {
    let (mut listen, mut state, mut socket, mut take_over) = (None, None, None, false);
    let mut args = args.into_iter();
    while let Some(flag) = args.next() {
        let flag = flag.to_string_lossy().into_owned();
        let value = args.next().ok_or_else(|| Error::Arguments(format!("{flag} needs a value")))?;
        match flag.as_str() {
            "--listen" => {
                let text = value.to_string_lossy();
                let address = text.parse().map_err(|_| Error::Arguments(format!("{text:?} is not an address")))?;
                listen = Some(address);
            }
            "--state" => state = Some(PathBuf::from(value)),
            "--socket" => socket = Some(PathBuf::from(value)),
            "--take-over" => take_over = value == "true",
            _ => return Err(Error::Arguments(format!("{flag:?} is unknown"))),
        }
    }
    match (listen, state, socket) {
        (Some(listen), Some(state), Some(socket)) => Ok((Options { listen, state, socket }, take_over)),
        _ => Err(Error::Arguments("a value is missing".into())),
    }
}
