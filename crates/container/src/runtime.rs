//! The daemon's side: start, wait, kill, delete, list, exec.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::io::AsyncReadExt;
use tokio::sync::watch;

use crate::cgroup;
use crate::client::{Connection, ExecStream};
use crate::durable::{failpoint, read_json, write_json};
use crate::error::{Error, Result};
use crate::protocol::{Answer, Layout, Operation, Order, PROTOCOL_VERSION, State};
use crate::spec::{ExecResult, ExecSpec, Exit, Spec};

mod spawn;

/// After the process has ended, its pipes may be held open by what it left behind; we read on for this long.
const DRAIN_TIMEOUT: Duration = Duration::from_millis(200);

/// Where containers live and what runs their shims.
#[derive(Clone, Debug)]
pub struct Config {
    /// Our own binary: `<exe> shim <directory>` must call [`crate::shim_main`] before any thread exists.
    pub exe: PathBuf,
    /// Holds one directory per container.
    pub root: PathBuf,
    /// Eight hexadecimal characters that tell two instances on one machine apart.
    pub instance: String,
    /// The cgroup all containers are put under; usually `trimtab-<instance>`.
    pub cgroup_parent: String,
}

/// A started container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Started {
    /// Of the container's first process, on the host.
    pub pid: u32,
    pub started_at: Timestamp,
    /// What the machine refused without harm, such as lowering an OOM score.
    pub warnings: Vec<String>,
}

/// A container as [`Runtime::list`] finds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Info {
    pub id: String,
    pub labels: BTreeMap<String, String>,
    pub pid: u32,
    pub started_at: Timestamp,
    /// `None`: it runs.
    pub exit: Option<Exit>,
}

/// Starts containers and takes over those that an earlier one started. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Runtime {
    config: Arc<Config>,
    /// Directories that have no state yet because we are just making them, so that `list` does not take them for remains.
    starting: Arc<watch::Sender<BTreeSet<String>>>,
}

impl Runtime {
    /// Creates the root directory.
    pub fn new(config: Config) -> Result<Self> {
        let path = config.root.clone();
        fs::create_dir_all(&path).map_err(|source| Error::Prepare { path: path.clone(), source })?;
        let root = fs::canonicalize(&path).map_err(|source| Error::Prepare { path, source })?;
        Ok(Self { config: Arc::new(Config { root, ..config }), starting: Arc::new(watch::Sender::default()) })
    }

    /// Starts a container; returns when its command has been handed to the kernel. On an error nothing is left behind. Dropping
    /// the future does not stop the start: who gives up calls [`Runtime::delete`], as whoever drops a future of `wait` does.
    pub async fn start(&self, spec: &Spec) -> Result<Started> {
        check_id(&spec.id)?;
        if spec.args.first().is_none_or(String::is_empty) {
            return Err(Error::Args { id: spec.id.clone() });
        }
        let starting = Starting::new(self, &spec.id)?;
        let layout = self.layout(&spec.id);
        let order = Order { version: PROTOCOL_VERSION, cgroup: self.cgroup(&spec.id), spec: spec.clone() };
        let exe = self.config.exe.clone();
        blocking(move || {
            let _starting = starting;
            prepare(&layout, &order)?;
            let started = spawn::spawn(&exe, &layout, &order.spec.id);
            if started.is_err() {
                // What cannot be removed now, `list` removes; the caller wants to know why it did not start.
                let _ = remove(&layout, &order.cgroup);
            }
            started
        })
        .await
    }

    /// Waits until the container has ended; at once if it has. A container whose shim was killed is killed here too.
    pub async fn wait(&self, id: &str) -> Result<Exit> {
        let layout = self.existing(id)?;
        if let Some(mut connection) = Connection::ask(id, &layout, Operation::Wait, &[])?
            && let Some(Answer::Exit(exit)) = connection.answer().await?
        {
            return Ok(exit);
        }
        self.settle(id, layout).await
    }

    /// Sends a signal to the container's first process. One that has ended already is fine.
    ///
    /// The first process of a PID namespace ignores signals that it has no handler for, except SIGKILL.
    pub async fn kill(&self, id: &str, signal: i32) -> Result<()> {
        let layout = self.existing(id)?;
        let answer = match Connection::ask(id, &layout, Operation::Kill { signal }, &[])? {
            Some(mut connection) => connection.answer().await?,
            None => None,
        };
        match answer {
            Some(Answer::Killed) => Ok(()),
            Some(Answer::Failed(failure)) => Err(Error::Exec { id: id.to_owned(), failure }),
            // No shim any more: either the end is recorded, or recording it kills what is left.
            _ => self.settle(id, layout).await.map(drop),
        }
    }

    /// Ends the container if it runs and removes all there is of it. Idempotent. The log file stays.
    pub async fn delete(&self, id: &str) -> Result<()> {
        check_id(id)?;
        let layout = self.layout(id);
        let cgroup = self.cgroup(id);
        // A start that its caller gave up still runs: nobody but us waits for it.
        let _ = self.starting.subscribe().wait_for(|starting| !starting.contains(id)).await;
        if layout.directory.exists() {
            found(self.kill(id, rustix::process::Signal::KILL.as_raw()).await)?;
            found(self.wait(id).await)?;
        }
        blocking(move || remove(&layout, &cgroup)).await
    }

    /// All containers, running and ended. Containers whose shim was killed are ended and recorded, remains of starts that a
    /// crash cut short are removed.
    pub async fn list(&self) -> Result<Vec<Info>> {
        let runtime = self.clone();
        blocking(move || {
            let failed = |source| Error::Read { path: runtime.config.root.clone(), source };
            let mut found = Vec::new();
            for entry in fs::read_dir(&runtime.config.root).map_err(failed)? {
                let name = entry.map_err(failed)?.file_name();
                let Some(id) = name.to_str().filter(|id| check_id(id).is_ok()) else { continue };
                if !runtime.is_starting(id) {
                    found.extend(runtime.inspect(id)?);
                }
            }
            found.sort_by(|left: &Info, right| left.id.cmp(&right.id));
            Ok(found)
        })
        .await
    }

    /// One container, or `None` if there is none of this name.
    pub async fn state(&self, id: &str) -> Result<Option<Info>> {
        check_id(id)?;
        let (runtime, id) = (self.clone(), id.to_owned());
        if self.is_starting(&id) {
            return Ok(None);
        }
        blocking(move || runtime.inspect(&id)).await
    }

    /// Runs a command in a running container and collects its output.
    pub async fn exec(&self, id: &str, spec: ExecSpec) -> Result<ExecResult> {
        let (timeout, limit) = (spec.timeout, spec.output_bytes_max);
        let work = async {
            let mut stream = self.exec_stream(id, spec).await?;
            drop(stream.stdin.take());
            let mut output = Output::default();
            let code = output.collect(&mut stream, limit).await?;
            Ok(ExecResult { code, stdout: output.stdout, stderr: output.stderr })
        };
        match tokio::time::timeout(timeout, work).await {
            Ok(result) => result,
            Err(_) => Err(Error::ExecTimeout { id: id.to_owned(), timeout }),
        }
    }

    /// Runs a command in a running container with its streams in the caller's hands; `timeout` and `output_bytes_max` do not apply.
    pub async fn exec_stream(&self, id: &str, spec: ExecSpec) -> Result<ExecStream> {
        let layout = self.existing(id)?;
        if spec.args.first().is_none_or(String::is_empty) {
            return Err(Error::Args { id: id.to_owned() });
        }
        let op = Operation::Exec { args: spec.args, env: spec.env, cwd: spec.cwd, user: spec.user };
        ExecStream::open(id, &layout, op).await
    }

    /// Ends and removes every container, then the cgroup above them.
    pub async fn purge(&self) -> Result<()> {
        for info in self.list().await? {
            self.delete(&info.id).await?;
        }
        let path = Path::new("/").join(&self.config.cgroup_parent);
        blocking(move || cgroup::remove_if_empty(&path).map_err(|source| Error::Remove { path, source })).await
    }

    fn layout(&self, id: &str) -> Layout {
        Layout::new(self.config.root.join(id))
    }

    fn cgroup(&self, id: &str) -> PathBuf {
        Path::new("/").join(&self.config.cgroup_parent).join(id)
    }

    fn existing(&self, id: &str) -> Result<Layout> {
        check_id(id)?;
        let layout = self.layout(id);
        if layout.directory.is_dir() { Ok(layout) } else { Err(Error::NotFound { id: id.to_owned() }) }
    }

    fn is_starting(&self, id: &str) -> bool {
        self.starting.borrow().contains(id)
    }

    /// The end of a container that has no shim any more.
    async fn settle(&self, id: &str, layout: Layout) -> Result<Exit> {
        let (runtime, id) = (self.clone(), id.to_owned());
        let shown = id.clone();
        let info = blocking(move || {
            // The shim closes its socket a moment before it ends: its lock says when.
            spawn::wait_for_lock(&layout.lock()).map_err(|source| Error::Read { path: layout.lock(), source })?;
            runtime.inspect(&id)
        })
        .await?;
        info.and_then(|info| info.exit).ok_or(Error::NotFound { id: shown })
    }

    /// Reads one container's files and settles what a dead shim left.
    fn inspect(&self, id: &str) -> Result<Option<Info>> {
        let layout = self.layout(id);
        let alive = spawn::is_locked(&layout.lock()).map_err(|source| Error::Read { path: layout.lock(), source })?;
        let read = |path: PathBuf| move |source| Error::Read { path, source };
        let state = read_json::<State>(&layout.state()).map_err(read(layout.state()))?;
        let Some(state) = state else {
            if !alive && layout.directory.exists() {
                remove(&layout, &self.cgroup(id))?;
            }
            return Ok(None);
        };
        let mut exit = read_json::<Exit>(&layout.exit()).map_err(read(layout.exit()))?;
        if exit.is_none() && !alive {
            exit = Some(self.lose(id, &layout)?);
        }
        Ok(Some(Info { id: state.id, labels: state.labels, pid: state.pid, started_at: state.started_at, exit }))
    }

    /// Kills a container that has lost its shim (nobody would see its end, and its log is cut) and records that.
    fn lose(&self, id: &str, layout: &Layout) -> Result<Exit> {
        let path = self.cgroup(id);
        let oom = cgroup::oom_kills(&path) > 0;
        cgroup::empty(&path).map_err(|source| Error::Cgroup { path, source })?;
        let signal = rustix::process::Signal::KILL.as_raw();
        let exit = Exit { code: 128 + signal, signal: Some(signal), oom, lost: true, finished_at: Timestamp::now() };
        failpoint("container.exit.before");
        write_json(&layout.exit(), &exit).map_err(|source| Error::Write { path: layout.exit(), source })?;
        failpoint("container.exit.after");
        Ok(exit)
    }
}

/// Marks a container as being started, for as long as it lives.
struct Starting {
    runtime: Runtime,
    id: String,
}

impl Starting {
    fn new(runtime: &Runtime, id: &str) -> Result<Self> {
        if !runtime.starting.send_if_modified(|starting| starting.insert(id.to_owned())) {
            return Err(Error::Exists { id: id.to_owned() });
        }
        Ok(Self { runtime: runtime.clone(), id: id.to_owned() })
    }
}

impl Drop for Starting {
    fn drop(&mut self) {
        self.runtime.starting.send_if_modified(|starting| starting.remove(&self.id));
    }
}

/// What an exec printed so far.
#[derive(Default)]
struct Output {
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

impl Output {
    /// Reads both streams until the process has ended and they are closed, or drained for a moment.
    async fn collect(&mut self, stream: &mut ExecStream, limit: usize) -> Result<i32> {
        let (mut out, mut err) = ([0; 8192], [0; 8192]);
        let (mut out_open, mut err_open) = (true, true);
        let mut code = None;
        let ExecStream { stdout, stderr, connection, .. } = stream;
        let mut exit = std::pin::pin!(connection.exec_exit());
        while code.is_none() || out_open || err_open {
            let ended = code.is_some();
            tokio::select! {
                read = stdout.read(&mut out), if out_open => out_open = keep(&mut self.stdout, &out, read, limit),
                read = stderr.read(&mut err), if err_open => err_open = keep(&mut self.stderr, &err, read, limit),
                ended = &mut exit, if !ended => code = Some(ended?),
                () = tokio::time::sleep(DRAIN_TIMEOUT), if ended => break,
            }
        }
        Ok(code.unwrap_or_default())
    }
}

/// Keeps what fits; false at the end of the stream.
fn keep(kept: &mut Vec<u8>, buffer: &[u8], read: io::Result<usize>, limit: usize) -> bool {
    let Ok(length @ 1..) = read else { return false };
    let room = limit.saturating_sub(kept.len()).min(length);
    kept.extend_from_slice(&buffer[..room]);
    true
}

/// For who does not mind that there is no such container.
fn found<T>(result: Result<T>) -> Result<Option<T>> {
    match result {
        Err(Error::NotFound { .. }) => Ok(None),
        result => result.map(Some),
    }
}

fn check_id(id: &str) -> Result<()> {
    let valid = id.len() <= 128
        && id.starts_with(|c: char| c.is_ascii_alphanumeric())
        && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte));
    if valid { Ok(()) } else { Err(Error::Id { id: id.to_owned() }) }
}

/// Makes the container's directory, with the order for its shim.
fn prepare(layout: &Layout, order: &Order) -> Result<()> {
    match fs::create_dir(&layout.directory) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            return Err(Error::Exists { id: order.spec.id.clone() });
        }
        Err(source) => return Err(Error::Prepare { path: layout.directory.clone(), source }),
    }
    failpoint("container.spec.before");
    let bytes = serde_json::to_vec(order).map_err(io::Error::from);
    // Not synced: before `state.json` stands, a crash removes this directory anyway.
    bytes
        .and_then(|bytes| fs::write(layout.order(), bytes))
        .map_err(|source| Error::Write { path: layout.order(), source })?;
    failpoint("container.spec.after");
    Ok(())
}

/// Removes cgroup and directory; `state.json` goes first, so that a crash in between leaves remains that `list` removes.
fn remove(layout: &Layout, cgroup: &Path) -> Result<()> {
    cgroup::destroy(cgroup).map_err(|source| Error::Cgroup { path: cgroup.to_owned(), source })?;
    let missing = |error: &io::Error| error.kind() == io::ErrorKind::NotFound;
    for result in [fs::remove_file(layout.state()), fs::remove_dir_all(&layout.directory)] {
        match result {
            Err(error) if !missing(&error) => {
                return Err(Error::Remove { path: layout.directory.clone(), source: error });
            }
            _ => {}
        }
    }
    Ok(())
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}
