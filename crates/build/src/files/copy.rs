//! COPY and ADD: files of one or several trees → a layer over another tree.

use super::pack::Layer;
use super::pattern::{is_pattern, pattern};
use super::{Entry, Kind, Tree, archive, normal, resolve, resolve_with};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What to copy where.
#[derive(Clone)]
pub(crate) struct CopySpec {
    /// Trees with a path or pattern in each.
    pub sources: Vec<(Arc<dyn Tree>, String)>,
    /// From the root of the target.
    pub destination: PathBuf,
    /// The destination was written as a directory: `/x/`, `.`.
    pub into: bool,
    /// Instead of the owners in the sources.
    pub owner: Option<(u32, u32)>,
    /// Instead of the permission bits in the sources.
    pub mode: Option<u32>,
    /// Unpack archives.
    pub unpack: bool,
}

/// Why nothing was copied.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CopyError {
    #[error("{0:?} is not there: nothing of this name is in the source, or .dockerignore excludes it")]
    Missing(String),
    #[error("nothing matches {0:?}: no such file is in the source, or .dockerignore excludes it")]
    NoMatch(String),
    #[error("{0}")]
    Pattern(String),
    #[error("several files are copied, so the destination must be a directory: write it with '/' at its end")]
    SeveralToOne,
    #[error("/{0} in the image is not a directory")]
    NotADirectory(String),
    #[error("/{0} in the image is a directory, and a file cannot take its place")]
    IsADirectory(String),
    #[error("{path}: {source}")]
    File {
        path: String,
        #[source]
        source: io::Error,
    },
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> CopyError {
    let path = path.display().to_string();
    move |source| CopyError::File { path, source }
}

/// A source that was found: its tree, its name, and where that leads.
struct Match<'a> {
    tree: &'a dyn Tree,
    name: PathBuf,
    path: PathBuf,
    entry: Entry,
}

impl CopySpec {
    /// Identity of everything that is copied: names, kinds, permissions, owners, content.
    pub fn digest(&self) -> Result<String, CopyError> {
        let mut hash = Sha256::new();
        for found in self.matches()? {
            hash.update(found.name.as_os_str().as_encoded_bytes());
            hash.update([0]);
            digest(found.tree, &found.path, &mut hash)?;
        }
        Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
    }

    fn matches(&self) -> Result<Vec<Match<'_>>, CopyError> {
        let mut found = Vec::new();
        for (tree, text) in &self.sources {
            let tree: &dyn Tree = &**tree;
            let names = if is_pattern(text) { matching(tree, text)? } else { vec![normal(text)] };
            if names.is_empty() {
                return Err(CopyError::NoMatch(text.clone()));
            }
            for name in names {
                let path = resolve(tree, &name, true).map_err(failed(&name))?;
                let entry = tree.entry(&path).map_err(failed(&path))?;
                let entry = entry.ok_or_else(|| CopyError::Missing(name.display().to_string()))?;
                found.push(Match { tree, name, path, entry });
            }
        }
        Ok(found)
    }
}

/// Paths in a tree that a pattern means, name by name.
fn matching(tree: &dyn Tree, text: &str) -> Result<Vec<PathBuf>, CopyError> {
    let mut found = vec![PathBuf::new()];
    for part in normal(text).iter().filter_map(|part| part.to_str()) {
        let rule = pattern(part, false).map_err(CopyError::Pattern)?;
        let mut next = Vec::new();
        for directory in found {
            let real = resolve(tree, &directory, true).map_err(failed(&directory))?;
            let names = tree.list(&real).map_err(failed(&directory))?;
            let fitting = names.iter().filter(|name| name.to_str().is_some_and(|name| rule.is_match(name)));
            next.extend(fitting.map(|name| directory.join(name)));
        }
        found = next;
    }
    Ok(found)
}

fn digest(tree: &dyn Tree, path: &Path, hash: &mut Sha256) -> Result<(), CopyError> {
    let Some(entry) = tree.entry(path).map_err(failed(path))? else { return Ok(()) };
    hash.update(format!("{entry:?}"));
    match entry.kind {
        Kind::File { .. } => {
            let mut content = tree.open(path).map_err(failed(path))?;
            io::copy(&mut content, hash).map_err(failed(path))?;
        }
        Kind::Directory => {
            for name in tree.list(path).map_err(failed(path))? {
                hash.update(name.as_os_str().as_encoded_bytes());
                hash.update([0]);
                digest(tree, &path.join(name), hash)?;
            }
        }
        Kind::Symlink(_) | Kind::Special { .. } => {}
    }
    // What follows belongs to the directory above.
    hash.update([1]);
    Ok(())
}

/// Writes the layer.
pub(crate) fn copy<W: Write>(spec: &CopySpec, target: &dyn Tree, layer: &mut Layer<W>) -> Result<(), CopyError> {
    let matches = spec.matches()?;
    let mut copier = Copier { spec: (spec.owner, spec.mode), target, layer, written: BTreeMap::new() };
    let destination =
        resolve_with(&|p| copier.existing(p), &spec.destination, true).map_err(failed(&spec.destination))?;
    let present = copier.existing(&destination).map_err(failed(&destination))?;
    let into = spec.into || present.is_some_and(|entry| entry.is_directory());
    if matches.len() > 1 && !into {
        return Err(CopyError::SeveralToOne);
    }
    if into {
        copier.directory(&destination, &copier.fresh())?;
    }
    for found in &matches {
        if found.entry.is_directory() {
            // The content of a directory is copied, not the directory itself.
            copier.tree(found.tree, &found.path, &destination)?;
            continue;
        }
        if spec.unpack && matches!(found.entry.kind, Kind::File { .. }) {
            let mut bytes = Vec::new();
            found.tree.open(&found.path).and_then(|mut f| f.read_to_end(&mut bytes)).map_err(failed(&found.name))?;
            if let Some(files) = archive::unpack(&bytes).map_err(failed(&found.name))? {
                copier.tree(&files, Path::new(""), &destination)?;
                continue;
            }
        }
        let name = found.name.file_name().unwrap_or_default();
        let to = if into { destination.join(name) } else { destination.clone() };
        let to = resolve_with(&|p| copier.existing(p), &to, true).map_err(failed(&to))?;
        if let Some(parent) = to.parent() {
            copier.directory(parent, &copier.fresh())?;
        }
        copier.tree(found.tree, &found.path, &to)?;
    }
    Ok(())
}

/// Writes a layer that makes a directory, owned by `owner`, if there is none; false if there was one.
pub(crate) fn make_directory<W: Write>(
    path: &Path,
    owner: (u32, u32),
    target: &dyn Tree,
    layer: &mut Layer<W>,
) -> Result<bool, CopyError> {
    let mut copier = Copier { spec: (Some(owner), None), target, layer, written: BTreeMap::new() };
    let path = resolve(target, path, true).map_err(failed(path))?;
    match target.entry(&path).map_err(failed(&path))? {
        Some(entry) if entry.is_directory() => Ok(false),
        Some(_) => Err(CopyError::NotADirectory(path.display().to_string())),
        None => copier.directory(&path, &copier.fresh()).map(|_| true),
    }
}

struct Copier<'a, W: Write> {
    /// Owner and permission bits that everything new gets.
    spec: (Option<(u32, u32)>, Option<u32>),
    target: &'a dyn Tree,
    layer: &'a mut Layer<W>,
    /// What this layer holds so far.
    written: BTreeMap<PathBuf, Entry>,
}

impl<W: Write> Copier<'_, W> {
    fn existing(&self, path: &Path) -> io::Result<Option<Entry>> {
        self.written.get(path).cloned().map_or_else(|| self.target.entry(path), |entry| Ok(Some(entry)))
    }

    /// A directory that nobody described.
    fn fresh(&self) -> Entry {
        Entry::directory(0o755)
    }

    /// Makes sure that a directory is there and returns where it really is. `new` describes it if it must be made.
    ///
    /// One that is there already is repeated in the layer as it is: the topmost layer's description is what counts.
    fn directory(&mut self, path: &Path, new: &Entry) -> Result<PathBuf, CopyError> {
        let path = resolve_with(&|p| self.existing(p), path, true).map_err(failed(path))?;
        if path.as_os_str().is_empty() || self.written.get(&path).is_some_and(Entry::is_directory) {
            return Ok(path);
        }
        if let Some(parent) = path.parent() {
            self.directory(parent, &self.fresh())?;
        }
        match self.existing(&path).map_err(failed(&path))? {
            Some(entry) if entry.is_directory() => self.put(&path, entry, &mut io::empty())?,
            Some(_) => return Err(CopyError::NotADirectory(path.display().to_string())),
            None => self.put(&path, self.described(new), &mut io::empty())?,
        }
        Ok(path)
    }

    fn tree(&mut self, source: &dyn Tree, from: &Path, to: &Path) -> Result<(), CopyError> {
        let Some(entry) = source.entry(from).map_err(failed(from))? else { return Ok(()) };
        if entry.is_directory() {
            let to = self.directory(to, &entry)?;
            for name in source.list(from).map_err(failed(from))? {
                self.tree(source, &from.join(&name), &to.join(&name))?;
            }
            return Ok(());
        }
        if self.existing(to).map_err(failed(to))?.is_some_and(|e| e.is_directory()) {
            return Err(CopyError::IsADirectory(to.display().to_string()));
        }
        match entry.kind {
            Kind::File { .. } => {
                let mut content = source.open(from).map_err(failed(from))?;
                self.put(to, self.described(&entry), &mut content)
            }
            _ => self.put(to, self.described(&entry), &mut io::empty()),
        }
    }

    fn described(&self, entry: &Entry) -> Entry {
        let mut entry = entry.clone();
        if let Some((uid, gid)) = self.spec.0 {
            (entry.uid, entry.gid) = (uid, gid);
        }
        if let Some(mode) = self.spec.1.filter(|_| !matches!(entry.kind, Kind::Symlink(_))) {
            entry.mode = mode;
        }
        entry
    }

    fn put(&mut self, path: &Path, entry: Entry, content: &mut dyn Read) -> Result<(), CopyError> {
        self.layer.put(path, &entry, content).map_err(failed(path))?;
        self.written.insert(path.to_owned(), entry);
        Ok(())
    }
}
