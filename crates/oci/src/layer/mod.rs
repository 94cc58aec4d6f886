//! Layers: from a tar to a directory for overlayfs, and back.

use std::fs::{self, File};
use std::io::{self, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::image::Layer;
use crate::store::{Store, blocking, failpoint, lock, sync_directory};
use crate::types::media_type;

mod pack;
mod unpack;

/// What a deleted file is called in a layer's tar.
const WHITEOUT: &[u8] = b".wh.";
/// Beside the files of a directory that hides what lower layers have in it.
const OPAQUE: &[u8] = b".wh..wh..opq";
const OPAQUE_ATTRIBUTE: &str = "trusted.overlay.opaque";

const GZIP: &[u8] = &[0x1f, 0x8b];
const ZSTD: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];

/// How [`Store::commit_layer`] reads a directory.
#[derive(Clone, Debug, Default)]
pub struct CommitOptions {
    /// Files changed later get this time (seconds since 1970), so that the same input gives the same digest.
    pub modified_max: Option<u64>,
    /// Paths below the directory that are left out, such as the targets of mounts.
    pub exclude: Vec<PathBuf>,
    /// The directory itself becomes the unpacked layer: it is moved away. It must be on the store's file system.
    pub adopt: bool,
}

impl Store {
    /// Makes a layer of what a container has written: `upper` is the upper directory of its overlay. The tar is plain, sorted
    /// and carries no names of users, so equal content gives an equal digest.
    pub async fn commit_layer(&self, upper: &Path, options: CommitOptions) -> Result<Layer> {
        let (store, upper) = (self.clone(), upper.to_owned());
        blocking(move || {
            let mut writer = store.blob_writer()?;
            let failed = |error: io::Error| Error::Pack { path: upper.clone(), problem: error.to_string() };
            pack::pack(&upper, &options, &mut writer).map_err(failed)?;
            let (digest, size) = writer.finish(None)?;
            if options.adopt {
                store.adopt(&upper, &options.exclude, &digest).map_err(failed)?;
            }
            Ok(Layer { diff_id: digest.clone(), digest, size })
        })
        .await
    }

    /// Makes a layer of a tar, plain or compressed with gzip or zstd.
    pub async fn add_layer(&self, tar: impl Read + Send + 'static) -> Result<Layer> {
        let store = self.clone();
        blocking(move || store.add_layer_now(tar)).await
    }

    pub(crate) fn add_layer_now(&self, mut tar: impl Read) -> Result<Layer> {
        let mut writer = self.blob_writer()?;
        io::copy(&mut tar, &mut writer).map_err(|source| Error::Write { path: self.path("temporary"), source })?;
        let (digest, size) = writer.finish(None)?;
        let diff_id = self.diff_id(&digest)?;
        Ok(Layer { digest, diff_id, size })
    }

    /// The hash of a layer without its compression.
    fn diff_id(&self, digest: &Digest) -> Result<Digest> {
        let mut tar = self.open_tar(digest)?;
        match io::copy(&mut tar, &mut io::sink()) {
            Ok(_) => Ok(tar.digest()),
            Err(error) => Err(Error::Unpack { digest: digest.clone(), problem: error.to_string() }),
        }
    }

    /// The directory of one unpacked layer, for an overlay. Idempotent; a second caller waits for the first.
    pub fn unpack(&self, layer: &Layer) -> Result<PathBuf> {
        let home = self.path("layers").join(layer.diff_id.hex());
        let directory = home.join("fs");
        let turn = Arc::clone(lock(&self.shared.unpacking).entry(layer.diff_id.clone()).or_default());
        let _turn = lock(&turn);
        if directory.is_dir() {
            return Ok(directory);
        }
        let unpacked = self.unpack_to(layer, &home);
        lock(&self.shared.unpacking).remove(&layer.diff_id);
        unpacked.map(|()| directory)
    }

    fn unpack_to(&self, layer: &Layer, home: &Path) -> Result<()> {
        let temporary = self.temporary();
        let filled = self.fill(layer, &temporary.join("fs"));
        let placed = filled.and_then(|()| {
            self.place(&temporary, home).map_err(|source| Error::Write { path: home.to_owned(), source })
        });
        if placed.is_err() {
            let _ = fs::remove_dir_all(temporary);
        }
        placed
    }

    fn fill(&self, layer: &Layer, target: &Path) -> Result<()> {
        let failed = |problem: String| Error::Unpack { digest: layer.digest.clone(), problem };
        fs::create_dir_all(target).map_err(|error| failed(error.to_string()))?;
        let mut tar = self.open_tar(&layer.digest)?;
        unpack::unpack(&mut tar, target, self.shared.limits.layer_entries_max).map_err(failed)?;
        // What follows the end of the archive belongs to the hash.
        io::copy(&mut tar, &mut io::sink()).map_err(|error| failed(error.to_string()))?;
        let actual = tar.digest();
        if actual != layer.diff_id {
            return Err(Error::DigestMismatch { expected: layer.diff_id.clone(), actual });
        }
        Ok(())
    }

    /// Gives a filled directory its name, after its content is on disk.
    fn place(&self, temporary: &Path, home: &Path) -> io::Result<()> {
        rustix::fs::syncfs(File::open(temporary)?)?;
        failpoint("oci.layer.before");
        fs::rename(temporary, home)?;
        sync_directory(home)?;
        failpoint("oci.layer.after");
        Ok(())
    }

    fn adopt(&self, upper: &Path, exclude: &[PathBuf], diff_id: &Digest) -> io::Result<()> {
        let home = self.path("layers").join(diff_id.hex());
        if home.exists() {
            return Ok(());
        }
        for path in exclude {
            unpack::remove(&upper.join(pack::below(path)))?;
        }
        let temporary = self.temporary();
        fs::create_dir(&temporary)?;
        fs::rename(upper, temporary.join("fs"))?;
        self.place(&temporary, &home)
    }

    fn open_tar(&self, digest: &Digest) -> Result<Tar> {
        let file = self.open_blob(digest)?;
        let limit = self.shared.limits.layer_bytes_max;
        Tar::new(file, limit).map_err(|source| Error::Read { path: self.blob_path(digest), source })
    }

    /// The media type of a layer, by its first bytes.
    pub(crate) fn layer_type(&self, digest: &Digest) -> Result<&'static str> {
        let mut start = [0; 4];
        let length = self.open_blob(digest)?.read(&mut start);
        let length = length.map_err(|source| Error::Read { path: self.blob_path(digest), source })?;
        Ok(match &start[..length] {
            start if start.starts_with(GZIP) => media_type::LAYER_GZIP,
            start if start.starts_with(ZSTD) => media_type::LAYER_ZSTD,
            _ => media_type::LAYER,
        })
    }
}

/// A tar as it is read: decompressed, hashed, and cut off where it gets too long.
struct Tar {
    inner: Box<dyn Read>,
    hasher: Sha256,
    left: u64,
    limit: u64,
}

impl Tar {
    fn new(file: File, limit: u64) -> io::Result<Self> {
        Ok(Self { inner: decompressed(file)?, hasher: Sha256::new(), left: limit, limit })
    }

    /// Of all that was read.
    fn digest(&mut self) -> Digest {
        Digest::finish(std::mem::take(&mut self.hasher))
    }
}

impl Read for Tar {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.inner.read(buffer)?;
        self.left = self.left.checked_sub(length as u64).ok_or_else(|| {
            io::Error::new(io::ErrorKind::FileTooLarge, format!("it unpacks to more than {} bytes", self.limit))
        })?;
        self.hasher.update(&buffer[..length]);
        Ok(length)
    }
}

/// A file's content without gzip or zstd, by its first bytes.
pub(crate) fn decompressed(file: File) -> io::Result<Box<dyn Read>> {
    let mut reader = BufReader::with_capacity(128 << 10, file);
    let start = io::BufRead::fill_buf(&mut reader)?;
    Ok(if start.starts_with(GZIP) {
        Box::new(BufReader::with_capacity(128 << 10, flate2::bufread::MultiGzDecoder::new(reader)))
    } else if start.starts_with(ZSTD) {
        Box::new(BufReader::with_capacity(128 << 10, zstd::stream::read::Decoder::with_buffer(reader)?))
    } else {
        Box::new(reader)
    })
}

/// Writes all of `bytes` of zero that end a tar record; used by [`pack`].
fn pad(out: &mut impl Write, written: u64) -> io::Result<()> {
    const RECORD: u64 = 512;
    let rest = (RECORD - written % RECORD) % RECORD;
    out.write_all(&[0; RECORD as usize][..rest as usize])
}
