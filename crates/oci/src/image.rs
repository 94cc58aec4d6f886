//! Images as a whole: reading them from the store, and putting them together.

use std::path::PathBuf;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::store::{Store, blocking};
use crate::types::{Descriptor, ImageConfig, Index, Manifest, Platform, media_type};

/// An image that is in the store.
#[derive(Clone, Debug, PartialEq)]
pub struct Image {
    /// Of the manifest for this machine's platform.
    pub digest: Digest,
    pub manifest: Manifest,
    pub config: ImageConfig,
}

impl Image {
    /// The layers as they are stored, the base first.
    pub fn layers(&self) -> Vec<Layer> {
        let pairs = self.manifest.layers.iter().zip(&self.config.rootfs.diff_ids);
        pairs
            .map(|(layer, diff_id)| Layer { digest: layer.digest.clone(), diff_id: diff_id.clone(), size: layer.size })
            .collect()
    }

    /// Bytes of configuration and layers as they travel.
    pub fn size(&self) -> u64 {
        self.manifest.config.size + self.manifest.layers.iter().map(|layer| layer.size).sum::<u64>()
    }
}

/// A layer that is in the store.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, Deserialize)]
pub struct Layer {
    /// Of the blob, perhaps compressed.
    pub digest: Digest,
    /// Of the tar in it.
    pub diff_id: Digest,
    /// Of the blob, in bytes.
    pub size: u64,
}

/// What tells a manifest from an index.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Kind {
    media_type: Option<String>,
    manifests: Option<serde_json::Value>,
}

impl Store {
    /// The image that a manifest digest names; of an index, the image for this machine.
    pub fn image(&self, digest: &Digest) -> Result<Image> {
        let bytes = self.read_blob("manifest", digest, self.shared.limits.manifest_bytes_max)?;
        if is_index(&type_of(&bytes, digest)?) {
            let index: Index = parse("index", digest, &bytes)?;
            let platform = Platform::host();
            let chosen = index.choose(&platform).ok_or_else(|| no_platform(digest, &platform))?;
            return self.single_image(&chosen.digest);
        }
        self.single_image(digest)
    }

    fn single_image(&self, digest: &Digest) -> Result<Image> {
        let bytes = self.read_blob("manifest", digest, self.shared.limits.manifest_bytes_max)?;
        let manifest: Manifest = parse("manifest", digest, &bytes)?;
        let config_digest = &manifest.config.digest;
        let bytes = self.read_blob("configuration", config_digest, self.shared.limits.config_bytes_max)?;
        let config: ImageConfig = parse("configuration", config_digest, &bytes)?;
        let (layers, diff_ids) = (manifest.layers.len(), config.rootfs.diff_ids.len());
        if layers != diff_ids {
            return Err(Error::LayerCount { digest: digest.clone(), layers, diff_ids });
        }
        Ok(Image { digest: digest.clone(), manifest, config })
    }

    /// Puts an image together from its configuration (the JSON document, whose diff ids are those of `layers`) and layers that
    /// are in the store. Returns the digest of the manifest.
    pub fn put_image(&self, config: &[u8], layers: &[Layer]) -> Result<Digest> {
        let config_digest = self.put_blob(config)?;
        let parsed: ImageConfig = parse("configuration", &config_digest, config)?;
        if parsed.rootfs.diff_ids.len() != layers.len() {
            let (layers, diff_ids) = (layers.len(), parsed.rootfs.diff_ids.len());
            return Err(Error::LayerCount { digest: config_digest, layers, diff_ids });
        }
        for layer in layers {
            if !self.touch(&layer.digest) {
                return Err(Error::BlobMissing { digest: layer.digest.clone() });
            }
        }
        let descriptors = layers
            .iter()
            .map(|layer| Ok(Descriptor::new(self.layer_type(&layer.digest)?, layer.digest.clone(), layer.size)));
        let manifest = Manifest {
            schema_version: 2,
            media_type: media_type::MANIFEST.to_owned(),
            config: Descriptor::new(media_type::CONFIG, config_digest.clone(), config.len() as u64),
            layers: descriptors.collect::<Result<_>>()?,
            annotations: Default::default(),
        };
        self.put_blob(&serde_json::to_vec(&manifest).map_err(|source| malformed("manifest", &config_digest, source))?)
    }

    /// The unpacked layers of an image, the base first: what a container's root file system is made of. Unpacks those that no
    /// image used before.
    pub async fn layer_paths(&self, image: &Image) -> Result<Vec<PathBuf>> {
        let (store, layers) = (self.clone(), image.layers());
        blocking(move || layers.iter().map(|layer| store.unpack(layer)).collect()).await
    }

    /// The media type of a manifest or index in the store.
    pub(crate) fn manifest_type(&self, digest: &Digest) -> Result<String> {
        type_of(&self.read_blob("manifest", digest, self.shared.limits.manifest_bytes_max)?, digest)
    }

    /// Manifest and index share their first fields; this is what follows from a manifest: its own blobs.
    pub(crate) fn references(&self, digest: &Digest) -> Result<Vec<Digest>> {
        let bytes = self.read_blob("manifest", digest, self.shared.limits.manifest_bytes_max)?;
        references(&bytes, digest)
    }
}

/// The blobs that a manifest or index names.
pub(crate) fn references(bytes: &[u8], digest: &Digest) -> Result<Vec<Digest>> {
    if is_index(&type_of(bytes, digest)?) {
        let index: Index = parse("index", digest, bytes)?;
        return Ok(index.manifests.into_iter().map(|entry| entry.digest).collect());
    }
    let manifest: Manifest = parse("manifest", digest, bytes)?;
    let layers = manifest.layers.into_iter().map(|layer| layer.digest);
    Ok(std::iter::once(manifest.config.digest).chain(layers).collect())
}

pub(crate) fn is_index(media_type: &str) -> bool {
    [media_type::INDEX, media_type::DOCKER_LIST].contains(&media_type)
}

/// OCI documents need not say what they are.
pub(crate) fn type_of(bytes: &[u8], digest: &Digest) -> Result<String> {
    let kind: Kind = parse("manifest", digest, bytes)?;
    let guessed = if kind.manifests.is_some() { media_type::INDEX } else { media_type::MANIFEST };
    Ok(kind.media_type.unwrap_or_else(|| guessed.to_owned()))
}

pub(crate) fn no_platform(digest: &Digest, platform: &Platform) -> Error {
    Error::Platform { digest: digest.clone(), platform: format!("{}/{}", platform.os, platform.architecture) }
}

pub(crate) fn parse<T: DeserializeOwned>(what: &'static str, digest: &Digest, bytes: &[u8]) -> Result<T> {
    serde_json::from_slice(bytes).map_err(|source| malformed(what, digest, source))
}

fn malformed(what: &'static str, digest: &Digest, source: serde_json::Error) -> Error {
    Error::Malformed { what, digest: digest.clone(), source }
}
