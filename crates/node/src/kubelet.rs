//! The node's own HTTP API, as the API server calls it: `/containerLogs/{namespace}/{pod}/{container}`.

use crate::context::Context;
use crate::layout::log_in;
use crate::logs::{self, Wanted};
use crate::pod::PodExt;
use crate::pod::machine::{Life, Machine};
use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use serde::Deserialize;
use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

/// What workers show of their Pods, by `namespace/name`. There is one for each Pod for as long as it lives: it is small.
#[derive(Default)]
pub(crate) struct Shown(RwLock<HashMap<Box<str>, ShownPod>>);

#[derive(Clone)]
struct ShownPod {
    uid: Box<str>,
    containers: Box<[ShownContainer]>,
}

#[derive(Clone)]
struct ShownContainer {
    name: Box<str>,
    /// Attempt whose log is the present one.
    current: Option<u32>,
    /// Attempt whose log is the previous one.
    previous: Option<u32>,
    running: Option<Box<str>>,
    /// Why there is nothing to read yet.
    waiting: Option<Box<str>>,
}

/// Shows the present state of a Pod.
pub(crate) fn publish(shown: &Shown, pod: &Pod, machine: &Machine) {
    let containers = machine.containers.iter().map(|c| {
        let waiting = match &c.life {
            Life::Waiting(waiting) | Life::Starting(waiting) => Some(waiting.reason.as_str().into()),
            _ => None,
        };
        let latest = c.attempted.then_some(c.restarts);
        ShownContainer {
            name: c.name.as_str().into(),
            current: latest,
            // While a container waits for its next attempt, the latest is the previous.
            previous: latest.and_then(|n| if waiting.is_some() { Some(n) } else { n.checked_sub(1) }),
            running: c.running().map(|r| r.id.as_str().into()),
            waiting,
        }
    });
    let entry = ShownPod { uid: pod.uid_str().into(), containers: containers.collect() };
    shown.0.write().unwrap_or_else(PoisonError::into_inner).insert(pod.key().into(), entry);
}

/// Shows a Pod no longer, unless another has its name by now.
pub(crate) fn withdraw(shown: &Shown, pod: &Pod) {
    let mut all = shown.0.write().unwrap_or_else(PoisonError::into_inner);
    let key = pod.key();
    if all.get(&*key).is_some_and(|entry| *entry.uid == *pod.uid_str()) {
        all.remove(&*key);
    }
}

pub(crate) fn router(context: Arc<Context>) -> Router {
    Router::new().route("/containerLogs/{namespace}/{pod}/{container}", get(container_logs)).with_state(context)
}

/// Options of `kubectl logs`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct LogQuery {
    follow: bool,
    previous: bool,
    timestamps: bool,
    tail_lines: Option<u64>,
    limit_bytes: Option<u64>,
    since_seconds: Option<u64>,
    since_time: Option<Timestamp>,
}

async fn container_logs(
    State(context): State<Arc<Context>>,
    Path((namespace, pod, container)): Path<(String, String, String)>,
    Query(query): Query<LogQuery>,
) -> Response {
    let key = format!("{namespace}/{pod}");
    let found = context.shown.0.read().unwrap_or_else(PoisonError::into_inner).get(&*key).cloned();
    let Some(found) = found else {
        return (StatusCode::NOT_FOUND, format!("pod {pod:?} not found")).into_response();
    };
    let Some(shown) = found.containers.iter().find(|c| *c.name == *container) else {
        return (StatusCode::NOT_FOUND, format!("container {container:?} not found in pod {pod:?}")).into_response();
    };
    let attempt = match (query.previous, shown.current, shown.previous) {
        (true, _, Some(attempt)) | (false, Some(attempt), _) => attempt,
        (true, ..) => {
            let text = format!("previous terminated container {container:?} in pod {pod:?} not found");
            return (StatusCode::BAD_REQUEST, text).into_response();
        }
        (false, ..) => {
            let why = shown.waiting.as_deref().unwrap_or("ContainerCreating");
            let text = format!("container {container:?} in pod {pod:?} is waiting to start: {why}");
            return (StatusCode::BAD_REQUEST, text).into_response();
        }
    };
    let since = query.since_seconds.map(|s| Timestamp::now() - Duration::from_secs(s.min(MAX_SINCE)));
    let wanted = Wanted {
        follow: query.follow && !query.previous,
        timestamps: query.timestamps,
        tail_lines: query.tail_lines,
        since: since.or(query.since_time),
        limit_bytes: query.limit_bytes,
    };
    let (running, directory) = (shown.running.clone(), context.layout.pod_directory(&namespace, &pod, &found.uid));
    let ended = async move {
        if let Some(id) = running {
            // Also when it is gone already: then there is nothing more to follow.
            let _ = context.runtime.wait(&id).await;
        }
    };
    let pieces = logs::stream(log_in(&directory, &container, attempt), wanted, ended);
    let stream =
        futures::stream::unfold(pieces, |mut pieces| async { pieces.recv().await.map(|piece| (piece, pieces)) });
    ([(header::CONTENT_TYPE, "text/plain")], Body::from_stream(stream)).into_response()
}

/// A century: enough, and far from the ends of time.
const MAX_SINCE: u64 = 3_155_760_000;
