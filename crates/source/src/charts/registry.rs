//! Charts in registries: an artifact per version, `oci://host/path/<name>:<version>`.

use super::ARCHIVE_BYTES_MAX;
use model::chart::ChartSource;
use model::ports::{ChartAccess, PortError, Result};
use oci::{Artifact, Credentials, Error, Reference};

const SCHEME: &str = "oci://";
const ARCHIVE: &str = "application/vnd.cncf.helm.chart.content.v1.tar+gzip";
/// What registries were given before that name was settled.
const ARCHIVE_BEFORE: &str = "application/tar+gzip";
const PROVENANCE: &str = "application/vnd.cncf.helm.chart.provenance.v1.prov";
const PROVENANCE_BYTES_MAX: u64 = 1 << 20;

pub fn is_registry(repository: &str) -> bool {
    repository.starts_with(SCHEME)
}

pub async fn versions(source: &ChartSource, access: &ChartAccess) -> Result<Vec<String>> {
    let tags = Artifact::tags(&reference(source, None)?, &credentials(access), access.authority.as_deref()).await;
    // A tag cannot hold a plus.
    Ok(tags.map_err(|error| failed(source, access, error))?.into_iter().map(|tag| tag.replace('_', "+")).collect())
}

pub async fn fetch(source: &ChartSource, version: &str, access: &ChartAccess) -> Result<(Vec<u8>, Option<Vec<u8>>)> {
    let reference = reference(source, Some(version))?;
    let failed = |error: Error| failed(source, access, error);
    let found = Artifact::find(&reference, &credentials(access), access.authority.as_deref()).await.map_err(failed)?;
    let layer = |kind: &str| found.manifest.layers.iter().find(|layer| layer.media_type == kind);
    let Some(archive) = layer(ARCHIVE).or_else(|| layer(ARCHIVE_BEFORE)) else {
        return Err(PortError::Terminal(format!("{reference} is no chart: it has no part of type {ARCHIVE}")));
    };
    let bytes = found.part(archive, ARCHIVE_BYTES_MAX as u64).await.map_err(failed)?;
    let provenance = match layer(PROVENANCE).filter(|_| access.keyring.is_some()) {
        Some(part) => Some(found.part(part, PROVENANCE_BYTES_MAX).await.map_err(failed)?),
        None => None,
    };
    Ok((bytes, provenance))
}

fn reference(source: &ChartSource, version: Option<&str>) -> Result<Reference> {
    let path = source.repository.strip_prefix(SCHEME).unwrap_or(&source.repository).trim_end_matches('/');
    let mut name = format!("{path}/{}", source.name);
    if let Some(version) = version {
        name.push(':');
        name.push_str(&version.replace('+', "_"));
    }
    name.parse().map_err(|error| PortError::Terminal(format!("{}: {error}", source.repository)))
}

fn credentials(access: &ChartAccess) -> Credentials {
    match &access.user {
        Some((user, password)) => Credentials::Basic { user: user.clone(), password: password.clone() },
        None => Credentials::Anonymous,
    }
}

fn failed(source: &ChartSource, access: &ChartAccess, error: Error) -> PortError {
    let text = format!("{} from {}: {error}", source.name, source.repository);
    let words = text.to_ascii_lowercase();
    let says = |parts: &[&str]| parts.iter().any(|part| words.contains(part));
    if says(&["unauthorized", "not authorized", "denied", "authentication", "forbidden"]) {
        let advice = match access.user {
            Some(_) => "name or password (`chart.credentials`, --username) are wrong, or they may not read this",
            None => "if it is private, it needs name and password: a secret in `chart.credentials`, or --username",
        };
        return PortError::Terminal(format!("{text}: {advice}"));
    }
    match error {
        Error::DigestMismatch { .. } | Error::TooLarge { .. } | Error::Malformed { .. } => PortError::Terminal(text),
        _ if says(&["not found", "manifest unknown", "name unknown", "404"]) => PortError::Terminal(text),
        _ => PortError::Transient(text),
    }
}
