//! Things in registries that are no images: read into memory, because they are small.

use crate::client::{Credentials, Remote};
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::image::parse;
use crate::reference::Reference;
use crate::types::{Descriptor, Manifest};
use futures::StreamExt;

/// So many tags of a repository are read at most.
const TAGS_MAX: usize = 10_000;
/// So many tags are asked for at once.
const TAGS_PAGE: usize = 1_000;

/// Something that a registry keeps under a name.
pub struct Artifact {
    /// Of the manifest.
    pub digest: Digest,
    /// What it is made of.
    pub manifest: Manifest,
    remote: Remote,
}

impl Artifact {
    /// Looks a name up. A registry on loopback is asked over plain HTTP. `authority`: certificates in PEM that are trusted
    /// beside those of the machine.
    ///
    /// # Errors
    /// The registry does not answer, refuses, or sends something else than was asked for.
    pub async fn find(reference: &Reference, credentials: &Credentials, authority: Option<&[u8]>) -> Result<Self> {
        let remote = Remote::trusting(reference, credentials, authority);
        let (digest, bytes) = remote.manifest(reference.digest.as_ref()).await?;
        Ok(Self { manifest: parse("manifest", &digest, &bytes)?, digest, remote })
    }

    /// One of its parts, of at most `limit` bytes; it is what its digest says.
    ///
    /// # Errors
    /// As [`Artifact::find`]; and if it is too large.
    pub async fn part(&self, part: &Descriptor, limit: u64) -> Result<Vec<u8>> {
        if part.size > limit {
            return Err(Error::TooLarge { what: "part of an artifact", limit });
        }
        let stream = self.remote.client.pull_blob_stream(&self.remote.reference, part.digest.as_str()).await;
        let mut stream = stream.map_err(|error| self.remote.pull_failed(&error))?.stream;
        let mut bytes = Vec::new();
        while let Some(chunk) = stream.next().await {
            bytes.extend_from_slice(&chunk.map_err(|error| self.remote.pull_failed(&error))?);
            if bytes.len() as u64 > part.size {
                return Err(self.remote.pull_failed(&format!("{} is longer than announced", part.digest)));
            }
        }
        match Digest::of(&bytes) {
            actual if actual == part.digest => Ok(bytes),
            actual => Err(Error::DigestMismatch { expected: part.digest.clone(), actual }),
        }
    }

    /// Tags of a repository, whatever tag or digest the reference names.
    ///
    /// # Errors
    /// As [`Artifact::find`].
    pub async fn tags(
        reference: &Reference,
        credentials: &Credentials,
        authority: Option<&[u8]>,
    ) -> Result<Vec<String>> {
        let remote = Remote::trusting(reference, credentials, authority);
        let mut tags: Vec<String> = Vec::new();
        while tags.len() < TAGS_MAX {
            let last = tags.last().cloned();
            let page = remote.client.list_tags(&remote.reference, &remote.auth, Some(TAGS_PAGE), last.as_deref()).await;
            let page = page.map_err(|error| remote.pull_failed(&error))?.tags;
            // A registry that knows no pages answers with all of them each time.
            let new: Vec<String> = page.into_iter().filter(|tag| !tags.contains(tag)).collect();
            let whole = new.len() < TAGS_PAGE;
            tags.extend(new);
            if whole {
                break;
            }
        }
        Ok(tags)
    }
}
