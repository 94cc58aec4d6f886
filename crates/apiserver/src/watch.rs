//! Watching: a stream of changes, one JSON object a line.
//!
//! A watcher is a place in the resource's window of events and nothing else: no queue is kept for
//! it. It is woken without being told what happened, and reads on. One that is so slow that the
//! window has moved past it gets `410 Expired` and starts over.

use crate::call::Call;
use crate::reply::{self, Body, BodyError, Form};
use crate::request::Selection;
use crate::resource::Resource;
use crate::status::{Refusal, Result};
use crate::store::{Event, EventKind, Listing, Past, Store, Stored};
use crate::table::{self, Include};
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{HeaderMap, Response};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use object::FieldError;
use object::schema::ErrorKind;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Events that are put into one piece of the stream.
const CHUNK_EVENTS_MAX: usize = 256;
/// As kube-apiserver: an idle watcher learns the newest revision this often.
const BOOKMARK_EVERY: Duration = Duration::from_secs(60);
/// Without `timeoutSeconds`. Clients open the next watch at once.
const TIMEOUT_SECONDS: u64 = 1800;
const TIMEOUT_SECONDS_MAX: u64 = 24 * 3600;
const INITIAL_END: &str = "k8s.io/initial-events-end";

struct Watcher {
    store: Arc<Store>,
    resource: Arc<Resource>,
    namespace: String,
    selection: Selection,
    form: Form,
    include: Include,
    headed: bool,
    bookmarks: bool,
    /// The objects that stood there at the beginning, still to be sent.
    initial: std::vec::IntoIter<Arc<Stored>>,
    /// Their end is to be marked.
    mark_end: bool,
    /// Everything up to this revision has been sent.
    seen: u64,
    wake: watch::Receiver<u64>,
    deadline: Instant,
    bookmark_at: Instant,
    stop: CancellationToken,
    ended: bool,
}

impl Call {
    /// `GET` of a collection with `watch=true`.
    pub fn watch(&self, headers: &HeaderMap) -> Result<Response<Body>> {
        let form = Form::accepted(headers)?;
        let watcher = self.watcher(form)?;
        let stream = futures::stream::unfold(watcher, |mut watcher| async move {
            let lines = watcher.next().await?;
            Some((Ok::<_, BodyError>(Frame::data(lines)), watcher))
        });
        let mut response = Response::new(StreamBody::new(stream).boxed_unsync());
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        Ok(response)
    }

    fn watcher(&self, form: Form) -> Result<Watcher> {
        let selection = self.selection()?;
        let store = self.server.store.clone();
        // Follow first: what comes between is then seen twice and skipped, never missed.
        let wake = store.follow(&self.resource.id);
        let asked = self.query.number("resourceVersion")?;
        let send_initial = self.send_initial()?;
        let bookmarks = self.query.flag("allowWatchBookmarks");
        let from_now = send_initial.unwrap_or(matches!(asked, None | Some(0)));
        let (initial, seen) = match (from_now, asked) {
            (true, _) => {
                let Listing { objects, revision } = store.list(&self.resource.id, &self.path.namespace);
                (objects, revision)
            }
            (false, None | Some(0)) => (Vec::new(), store.revision()),
            (false, Some(revision)) => (Vec::new(), revision),
        };
        if let Some(asked) = asked {
            self.reached(asked)?;
        }
        let seconds = self.query.number("timeoutSeconds")?.unwrap_or(TIMEOUT_SECONDS).min(TIMEOUT_SECONDS_MAX);
        let now = Instant::now();
        Ok(Watcher {
            store,
            resource: self.resource.clone(),
            namespace: self.path.namespace.clone(),
            selection,
            form,
            include: Include::parse(self.query.get("includeObject")),
            headed: false,
            bookmarks,
            initial: initial.into_iter(),
            mark_end: send_initial == Some(true) && bookmarks,
            seen,
            wake,
            deadline: now + Duration::from_secs(seconds),
            bookmark_at: now + BOOKMARK_EVERY,
            stop: self.server.stop.clone(),
            ended: false,
        })
    }

    /// `sendInitialEvents`, which must come with `resourceVersionMatch=NotOlderThan`.
    fn send_initial(&self) -> Result<Option<bool>> {
        let matching = self.query.get("resourceVersionMatch");
        let forbidden = |field: &str, detail: &str| {
            let error =
                FieldError { path: field.into(), kind: ErrorKind::Forbidden, value: None, detail: detail.into() };
            let gvk = object::Gvk::new("meta.k8s.io", "v1", "ListOptions");
            Refusal::invalid(&gvk, "", &[error])
        };
        match (self.query.get("sendInitialEvents"), matching) {
            ("", "") => Ok(None),
            ("", _) => Err(forbidden(
                "resourceVersionMatch",
                "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
            )),
            (_, "NotOlderThan") => Ok(Some(self.query.flag("sendInitialEvents"))),
            _ => Err(forbidden(
                "resourceVersionMatch",
                "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
            )),
        }
    }
}

impl Watcher {
    /// The next lines; `None` at the end.
    async fn next(&mut self) -> Option<Bytes> {
        let mut lines = Vec::new();
        while lines.is_empty() {
            if self.ended {
                return None;
            }
            self.initial_lines(&mut lines);
            if !lines.is_empty() {
                break;
            }
            self.wake.borrow_and_update();
            match self.store.events_after(&self.resource.id, self.seen, CHUNK_EVENTS_MAX) {
                Ok((events, seen)) => {
                    let more = events.len() == CHUNK_EVENTS_MAX;
                    events.iter().for_each(|event| self.event(event, &mut lines));
                    self.seen = seen;
                    if lines.is_empty() && !more {
                        self.wait(&mut lines).await;
                    }
                }
                Err(past) => self.expired(&past, &mut lines),
            }
        }
        Some(lines.into())
    }

    fn initial_lines(&mut self, lines: &mut Vec<u8>) {
        for _ in 0..CHUNK_EVENTS_MAX {
            let Some(object) = self.initial.next() else { break };
            if self.selection.matches(&object) {
                self.line("ADDED", &object, lines);
            }
        }
        if self.initial.len() == 0 && std::mem::take(&mut self.mark_end) {
            self.bookmark(true, lines);
        }
    }

    /// Sleeps until something may have happened.
    async fn wait(&mut self, lines: &mut Vec<u8>) {
        tokio::select! {
            changed = self.wake.changed() => self.ended = changed.is_err(),
            () = tokio::time::sleep_until(self.bookmark_at) => {
                self.bookmark_at = Instant::now() + BOOKMARK_EVERY;
                if self.bookmarks {
                    self.bookmark(false, lines);
                }
            }
            () = tokio::time::sleep_until(self.deadline) => self.ended = true,
            () = self.stop.cancelled() => self.ended = true,
        }
    }

    fn expired(&mut self, past: &Past, lines: &mut Vec<u8>) {
        let refusal = match past {
            Past::Expired { oldest } => Refusal::expired(format!("too old resource version: {} ({oldest})", self.seen)),
            Past::Future { newest } => Refusal::too_new(self.seen, *newest),
        };
        self.ended = true;
        push_line("ERROR", &reply::bytes(&refusal.to_value()), lines);
    }

    /// What an event means to this watcher: an object that comes to match is new to it, one that
    /// matches no longer is gone.
    fn event(&mut self, event: &Event, lines: &mut Vec<u8>) {
        if !self.namespace.is_empty() && *event.object.key.namespace != *self.namespace {
            return;
        }
        let before = event.previous.as_ref().is_some_and(|previous| self.selection.matches(previous));
        let after = event.kind != EventKind::Deleted && self.selection.matches(&event.object);
        match (before, after, &event.previous) {
            (false, true, _) => self.line("ADDED", &event.object, lines),
            (true, true, _) => self.line("MODIFIED", &event.object, lines),
            (true, false, _) if event.kind == EventKind::Deleted => self.line("DELETED", &event.object, lines),
            (true, false, Some(previous)) => {
                let mut last = previous.value();
                last["metadata"]["resourceVersion"] = event.revision().to_string().into();
                self.value_line("DELETED", &last, lines);
            }
            _ => {}
        }
    }

    fn line(&mut self, kind: &str, object: &Stored, lines: &mut Vec<u8>) {
        match self.form {
            Form::Object => push_line(kind, &reply::whole(&self.resource, object), lines),
            Form::Partial | Form::Table => self.value_line(kind, &object.value(), lines),
        }
    }

    fn value_line(&mut self, kind: &str, object: &Value, lines: &mut Vec<u8>) {
        let shown = match self.form {
            Form::Object => reply::bytes(object),
            Form::Partial => reply::bytes(&reply::partial(object)),
            Form::Table => {
                let metadata = json!({"resourceVersion": object::meta(object).resource_version()});
                let mut table = table::of(&self.resource, std::slice::from_ref(object), &metadata, self.include);
                if std::mem::replace(&mut self.headed, true) {
                    table["columnDefinitions"] = Value::Null;
                }
                reply::bytes(&table)
            }
        };
        push_line(kind, &shown, lines);
    }

    fn bookmark(&mut self, end_of_initial: bool, lines: &mut Vec<u8>) {
        let mut metadata = json!({"resourceVersion": self.seen.to_string()});
        if end_of_initial {
            metadata["annotations"] = json!({INITIAL_END: "true"});
        }
        let (kind, api_version) = match self.form {
            Form::Object => (self.resource.gvk.kind.clone(), self.resource.gvk.api_version()),
            Form::Partial => ("PartialObjectMetadata".into(), "meta.k8s.io/v1".into()),
            Form::Table => ("Table".into(), "meta.k8s.io/v1".into()),
        };
        let object = json!({"kind": kind, "apiVersion": api_version, "metadata": metadata});
        push_line("BOOKMARK", &reply::bytes(&object), lines);
    }
}

fn push_line(kind: &str, object: &[u8], lines: &mut Vec<u8>) {
    lines.extend_from_slice(b"{\"type\":\"");
    lines.extend_from_slice(kind.as_bytes());
    lines.extend_from_slice(b"\",\"object\":");
    lines.extend_from_slice(object);
    lines.extend_from_slice(b"}\n");
}
