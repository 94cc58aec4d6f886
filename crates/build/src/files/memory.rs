//! Trees in memory: the build context, heredocs, unpacked archives.

use super::ignore::Ignore;
use super::{Entry, Kind, Tree, normal};
use model::Snapshot;
use model::flow::FileMode;
use std::collections::BTreeMap;
use std::io::{self, Read};
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Files with their content; parents are always there.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    nodes: BTreeMap<PathBuf, (Entry, Arc<[u8]>)>,
}

impl Memory {
    /// The files below `directory` that are not ignored; all owned by root, as git knows no owners.
    pub fn context(snapshot: &Snapshot, directory: &Path, ignore: &Ignore) -> Self {
        let mut tree = Self::default();
        for (path, file) in &snapshot.files {
            let Ok(path) = Path::new(path).strip_prefix(directory) else { continue };
            if ignore.excludes(path) {
                continue;
            }
            let (kind, mode) = match file.mode {
                FileMode::Regular => (Kind::File { size: file.bytes.len() as u64 }, 0o644),
                FileMode::Executable => (Kind::File { size: file.bytes.len() as u64 }, 0o755),
                FileMode::Symlink => (Kind::Symlink(link_target(&file.bytes)), 0o777),
            };
            tree.insert(path, Entry { kind, mode, ..Entry::directory(0) }, file.bytes.clone());
        }
        tree
    }

    /// One file of this name.
    pub fn file(name: &str, content: &[u8]) -> Self {
        let mut tree = Self::default();
        let kind = Kind::File { size: content.len() as u64 };
        tree.insert(Path::new(name), Entry { kind, ..Entry::directory(0o644) }, content.into());
        tree
    }

    /// Puts an entry in place, whatever stood there; missing parents become directories 0755 of root.
    pub fn insert(&mut self, path: &Path, entry: Entry, content: Arc<[u8]>) {
        let path = normal(path);
        for parent in path.ancestors().skip(1) {
            self.nodes.entry(parent.to_owned()).or_insert_with(|| (Entry::directory(0o755), [].into()));
        }
        self.nodes.insert(path, (entry, content));
    }

    /// The content of a file that is there.
    pub fn content(&self, path: &Path) -> Option<Arc<[u8]>> {
        self.nodes.get(path).map(|(_, content)| content.clone())
    }
}

fn link_target(bytes: &[u8]) -> PathBuf {
    use std::os::unix::ffi::OsStrExt;
    PathBuf::from(std::ffi::OsStr::from_bytes(bytes))
}

impl Tree for Memory {
    fn entry(&self, path: &Path) -> io::Result<Option<Entry>> {
        let found = self.nodes.get(path).map(|(entry, _)| entry.clone());
        Ok(found.or_else(|| path.as_os_str().is_empty().then(|| Entry::directory(0o755))))
    }
    fn list(&self, path: &Path) -> io::Result<Vec<PathBuf>> {
        let below = self.nodes.range::<Path, _>((Bound::Excluded(path), Bound::Unbounded));
        let inside = below.map(|(p, _)| p).take_while(|p| p.starts_with(path));
        let child = |p: &PathBuf| (p.parent() == Some(path)).then(|| p.file_name().map(PathBuf::from)).flatten();
        Ok(inside.filter_map(child).collect())
    }
    fn open(&self, path: &Path) -> io::Result<Box<dyn Read + '_>> {
        let (_, content) = self.nodes.get(path).ok_or(io::ErrorKind::NotFound)?;
        Ok(Box::new(&content[..]))
    }
}
