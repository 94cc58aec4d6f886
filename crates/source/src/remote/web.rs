//! One file over HTTP.

use super::{Fetcher, Found, Rights, failed, is_among};
use crate::error::Error;
use futures::StreamExt as _;
use model::remote::{Address, Fetched};
use reqwest::header::CONTENT_TYPE;
use reqwest::redirect::Policy;
use ring::digest::{SHA256, digest};
use std::time::Duration;

/// Connecting, and each piece of the answer.
const PATIENCE: Duration = Duration::from_secs(20);
/// All of it.
const WHOLE: Duration = Duration::from_secs(60);
/// Answers that only name another address.
const REDIRECTS_MAX: usize = 5;
/// A file of manifests.
const FILE_BYTES_MAX: u64 = 64 << 20;

/// The file; `None` if there is none, or it is a page for people.
pub async fn get(fetcher: &Fetcher, address: &Address) -> Result<Option<Found>, Error> {
    let fail = |reason: &dyn std::fmt::Display| failed(address.text(), &reason.to_string());
    let hosts = match &fetcher.rights {
        Rights::Person => None,
        Rights::Hosts(hosts) => Some(hosts.clone()),
    };
    let redirects = Policy::custom(move |attempt| {
        let host = attempt.url().host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        let allowed = hosts.as_ref().is_none_or(|hosts| is_among(&host, hosts));
        match (attempt.previous().len() > REDIRECTS_MAX, allowed) {
            (true, _) => attempt.error("it leads from one address to the next without end"),
            (_, false) => {
                attempt.error(format!("it leads to {host}, which project.yaml does not allow under `remotes`"))
            }
            _ => attempt.follow(),
        }
    });
    // The first one counts; whoever runs us may have chosen already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder()
        .user_agent("trimtab")
        .redirect(redirects)
        .connect_timeout(PATIENCE)
        .read_timeout(PATIENCE)
        .timeout(WHOLE)
        .build()
        .map_err(|error| fail(&error))?;
    let answer = client.get(address.text()).send().await.map_err(|error| fail(&causes(&error.without_url())))?;
    let is_page = answer.headers().get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"text/html"));
    let status = answer.status();
    if status.is_server_error() || status == reqwest::StatusCode::TOO_MANY_REQUESTS {
        return Err(fail(&format!("the server answers {status}")));
    }
    if !status.is_success() || is_page {
        if address.git().is_some() {
            return Ok(None);
        }
        let what = if is_page { "a page for people".to_owned() } else { status.to_string() };
        return Err(fail(&format!("the server answers {what}")));
    }
    let limit = FILE_BYTES_MAX.min(fetcher.bytes_max);
    let mut bytes: Vec<u8> = Vec::new();
    let mut body = answer.bytes_stream();
    while let Some(piece) = body.next().await {
        let piece = piece.map_err(|error| fail(&causes(&error.without_url())))?;
        if (bytes.len() + piece.len()) as u64 > limit {
            return Err(fail(&format!("the file is larger than {} MiB, which is the limit", limit >> 20)));
        }
        bytes.extend_from_slice(&piece);
    }
    let resolved = format!("sha256:{}", hex::encode(digest(&SHA256, &bytes)));
    Ok(Some(Found { fetched: Fetched::File(bytes.into()), resolved }))
}

/// An error with what led to it.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        cause = inner.source();
    }
    text
}
