//! The binary: one file per command, configuration, wiring, the listeners.
//!
//! The processes that outlive the control process (`shim`, `gateway`) and git's hooks are this binary
//! too. They are told apart here, before any thread exists, because a shim must stay single-threaded.

mod client;
mod commands;
mod instance;
mod output;
mod up;

use std::process::ExitCode;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os();
    let _program = arguments.next();
    let rest = || std::env::args().skip(2).collect::<Vec<_>>();
    match arguments.next().and_then(|a| a.into_string().ok()).as_deref() {
        Some("shim") => container::shim_main(rest()),
        Some("gateway") => gateway::main(rest()),
        Some("hook") => source::hook_main(rest()),
        _ => commands::main(),
    }
}
