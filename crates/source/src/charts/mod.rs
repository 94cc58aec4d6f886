//! Chart repositories: `index.yaml` over HTTP (ChartMuseum's too), and registries; with an archive of everything that was
//! taken from them.
//!
//! ```text
//!  <root>/sha256/<hex>    archives (.tgz) by their digest
//! ```
//!
//! Nothing from outside is believed: an archive is what its repository's index or manifest says, and once a pin names
//! its digest, it is that or nothing. All of it can be fetched or packed again: what nothing names any more is swept, and
//! the oldest goes when room is needed.

mod http;
mod index;
mod provenance;
mod registry;
#[cfg(test)]
mod tests;

use async_trait::async_trait;
use model::chart::ChartSource;
use model::ports::{ChartAccess, PortError, Result};
use model::{ChartPin, Digest};
use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

/// The largest archive, as it travels.
const ARCHIVE_BYTES_MAX: usize = 64 << 20;
/// All archives together.
const BYTES_MAX: u64 = 4 << 30;

/// A chart that was taken from its repository.
#[derive(Debug, Clone)]
pub struct Fetched {
    /// What it is.
    pub pin: ChartPin,
    /// The `.tgz`.
    pub archive: Vec<u8>,
}

/// The versions of a chart that its repository has.
///
/// # Errors
/// The repository does not answer or refuses; it does not know the chart.
pub async fn chart_versions(source: &ChartSource, access: &ChartAccess) -> Result<Vec<String>> {
    let versions = match registry::is_registry(&source.repository) {
        true => registry::versions(source, access).await?,
        false => http::index(source, access).await?.into_iter().map(|offer| offer.version).collect(),
    };
    match versions.is_empty() {
        true => Err(PortError::Terminal(format!("{} has no chart {}", source.repository, source.name))),
        false => Ok(versions),
    }
}

/// One version of a chart, checked against what its repository says, and against its provenance if there are keys.
///
/// # Errors
/// As [`chart_versions`]; the archive is not what was announced, or nobody of the keyring signed it.
pub async fn fetch_chart(source: &ChartSource, version: &str, access: &ChartAccess) -> Result<Fetched> {
    let (archive, provenance) = match registry::is_registry(&source.repository) {
        true => registry::fetch(source, version, access).await?,
        false => http::fetch(source, version, access).await?,
    };
    let digest = Digest::of(&archive);
    if let Some(keyring) = &access.keyring {
        let what = format!("{} {version} from {}", source.name, source.repository);
        let refused = |problem: String| PortError::Terminal(format!("{what}: {problem}"));
        let provenance =
            provenance.ok_or_else(|| refused("it has no provenance file (.prov), and keys are given".into()))?;
        provenance::verify(&provenance, keyring, &source.name, version, &digest).map_err(refused)?;
    }
    let pin = ChartPin { name: source.name.clone(), version: version.to_owned(), digest };
    Ok(Fetched { pin, archive })
}

/// Archives of charts, and the way to the repositories they come from.
#[derive(Clone)]
pub struct Charts(Arc<Inner>);

struct Inner {
    root: PathBuf,
    bytes_max: u64,
    /// Whoever writes makes room, one at a time.
    writing: Mutex<()>,
}

impl Charts {
    /// Keeps archives in this directory, which is made if it is absent.
    ///
    /// # Errors
    /// The directory cannot be made.
    pub fn open(root: PathBuf) -> std::result::Result<Self, crate::Error> {
        Self::bounded(root, BYTES_MAX)
    }

    fn bounded(root: PathBuf, bytes_max: u64) -> std::result::Result<Self, crate::Error> {
        let root = root.join("sha256");
        fs::create_dir_all(&root).map_err(crate::Error::file("create", &root))?;
        // What a killed process was writing.
        for entry in fs::read_dir(&root).map_err(crate::Error::file("read", &root))?.flatten() {
            if entry.path().extension().is_some() {
                let _ = fs::remove_file(entry.path());
            }
        }
        Ok(Self(Arc::new(Inner { root, bytes_max, writing: Mutex::default() })))
    }

    fn path(&self, digest: &Digest) -> PathBuf {
        self.0.root.join(digest.hex())
    }

    fn read(&self, digest: &Digest) -> std::io::Result<Option<Arc<[u8]>>> {
        let path = self.path(digest);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        if Digest::of(&bytes) != *digest {
            tracing::warn!(%digest, "an archive of a chart was damaged on disk; it is taken anew");
            fs::remove_file(&path)?;
            return Ok(None);
        }
        used(&path);
        Ok(Some(bytes.into()))
    }

    fn write(&self, archive: &[u8]) -> std::io::Result<Digest> {
        let digest = Digest::of(archive);
        let path = self.path(&digest);
        let _writing = self.0.writing.lock().unwrap_or_else(PoisonError::into_inner);
        if path.exists() {
            used(&path);
            return Ok(digest);
        }
        let temporary = path.with_extension("new");
        let mut file = fs::File::create(&temporary)?;
        file.write_all(archive)?;
        file.sync_all()?;
        fs::rename(&temporary, &path)?;
        self.make_room(&path)?;
        Ok(digest)
    }

    /// The archives that were not used for longest go until the others fit; never the newest.
    fn make_room(&self, newest: &Path) -> std::io::Result<()> {
        let mut archives = Vec::new();
        for entry in fs::read_dir(&self.0.root)? {
            let entry = entry?;
            let meta = entry.metadata()?;
            archives.push((meta.modified()?, meta.len(), entry.path()));
        }
        let mut bytes: u64 = archives.iter().map(|(_, bytes, _)| bytes).sum();
        archives.sort();
        for (_, size, path) in archives.into_iter().filter(|(_, _, path)| path != newest) {
            if bytes <= self.0.bytes_max {
                break;
            }
            fs::remove_file(path)?;
            bytes -= size;
        }
        Ok(())
    }

    /// Lets all archives go but these, and those that were used within `grace`: whoever just took one may be about to name
    /// it. Answers with how many went, and their bytes.
    ///
    /// # Errors
    /// The directory cannot be read, or a file not be removed.
    pub async fn sweep(&self, named: BTreeSet<Digest>, grace: Duration) -> Result<(usize, u64)> {
        self.blocking(move |this| this.swept(&named, grace)).await
    }

    fn swept(&self, named: &BTreeSet<Digest>, grace: Duration) -> std::io::Result<(usize, u64)> {
        let named: BTreeSet<&str> = named.iter().map(Digest::hex).collect();
        let _writing = self.0.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut archives, mut bytes) = (0, 0);
        for entry in fs::read_dir(&self.0.root)? {
            let entry = entry?;
            if entry.file_name().to_str().is_none_or(|name| named.contains(name)) {
                continue;
            }
            let meta = entry.metadata()?;
            // A clock that was set back makes no archive old.
            if meta.modified()?.elapsed().is_ok_and(|unused| unused >= grace) {
                fs::remove_file(entry.path())?;
                (archives, bytes) = (archives + 1, bytes + meta.len());
            }
        }
        Ok((archives, bytes))
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(Self) -> std::io::Result<T> + Send + 'static,
    ) -> Result<T> {
        let (this, root) = (self.clone(), self.0.root.display().to_string());
        let done = tokio::task::spawn_blocking(move || work(this)).await;
        let done = done.map_err(|error| PortError::Transient(format!("{root}: {error}")))?;
        done.map_err(|error| PortError::Transient(format!("{root}: {error}")))
    }
}

/// What is used stays longest.
fn used(path: &Path) {
    let _ = fs::File::open(path).and_then(|file| file.set_modified(SystemTime::now()));
}

#[async_trait]
impl model::ports::Charts for Charts {
    async fn versions(&self, source: &ChartSource, access: &ChartAccess) -> Result<Vec<String>> {
        chart_versions(source, access).await
    }

    async fn fetch(&self, source: &ChartSource, version: &str, access: &ChartAccess) -> Result<Digest> {
        let fetched = fetch_chart(source, version, access).await?;
        self.keep(fetched.archive).await
    }

    async fn keep(&self, archive: Vec<u8>) -> Result<Digest> {
        self.blocking(move |this| this.write(&archive)).await
    }

    async fn archive(&self, digest: &Digest) -> Result<Option<Arc<[u8]>>> {
        let digest = digest.clone();
        self.blocking(move |this| this.read(&digest)).await
    }
}
