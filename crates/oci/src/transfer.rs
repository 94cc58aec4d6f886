//! Images on their way into a backup and back.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::error::Result;
use crate::refs::Repository;
use crate::store::Store;

/// What keeps images runnable: their blobs, and what repositories say of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Closure {
    /// Manifests, configurations, layers, with their sizes in bytes.
    pub blobs: BTreeMap<Digest, u64>,
    /// By name of the repository.
    pub repositories: BTreeMap<String, Named>,
    /// Images of which something is not here.
    pub missing: Vec<Digest>,
}

/// Manifests of a repository with their media types, and the tags on them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Named {
    pub tags: BTreeMap<String, Digest>,
    pub manifests: BTreeMap<Digest, String>,
}

impl Store {
    /// Everything that these images need. Hold a [`Lease`](crate::Lease) on them while it is read.
    pub fn closure(&self, images: &BTreeSet<Digest>) -> Result<Closure> {
        let (mut kept, mut layers) = (BTreeSet::new(), BTreeSet::new());
        let mut closure = Closure::default();
        for image in images {
            self.mark(image, &mut kept, &mut layers)?;
            if !self.complete(image) {
                closure.missing.push(image.clone());
            }
        }
        closure.blobs =
            kept.into_iter().filter_map(|digest| self.blob_size(&digest).map(|size| (digest, size))).collect();
        for name in self.repositories()? {
            let Repository { mut tags, mut manifests } = self.repository(&name)?;
            manifests.retain(|digest, _| closure.blobs.contains_key(digest));
            tags.retain(|_, digest| closure.blobs.contains_key(digest));
            if !manifests.is_empty() {
                closure.repositories.insert(name, Named { tags, manifests });
            }
        }
        Ok(closure)
    }

    /// True if the manifest, the configuration and all layers are here.
    pub fn complete(&self, image: &Digest) -> bool {
        let here = |image: crate::Image| image.manifest.layers.iter().all(|l| self.blob_size(&l.digest).is_some());
        self.image(image).is_ok_and(here)
    }

    /// Adds what a closure says of a repository. The blobs must be here.
    pub fn add_names(&self, name: &str, named: Named) -> Result<()> {
        self.change(name, |repository| {
            repository.manifests.extend(named.manifests);
            repository.tags.extend(named.tags);
        })
    }
}
