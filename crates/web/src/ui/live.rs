//! What reaches a page after it was sent: that something has changed, and logs as they grow.

use super::{Result, Ui, name};
use crate::service::{Changes, LogRequest};
use crate::sessions::Session;
use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::header;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures::StreamExt;
use model::{BuildId, Component, Environment, Project};
use serde::Deserialize;
use std::convert::Infallible;

/// `GET /events`.
pub async fn all(State(ui): State<Ui>, _: Session) -> Result<Response> {
    Ok(announce(ui.delivery.changes(None).await?))
}

/// `GET /p/{project}/events`.
pub async fn project(State(ui): State<Ui>, _: Session, Path(project): Path<String>) -> Result<Response> {
    Ok(announce(ui.delivery.changes(Some(&name::<Project>(&project)?)).await?))
}

/// One event at once, for what changed between the page and this request; then one per change. They carry nothing.
fn announce(changes: Changes) -> Response {
    let events = futures::stream::once(async {}).chain(changes);
    let events = events.map(|()| Ok::<_, Infallible>(Event::default().data("changed")));
    Sse::new(events).keep_alive(KeepAlive::default()).into_response()
}

/// Lines of the past that a log begins with.
const TAIL_LINES: u32 = 200;

#[derive(Deserialize)]
pub struct At {
    env: String,
}

/// `GET /p/{project}/c/{component}/log?env=…`.
pub async fn component_log(
    State(ui): State<Ui>,
    _: Session,
    Path((project, component)): Path<(String, String)>,
    Query(at): Query<At>,
) -> Result<Response> {
    let (component, env): (Component, Environment) = (name(&component)?, name(&at.env)?);
    let request = LogRequest { component, env, follow: true, tail: Some(TAIL_LINES), previous: false };
    Ok(text(ui.delivery.logs(&name(&project)?, request).await?))
}

/// `GET /p/{project}/b/{build}/log`.
pub async fn build_log(
    State(ui): State<Ui>,
    _: Session,
    Path((project, build)): Path<(String, String)>,
) -> Result<Response> {
    let build: BuildId = name(&build)?;
    Ok(text(ui.delivery.build_log(&name(&project)?, &build, true).await?))
}

fn text(text: crate::Text) -> Response {
    ([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], Body::from_stream(text)).into_response()
}

/// What there is of a log now, its end if it is long; for pages without the script.
pub async fn gather(mut text: crate::Text) -> String {
    /// More is not on a page.
    const BYTES_MAX: usize = 128 * 1024;
    let mut gathered: Vec<u8> = Vec::new();
    while let Some(Ok(chunk)) = text.next().await {
        gathered.extend_from_slice(&chunk);
        if gathered.len() > 2 * BYTES_MAX {
            gathered.drain(..gathered.len() - BYTES_MAX);
        }
    }
    let begin = gathered.len().saturating_sub(BYTES_MAX);
    String::from_utf8_lossy(&gathered[begin..]).into_owned()
}
