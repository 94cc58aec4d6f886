//! Blobs on their way in: in one request, or in chunks.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::Response;
use futures::StreamExt;

use super::failure::{Code, Failure};
use super::{Query, Registry, digest, empty};
use crate::digest::Digest;
use crate::error::is_full;
use crate::store::{BlobWriter, blocking, lock};

/// Uploads open at one time; docker pushes five layers at once.
const UPLOADS_MAX: usize = 256;
/// An upload that nobody has continued for this long makes room for another.
const IDLE_MAX: Duration = Duration::from_secs(3600);

/// Open uploads. They do not survive a restart: clients begin anew when told that theirs is unknown.
pub(super) struct Uploads {
    open: Mutex<BTreeMap<String, Open>>,
}

struct Open {
    repository: String,
    touched: Instant,
    /// Held by the request that writes; a second one at the same time is refused.
    writer: Arc<tokio::sync::Mutex<Option<BlobWriter>>>,
}

type Writer = Arc<tokio::sync::Mutex<Option<BlobWriter>>>;

impl Uploads {
    pub fn new() -> Self {
        Self { open: Mutex::default() }
    }

    fn add(&self, repository: &str, writer: BlobWriter) -> Result<String, Failure> {
        let mut open = lock(&self.open);
        if open.len() >= UPLOADS_MAX {
            open.retain(|_, upload| upload.touched.elapsed() < IDLE_MAX);
        }
        if open.len() >= UPLOADS_MAX {
            return Err(Failure::new(
                Code::TooManyRequests,
                format!("{UPLOADS_MAX} uploads are open; try again later"),
            ));
        }
        let id = hex::encode(rand::random::<[u8; 16]>());
        let writer = Arc::new(tokio::sync::Mutex::new(Some(writer)));
        open.insert(id.clone(), Open { repository: repository.to_owned(), touched: Instant::now(), writer });
        Ok(id)
    }

    fn find(&self, repository: &str, id: &str) -> Result<Writer, Failure> {
        let mut open = lock(&self.open);
        let upload = open.get_mut(id).filter(|upload| upload.repository == repository).ok_or_else(unknown)?;
        upload.touched = Instant::now();
        Ok(Arc::clone(&upload.writer))
    }

    fn remove(&self, id: &str) -> bool {
        lock(&self.open).remove(id).is_some()
    }
}

fn unknown() -> Failure {
    Failure::new(Code::BlobUploadUnknown, "there is no such upload; begin anew")
}

/// POST: mounts a blob that is here already, takes one whole, or opens an upload.
pub(super) async fn start(registry: &Registry, name: &str, query: &Query<'_>, body: Body) -> Result<Response, Failure> {
    if let Some(mounted) = query.get("mount").and_then(|text| text.parse::<Digest>().ok())
        && let Some(from) = query.get("from")
        && registry.store.repository(&registry.name(&from)).is_ok_and(|repository| !repository.manifests.is_empty())
        && registry.store.touch(&mounted)
    {
        return Ok(created(name, &mounted));
    }
    let mut writer = registry.store.blob_writer()?;
    if let Some(expected) = query.get("digest") {
        let expected = digest(&expected)?;
        receive(&mut writer, body).await?;
        let (stored, _) = blocking(move || writer.finish(Some(&expected))).await?;
        return Ok(created(name, &stored));
    }
    let id = registry.uploads.add(name, writer)?;
    Ok(progress(StatusCode::ACCEPTED, name, &id, 0))
}

/// PATCH: a chunk, which begins where the last one ended.
pub(super) async fn append(
    registry: &Registry,
    name: &str,
    id: &str,
    headers: &HeaderMap,
    body: Body,
) -> Result<Response, Failure> {
    let upload = registry.uploads.find(name, id)?;
    let mut writer = upload
        .try_lock()
        .map_err(|_| Failure::new(Code::BlobUploadInvalid, "another request writes to this upload"))?;
    let writer = writer.as_mut().ok_or_else(unknown)?;
    check_start(headers, writer.size())?;
    if let Err(failure) = receive(writer, body).await {
        // Bytes of unknown number have arrived: the client cannot go on.
        registry.uploads.remove(id);
        return Err(failure);
    }
    Ok(progress(StatusCode::ACCEPTED, name, id, writer.size()))
}

/// PUT: perhaps a last chunk, then the digest of the whole.
pub(super) async fn finish(
    registry: &Registry,
    name: &str,
    id: &str,
    query: &Query<'_>,
    headers: &HeaderMap,
    body: Body,
) -> Result<Response, Failure> {
    let expected =
        query.get("digest").ok_or_else(|| Failure::new(Code::DigestInvalid, "the parameter `digest` is missing"))?;
    let expected = digest(&expected)?;
    let upload = registry.uploads.find(name, id)?;
    let mut slot = upload
        .try_lock()
        .map_err(|_| Failure::new(Code::BlobUploadInvalid, "another request writes to this upload"))?;
    check_start(headers, slot.as_ref().ok_or_else(unknown)?.size())?;
    let mut writer = slot.take().ok_or_else(unknown)?;
    registry.uploads.remove(id);
    receive(&mut writer, body).await?;
    let (stored, _) = blocking(move || writer.finish(Some(&expected))).await?;
    Ok(created(name, &stored))
}

/// GET: how far it got.
pub(super) async fn status(registry: &Registry, name: &str, id: &str) -> Result<Response, Failure> {
    let upload = registry.uploads.find(name, id)?;
    let size = upload.lock().await.as_ref().ok_or_else(unknown)?.size();
    Ok(progress(StatusCode::NO_CONTENT, name, id, size))
}

/// DELETE.
pub(super) fn cancel(registry: &Registry, id: &str) -> Result<Response, Failure> {
    if registry.uploads.remove(id) { Ok(empty(StatusCode::NO_CONTENT, &[])) } else { Err(unknown()) }
}

/// A chunk may say which bytes it is: `Content-Range: 0-1023`.
fn check_start(headers: &HeaderMap, size: u64) -> Result<(), Failure> {
    let Some(value) = headers.get(header::CONTENT_RANGE) else { return Ok(()) };
    let start =
        value.to_str().ok().and_then(|value| value.trim_start_matches("bytes ").split_once('-')?.0.parse::<u64>().ok());
    match start {
        Some(start) if start == size => Ok(()),
        _ => Err(Failure::new(Code::RangeInvalid, format!("the next byte is {size}"))),
    }
}

async fn receive(writer: &mut BlobWriter, body: Body) -> Result<(), Failure> {
    let mut stream = body.into_data_stream();
    while let Some(chunk) = stream.next().await {
        let chunk =
            chunk.map_err(|error| Failure::new(Code::BlobUploadInvalid, format!("the upload broke off: {error}")))?;
        // Into the page cache: too short for a thread of its own.
        writer.write_all(&chunk).map_err(|error| match error.kind() {
            std::io::ErrorKind::FileTooLarge => Failure::new(Code::SizeInvalid, error.to_string()),
            _ if is_full(&error) => Failure::full(),
            _ => Failure::new(Code::Unknown, format!("cannot write the blob: {error}")),
        })?;
    }
    Ok(())
}

fn created(name: &str, digest: &Digest) -> Response {
    let location = format!("/v2/{name}/blobs/{digest}");
    empty(StatusCode::CREATED, &[("location", location), ("docker-content-digest", digest.to_string())])
}

fn progress(status: StatusCode, name: &str, id: &str, size: u64) -> Response {
    // The last byte that has arrived; the protocol has no way to say "none".
    let range = format!("0-{}", size.saturating_sub(1));
    let location = format!("/v2/{name}/blobs/uploads/{id}");
    empty(status, &[("location", location), ("range", range), ("docker-upload-uuid", id.to_owned())])
}
