//! The check that Trimtab makes itself: what is proposed for an application repository is built, and pinned nowhere.

use super::landing;
use crate::Inner;
use crate::project::Handle;
use model::change::{ChangeState, Check, CheckState};
use model::flow::Revision;
use model::ports::{BuildRequest, Lines, PortError};
use model::{BuildId, Change, CommitId, ImageRef};
use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Name of the check.
pub const BUILD: &str = "build";
/// Lines of a failed build's log that stand in the check.
const LINES_MAX: usize = 30;

/// Puts a check in the place of the one of its name.
pub fn put(change: &mut Change, check: Check) {
    change.status.checks.retain(|known| known.name != check.name);
    change.status.checks.push(check);
}

/// The image that the last patch set was built into.
pub fn image(change: &Change) -> Option<ImageRef> {
    let built = change.status.checks.iter().find(|check| check.name == BUILD && check.state == CheckState::Passed)?;
    built.message.parse().ok()
}

/// Builds the oldest proposal that was not built yet. True if there was one.
pub async fn next(inner: &Inner, handle: &Handle) -> Result<bool, PortError> {
    let changes = inner.all_changes(&handle.name).await?;
    let waits = |change: &&Change| {
        let built = change.status.checks.iter().any(|check| check.name == BUILD && check.state != CheckState::Running);
        change.status.state == ChangeState::Open && !change.spec.repository.is_config() && !built
    };
    let Some(change) = changes.iter().find(waits) else { return Ok(false) };
    let commit = change.latest().commit.clone();
    report(inner, handle, change.number, &commit, CheckState::Running, String::new()).await?;
    let (state, message) = match build(inner, handle, change).await {
        Ok(message) => (CheckState::Passed, message),
        Err(message) => (CheckState::Failed, message),
    };
    report(inner, handle, change.number, &commit, state, message).await?;
    handle.tick();
    Ok(true)
}

/// Unless there is another patch set by now.
async fn report(
    inner: &Inner,
    handle: &Handle,
    number: u64,
    commit: &CommitId,
    state: CheckState,
    message: String,
) -> Result<(), PortError> {
    let _turn = handle.changes.lock().await;
    let changes = inner.all_changes(&handle.name).await?;
    let Some(mut change) = changes.iter().find(|change| change.number == number).cloned() else { return Ok(()) };
    if change.latest().commit != *commit {
        return Ok(());
    }
    let (name, by) = (BUILD.to_owned(), promote::ACTOR.to_owned());
    put(&mut change, Check { name, state, commit: commit.clone(), by, at: inner.now(), message });
    inner.record_change(&change).await
}

/// The image, or that there is none to make; or why it cannot be made.
async fn build(inner: &Inner, handle: &Handle, change: &Change) -> Result<String, String> {
    let (repository, commit) = (&change.spec.repository, &change.latest().commit);
    let text = |error: PortError| error.to_string();
    let head = inner.main(handle).await.map_err(text)?;
    let head = head.ok_or_else(|| format!("{} has no commit on main", handle.config))?;
    let revision = Revision { repository: repository.clone(), commit: commit.clone() };
    let name = repository.name.parse().ok();
    let described = handle.reader(inner).described(&revision, &head, name.as_ref()).await.map_err(text)?;
    let component = match described {
        Some(Ok(described)) => described.file,
        Some(Err(problem)) => return Err(problem),
        None => return Err(format!("it has no {}: nothing says what to build", crate::config::COMPONENT_FILE)),
    };
    if let Some(image) = component.image {
        return Ok(format!("nothing to build: it is image {image}"));
    }
    let rule = component.build.clone().unwrap_or_default();
    let mut snapshot = landing::snapshot(inner, change, commit).await.map_err(text)?;
    if component.path != "." {
        snapshot = inner.ports.repositories.snapshot(&revision, &component.path).await.map_err(text)?;
    }
    let limit = Duration::from_secs(rule.timeout_seconds);
    // Number 0 is no build's: what comes of it is pinned nowhere.
    let build = BuildId { component: component.component, number: 0 };
    let request = BuildRequest { project: handle.name.clone(), build, snapshot, rule };
    let tail = Tail::default();
    match tokio::time::timeout(limit, inner.ports.builder.build(&request, &tail)).await {
        Ok(Ok(image)) => Ok(image.to_string()),
        Ok(Err(failure)) => Err(tail.behind(&failure.message)),
        Err(_) => Err(tail.behind(&format!("stopped after {} s (build.timeoutSeconds)", limit.as_secs()))),
    }
}

/// The last lines of a log.
#[derive(Default)]
struct Tail(Mutex<VecDeque<String>>);

impl Tail {
    fn behind(&self, message: &str) -> String {
        let lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let lines: String = lines.iter().map(|line| format!("\n  | {line}")).collect();
        format!("{message}{lines}")
    }
}

impl Lines for Tail {
    fn line(&self, text: &str) -> bool {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lines.push_back(text.to_owned());
        if lines.len() > LINES_MAX {
            lines.pop_front();
        }
        true
    }
}
