//! The shim: the process beside each container. It runs libcontainer, owns the container's output, and records its end.
//!
//! It is single-threaded from its first to its last instruction (libcontainer's raw clone demands it), lives in a mount
//! namespace of its own (so that the overlay vanishes with it and its container, however they die), and exits as soon as the
//! end of the container is on disk.

use std::ffi::OsString;
use std::io::Write;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::ExitCode;

use jiff::Timestamp;
use rustix::fs::{FlockOperation, fcntl_lock};
use tracing_subscriber::filter::LevelFilter;

use crate::durable::read_json;
use crate::error::{Failure, FailureKind};
use crate::protocol::{Layout, Order, PROTOCOL_VERSION, Report};

mod bundle;
mod command;
mod container;
mod exec;
mod log;
mod rootfs;
mod serve;
mod system;
mod user;

/// Runs one container for [`crate::Runtime`], which spawns `<exe> shim <directory>`; `args` is what follows `shim`.
///
/// `main` must call this before it starts a thread.
pub fn shim_main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let mut args = args.into_iter();
    let (Some(directory), None) = (args.next(), args.next()) else {
        eprintln!("usage: shim DIRECTORY (this is spawned by the runtime, not by hand)");
        return ExitCode::from(2);
    };
    match system::detach() {
        Ok(system::Detached::Parent) => ExitCode::SUCCESS,
        Ok(system::Detached::Shim) => run(Layout::new(PathBuf::from(directory))),
        Err(error) => {
            eprintln!("cannot detach the shim: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(layout: Layout) -> ExitCode {
    trace();
    report(&Report::Shim { pid: std::process::id() });
    // Held until the process dies, whatever kills it.
    let lock = std::fs::File::create(layout.lock());
    let locked = lock.and_then(|lock| Ok(fcntl_lock(&lock, FlockOperation::NonBlockingLockExclusive).map(|()| lock)?));
    let Ok(_lock) = locked else {
        report(&Report::Failed(Failure::new(FailureKind::Runtime, "another shim runs in this directory")));
        return ExitCode::FAILURE;
    };
    let started =
        read_order(&layout).and_then(|order| container::start(&layout, order)).and_then(|(running, warnings)| {
            let report = Report::Started { pid: running.pid(), started_at: running.started_at, warnings };
            let server = serve::Server::new(&layout, running).map_err(runtime("cannot listen on shim.sock"))?;
            Ok((server, report))
        });
    match started {
        Ok((server, started)) => {
            report(&started);
            system::close_stdout();
            server.run()
        }
        Err(failure) => {
            report(&Report::Failed(failure));
            ExitCode::FAILURE
        }
    }
}

/// libcontainer's errors say less than what it traces before it returns them. That goes to `shim.log`, through a descriptor of
/// its own: in the container's first process, stderr is the container's.
fn trace() {
    if let Ok(log) = std::io::stderr().as_fd().try_clone_to_owned() {
        let log = std::sync::Mutex::new(std::fs::File::from(log));
        tracing_subscriber::fmt().with_max_level(LevelFilter::ERROR).with_ansi(false).with_writer(log).init();
    }
}

fn read_order(layout: &Layout) -> Result<Order, Failure> {
    let path = layout.order();
    let order = read_json::<Order>(&path).map_err(runtime("cannot read spec.json"))?;
    let order = order.ok_or_else(|| Failure::new(FailureKind::Runtime, format!("{} is missing", path.display())))?;
    if order.version != PROTOCOL_VERSION {
        let message = format!("the shim speaks protocol {PROTOCOL_VERSION}, its daemon {}", order.version);
        return Err(Failure::new(FailureKind::Runtime, message));
    }
    Ok(order)
}

/// One line on stdout. A daemon that is gone already is no reason to stop: its successor finds the container.
fn report(report: &Report) {
    if let Ok(line) = serde_json::to_string(report) {
        let mut out = std::io::stdout().lock();
        let _ = writeln!(out, "{line}").and_then(|()| out.flush());
    }
}

/// Names the operation that failed, for the user.
fn runtime<E: std::fmt::Display>(what: &str) -> impl FnOnce(E) -> Failure {
    move |error| Failure::new(FailureKind::Runtime, format!("{what}: {error}"))
}

/// A container whose command has been started.
struct Running {
    id: String,
    pid: rustix::process::Pid,
    started_at: Timestamp,
    cgroup: PathBuf,
    stdout: std::os::fd::OwnedFd,
    stderr: std::os::fd::OwnedFd,
    log: log::Log,
    spec: crate::spec::Spec,
}

impl Running {
    fn pid(&self) -> u32 {
        self.pid.as_raw_nonzero().get().cast_unsigned()
    }
}
