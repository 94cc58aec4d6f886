//! The store of images, as builds use it. INTERIM until oci lands.

use crate::error::Error;
use crate::error::work;
use crate::files::Layers;
use crate::image::Image;
use model::ports::Lines;
use serde::{Deserialize, Serialize};
use sha2::Digest as _;
use std::path::{Path, PathBuf};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StoredLayer {
    pub diff_id: String,
    pub digest: String,
    pub size: u64,
    #[serde(skip)]
    pub directory: PathBuf,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Root {
    pub layers: Vec<StoredLayer>,
}
impl Root {
    pub fn directories(&self) -> Vec<PathBuf> {
        self.layers.iter().map(|l| l.directory.clone()).collect()
    }
    pub fn tree(&self) -> Layers {
        let mut directories = self.directories();
        directories.reverse();
        Layers(directories)
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Images {
    pub root: PathBuf,
}

impl Images {
    fn directory(&self, diff: &str) -> PathBuf {
        self.root.join("layers").join(diff.trim_start_matches("sha256:"))
    }
    pub async fn add(&self, tar: &Path) -> Result<StoredLayer, Error> {
        let bytes = std::fs::read(tar).map_err(work(tar))?;
        let digest = model::Digest::of(&bytes).to_string();
        let blob = self.root.join("blobs/sha256").join(digest.trim_start_matches("sha256:"));
        std::fs::create_dir_all(blob.parent().unwrap()).unwrap();
        std::fs::write(&blob, &bytes).unwrap();
        let directory = self.directory(&digest);
        if !directory.exists() {
            std::fs::create_dir_all(&directory).unwrap();
            let mut archive = tar::Archive::new(&bytes[..]);
            archive.set_preserve_permissions(true);
            archive.set_preserve_ownerships(true);
            archive.set_unpack_xattrs(true);
            for item in archive.entries().unwrap() {
                let mut item = item.unwrap();
                let path = item.path().unwrap().into_owned();
                let name = path.file_name().unwrap().to_str().unwrap().to_owned();
                if name == ".wh..wh..opq" {
                    rustix::fs::setxattr(
                        directory.join(path.parent().unwrap()),
                        "trusted.overlay.opaque",
                        b"y",
                        rustix::fs::XattrFlags::empty(),
                    )
                    .unwrap();
                } else if let Some(gone) = name.strip_prefix(".wh.") {
                    rustix::fs::mknodat(
                        rustix::fs::CWD,
                        directory.join(path.with_file_name(gone)),
                        rustix::fs::FileType::CharacterDevice,
                        0o600.into(),
                        0,
                    )
                    .unwrap();
                } else {
                    item.unpack_in(&directory).unwrap();
                }
            }
        }
        let _ = sha2::Sha256::new();
        Ok(StoredLayer { diff_id: digest.clone(), digest, size: bytes.len() as u64, directory })
    }
    pub async fn find(&self, layer: &StoredLayer) -> Result<Option<StoredLayer>, Error> {
        let directory = self.directory(&layer.diff_id);
        Ok(directory.is_dir().then(|| StoredLayer { directory, ..layer.clone() }))
    }
    pub async fn base(&self, reference: &str, _lines: &dyn Lines) -> Result<(Image, Root), Error> {
        let path = self.root.join("tags").join(reference.replace('/', "+"));
        let missing = || Error::Image { image: reference.to_owned(), problem: "is not in the store".into() };
        let bytes = std::fs::read(path).map_err(|_| missing())?;
        let (image, layers): (Image, Vec<StoredLayer>) = serde_json::from_slice(&bytes).unwrap();
        let layers = layers.into_iter().map(|l| StoredLayer { directory: self.directory(&l.diff_id), ..l }).collect();
        Ok((image, Root { layers }))
    }
    /// Puts an image together; its manifest's digest and its size.
    pub async fn put(&self, image: &Image, root: &Root, tag: &str) -> Result<(model::Digest, u64), Error> {
        let bytes = serde_json::to_vec(&(image, &root.layers)).unwrap();
        let path = self.root.join("tags").join(tag.replace('/', "+"));
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, &bytes).unwrap();
        Ok((model::Digest::of(&bytes), root.layers.iter().map(|l| l.size).sum()))
    }
    pub async fn has(&self, _: &model::Digest) -> Result<bool, Error> {
        Ok(true)
    }
}
