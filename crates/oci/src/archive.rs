//! Images as files: `docker save` and OCI layouts in, OCI layouts out.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::{Value, json};
use tar::{Archive, EntryType, Header};

use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::image::{Layer, is_index, parse};
use crate::layer::decompressed;
use crate::reference::Reference;
use crate::store::{Store, blocking};
use crate::types::{ImageConfig, Index, Manifest, Platform, media_type};

/// An image that an archive held; tagged already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Imported {
    pub digest: Digest,
    pub references: Vec<Reference>,
}

/// Files of an archive; a layout with hundreds of images stays below it.
const ENTRIES_MAX: usize = 10_000;
const ANNOTATIONS: [&str; 2] = ["io.containerd.image.name", "org.opencontainers.image.ref.name"];

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DockerImage {
    config: String,
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

impl Store {
    /// Imports a tar of `docker save` or of an OCI layout, perhaps compressed. `name` tags the image instead of what the archive
    /// says, which must then hold just one.
    pub async fn import(&self, archive: &Path, name: Option<Reference>) -> Result<Vec<Imported>> {
        let (store, archive) = (self.clone(), archive.to_owned());
        blocking(move || {
            let directory = store.temporary();
            let imported = store.import_into(&archive, &directory, name.as_ref());
            let _ = fs::remove_dir_all(directory);
            imported
        })
        .await
    }

    fn import_into(&self, archive: &Path, directory: &Path, name: Option<&Reference>) -> Result<Vec<Imported>> {
        let file = File::open(archive).map_err(|source| Error::Read { path: archive.to_owned(), source })?;
        let limit = self.shared.limits.blob_bytes_max.saturating_mul(4);
        let files = Files::unpack(file, directory, limit)?;
        let mut found = match files.json::<Vec<DockerImage>>("manifest.json", self.shared.limits.manifest_bytes_max)? {
            Some(images) => {
                images.into_iter().map(|image| self.import_docker(&files, image)).collect::<Result<Vec<_>>>()?
            }
            None => self.import_layout(&files)?,
        };
        match (name, found.as_mut_slice()) {
            (Some(name), [only]) => only.references = vec![name.clone()],
            (Some(_), _) => {
                return Err(malformed(format!("it holds {} images, so one name cannot be given", found.len())));
            }
            (None, _) => {}
        }
        for image in &found {
            for reference in &image.references {
                self.tag(reference, &image.digest)?;
            }
        }
        Ok(found)
    }

    fn import_docker(&self, files: &Files, image: DockerImage) -> Result<Imported> {
        let config = files.bytes(&image.config, self.shared.limits.config_bytes_max)?;
        let diff_ids = parse::<ImageConfig>("configuration", &Digest::of(&config), &config)?.rootfs.diff_ids;
        let layers =
            image.layers.iter().map(|layer| self.add_layer_now(files.open(layer)?)).collect::<Result<Vec<Layer>>>()?;
        for (layer, diff_id) in layers.iter().zip(&diff_ids) {
            if layer.diff_id != *diff_id {
                return Err(Error::DigestMismatch { expected: diff_id.clone(), actual: layer.diff_id.clone() });
            }
        }
        let digest = self.put_image(&config, &layers)?;
        let references = image.repo_tags.unwrap_or_default().iter().filter_map(|tag| tag.parse().ok()).collect();
        Ok(Imported { digest, references })
    }

    fn import_layout(&self, files: &Files) -> Result<Vec<Imported>> {
        let index = files.json::<Index>("index.json", self.shared.limits.manifest_bytes_max)?;
        let index = index.ok_or_else(|| {
            malformed("it has neither manifest.json (docker save) nor index.json (OCI layout)".to_owned())
        })?;
        let mut found = Vec::new();
        for entry in &index.manifests {
            let Some(digest) = self.import_manifest(files, &entry.digest, &entry.media_type)? else { continue };
            let name = ANNOTATIONS.iter().find_map(|name| entry.annotations.get(*name));
            // A bare `latest` is a tag without a name.
            let references = name.filter(|name| name.contains(['/', ':'])).and_then(|name| name.parse().ok());
            found.push(Imported { digest, references: references.into_iter().collect() });
        }
        Ok(found)
    }

    /// Takes over a manifest with its blobs; of an index, the one for this machine.
    fn import_manifest(&self, files: &Files, digest: &Digest, kind: &str) -> Result<Option<Digest>> {
        let bytes = files.blob(digest, self.shared.limits.manifest_bytes_max)?;
        if is_index(kind) {
            let index: Index = parse("index", digest, &bytes)?;
            let Some(chosen) = index.choose(&Platform::host()) else { return Ok(None) };
            if is_index(&chosen.media_type) {
                return Err(malformed(format!("index {digest} names another index")));
            }
            return self.import_manifest(files, &chosen.digest, &chosen.media_type);
        }
        let manifest: Manifest = parse("manifest", digest, &bytes)?;
        for part in manifest.layers.iter().chain([&manifest.config]) {
            let mut writer = self.blob_writer()?;
            io::copy(&mut files.open(&blob_name(&part.digest))?, &mut writer)
                .map_err(|error| malformed(error.to_string()))?;
            writer.finish(Some(&part.digest))?;
        }
        self.put_blob(&bytes).map(Some)
    }

    /// Writes images as one OCI layout. Blobs that several images share are written once.
    pub async fn export<W: Write + Send + 'static>(&self, images: Vec<(Reference, Digest)>, out: W) -> Result<W> {
        let store = self.clone();
        blocking(move || store.export_now(&images, out)).await
    }

    fn export_now<W: Write>(&self, images: &[(Reference, Digest)], out: W) -> Result<W> {
        let mut tar = tar::Builder::new(out);
        let failed = |error: io::Error| Error::Archive { problem: error.to_string() };
        append(&mut tar, "oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#).map_err(failed)?;
        let mut blobs = BTreeMap::new();
        let mut entries = Vec::new();
        for (reference, digest) in images {
            let image = self.image(digest)?;
            let size = self.blob_size(&image.digest).unwrap_or(0);
            entries.push(json!({
                "mediaType": image.manifest.media_type, "digest": image.digest, "size": size,
                "annotations": {ANNOTATIONS[0]: reference.to_string(), ANNOTATIONS[1]: reference.tag.as_deref().unwrap_or("latest")},
            }));
            blobs.insert(image.digest, size);
            blobs.extend(
                image
                    .manifest
                    .layers
                    .iter()
                    .chain([&image.manifest.config])
                    .map(|blob| (blob.digest.clone(), blob.size)),
            );
        }
        let index = json!({"schemaVersion": 2, "mediaType": media_type::INDEX, "manifests": entries});
        append(&mut tar, "index.json", index.to_string().as_bytes()).map_err(failed)?;
        for (digest, size) in &blobs {
            let file = self.open_blob(digest)?;
            append_from(&mut tar, &blob_name(digest), *size, file).map_err(failed)?;
        }
        tar.into_inner().map_err(failed)
    }
}

fn append<W: Write>(tar: &mut tar::Builder<W>, name: &str, bytes: &[u8]) -> io::Result<()> {
    append_from(tar, name, bytes.len() as u64, bytes)
}

fn append_from<W: Write>(tar: &mut tar::Builder<W>, name: &str, size: u64, content: impl Read) -> io::Result<()> {
    let mut header = Header::new_gnu();
    header.set_size(size);
    header.set_mode(0o644);
    tar.append_data(&mut header, name, content)
}

fn blob_name(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

fn malformed(problem: String) -> Error {
    Error::Archive { problem }
}

/// The files of an archive, unpacked under numbers: their own names never reach the file system.
struct Files {
    by_name: BTreeMap<String, PathBuf>,
}

impl Files {
    fn unpack(file: File, directory: &Path, limit: u64) -> Result<Self> {
        let failed = |error: io::Error| malformed(error.to_string());
        fs::create_dir_all(directory).map_err(failed)?;
        let mut archive = Archive::new(decompressed(file).map_err(failed)?);
        let mut by_name = BTreeMap::new();
        let mut links = Vec::new();
        let mut left = limit;
        for (number, entry) in archive.entries().map_err(failed)?.enumerate() {
            let mut entry = entry.map_err(failed)?;
            if number >= ENTRIES_MAX {
                return Err(malformed(format!("it has more than {ENTRIES_MAX} files")));
            }
            let name = normal(&entry.path_bytes());
            match entry.header().entry_type() {
                EntryType::Regular => {
                    left = left
                        .checked_sub(entry.size())
                        .ok_or_else(|| malformed(format!("it has more than {limit} bytes")))?;
                    let path = directory.join(number.to_string());
                    io::copy(&mut entry, &mut File::create_new(&path).map_err(failed)?).map_err(failed)?;
                    by_name.insert(name, path);
                }
                // `docker save` once wrote equal layers as links to the first.
                EntryType::Symlink | EntryType::Link => {
                    let target = entry.link_name_bytes().unwrap_or_default().into_owned();
                    let base = if entry.header().entry_type() == EntryType::Link {
                        ""
                    } else {
                        name.rsplit_once('/').map_or("", |(base, _)| base)
                    };
                    links.push((name.clone(), normal(&[base.as_bytes(), b"/", &target].concat())));
                }
                _ => {}
            }
        }
        for (name, target) in links {
            if let Some(path) = by_name.get(&target).cloned() {
                by_name.insert(name, path);
            }
        }
        Ok(Self { by_name })
    }

    fn open(&self, name: &str) -> Result<File> {
        let path =
            self.by_name.get(&normal(name.as_bytes())).ok_or_else(|| malformed(format!("{name} is missing in it")))?;
        File::open(path).map_err(|error| malformed(error.to_string()))
    }

    fn bytes(&self, name: &str, limit: u64) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.open(name)?.take(limit + 1).read_to_end(&mut bytes).map_err(|error| malformed(error.to_string()))?;
        if bytes.len() as u64 > limit {
            Err(malformed(format!("{name} has more than {limit} bytes")))
        } else {
            Ok(bytes)
        }
    }

    fn blob(&self, digest: &Digest, limit: u64) -> Result<Vec<u8>> {
        let bytes = self.bytes(&blob_name(digest), limit)?;
        let actual = Digest::of(&bytes);
        if actual != *digest {
            return Err(Error::DigestMismatch { expected: digest.clone(), actual });
        }
        Ok(bytes)
    }

    fn json<T: serde::de::DeserializeOwned>(&self, name: &str, limit: u64) -> Result<Option<T>> {
        if !self.by_name.contains_key(name) {
            return Ok(None);
        }
        let bytes = self.bytes(name, limit)?;
        // By way of a value, so that a duplicate key is no error.
        let value: Value = serde_json::from_slice(&bytes).map_err(|error| malformed(format!("{name}: {error}")))?;
        serde_json::from_value(value).map(Some).map_err(|error| malformed(format!("{name}: {error}")))
    }
}

/// A name without `.`, `..` and leading slashes; only ever a key.
fn normal(name: &[u8]) -> String {
    let name = String::from_utf8_lossy(name);
    let mut parts: Vec<&str> = Vec::new();
    for part in name.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}
