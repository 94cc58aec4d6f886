//! Starting a shim, and telling whether it lives.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use rustix::fs::{FlockOperation, fcntl_lock};
use rustix::process::{Pid, Signal, kill_process};

use super::Started;
use crate::durable::FAILPOINT_VARIABLE;
use crate::error::{Error, Failure, FailureKind, Result};
use crate::protocol::{Layout, MESSAGE_BYTES_MAX, Report};

/// A start takes some 30 ms; this is for a machine that is out of memory or disk.
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// How much of a dead shim's log an error shows.
const LOG_TAIL_BYTES: usize = 2000;

/// Spawns the shim of a prepared directory and waits for its report.
pub(super) fn spawn(exe: &Path, layout: &Layout, id: &str) -> Result<Started> {
    let failed = |source| Error::Spawn { exe: exe.to_owned(), source };
    let log = File::create(layout.shim_log()).map_err(failed)?;
    let mut command = Command::new(exe);
    command.arg("shim").arg(&layout.directory).current_dir(&layout.directory);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log);
    // The shim must not see what the daemon sees: LISTEN_FDS would leak descriptors into the container, and secrets stand there.
    command.env_clear();
    command.envs(std::env::var_os(FAILPOINT_VARIABLE).map(|value| (FAILPOINT_VARIABLE, value)));
    let mut child = command.spawn().map_err(failed)?;
    let reports = child.stdout.take().map(BufReader::new);
    // The process we spawned forks the shim and ends at once, so that the shim is nobody's child and we have nothing to reap.
    child.wait().map_err(failed)?;
    let (sender, receiver) = mpsc::sync_channel(2);
    if let Some(reports) = reports {
        std::thread::spawn(move || forward(reports, &sender));
    }
    receive(&receiver, layout, id)
}

fn forward(reports: BufReader<impl Read>, sender: &mpsc::SyncSender<Report>) {
    for line in reports.take(MESSAGE_BYTES_MAX as u64).lines().map_while(io::Result::ok) {
        let Ok(report) = serde_json::from_str(&line) else { return };
        if sender.send(report).is_err() {
            return;
        }
    }
}

fn receive(receiver: &mpsc::Receiver<Report>, layout: &Layout, id: &str) -> Result<Started> {
    let mut shim = None;
    loop {
        match receiver.recv_timeout(START_TIMEOUT) {
            Ok(Report::Shim { pid }) => shim = Some(pid),
            Ok(Report::Started { pid, started_at, warnings }) => return Ok(Started { pid, started_at, warnings }),
            Ok(Report::Failed(mut failure)) => {
                // The shim is about to end; its lock tells when its mounts are gone.
                wait_for_lock(&layout.lock()).map_err(|source| Error::Read { path: layout.lock(), source })?;
                if failure.kind == FailureKind::Runtime {
                    failure.message = format!("{}\n{}", failure.message, tail(layout)).trim_end().to_owned();
                }
                return Err(Error::Start { id: id.to_owned(), failure });
            }
            Err(mpsc::RecvTimeoutError::Timeout) => {
                if let Some(pid) = shim.and_then(|pid| Pid::from_raw(pid.cast_signed())) {
                    let _ = kill_process(pid, Signal::KILL);
                }
                return Err(Error::StartTimeout { id: id.to_owned(), timeout: START_TIMEOUT });
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => {
                return Err(Error::Start { id: id.to_owned(), failure: died(layout) });
            }
        }
    }
}

/// A shim that ended without a report.
fn died(layout: &Layout) -> Failure {
    let tail = tail(layout);
    let detail = if tail.is_empty() { "it wrote nothing" } else { &tail };
    Failure::new(FailureKind::Runtime, format!("the shim died while starting it: {detail}"))
}

/// What the shim wrote last.
fn tail(layout: &Layout) -> String {
    let log = std::fs::read(layout.shim_log()).unwrap_or_default();
    String::from_utf8_lossy(&log[log.len().saturating_sub(LOG_TAIL_BYTES)..]).trim().to_owned()
}

/// Whether a shim holds the lock. The lock is the kernel's record lock, which no child inherits and every kind of death releases.
pub(super) fn is_locked(path: &Path) -> io::Result<bool> {
    let Some(file) = open(path)? else { return Ok(false) };
    match fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(false),
        Err(rustix::io::Errno::AGAIN | rustix::io::Errno::ACCESS) => Ok(true),
        Err(error) => Err(error.into()),
    }
}

/// Blocks until no shim holds the lock.
pub(super) fn wait_for_lock(path: &Path) -> io::Result<()> {
    match open(path)? {
        Some(file) => Ok(fcntl_lock(&file, FlockOperation::LockExclusive)?),
        None => Ok(()),
    }
}

fn open(path: &Path) -> io::Result<Option<File>> {
    match OpenOptions::new().write(true).open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
