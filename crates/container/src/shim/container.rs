//! Creating and starting the container.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use jiff::Timestamp;
use libcontainer::container::builder::ContainerBuilder;
use libcontainer::syscall::syscall::SyscallType;
use rustix::fs::{Mode, OFlags, ResolveFlags, mkdirat, open, openat2};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::Pid;
use rustix::thread::{CapabilitySet, UnshareFlags};

use super::command::{self, Launcher};
use super::{Running, bundle, log::Log, rootfs, runtime, system, user};
use crate::durable::{failpoint, write_json};
use crate::error::{Error, Failure};
use crate::protocol::{Layout, Order, PROTOCOL_VERSION, State};
use crate::spec::{Capabilities, Network, Spec};

/// Starts what the order says. On an error the daemon removes what was made: directory and cgroup.
pub(super) fn start(layout: &Layout, order: Order) -> Result<(Running, Vec<String>), Failure> {
    let Order { spec, cgroup, .. } = order;
    rootfs::mount_root(layout, &spec.rootfs)?;
    let root = layout.rootfs();
    let identity = user::resolve(&root, &spec.user)?;
    let cwd = bundle::directory(&spec.cwd);
    ensure_directory(&root, &cwd).map_err(runtime("cannot make the working directory"))?;
    let (capabilities, warning) = grantable(&spec);
    let configuration = bundle::configuration(&spec, &root, &cgroup, &identity, &capabilities);
    fs::write(layout.directory.join("config.json"), configuration.to_string())
        .map_err(runtime("cannot write config.json"))?;
    if spec.network == Network::None {
        system::unshare(UnshareFlags::NEWNET).map_err(runtime("cannot make a network namespace"))?;
        system::loopback_up().map_err(runtime("cannot set loopback up"))?;
    }
    let log = Log::open(&spec.log).map_err(runtime(&format!("cannot open the log {}", spec.log.display())))?;
    let (launcher, outcome) = command::launcher().map_err(runtime("cannot make a pipe"))?;
    let streams = Streams::new().map_err(runtime("cannot make pipes"))?;
    let (mut container, stdout, stderr) = match create(layout, &spec.id, launcher, streams) {
        Ok(created) => created,
        // What the launcher found is clearer than what libcontainer makes of it.
        Err(failure) => return Err(outcome.wait().err().unwrap_or(failure)),
    };
    let pid = container.pid().and_then(|pid| Pid::from_raw(pid.as_raw()));
    let pid = pid.ok_or("libcontainer gave no pid").map_err(runtime("cannot create the container"))?;
    let warnings = warning.into_iter().chain(adjust_oom_score(&spec, pid)).collect();
    let started_at = Timestamp::now();
    let running = Running { id: spec.id.clone(), pid, started_at, cgroup, stdout, stderr, log, spec };
    record(layout, &running)?;
    container.start().map_err(|error| runtime("cannot start the container")(chain(&error)))?;
    outcome.wait()?;
    Ok((running, warnings))
}

/// The container's ends of its streams, and ours.
struct Streams {
    stdin: OwnedFd,
    stdout: (OwnedFd, OwnedFd),
    stderr: (OwnedFd, OwnedFd),
}

impl Streams {
    fn new() -> io::Result<Self> {
        let stdin = fs::File::open("/dev/null")?.into();
        Ok(Self { stdin, stdout: pipe_with(PipeFlags::CLOEXEC)?, stderr: pipe_with(PipeFlags::CLOEXEC)? })
    }
}

type Created = (libcontainer::container::Container, OwnedFd, OwnedFd);

fn create(layout: &Layout, id: &str, launcher: Launcher, streams: Streams) -> Result<Created, Failure> {
    let failed = |error: libcontainer::error::LibcontainerError| runtime("cannot create the container")(chain(&error));
    let (stdout, stdout_theirs) = streams.stdout;
    let (stderr, stderr_theirs) = streams.stderr;
    let container = ContainerBuilder::new(id.to_owned(), SyscallType::default())
        .with_root_path(layout.runtime())
        .map_err(failed)?
        .with_executor(launcher)
        .with_stdin(streams.stdin)
        .with_stdout(stdout_theirs)
        .with_stderr(stderr_theirs)
        .as_init(&layout.directory)
        .with_systemd(false)
        .build()
        .map_err(failed)?;
    Ok((container, stdout, stderr))
}

/// An error with its causes; libcontainer's first words seldom say what happened.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

/// From here on, a daemon that looks finds the container.
fn record(layout: &Layout, running: &Running) -> Result<(), Failure> {
    let state = State {
        version: PROTOCOL_VERSION,
        id: running.id.clone(),
        pid: running.pid(),
        started_at: running.started_at,
        labels: running.spec.labels.clone(),
    };
    failpoint("container.state.before");
    let written = write_json(&layout.state(), &state);
    failpoint("container.state.after");
    written
        .map_err(|source| Error::Write { path: layout.state(), source })
        .map_err(|error| runtime("cannot record it")(chain(&error)))
}

/// The capabilities that the spec asks for and we have ourselves; a warning names the rest. The kernel would refuse them all.
fn grantable(spec: &Spec) -> (Vec<String>, Option<String>) {
    let asked = if spec.privileged { Capabilities::all() } else { spec.capabilities.clone() };
    let ours = rustix::thread::capabilities(None).map_or(CapabilitySet::all(), |sets| sets.permitted);
    let (granted, missing): (Vec<String>, Vec<String>) =
        asked.0.into_iter().partition(|name| CapabilitySet::from_name(name).is_some_and(|one| ours.contains(one)));
    let warning = || format!("without the capabilities that this machine does not give us: {}", missing.join(", "));
    let warning = (!missing.is_empty()).then(warning);
    (granted, warning)
}

fn adjust_oom_score(spec: &Spec, pid: Pid) -> Option<String> {
    let score = spec.resources.oom_score_adj?;
    let path = format!("/proc/{}/oom_score_adj", pid.as_raw_nonzero());
    let error = fs::write(path, score.to_string()).err()?;
    Some(format!("the OOM score stays as it is, {score} was refused: {error}"))
}

/// `mkdir -p` inside the root file system: links in the image resolve in it, never on the host.
fn ensure_directory(root: &Path, path: &str) -> io::Result<()> {
    let root = open(root, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let inside = |path: &str| openat2(&root, path, flags, Mode::empty(), ResolveFlags::IN_ROOT);
    let mut prefix = String::from(".");
    for name in path.split('/').filter(|name| !name.is_empty() && *name != ".") {
        let parent = inside(&prefix)?;
        prefix = format!("{prefix}/{name}");
        match inside(&prefix) {
            Ok(_) => {}
            Err(Errno::NOENT) => mkdirat(&parent, name, Mode::from_raw_mode(0o755))?,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
