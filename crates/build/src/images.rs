//! The store of images, as builds use it.

use crate::error::Error;
use crate::files::{Layer, Layers};
use crate::image::Image;
use model::ports::Lines;
use oci::{BlobWriter, Credentials, Digest, Reference, Store};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::BufWriter;
use std::path::PathBuf;

/// A layer on its way into the store. Dropped, it leaves nothing.
pub(crate) type NewLayer = Layer<BufWriter<BlobWriter>>;

/// A layer in the store, and where it is unpacked.
#[derive(Debug, Clone)]
pub(crate) struct StoredLayer {
    pub layer: oci::Layer,
    pub directory: PathBuf,
}

impl StoredLayer {
    pub fn diff_id(&self) -> &str {
        self.layer.diff_id.as_str()
    }
}

/// What a cache remembers of a layer.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct LayerRecord(pub Option<oci::Layer>);

/// The layers of a root, the base first.
#[derive(Debug, Clone, Default)]
pub(crate) struct Root {
    pub layers: Vec<StoredLayer>,
}

impl Root {
    pub fn directories(&self) -> Vec<PathBuf> {
        self.layers.iter().map(|layer| layer.directory.clone()).collect()
    }
    pub fn tree(&self) -> Layers {
        let mut directories = self.directories();
        directories.reverse();
        Layers(directories)
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Images {
    pub store: Store,
    /// By host of the registry.
    pub credentials: BTreeMap<String, Credentials>,
}

impl Images {
    pub fn new_layer(&self) -> Result<NewLayer, Error> {
        let writer = self.store.blob_writer().map_err(Error::Store)?;
        Ok(Layer::new(BufWriter::new(writer)))
    }

    /// Makes it a layer of the store and unpacks it; `None` if nothing is in it. Blocks.
    pub fn finish(&self, layer: NewLayer) -> Result<Option<StoredLayer>, Error> {
        let written = |error: std::io::Error| Error::Work { path: "a layer".into(), source: error };
        let (output, entries) = layer.finish().map_err(written)?;
        if entries == 0 {
            return Ok(None);
        }
        let writer = output.into_inner().map_err(|error| written(error.into_error()))?;
        let (digest, size) = writer.finish(None).map_err(Error::Store)?;
        // A plain tar is its own content.
        self.unpacked(oci::Layer { diff_id: digest.clone(), digest, size }).map(Some)
    }

    /// A layer that was stored before; `None` if it is gone. Blocks.
    pub fn find(&self, layer: &oci::Layer) -> Result<Option<StoredLayer>, Error> {
        match self.store.blob_size(&layer.digest) {
            Some(_) => self.unpacked(layer.clone()).map(Some),
            None => Ok(None),
        }
    }

    fn unpacked(&self, layer: oci::Layer) -> Result<StoredLayer, Error> {
        let directory = self.store.unpack(&layer).map_err(Error::Store)?;
        Ok(StoredLayer { layer, directory })
    }

    /// The image of this name, from the store or else from its registry, with its layers unpacked.
    pub async fn base(&self, name: &str, lines: &dyn Lines) -> Result<(Image, Root), Error> {
        let reference: Reference = name.parse().map_err(|error: oci::ReferenceError| image_error(name, &error))?;
        let digest = match self.store.resolve(&reference) {
            Ok(digest) => digest,
            Err(oci::Error::NotFound { .. }) => {
                lines.line(&format!("pulling {reference}"));
                let credentials = self.credentials.get(&reference.registry).cloned().unwrap_or_default();
                let progress = |text: &str| {
                    lines.line(text);
                };
                let pulled = self.store.pull(&reference, &credentials, &progress).await;
                pulled.map_err(|error| image_error(name, &error))?
            }
            Err(error) => return Err(Error::Store(error)),
        };
        let image = self.store.image(&digest).map_err(|error| image_error(name, &error))?;
        let directories = self.store.layer_paths(&image).await.map_err(|error| image_error(name, &error))?;
        let layers = image.layers().into_iter().zip(directories);
        let layers = layers.map(|(layer, directory)| StoredLayer { layer, directory }).collect();
        let config = serde_json::to_value(&image.config).and_then(serde_json::from_value);
        let config: Image = config.map_err(|error| image_error(name, &error))?;
        Ok((config, Root { layers }))
    }

    /// Puts an image together and tags it; its manifest's digest and its size in bytes. Blocks.
    pub fn put(&self, image: &Image, root: &Root, tag: &str) -> Result<(Digest, u64), Error> {
        let layers: Vec<_> = root.layers.iter().map(|layer| layer.layer.clone()).collect();
        let config = serde_json::to_vec(image).expect("configurations are text, numbers and tables");
        let digest = self.store.put_image(&config, &layers).map_err(Error::Store)?;
        let reference: Reference = tag.parse().map_err(|error: oci::ReferenceError| image_error(tag, &error))?;
        self.store.tag(&reference, &digest).map_err(Error::Store)?;
        Ok((digest, layers.iter().map(|layer| layer.size).sum()))
    }

    /// True if the manifest, the configuration and all layers are there.
    pub fn has(&self, digest: &Digest) -> Result<bool, Error> {
        match self.store.image(digest) {
            Ok(image) => Ok(image.manifest.layers.iter().all(|layer| self.store.blob_size(&layer.digest).is_some())),
            Err(oci::Error::BlobMissing { .. }) => Ok(false),
            Err(error) => Err(Error::Store(error)),
        }
    }
}

fn image_error(name: &str, error: &dyn std::error::Error) -> Error {
    Error::Image { image: name.to_owned(), problem: crate::with_sources(error) }
}
