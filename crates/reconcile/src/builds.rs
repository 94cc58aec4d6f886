//! The loop that builds: one build of a project at a time, the newest commit of a component first.

use crate::changes::next_check;
use crate::projections::build as object;
use crate::{Inner, project, wake_of};
use model::config::ComponentFile;
use model::flow::Revision;
use model::ports::{BuildFailure, BuildRequest, Lines, PortError};
use model::records::{BuildPhase, BuildStatus, Kind};
use model::{Build, ChartPin, Component, ImageRef};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Waits after a place did not answer.
const RETRY: Duration = Duration::from_secs(1);

/// Runs until `shutdown`. Owns the status of the project's builds.
pub async fn run(inner: Arc<Inner>, handle: Arc<project::Handle>, shutdown: CancellationToken) {
    let wake = wake_of(&handle.builds);
    loop {
        match next(&inner, &handle).await {
            Ok(Some(build)) => {
                if shutdown.run_until_cancelled(one(&inner, &handle, build)).await.is_none() {
                    return; // it is Running in the records, and begins again with the next process
                }
                handle.wake();
                continue;
            }
            // What is proposed is built when nothing else is to be.
            Ok(None) => match shutdown.run_until_cancelled(next_check(&inner, &handle)).await {
                None => return, // it is Running in the record, and begins again with the next process
                Some(Ok(true)) => continue,
                Some(Ok(false)) => {}
                Some(Err(error)) => tracing::warn!(project = %handle.name, %error, "the proposals cannot be read"),
            },
            Err(error) => {
                tracing::warn!(project = %handle.name, %error, "the builds cannot be read");
                let wake = wake.clone();
                tokio::spawn(async move {
                    tokio::time::sleep(RETRY).await;
                    wake();
                });
            }
        }
        if shutdown.run_until_cancelled(handle.builds.notified()).await.is_none() {
            return;
        }
    }
}

/// The next to build. What a newer commit has overtaken before it began is superseded here.
async fn next(inner: &Inner, handle: &project::Handle) -> Result<Option<Build>, PortError> {
    let mut waiting: BTreeMap<Component, Build> = BTreeMap::new();
    let builds = inner.records.builds(&handle.name).await?;
    // A build that is Running while this loop looks for work is one that a crash interrupted.
    let under_way = |build: &&Build| matches!(build.status.phase, BuildPhase::Queued | BuildPhase::Running);
    for build in builds.iter().filter(under_way).cloned() {
        let overtaken = match waiting.insert(build.spec.build.component.clone(), build.clone()) {
            Some(other) if other.spec.build.number > build.spec.build.number => {
                waiting.insert(other.spec.build.component.clone(), other);
                Some(build)
            }
            other => other,
        };
        if let Some(mut old) = overtaken {
            old.status.phase = BuildPhase::Superseded;
            old.status.message = "a newer commit came before it began".to_owned();
            old.status.finished = Some(inner.now());
            inner.ports.records.apply(Kind::Build, &object(&old)).await?;
        }
    }
    Ok(waiting.into_values().min_by_key(|b| b.spec.created))
}

/// One build, from Running to its end. Only a record that cannot be written is left for another try.
async fn one(inner: &Inner, handle: &project::Handle, mut build: Build) {
    let id = build.spec.build.clone();
    build.status = BuildStatus { phase: BuildPhase::Running, started: Some(inner.now()), ..BuildStatus::default() };
    record(inner, &build).await;
    handle.told();
    let outcome = match handle.logs(inner).write(&id) {
        Ok(lines) => made(inner, handle, &build, &lines).await,
        Err(error) => Err(BuildFailure { message: format!("the log of {id} cannot be written: {error}") }),
    };
    build.status.finished = Some(inner.now());
    match outcome {
        Ok((image, chart)) => {
            (build.status.image, build.status.chart) = (image, chart);
            build.status.phase = BuildPhase::Succeeded;
        }
        Err(failure) => {
            build.status.message = failure.message;
            build.status.phase = BuildPhase::Failed;
        }
    }
    record(inner, &build).await;
}

/// The chart of a component that is one, and its image unless the chart brings all its own.
async fn made(
    inner: &Inner,
    handle: &project::Handle,
    build: &Build,
    lines: &dyn Lines,
) -> Result<(Option<ImageRef>, Option<ChartPin>), BuildFailure> {
    let spec = &build.spec;
    let failure = |message: String| BuildFailure { message };
    let revision = Revision { repository: spec.repository.clone(), commit: spec.commit.clone() };
    let head = inner.main(handle).await.map_err(|e| failure(e.to_string()))?;
    let head = head.ok_or_else(|| failure(format!("{} has no commit on main", handle.config)))?;
    let described = handle.reader(inner).described(&revision, &head, Some(&spec.build.component)).await;
    let component = match described.map_err(|e| failure(e.to_string()))? {
        Some(Ok(described)) => described.file,
        Some(Err(problem)) => return Err(failure(problem)),
        None => return Err(failure(format!("{} is gone at {}", crate::config::COMPONENT_FILE, spec.commit.short()))),
    };
    let config = handle.reader(inner).config(&handle.config, &head).await.map_err(|e| failure(e.to_string()))?;
    // First, because it is soon known whether it can be had.
    let chart = inner.chart(spec, &component, &config, lines).await?;
    let image = match component.has_image() {
        true => Some(image(inner, build, &component, &revision, lines).await?),
        false => None,
    };
    Ok((image, chart))
}

async fn image(
    inner: &Inner,
    build: &Build,
    component: &ComponentFile,
    revision: &Revision,
    lines: &dyn Lines,
) -> Result<ImageRef, BuildFailure> {
    let spec = &build.spec;
    let failure = |message: String| BuildFailure { message };
    if let Some(image) = &component.image {
        return inner.ports.builder.fetch(&spec.project, &spec.build, image, lines).await;
    }
    let rule = component.build.clone().unwrap_or_default();
    let snapshot =
        inner.ports.repositories.snapshot(revision, &component.path).await.map_err(|e| failure(e.to_string()))?;
    let limit = Duration::from_secs(rule.timeout_seconds);
    let request = BuildRequest { project: spec.project.clone(), build: spec.build.clone(), snapshot, rule };
    match tokio::time::timeout(limit, inner.ports.builder.build(&request, lines)).await {
        Ok(outcome) => outcome,
        Err(_) => Err(failure(format!("stopped after {} s (build.timeoutSeconds)", limit.as_secs()))),
    }
}

/// Writes a build's status, trying until it is there: the image exists and must not be forgotten.
async fn record(inner: &Inner, build: &Build) {
    while let Err(error) = inner.ports.records.apply(Kind::Build, &object(build)).await {
        tracing::warn!(build = %build.spec.build, %error, "the record is not written");
        if matches!(error, PortError::Terminal(_)) {
            return;
        }
        tokio::time::sleep(RETRY).await;
    }
}
