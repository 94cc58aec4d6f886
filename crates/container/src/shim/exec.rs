//! A further process in the container. Runs in a child of the shim, which goes on with its own work meanwhile.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use libcontainer::container::builder::ContainerBuilder;
use libcontainer::syscall::syscall::SyscallType;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, Signal, WaitOptions, WaitStatus, kill_process, pidfd_open, waitpid};
use serde_json::{Value, json};

use super::{bundle, command, container::chain, runtime, serve, user};
use crate::durable::read_json;
use crate::error::{Failure, FailureKind};
use crate::protocol::{Answer, Layout};
use crate::spec::User;

/// What the daemon asked for.
pub(super) struct Exec {
    pub args: Vec<String>,
    pub env: Vec<String>,
    pub cwd: Option<String>,
    pub user: Option<User>,
    /// stdin, stdout, stderr.
    pub streams: [OwnedFd; 3],
}

/// Runs the command to its end, telling the client; a client that hangs up kills it.
pub(super) fn run(layout: &Layout, id: &str, exec: Exec, client: &UnixStream) {
    let scratch = layout.directory.join(format!("exec-{}", std::process::id()));
    let started = start(layout, id, exec, scratch.clone());
    let _ = fs::remove_dir_all(scratch);
    match started {
        Ok(pid) => {
            serve::answer(client, &Answer::ExecStarted { pid: pid.as_raw_nonzero().get().cast_unsigned() });
            let code = supervise(pid, client);
            serve::answer(client, &Answer::ExecExited { code });
        }
        Err(failure) => serve::answer(client, &Answer::Failed(failure)),
    }
}

fn start(layout: &Layout, id: &str, exec: Exec, scratch: PathBuf) -> Result<Pid, Failure> {
    let process = process(layout, &exec)?;
    // libcontainer leaves a socket per exec in the state directory; probes would fill it. Each gets a copy that goes.
    let state = scratch.join(id);
    copy_state(&layout.runtime().join(id), &state).map_err(runtime("cannot copy the container's state"))?;
    let process_file = scratch.join("process.json");
    fs::write(&process_file, process.to_string()).map_err(runtime("cannot write process.json"))?;
    let (launcher, outcome) = command::launcher().map_err(runtime("cannot make a pipe"))?;
    let [stdin, stdout, stderr] = exec.streams;
    let failed = |error: libcontainer::error::LibcontainerError| runtime("cannot exec")(chain(&error));
    let pid = ContainerBuilder::new(id.to_owned(), SyscallType::default())
        .with_root_path(&scratch)
        .map_err(failed)?
        .with_executor(launcher)
        .with_stdin(stdin)
        .with_stdout(stdout)
        .with_stderr(stderr)
        .as_tenant()
        .with_process(Some(process_file))
        .build();
    match (pid, outcome.wait()) {
        (_, Err(failure)) => Err(failure),
        (Err(error), _) => Err(failed(error)),
        (Ok(pid), Ok(())) => {
            Pid::from_raw(pid.as_raw()).ok_or_else(|| Failure::new(FailureKind::Runtime, "libcontainer gave no pid"))
        }
    }
}

/// The container's own process with what differs.
fn process(layout: &Layout, exec: &Exec) -> Result<Value, Failure> {
    let configuration =
        read_json::<Value>(&layout.directory.join("config.json")).map_err(runtime("cannot read config.json"))?;
    let mut process = configuration.unwrap_or_default()["process"].take();
    process["args"] = json!(exec.args);
    process["env"] = json!(merged(&process["env"], &exec.env));
    if let Some(cwd) = &exec.cwd {
        process["cwd"] = json!(bundle::directory(cwd));
    }
    if let Some(wanted) = &exec.user {
        let identity = user::resolve(&layout.rootfs(), wanted)?;
        process["user"] = json!({"uid": identity.uid, "gid": identity.gid, "additionalGids": identity.groups});
    }
    Ok(process)
}

fn merged(base: &Value, more: &[String]) -> Vec<String> {
    let base = base.as_array().into_iter().flatten().filter_map(Value::as_str);
    let all = base.chain(more.iter().map(String::as_str)).filter_map(|variable| variable.split_once('='));
    let merged: BTreeMap<&str, &str> = all.collect();
    merged.into_iter().map(|(name, value)| format!("{name}={value}")).collect()
}

fn copy_state(from: &std::path::Path, to: &std::path::Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            fs::copy(entry.path(), to.join(entry.file_name()))?;
        }
    }
    Ok(())
}

/// Waits for the process, or for the client to hang up, which kills it.
fn supervise(pid: Pid, client: &UnixStream) -> i32 {
    if let Ok(process) = pidfd_open(pid, PidfdFlags::empty()) {
        loop {
            let mut events = [PollFd::new(&process, PollFlags::IN), PollFd::new(client, PollFlags::IN)];
            match poll(&mut events, None) {
                Err(rustix::io::Errno::INTR) => continue,
                Err(_) => break,
                Ok(_) if !events[0].revents().is_empty() => break,
                // Nothing may be sent any more: readable means closed.
                Ok(_) => {
                    let _ = kill_process(pid, Signal::KILL);
                    break;
                }
            }
        }
    }
    match waitpid(Some(pid), WaitOptions::empty()) {
        Ok(Some((_, status))) => code(status).0,
        _ => 128 + Signal::KILL.as_raw(),
    }
}

/// Exit code and signal.
pub(super) fn code(status: WaitStatus) -> (i32, Option<i32>) {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => (code, None),
        (None, Some(signal)) => (128 + signal, Some(signal)),
        (None, None) => (128, None),
    }
}
