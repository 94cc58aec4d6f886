//! Repositories that are an `index.yaml` and archives, over HTTP.

use super::ARCHIVE_BYTES_MAX;
use super::index::{Offer, offers};
use futures::StreamExt;
use model::Digest;
use model::chart::ChartSource;
use model::ports::{ChartAccess, PortError, Result};
use reqwest::{Certificate, Client, StatusCode, Url, redirect};
use std::time::Duration;

/// The largest index: those of large repositories have some 20 MB.
const INDEX_BYTES_MAX: usize = 128 << 20;
/// The largest provenance file.
const PROVENANCE_BYTES_MAX: usize = 1 << 20;
/// Nobody answers within this.
const CONNECT: Duration = Duration::from_secs(10);
/// A repository that sends nothing for so long has gone.
const SILENCE: Duration = Duration::from_secs(30);
/// A whole answer takes no longer.
const WHOLE: Duration = Duration::from_secs(180);
/// From one place to the next.
const REDIRECTS_MAX: usize = 5;

/// What the repository has of a chart.
pub async fn index(source: &ChartSource, access: &ChartAccess) -> Result<Vec<Offer>> {
    let base = base(&source.repository)?;
    let url = join(&base, "index.yaml").map_err(PortError::Terminal)?;
    let bytes = get(&url, &base, access, INDEX_BYTES_MAX).await?;
    let text = String::from_utf8(bytes).map_err(|_| PortError::Terminal(format!("{url} is not UTF-8")))?;
    let name = source.name.clone();
    let read = tokio::task::spawn_blocking(move || offers(&text, &name)).await;
    let read = read.map_err(|error| PortError::Transient(format!("{url}: {error}")))?;
    read.map_err(|problem| PortError::Terminal(format!("{}: {problem}", source.repository)))
}

/// The archive of a version, and its provenance file if keys are given and it has one.
pub async fn fetch(source: &ChartSource, version: &str, access: &ChartAccess) -> Result<(Vec<u8>, Option<Vec<u8>>)> {
    let what = format!("{} {version} of {}", source.name, source.repository);
    let offer = index(source, access).await?.into_iter().find(|offer| offer.version == version);
    let offer =
        offer.ok_or_else(|| PortError::Terminal(format!("{} has no {} {version}", source.repository, source.name)))?;
    let base = base(&source.repository)?;
    let mut last = PortError::Terminal(format!("{what}: the index names no address of its archive"));
    for url in &offer.urls {
        let url = match join(&base, url) {
            Ok(url) => url,
            Err(problem) => {
                last = PortError::Terminal(format!("{what}: {problem}"));
                continue;
            }
        };
        match get(&url, &base, access, ARCHIVE_BYTES_MAX).await {
            Ok(archive) => {
                let actual = Digest::of(&archive);
                if let Some(expected) = offer.digest.filter(|expected| *expected != actual) {
                    let problem = format!("{what}: {url} has {actual}, and the index says {expected}");
                    return Err(PortError::Terminal(problem));
                }
                let provenance = match access.keyring {
                    Some(_) => provenance(&url, &base, access).await?,
                    None => None,
                };
                return Ok((archive, provenance));
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

async fn provenance(archive: &Url, base: &Url, access: &ChartAccess) -> Result<Option<Vec<u8>>> {
    let mut url = archive.clone();
    url.set_path(&format!("{}.prov", archive.path()));
    match get(&url, base, access, PROVENANCE_BYTES_MAX).await {
        Ok(bytes) => Ok(Some(bytes)),
        Err(PortError::Terminal(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The repository's address, as a directory.
fn base(repository: &str) -> Result<Url> {
    let bad = |problem: String| PortError::Terminal(format!("repository {repository:?}: {problem}"));
    let mut url: Url = repository.parse().map_err(|error| bad(format!("{error}")))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(bad(format!("{}:// is not known here", url.scheme())));
    }
    if !url.path().ends_with('/') {
        url.set_path(&format!("{}/", url.path()));
    }
    Ok(url)
}

fn join(base: &Url, url: &str) -> std::result::Result<Url, String> {
    let mut joined = base.join(url).map_err(|error| format!("{url:?} is no address: {error}"))?;
    if !matches!(joined.scheme(), "http" | "https") {
        return Err(format!("{url:?} is no address of HTTP"));
    }
    // A repository may be named with a query (a token); what lies in it is asked for in the same way.
    if joined.query().is_none() && joined.host_str() == base.host_str() {
        joined.set_query(base.query());
    }
    Ok(joined)
}

fn is_same_place(a: &Url, b: &Url) -> bool {
    (a.scheme(), a.host_str(), a.port_or_known_default()) == (b.scheme(), b.host_str(), b.port_or_known_default())
}

fn is_allowed(url: &Url, access: &ChartAccess) -> bool {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    access.hosts.as_ref().is_none_or(|hosts| hosts.iter().any(|allowed| allowed.eq_ignore_ascii_case(host)))
}

fn client(url: &Url, access: &ChartAccess) -> std::result::Result<Client, String> {
    // Whoever came first has chosen the provider of cryptography; then ours is not needed.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let asked = access.clone();
    let follow = redirect::Policy::custom(move |attempt| {
        let from_https = attempt.previous().iter().any(|url| url.scheme() == "https");
        if attempt.previous().len() > REDIRECTS_MAX {
            attempt.error("too many redirects")
        } else if !is_allowed(attempt.url(), &asked) {
            let host = attempt.url().host_str().unwrap_or_default().to_owned();
            attempt.error(format!("it leads to {host}, which project.yaml does not allow under `remotes`"))
        } else if from_https && attempt.url().scheme() != "https" {
            attempt.error("it leads from https to http")
        } else {
            attempt.follow()
        }
    });
    let mut builder = Client::builder().connect_timeout(CONNECT).read_timeout(SILENCE).timeout(WHOLE).redirect(follow);
    let host = url.host_str().unwrap_or_default();
    if host == "localhost" || host.starts_with("127.") || host == "[::1]" {
        builder = builder.no_proxy();
    }
    if let Some(pem) = &access.authority {
        let certificates =
            Certificate::from_pem_bundle(pem).map_err(|error| format!("the certificates of `ca`: {error}"))?;
        builder = builder.tls_certs_merge(certificates);
    }
    builder.build().map_err(|error| error.to_string())
}

/// Reads an address. Name and password go to the repository itself and nowhere else.
async fn get(url: &Url, base: &Url, access: &ChartAccess, limit: usize) -> Result<Vec<u8>> {
    if !is_allowed(url, access) {
        let problem = format!(
            "it leads to {}, which project.yaml does not allow under `remotes`",
            url.host_str().unwrap_or_default()
        );
        return Err(PortError::Terminal(problem));
    }
    let mut request = client(url, access).map_err(PortError::Terminal)?.get(url.clone());
    if let Some((user, password)) = access.user.as_ref().filter(|_| is_same_place(url, base)) {
        request = request.basic_auth(user, Some(password));
    }
    // The query may hold a token.
    let mut shown = url.clone();
    shown.set_query(None);
    let answer = request.send().await.map_err(|error| unreachable(&shown, error))?;
    match answer.status() {
        status if status.is_success() => {}
        status @ (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => {
            let advice = match access.user {
                Some(_) => "name or password (`chart.credentials`, --username) are wrong",
                None => "it needs name and password: a secret in `chart.credentials`, or --username",
            };
            return Err(PortError::Terminal(format!("{shown} answers {status}: {advice}")));
        }
        status if status.is_client_error() && status != StatusCode::TOO_MANY_REQUESTS => {
            return Err(PortError::Terminal(format!("{shown} answers {status}")));
        }
        status => return Err(PortError::Transient(format!("{shown} answers {status}"))),
    }
    let too_large = || PortError::Terminal(format!("{shown} has more than {limit} bytes"));
    if answer.content_length().is_some_and(|length| length > limit as u64) {
        return Err(too_large());
    }
    let mut bytes = Vec::new();
    let mut stream = answer.bytes_stream();
    while let Some(chunk) = stream.next().await {
        let chunk = chunk.map_err(|error| unreachable(&shown, error))?;
        if bytes.len() + chunk.len() > limit {
            return Err(too_large());
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

fn unreachable(shown: &Url, error: reqwest::Error) -> PortError {
    // Its own words hold the address with the query.
    let error = error.without_url();
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(inner) = cause {
        text = inner.to_string();
        cause = inner.source();
    }
    PortError::Transient(format!("{shown}: {text}"))
}
