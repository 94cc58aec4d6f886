//! The binary: one file per command, configuration, wiring, the listeners.
//!
//! The processes that outlive the control process (`shim`, `gateway`) and git's hooks are this binary
//! too. They are told apart here, before any thread exists, because a shim must stay single-threaded.

// A print macro panics where nobody reads: [`output::say`] does not.
#![deny(clippy::print_stdout)]

mod backup;
mod client;
mod commands;
mod instance;
mod output;
mod up;

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os();
    let _program = arguments.next();
    match arguments.next().as_deref().and_then(OsStr::to_str) {
        Some("shim") => container::shim_main(arguments),
        Some("gateway") => gateway::main(arguments),
        Some("hook") => hook(arguments),
        _ => commands::main(),
    }
}

/// One of git's hooks: `hook NAME SOCKET`.
fn hook(mut arguments: impl Iterator<Item = OsString>) -> ExitCode {
    match (arguments.next(), arguments.next()) {
        (Some(name), Some(socket)) => source::hook_main(&name.to_string_lossy(), Path::new(&socket)),
        _ => {
            eprintln!("usage: hook NAME SOCKET (git runs this, not people)");
            ExitCode::from(2)
        }
    }
}
