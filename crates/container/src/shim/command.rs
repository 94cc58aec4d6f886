//! Hands the container's command to the kernel, and says precisely why that failed.

use std::fs;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::rc::Rc;

use libcontainer::oci_spec::runtime::Spec;
use libcontainer::workload::{Executor, ExecutorError, ExecutorValidationError};
use rustix::pipe::{PipeFlags, pipe_with};

use crate::error::{Failure, FailureKind};

/// Runs in the container, at the very end. Its pipe closes when the command has been executed; what it carries before is the
/// failure, which libcontainer would lose.
#[derive(Clone)]
pub(super) struct Launcher {
    failures: Rc<OwnedFd>,
}

/// The outside end.
pub(super) struct Outcome {
    failures: OwnedFd,
}

pub(super) fn launcher() -> io::Result<(Launcher, Outcome)> {
    let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
    Ok((Launcher { failures: Rc::new(write) }, Outcome { failures: read }))
}

impl Outcome {
    /// Blocks until the command has been executed or could not be. The launcher must have been dropped on this side.
    pub fn wait(self) -> Result<(), Failure> {
        let mut message = String::new();
        let _ = fs::File::from(self.failures).read_to_string(&mut message);
        // The last one is what the kernel said, but the first is why we did not even ask it.
        match message.lines().next() {
            None => Ok(()),
            Some(message) => Err(Failure::new(FailureKind::Command, message)),
        }
    }
}

impl Launcher {
    fn refuse(&self, message: String) -> String {
        let mut line = message.replace('\n', " ");
        line.push('\n');
        let _ = rustix::io::write(&*self.failures, line.as_bytes());
        message
    }
}

impl Executor for Launcher {
    fn validate(&self, spec: &Spec) -> Result<(), ExecutorValidationError> {
        let (args, env) = command_line(spec);
        match args.first() {
            None => Err("exec: there is no command".to_owned()),
            Some(name) => locate(name, &env).map(drop),
        }
        .map_err(|message| ExecutorValidationError::ArgValidationError(self.refuse(message)))
    }

    fn exec(&self, spec: &Spec) -> Result<(), ExecutorError> {
        let (args, env) = command_line(spec);
        let refused = |message| ExecutorError::Other(self.refuse(message));
        let name = args.first().cloned().unwrap_or_default();
        let path = locate(&name, &env).map_err(refused)?;
        let variables = env.iter().filter_map(|variable| variable.split_once('='));
        // Also resets the signal mask and SIGPIPE.
        let error = Command::new(&path).arg0(&name).args(&args[1..]).env_clear().envs(variables).exec();
        let message = refused(explain(&name, &path, &error));
        let _ = writeln!(io::stderr(), "{message}");
        Err(message)
    }
}

fn command_line(spec: &Spec) -> (Vec<String>, Vec<String>) {
    let process = spec.process().as_ref();
    let args = process.and_then(|process| process.args().clone()).unwrap_or_default();
    let env = process.and_then(|process| process.env().clone()).unwrap_or_default();
    (args, env)
}

/// The file that `name` means: itself if it has a `/`, else the first executable in `PATH`.
fn locate(name: &str, env: &[String]) -> Result<PathBuf, String> {
    if name.contains('/') {
        return executable(Path::new(name))
            .map(|()| PathBuf::from(name))
            .map_err(|why| format!("exec: {name:?}: {why}"));
    }
    let path = env.iter().find_map(|variable| variable.strip_prefix("PATH=")).unwrap_or_default();
    let candidates =
        path.split(':').filter(|directory| !directory.is_empty()).map(|directory| Path::new(directory).join(name));
    let mut blocked = None;
    for candidate in candidates {
        match executable(&candidate) {
            Ok(()) => return Ok(candidate),
            Err(why) if candidate.exists() => blocked = blocked.or(Some(format!("exec: {candidate:?}: {why}"))),
            Err(_) => {}
        }
    }
    Err(blocked.unwrap_or_else(|| format!("exec: {name:?}: not found in PATH of the image ({path})")))
}

fn executable(path: &Path) -> Result<(), String> {
    let metadata = fs::metadata(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => "no such file in the image".to_owned(),
        _ => error.to_string(),
    })?;
    if metadata.is_dir() {
        return Err("is a directory".to_owned());
    }
    match rustix::fs::access(path, rustix::fs::Access::EXEC_OK) {
        Ok(()) => Ok(()),
        Err(_) => Err(format!("is not executable (mode {:o})", metadata.permissions().mode() & 0o7777)),
    }
}

/// The kernel says "no such file" of a file that is there when the interpreter or loader it names is not.
fn explain(name: &str, path: &Path, error: &io::Error) -> String {
    let start = start(path);
    let missing = error.raw_os_error() == Some(libc::ENOENT);
    if missing && start.starts_with(b"#!") {
        let line = String::from_utf8_lossy(start.split(|byte| *byte == b'\n').next().unwrap_or_default()).into_owned();
        return format!("exec: {name:?}: its interpreter is not in the image: {line}");
    }
    if missing && start.starts_with(b"\x7fELF") {
        return format!(
            "exec: {name:?}: the loader it is linked against is not in the image; link it statically, or use a base that has it"
        );
    }
    // execvp gives what is not a program to /bin/sh, hence ENOENT where there is no shell.
    if missing || error.raw_os_error() == Some(libc::ENOEXEC) {
        return format!("exec: {name:?}: not a program for this machine (no `#!` line, or another architecture)");
    }
    format!("exec: {name:?}: {error}")
}

fn start(path: &Path) -> Vec<u8> {
    let mut start = vec![0; 128];
    let length = fs::File::open(path).and_then(|mut file| file.read(&mut start)).unwrap_or_default();
    start.truncate(length);
    start
}
