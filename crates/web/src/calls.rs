//! Calls of other systems: something new lies in a registry. No person stands behind them; a secret of the project says
//! that they are meant. What they carry is not read: they wake, and what lies there now is looked at.

use crate::service::{Error, Result};
use async_trait::async_trait;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use bytes::Bytes;
use model::Project;
use model::settings::Plain;
use ring::hmac;
use serde_json::json;
use std::sync::Arc;

/// Of the body, as GitHub, Gitea and Forgejo sign: `sha256=<hexadecimal digits>`.
const SIGNATURE: &str = "x-hub-signature-256";
/// The secret itself, as GitLab sends it.
const TOKEN: &str = "x-gitlab-token";

/// What is woken.
#[async_trait]
pub trait Calls: Send + Sync {
    /// The secret of calls about charts of a project. `None`: there is no such project, or none is set.
    async fn charts_key(&self, project: &Project) -> Result<Option<Plain>>;
    /// Newer versions of its charts are looked for now.
    async fn look_for_charts(&self, project: &Project);
}

type App = State<Arc<dyn Calls>>;

/// `POST /hooks/{project}/charts`.
pub fn calls_router(calls: Arc<dyn Calls>) -> Router {
    Router::new().route("/hooks/{project}/charts", post(charts)).with_state(calls)
}

async fn charts(State(app): App, Path(project): Path<String>, headers: HeaderMap, body: Bytes) -> Result<Response> {
    let Ok(project) = project.parse::<Project>() else { return Ok(refused()) };
    match app.charts_key(&project).await {
        Ok(Some(key)) if is_meant(&key, &headers, &body) => {}
        Ok(_) | Err(Error::NotFound(_)) => return Ok(refused()),
        Err(error) => return Err(error),
    }
    app.look_for_charts(&project).await;
    Ok((StatusCode::ACCEPTED, Json(json!({ "looking": true }))).into_response())
}

/// The same whatever is wrong: who does not know the secret learns nothing.
fn refused() -> Response {
    let message = "the call is not signed with key charts of secret webhooks (trimtab secret set webhooks charts), by X-Hub-Signature-256, X-Gitlab-Token or Authorization";
    (StatusCode::UNAUTHORIZED, Json(json!({ "error": message }))).into_response()
}

fn is_meant(key: &Plain, headers: &HeaderMap, body: &[u8]) -> bool {
    let secret = key.expose().trim_ascii_end();
    if secret.is_empty() {
        return false;
    }
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    if let Some(signature) = text(SIGNATURE) {
        let bytes = signature.strip_prefix("sha256=").and_then(bytes_of);
        return bytes.is_some_and(|bytes| hmac::verify(&key, body, &bytes).is_ok());
    }
    let given = text(header::AUTHORIZATION.as_str()).map(|text| text.strip_prefix("Bearer ").unwrap_or(text));
    let Some(given) = given.or(text(TOKEN)) else { return false };
    // Compared without telling by its time how much of it is right.
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, given.as_bytes()), b"");
    hmac::verify(&key, b"", tag.as_ref()).is_ok()
}

fn bytes_of(digits: &str) -> Option<Vec<u8>> {
    let digits = digits.trim().as_bytes();
    let value = |digit: u8| char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok());
    let pairs = digits.chunks(2).map(|pair| match pair {
        [high, low] => Some(value(*high)? << 4 | value(*low)?),
        _ => None,
    });
    pairs.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;
    use axum::http::Request;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use tower::ServiceExt;

    #[derive(Default)]
    struct Project(AtomicUsize);

    #[async_trait]
    impl Calls for Project {
        async fn charts_key(&self, project: &model::Project) -> Result<Option<Plain>> {
            match project.as_str() {
                "shop" => Ok(Some(Plain::new(b"hunter2\n".to_vec()))),
                "open" => Ok(Some(Plain::new(Vec::new()))),
                "none" => Ok(None),
                other => Err(Error::NotFound(other.to_owned())),
            }
        }
        async fn look_for_charts(&self, _: &model::Project) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[tokio::test]
    async fn a_call_that_is_signed_makes_charts_looked_for_and_no_other_does() {
        let body = r#"{"events":[{"action":"push"}]}"#;
        let sign = |key: &str| {
            let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key.as_bytes()), body.as_bytes());
            let digits: String = tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
            format!("sha256={digits}")
        };
        for (path, name, value, meant) in [
            ("shop", "x-hub-signature-256", sign("hunter2").as_str(), true),
            ("shop", "x-hub-signature-256", sign("hunter3").as_str(), false),
            ("shop", "x-hub-signature-256", "sha256=0", false),
            ("shop", "x-hub-signature-256", "hunter2", false),
            ("shop", "authorization", "Bearer hunter2", true),
            ("shop", "authorization", "hunter2", true),
            ("shop", "authorization", "Bearer hunter", false),
            ("shop", "x-gitlab-token", "hunter2", true),
            ("shop", "x-other", "hunter2", false),
            ("none", "authorization", "Bearer hunter2", false),
            ("open", "authorization", "Bearer ", false),
            ("nobody", "authorization", "Bearer hunter2", false),
            ("No Project", "authorization", "Bearer hunter2", false),
        ] {
            let project = Arc::new(Project::default());
            let uri = format!("/hooks/{}/charts", path.replace(' ', "%20"));
            let request = Request::post(uri).header(name, value).body(Body::from(body)).unwrap();
            let answer = calls_router(project.clone()).oneshot(request).await.unwrap();
            let expect = if meant { StatusCode::ACCEPTED } else { StatusCode::UNAUTHORIZED };
            assert_eq!(answer.status(), expect, "{path} {name}: {value}");
            assert_eq!(project.0.load(Ordering::SeqCst), usize::from(meant));
        }
    }
}
