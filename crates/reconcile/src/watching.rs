//! What the UI looks at, and what wakes it.

use crate::Reconciler;
use crate::progress::Log;
use crate::project::Handle;
use crate::requests::Refusal;
use futures::Stream;
use model::{Build, BuildId, Project};
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio::sync::watch;

/// Bytes of a finished build's log that are shown at most, from its end.
const LOG_BYTES_MAX: u64 = 4 * 1024 * 1024;

impl Reconciler {
    /// All builds of a project, newest first.
    pub async fn builds(&self, project: &Project) -> Result<Vec<Build>, Refusal> {
        let (_, view) = self.look(project).await?;
        let mut builds = view.facts.builds.to_vec();
        builds.sort_by_key(|build| std::cmp::Reverse((build.spec.created, build.spec.build.number)));
        Ok(builds)
    }

    /// Something whenever anything that people look at has changed, in this project or in any.
    pub fn changes(&self, project: Option<&Project>) -> Result<impl Stream<Item = ()> + Send + use<>, Refusal> {
        let ticks = match project {
            None => self.0.tick.subscribe(),
            Some(name) => {
                let handle = self.project(name);
                handle.ok_or_else(|| Refusal::NotFound(format!("there is no project {name}")))?.ticks()
            }
        };
        Ok(futures::stream::unfold(ticks, |mut ticks| async {
            ticks.changed().await.ok()?;
            Some(((), ticks))
        }))
    }

    /// The log of a build in parts, whole lines each: what is there and, with `follow`, what comes until it ends.
    pub async fn build_log(
        &self,
        project: &Project,
        build: &BuildId,
        follow: bool,
    ) -> Result<impl Stream<Item = String> + Send + use<>, Refusal> {
        let (handle, view) = self.look(project).await?;
        let Some(found) = view.facts.build(build) else {
            return Err(Refusal::NotFound(format!("there is no build {build}")));
        };
        let logs = handle.logs(&self.0);
        let (first, follower) = match found.status.phase.is_final() {
            true => (Some(end_of(&logs.path(build)).await), None),
            false => (None, Some(Follower::new(handle.clone(), build.clone(), logs.follow(build), follow))),
        };
        Ok(futures::stream::unfold((first, follower), |(first, follower)| async {
            match (first, follower) {
                (Some(text), follower) => Some((text, (None, follower))),
                (None, Some(mut follower)) => follower.next().await.map(|text| (text, (None, Some(follower)))),
                (None, None) => None,
            }
        }))
    }
}

/// The end of a log file. One that is gone is empty: logs are no durable truth.
async fn end_of(path: &std::path::Path) -> String {
    let read = async {
        let mut file = tokio::fs::File::open(path).await?;
        let length = file.metadata().await?.len();
        file.seek(std::io::SeekFrom::Start(length.saturating_sub(LOG_BYTES_MAX))).await?;
        let mut bytes = Vec::new();
        file.take(LOG_BYTES_MAX).read_to_end(&mut bytes).await?;
        Ok::<_, std::io::Error>(String::from_utf8_lossy(&bytes).into_owned())
    };
    read.await.unwrap_or_default()
}

/// Reads a log as it grows.
struct Follower {
    handle: Arc<Handle>,
    build: BuildId,
    log: watch::Receiver<Log>,
    ticks: watch::Receiver<u64>,
    next: usize,
    follow: bool,
    done: bool,
}

impl Follower {
    fn new(handle: Arc<Handle>, build: BuildId, log: watch::Receiver<Log>, follow: bool) -> Self {
        let ticks = handle.ticks();
        Self { handle, build, log, ticks, next: 0, follow, done: false }
    }

    async fn next(&mut self) -> Option<String> {
        while !self.done {
            self.ticks.borrow_and_update();
            // A build that is overtaken before it begins ends without ever having a log.
            let over = self.is_over();
            let (lines, next, ended) = {
                let log = self.log.borrow_and_update();
                let (lines, next) = log.from(self.next);
                (lines, next, log.ended)
            };
            self.next = next;
            self.done = !self.follow || ended || over;
            if !lines.is_empty() {
                return Some(lines.iter().map(|line| format!("{line}\n")).collect());
            }
            if self.done {
                return None;
            }
            let open = tokio::select! {
                changed = self.log.changed() => changed.is_ok(),
                changed = self.ticks.changed() => changed.is_ok(),
            };
            self.done = !open;
        }
        None
    }

    fn is_over(&self) -> bool {
        let view = self.handle.view();
        view.and_then(|view| view.facts.build(&self.build).map(|build| build.status.phase.is_final())).unwrap_or(true)
    }
}
