//! Blobs, whole or in part.

use std::io::SeekFrom;

use axum::body::Body;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::Response;
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio_util::io::ReaderStream;

use super::failure::{Code, Failure};
use super::{Registry, empty};
use crate::digest::Digest;

/// Blobs are addressed by content: who knows the digest of one may read it in every repository that he may read.
pub(super) async fn get(
    registry: &Registry,
    digest: &Digest,
    headers: &HeaderMap,
    head: bool,
) -> Result<Response, Failure> {
    // A pusher who finds it here will not upload it: it must not be collected before his manifest arrives.
    registry.store.touch(digest);
    let file = registry.store.open_blob(digest)?;
    let unreadable = |error: std::io::Error| Failure::new(Code::Unknown, format!("cannot read {digest}: {error}"));
    let size = file.metadata().map_err(unreadable)?.len();
    let range = headers.get(header::RANGE).and_then(|value| value.to_str().ok()).map(|value| range(value, size));
    let (status, start, length) = match range {
        None => (StatusCode::OK, 0, size),
        Some(Some((start, end))) => (StatusCode::PARTIAL_CONTENT, start, end - start + 1),
        Some(None) => return Err(Failure::new(Code::RangeInvalid, format!("the blob has {size} bytes"))),
    };
    let mut described = vec![
        ("content-type", "application/octet-stream".to_owned()),
        ("content-length", length.to_string()),
        ("docker-content-digest", digest.to_string()),
        ("accept-ranges", "bytes".to_owned()),
        ("etag", format!("\"{digest}\"")),
    ];
    if status == StatusCode::PARTIAL_CONTENT {
        described.push(("content-range", format!("bytes {start}-{}/{size}", start + length - 1)));
    }
    let mut response = empty(status, &described);
    if !head {
        let mut file = tokio::fs::File::from_std(file);
        file.seek(SeekFrom::Start(start)).await.map_err(unreadable)?;
        *response.body_mut() = Body::from_stream(ReaderStream::with_capacity(file.take(length), 256 << 10));
    }
    Ok(response)
}

/// First and last byte of `bytes=a-b`, `bytes=a-` or `bytes=-n`. `None` if there is nothing to send; several ranges are not served.
fn range(value: &str, size: u64) -> Option<(u64, u64)> {
    let last = size.checked_sub(1)?;
    let (start, end) = value.strip_prefix("bytes=")?.split_once('-')?;
    let (start, end) = match (start, end) {
        ("", count) => (size.saturating_sub(count.parse().ok().filter(|count| *count > 0)?), last),
        (start, "") => (start.parse().ok()?, last),
        (start, end) => (start.parse().ok()?, end.parse::<u64>().ok()?.min(last)),
    };
    (start <= end).then_some((start, end))
}

#[cfg(test)]
mod tests {
    use super::range;

    #[test]
    fn ranges_are_cut_to_the_blob() {
        let cases = [
            ("bytes=0-3", Some((0, 3))),
            ("bytes=5-", Some((5, 9))),
            ("bytes=-4", Some((6, 9))),
            ("bytes=-40", Some((0, 9))),
            ("bytes=8-99", Some((8, 9))),
            ("bytes=10-", None),
            ("bytes=3-2", None),
            ("bytes=-0", None),
            ("bytes=0-1,3-4", None),
            ("lines=0-1", None),
        ];
        for (value, expected) in cases {
            assert_eq!(range(value, 10), expected, "{value}");
        }
        assert_eq!(range("bytes=0-0", 0), None);
    }
}
