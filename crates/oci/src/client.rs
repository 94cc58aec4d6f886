//! Pulling from and pushing to other registries.

use std::collections::BTreeSet;
use std::fmt;
use std::io::Write;

use axum::http::HeaderValue;
use futures::StreamExt;
use oci_client::Client;
use oci_client::client::{Certificate, CertificateEncoding, ClientConfig, ClientProtocol};
use oci_client::secrets::RegistryAuth;
use tokio_util::io::ReaderStream;

use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::image::{is_index, no_platform, parse, type_of};
use crate::reference::Reference;
use crate::store::{Lease, Store, blocking};
use crate::types::{Descriptor, Index, Manifest, Platform, media_type};

/// How to sign in to a registry. Never printed.
#[derive(Clone, Default)]
pub enum Credentials {
    #[default]
    Anonymous,
    Basic {
        user: String,
        password: String,
    },
    Bearer(String),
}

impl fmt::Debug for Credentials {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Anonymous => "Anonymous",
            Self::Basic { .. } => "Basic",
            Self::Bearer(_) => "Bearer",
        })
    }
}

impl From<&Credentials> for RegistryAuth {
    fn from(credentials: &Credentials) -> Self {
        match credentials {
            Credentials::Anonymous => Self::Anonymous,
            Credentials::Basic { user, password } => Self::Basic(user.clone(), password.clone()),
            Credentials::Bearer(token) => Self::Bearer(token.clone()),
        }
    }
}

const ACCEPTED: [&str; 4] =
    [media_type::INDEX, media_type::DOCKER_LIST, media_type::MANIFEST, media_type::DOCKER_MANIFEST];

impl Store {
    /// Pulls an image for this machine from the registry in its name, and tags it so. Blobs that are here already are not
    /// fetched again. `progress` gets a line per blob. A registry on loopback is asked over plain HTTP.
    ///
    /// Returns the digest of the image's manifest.
    pub async fn pull(
        &self,
        reference: &Reference,
        credentials: &Credentials,
        progress: &(dyn Fn(&str) + Send + Sync),
    ) -> Result<Digest> {
        let lease = self.lease();
        let remote = Remote::new(reference, credentials);
        let (_, bytes) = remote.manifest(reference.digest.as_ref()).await?;
        let named = Digest::of(&bytes);
        let (digest, bytes) = match is_index(&type_of(&bytes, &named)?) {
            false => (named.clone(), bytes),
            true => {
                let platform = Platform::host();
                let index: Index = parse("index", &named, &bytes)?;
                // Kept, because the image may be asked for by the digest of its index again.
                self.put_blob(&bytes)?;
                self.tag(&Reference { digest: None, tag: None, ..reference.clone() }, &named)?;
                let chosen = index.choose(&platform).ok_or_else(|| no_platform(&named, &platform))?;
                remote.manifest(Some(&chosen.digest)).await?
            }
        };
        let manifest: Manifest = parse("manifest", &digest, &bytes)?;
        let parts = manifest.layers.iter().chain([&manifest.config]);
        let count = manifest.layers.len() + 1;
        for (number, part) in parts.enumerate() {
            lease.add(&part.digest);
            if self.touch(&part.digest) {
                continue;
            }
            progress(&format!("pulling {}/{count} of {reference} ({})", number + 1, human(part.size)));
            self.pull_blob(&remote, part, &lease).await?;
        }
        self.put_blob(&bytes)?;
        self.tag(&Reference { digest: None, ..reference.clone() }, &digest)?;
        Ok(digest)
    }

    async fn pull_blob(&self, remote: &Remote, part: &Descriptor, lease: &Lease) -> Result<()> {
        if part.size > self.shared.limits.blob_bytes_max {
            return Err(Error::TooLarge { what: "blob", limit: self.shared.limits.blob_bytes_max });
        }
        let stream = remote.client.pull_blob_stream(&remote.reference, part.digest.as_str()).await;
        let mut stream = stream.map_err(|error| remote.pull_failed(&error))?.stream;
        let mut writer = self.blob_writer()?;
        while let Some(chunk) = stream.next().await {
            let chunk = chunk.map_err(|error| remote.pull_failed(&error))?;
            // A registry that sends more than it announced is cut off here, not when the disk is full.
            if writer.size() + chunk.len() as u64 > part.size {
                return Err(remote.pull_failed(&format!("blob {} is longer than announced", part.digest)));
            }
            writer.write_all(&chunk).map_err(|error| remote.pull_failed(&error))?;
        }
        let expected = part.digest.clone();
        lease.add(&expected);
        blocking(move || writer.finish(Some(&expected)).map(drop)).await
    }

    /// Pushes an image to the registry in its name, under its tag.
    pub async fn push(
        &self,
        digest: &Digest,
        reference: &Reference,
        credentials: &Credentials,
        progress: &(dyn Fn(&str) + Send + Sync),
    ) -> Result<()> {
        let image = self.image(digest)?;
        let remote = Remote::new(reference, credentials);
        remote.sign_in().await?;
        let parts = image.manifest.layers.iter().chain([&image.manifest.config]);
        let unique: BTreeSet<_> = parts.map(|part| (part.digest.clone(), part.size)).collect();
        for (number, (part, size)) in unique.iter().enumerate() {
            let exists = remote.client.blob_exists(&remote.reference, part.as_str()).await;
            if exists.map_err(|error| remote.push_failed(&error))? {
                continue;
            }
            progress(&format!("pushing {}/{} of {reference} ({})", number + 1, unique.len(), human(*size)));
            let file = tokio::fs::File::from_std(self.open_blob(part)?);
            let stream = ReaderStream::with_capacity(file, 256 << 10).map(|chunk| chunk.map_err(Into::into));
            let pushed = remote.client.push_blob_stream(&remote.reference, stream, part.as_str(), Some(*size)).await;
            pushed.map_err(|error| remote.push_failed(&error))?;
        }
        let bytes = self.read_blob("manifest", &image.digest, self.shared.limits.manifest_bytes_max)?;
        let kind = HeaderValue::from_str(&image.manifest.media_type).map_err(|error| remote.push_failed(&error))?;
        let pushed = remote.client.push_manifest_raw(&remote.reference, bytes, kind).await;
        pushed.map(drop).map_err(|error| remote.push_failed(&error))
    }
}

/// A repository of a registry, and our client for it.
pub(crate) struct Remote {
    pub client: Client,
    pub auth: RegistryAuth,
    name: Reference,
    pub reference: oci_client::Reference,
}

impl Remote {
    pub fn new(name: &Reference, credentials: &Credentials) -> Self {
        Self::trusting(name, credentials, None)
    }

    /// Trusts authorities whose certificates (PEM) are given, beside those of the machine.
    pub fn trusting(name: &Reference, credentials: &Credentials, authority: Option<&[u8]>) -> Self {
        // Whoever came first has chosen the provider of cryptography; then ours is not needed.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let plain = if is_loopback(&name.registry) { vec![name.registry.clone()] } else { Vec::new() };
        // One request per blob: the chunks of a stream would each be a request of their own.
        let config = ClientConfig {
            protocol: ClientProtocol::HttpsExcept(plain),
            use_monolithic_push: true,
            extra_root_certificates: authority.map(certificate).into_iter().collect(),
            ..ClientConfig::default()
        };
        Self { client: Client::new(config), auth: credentials.into(), reference: foreign(name), name: name.clone() }
    }

    /// A manifest by digest, or by our tag.
    pub async fn manifest(&self, digest: Option<&Digest>) -> Result<(Digest, Vec<u8>)> {
        let name = match digest {
            Some(digest) => foreign(&Reference { digest: Some(digest.clone()), ..self.name.clone() }),
            None => self.reference.clone(),
        };
        let (bytes, _) = self
            .client
            .pull_manifest_raw(&name, &self.auth, &ACCEPTED)
            .await
            .map_err(|error| self.pull_failed(&error))?;
        let actual = Digest::of(&bytes);
        match digest.filter(|digest| **digest != actual) {
            Some(expected) => Err(Error::DigestMismatch { expected: expected.clone(), actual }),
            None => Ok((actual, bytes.to_vec())),
        }
    }

    async fn sign_in(&self) -> Result<()> {
        let signed_in = self.client.auth(&self.reference, &self.auth, oci_client::RegistryOperation::Push).await;
        self.client.store_auth_if_needed(self.reference.resolve_registry(), &self.auth).await;
        signed_in.map(drop).map_err(|error| self.push_failed(&error))
    }

    pub fn pull_failed(&self, error: &dyn fmt::Display) -> Error {
        Error::Pull { reference: Box::new(self.name.clone()), problem: error.to_string() }
    }

    fn push_failed(&self, error: &dyn fmt::Display) -> Error {
        Error::Push { reference: Box::new(self.name.clone()), problem: error.to_string() }
    }
}

fn certificate(pem: &[u8]) -> Certificate {
    Certificate { encoding: CertificateEncoding::Pem, data: pem.to_vec() }
}

fn foreign(name: &Reference) -> oci_client::Reference {
    let (registry, repository) = (name.registry.clone(), name.repository.clone());
    match &name.digest {
        Some(digest) => oci_client::Reference::with_digest(registry, repository, digest.to_string()),
        None => oci_client::Reference::with_tag(
            registry,
            repository,
            name.tag.clone().unwrap_or_else(|| "latest".to_owned()),
        ),
    }
}

fn is_loopback(registry: &str) -> bool {
    let host = registry.rsplit_once(':').map_or(registry, |(host, _)| host);
    host == "localhost" || host.ends_with(".localhost") || host.starts_with("127.")
}

fn human(bytes: u64) -> String {
    match bytes {
        0..=999_999 => format!("{} kB", bytes.div_ceil(1000)),
        _ => format!("{:.1} MB", bytes as f64 / 1e6),
    }
}
