//! Blobs on disk.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::SystemTime;

use sha2::{Digest as _, Sha256};

use crate::digest::Digest;
use crate::error::{Error, Result};

/// Every point at which `TRIMTAB_FAILPOINT=<name>` aborts the process.
pub const FAILPOINTS: &[&str] =
    &["oci.blob.before", "oci.blob.after", "oci.ref.before", "oci.ref.after", "oci.layer.before", "oci.layer.after"];

pub(crate) fn failpoint(name: &'static str) {
    static ARMED: OnceLock<Option<String>> = OnceLock::new();
    if ARMED.get_or_init(|| std::env::var("TRIMTAB_FAILPOINT").ok()).as_deref() == Some(name) {
        std::process::abort();
    }
}

/// What is refused as too much, in bytes unless named otherwise.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub manifest_bytes_max: u64,
    pub config_bytes_max: u64,
    pub blob_bytes_max: u64,
    /// Of one layer, without compression.
    pub layer_bytes_max: u64,
    /// Files of one layer.
    pub layer_entries_max: u64,
}

impl Default for Limits {
    /// Manifests as registries limit them, and layers as large as any that we have heard of.
    fn default() -> Self {
        Self {
            manifest_bytes_max: 4 << 20,
            config_bytes_max: 8 << 20,
            blob_bytes_max: 16 << 30,
            layer_bytes_max: 32 << 30,
            layer_entries_max: 2_000_000,
        }
    }
}

/// An image store. Cheap to clone; one process owns a directory.
#[derive(Clone, Debug)]
pub struct Store {
    pub(crate) shared: Arc<Shared>,
}

#[derive(Debug)]
pub(crate) struct Shared {
    pub root: PathBuf,
    pub limits: Limits,
    /// Serialises changes of tags, and garbage collection against them.
    refs: Mutex<()>,
    leases: Mutex<BTreeMap<u64, BTreeSet<Digest>>>,
    counter: AtomicU64,
    /// Counts changes of what repositories hold.
    pub changed: tokio::sync::watch::Sender<u64>,
    /// One unpacking per layer at a time.
    pub unpacking: Mutex<BTreeMap<Digest, Arc<Mutex<()>>>>,
}

impl Store {
    /// Opens or makes the store at `root`, with the usual limits.
    pub fn open(root: impl Into<PathBuf>) -> Result<Self> {
        Self::open_with(root, Limits::default())
    }

    pub fn open_with(root: impl Into<PathBuf>, limits: Limits) -> Result<Self> {
        let root = root.into();
        Self::prepare(&root).map_err(|source| Error::Open { path: root.clone(), source })?;
        let shared = Shared {
            root,
            limits,
            refs: Mutex::default(),
            leases: Mutex::default(),
            counter: AtomicU64::new(0),
            changed: tokio::sync::watch::Sender::new(0),
            unpacking: Mutex::default(),
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    fn prepare(root: &Path) -> io::Result<()> {
        // What a crash left half-written.
        match fs::remove_dir_all(root.join("temporary")) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        ["blobs/sha256", "refs", "layers", "temporary"].iter().try_for_each(|name| fs::create_dir_all(root.join(name)))
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.shared.root.join(name)
    }

    /// Wakes when an image may have come or gone.
    pub fn changes(&self) -> tokio::sync::watch::Receiver<u64> {
        self.shared.changed.subscribe()
    }

    /// Where a blob is, or would be. Its content is immutable.
    pub fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.shared.root.join("blobs/sha256").join(digest.hex())
    }

    /// A name in the directory that is emptied on open.
    pub(crate) fn temporary(&self) -> PathBuf {
        let number = self.shared.counter.fetch_add(1, Ordering::Relaxed);
        self.shared.root.join("temporary").join(number.to_string())
    }

    /// The blob's size, if it is here.
    pub fn blob_size(&self, digest: &Digest) -> Option<u64> {
        fs::metadata(self.blob_path(digest)).ok().map(|metadata| metadata.len())
    }

    /// Keeps the blob for the grace period of garbage collection, as if it had just been written.
    pub(crate) fn touch(&self, digest: &Digest) -> bool {
        let now = fs::FileTimes::new().set_modified(SystemTime::now());
        File::options().write(true).open(self.blob_path(digest)).and_then(|file| file.set_times(now)).is_ok()
    }

    pub fn open_blob(&self, digest: &Digest) -> Result<File> {
        let path = self.blob_path(digest);
        File::open(&path).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => Error::BlobMissing { digest: digest.clone() },
            _ => Error::Read { path, source },
        })
    }

    /// A small blob as a whole.
    pub(crate) fn read_blob(&self, what: &'static str, digest: &Digest, limit: u64) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let path = self.blob_path(digest);
        let file = self.open_blob(digest)?;
        file.take(limit + 1).read_to_end(&mut bytes).map_err(|source| Error::Read { path, source })?;
        if bytes.len() as u64 > limit {
            return Err(Error::TooLarge { what, limit });
        }
        Ok(bytes)
    }

    /// Writes a small blob.
    pub fn put_blob(&self, bytes: &[u8]) -> Result<Digest> {
        let digest = Digest::of(bytes);
        if self.touch(&digest) {
            return Ok(digest);
        }
        let mut writer = self.blob_writer()?;
        writer.write_all(bytes).map_err(|source| Error::Write { path: self.blob_path(&digest), source })?;
        writer.finish(None).map(|(digest, _)| digest)
    }

    /// Receives a blob of unknown content.
    pub fn blob_writer(&self) -> Result<BlobWriter> {
        let path = self.temporary();
        let file = File::create_new(&path).map_err(|source| Error::Write { path: path.clone(), source })?;
        Ok(BlobWriter { store: self.clone(), path: Some(path), file, hasher: Sha256::new(), size: 0 })
    }

    /// Keeps the blobs that are added to it from garbage collection, for as long as it lives.
    pub fn lease(&self) -> Lease {
        let id = self.shared.counter.fetch_add(1, Ordering::Relaxed);
        lock(&self.shared.leases).insert(id, BTreeSet::new());
        Lease { store: self.clone(), id }
    }

    pub(crate) fn leased(&self) -> BTreeSet<Digest> {
        lock(&self.shared.leases).values().flatten().cloned().collect()
    }

    pub(crate) fn lock_refs(&self) -> MutexGuard<'_, ()> {
        lock(&self.shared.refs)
    }
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // No invariant spans two statements under any of these locks.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs blocking work on tokio's threads for that.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

/// See [`Store::lease`].
#[derive(Debug)]
pub struct Lease {
    store: Store,
    id: u64,
}

impl Lease {
    pub fn add(&self, digest: &Digest) {
        if let Some(held) = lock(&self.store.shared.leases).get_mut(&self.id) {
            held.insert(digest.clone());
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        lock(&self.store.shared.leases).remove(&self.id);
    }
}

/// A blob on its way in. Dropped without [`BlobWriter::finish`], it leaves nothing.
#[derive(Debug)]
pub struct BlobWriter {
    store: Store,
    path: Option<PathBuf>,
    file: File,
    hasher: Sha256,
    size: u64,
}

impl BlobWriter {
    /// Bytes so far.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Makes it a blob, durably, if its content has the expected digest.
    pub fn finish(mut self, expected: Option<&Digest>) -> Result<(Digest, u64)> {
        let actual = Digest::finish(std::mem::take(&mut self.hasher));
        if let Some(expected) = expected.filter(|expected| **expected != actual) {
            return Err(Error::DigestMismatch { expected: expected.clone(), actual });
        }
        let target = self.store.blob_path(&actual);
        let Some(path) = self.path.take() else { return Ok((actual, self.size)) };
        failpoint("oci.blob.before");
        commit(&self.file, &path, &target).map_err(|source| Error::Write { path: target, source })?;
        failpoint("oci.blob.after");
        Ok((actual, self.size))
    }
}

/// Moves a written file to its name so that a crash leaves it whole or absent.
pub(crate) fn commit(file: &File, from: &Path, to: &Path) -> io::Result<()> {
    file.sync_all()?;
    fs::rename(from, to)?;
    sync_directory(to)
}

/// Makes a rename durable.
pub(crate) fn sync_directory(child: &Path) -> io::Result<()> {
    child.parent().map_or(Ok(()), |directory| File::open(directory)?.sync_all())
}

impl Write for BlobWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let limit = self.store.shared.limits.blob_bytes_max;
        if self.size.saturating_add(bytes.len() as u64) > limit {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("a blob may have at most {limit} bytes")));
        }
        let written = self.file.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        self.size += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for BlobWriter {
    fn drop(&mut self) {
        if let Some(path) = self.path.take() {
            let _ = fs::remove_file(path);
        }
    }
}
