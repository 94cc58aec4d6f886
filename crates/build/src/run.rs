//! RUN: one container over the layers so far; what it writes becomes the next layer.

use crate::tail::Tail;
use container::{Exit, Mount, MountKind, Network, Resources, Rootfs, Runtime, Spec, User, Writable};
use model::ports::Lines;
use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio::task::JoinHandle;

/// Label of containers that belong to builds.
pub(crate) const LABEL: &str = "trimtab.dev/build";
/// Of its output, so many lines are repeated when it fails.
const LAST_LINES: usize = 10;
/// Against fork bombs; compilers need hundreds.
const PROCESSES_MAX: u64 = 4096;
/// Half of what a container gets: serving goes before building.
const CPU_SHARES: u64 = 512;

/// What to run.
pub(crate) struct Order {
    /// Unique among all containers.
    pub id: String,
    pub build: String,
    pub argv: Vec<String>,
    pub env: Vec<String>,
    pub user: String,
    /// With `/` in front.
    pub cwd: String,
    pub network: bool,
    pub mounts: Vec<Mount>,
    /// The base first.
    pub layers: Vec<PathBuf>,
    /// A directory of its own, removed with it.
    pub work: PathBuf,
    pub memory_bytes: u64,
}

/// How it ended.
pub(crate) struct End {
    pub exit: Exit,
    pub last_lines: Vec<String>,
}

/// A container that is removed, and its work directory with it, whatever happens to the build.
pub(crate) struct Running {
    runtime: Runtime,
    id: String,
    work: PathBuf,
    /// A start that is under way cannot be called off: it is waited for, and undone.
    starting: Mutex<Option<JoinHandle<()>>>,
    /// Keeps the next build waiting until the remains of this one are gone.
    permit: Option<Arc<OwnedSemaphorePermit>>,
    removed: bool,
}

impl Running {
    /// Runs to the end, telling the output line by line. Dropping the future kills the container.
    pub async fn run(&self, order: Order, lines: &dyn Lines) -> Result<End, RunError> {
        let log = self.work.join("log");
        let mut tail = Tail::new(&log).map_err(RunError::Log)?;
        let spec = spec(order, log, &self.work);
        self.start(spec).await?;
        let mut last_lines = VecDeque::new();
        let mut tell = |line: &str| {
            lines.line(line);
            if last_lines.len() == LAST_LINES {
                last_lines.pop_front();
            }
            last_lines.push_back(line.to_owned());
        };
        let mut ended = std::pin::pin!(self.runtime.wait(&self.id));
        let exit = loop {
            tokio::select! {
                exit = &mut ended => break exit.map_err(RunError::Start)?,
                changed = tail.changed() => changed.map_err(RunError::Log)?,
            }
            tail.read(&mut tell).map_err(RunError::Log)?;
        };
        tail.read(&mut tell).map_err(RunError::Log)?;
        Ok(End { exit, last_lines: last_lines.into() })
    }

    async fn start(&self, spec: Spec) -> Result<(), RunError> {
        let runtime = self.runtime.clone();
        let (tell, told) = oneshot::channel();
        let starting = tokio::spawn(async move {
            // Nobody listens any more when the build was dropped.
            let _ = tell.send(runtime.start(&spec).await);
        });
        *self.starting.lock().unwrap_or_else(PoisonError::into_inner) = Some(starting);
        let cut_short = |_| RunError::Log(std::io::Error::other("its start was cut short"));
        told.await.map_err(cut_short)?.map(drop).map_err(RunError::Start)
    }

    pub fn new(runtime: &Runtime, order: &Order, permit: Arc<OwnedSemaphorePermit>) -> Self {
        Self {
            runtime: runtime.clone(),
            id: order.id.clone(),
            work: order.work.clone(),
            starting: Mutex::default(),
            permit: Some(permit),
            removed: false,
        }
    }

    /// Where its writes are.
    pub fn upper(&self) -> PathBuf {
        self.work.join("upper")
    }

    /// Removes all there is of it.
    pub async fn remove(mut self) -> Result<(), RunError> {
        self.removed = true;
        remove(&self.runtime, &self.id, &self.work).await
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let Ok(handle) = tokio::runtime::Handle::try_current() else { return };
        if self.removed {
            return;
        }
        let (runtime, id, work, permit) =
            (self.runtime.clone(), self.id.clone(), self.work.clone(), self.permit.take());
        handle.spawn(async move {
            if let Err(error) = remove(&runtime, &id, &work).await {
                tracing::warn!(
                    id,
                    error = &error as &dyn std::error::Error,
                    "a build's container could not be removed"
                );
            }
            drop(permit);
        });
    }
}

async fn remove(runtime: &Runtime, id: &str, work: &Path) -> Result<(), RunError> {
    runtime.delete(id).await.map_err(RunError::Start)?;
    match tokio::fs::remove_dir_all(work).await {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(RunError::Log(error)),
        _ => Ok(()),
    }
}

/// Why a container did not run to its end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RunError {
    #[error("cannot run it")]
    Start(#[source] container::Error),
    #[error("cannot follow its log")]
    Log(#[source] std::io::Error),
}

fn spec(order: Order, log: PathBuf, work: &Path) -> Spec {
    Spec {
        id: order.id,
        rootfs: Rootfs {
            layers: order.layers,
            writable: Some(Writable { upper: work.join("upper"), work: work.join("overlay") }),
        },
        args: order.argv,
        env: order.env,
        cwd: order.cwd,
        user: User { name: order.user, extra: Vec::new() },
        network: if order.network { Network::Host } else { Network::None },
        mounts: order.mounts,
        resources: Resources {
            cpu_shares: Some(CPU_SHARES),
            memory_bytes: Some(order.memory_bytes),
            pids: Some(PROCESSES_MAX),
            ..Resources::default()
        },
        log,
        labels: [(LABEL.to_owned(), order.build)].into(),
        ..Spec::default()
    }
}

/// Files of the host that a container with the host's network needs to find names.
pub(crate) fn network_files() -> Vec<Mount> {
    let present = ["/etc/resolv.conf", "/etc/hosts"].into_iter().filter(|path| Path::new(path).exists());
    present.map(|path| bind(Path::new(path), path, true)).collect()
}

pub(crate) fn bind(source: &Path, target: &str, read_only: bool) -> Mount {
    Mount { source: source.to_owned(), target: target.into(), read_only, kind: MountKind::Bind }
}
