//! Paths in a snapshot: what a kustomization may read.

use crate::error::Error;
use model::Snapshot;
use model::flow::FileMode;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The files that one kustomization sees, and the kustomizations that led to it.
#[derive(Debug, Clone)]
pub(super) struct Loader<'s> {
    snapshot: &'s Snapshot,
    /// Directories, this one last; empty for the top of the snapshot.
    roots: Vec<String>,
    restricted: bool,
    /// Charts may be rendered.
    pub charts: bool,
}

/// What is said of paths above the top of the snapshot.
pub(super) const LEADS_OUT: &str = "leads out of the repository";
/// Links that lead to links are followed this often.
const LINKS_MAX: usize = 40;
/// Kustomizations that lead to kustomizations.
const DEPTH_MAX: usize = 64;

impl<'s> Loader<'s> {
    /// For the directory that is built.
    pub fn new(snapshot: &'s Snapshot, directory: &str, restricted: bool) -> Result<Self, Error> {
        let fail = |problem: String| Error::Kustomization { file: directory.to_owned(), line: 0, problem };
        let root = join("", directory).and_then(|path| resolve(snapshot, &path)).map_err(fail)?;
        if !is_directory(snapshot, &root) {
            return Err(fail("there is no such directory".into()));
        }
        Ok(Self { snapshot, roots: vec![root], restricted, charts: false })
    }

    /// The directory, from the top of the snapshot.
    pub fn root(&self) -> &str {
        self.roots.last().map_or("", String::as_str)
    }

    /// A path as it is told to people.
    pub fn shown(&self, path: &str) -> String {
        join(self.root(), path).unwrap_or_else(|_| path.to_owned())
    }

    /// For a directory that this kustomization names.
    pub fn enter(&self, path: &str) -> Result<Self, String> {
        if path.is_empty() {
            return Err("the path is empty".into());
        }
        if is_remote(path) {
            return Err(format!("{path} is a remote repository; only what stands in this repository is rendered"));
        }
        if path.starts_with('/') {
            return Err(format!("{path} is absolute; paths are relative to the kustomization"));
        }
        let ambiguous = |part: &str| part.contains("..") && part != "..";
        if path.split('/').any(ambiguous) {
            return Err(format!("{path} has \"..\" inside of a name"));
        }
        let root = resolve(self.snapshot, &join(self.root(), path)?)?;
        if !is_directory(self.snapshot, &root) {
            return Err(format!("{path} is neither a file nor a directory here"));
        }
        if let Some(visited) = self.roots.iter().find(|visited| is_below(visited, &root)) {
            return Err(format!("{path} leads in a circle: {} contains {}", shown(&root), shown(visited)));
        }
        if self.roots.len() >= DEPTH_MAX {
            return Err(format!("more than {DEPTH_MAX} kustomizations lead to {path}"));
        }
        let mut roots = self.roots.clone();
        roots.push(root);
        Ok(Self { snapshot: self.snapshot, roots, restricted: self.restricted, charts: self.charts })
    }

    /// True if there is such a file.
    pub fn has(&self, path: &str) -> bool {
        join(self.root(), path).is_ok_and(|path| self.snapshot.files.contains_key(&path))
    }

    /// The files of a directory that this kustomization names, from its top; links lead nowhere.
    pub fn below(&self, path: &str) -> Result<BTreeMap<String, Arc<[u8]>>, String> {
        let directory = join(self.root(), path)?;
        if self.restricted && !is_below(&directory, self.root()) {
            return Err(format!("{path} is not below {}, the directory of the kustomization", shown(self.root())));
        }
        let prefix = format!("{directory}/");
        let files = self.snapshot.files.range(prefix.clone()..).take_while(|(path, _)| path.starts_with(&prefix));
        let regular = files.filter(|(_, file)| file.mode != FileMode::Symlink);
        Ok(regular.map(|(path, file)| (path[prefix.len()..].to_owned(), Arc::clone(&file.bytes))).collect())
    }

    /// The content of a file that this kustomization names.
    pub fn read(&self, path: &str) -> Result<&'s [u8], String> {
        if path.starts_with("http://") || path.starts_with("https://") {
            return Err(format!("{path} is remote; only what stands in this repository is rendered"));
        }
        if path.starts_with('/') {
            return Err(format!("{path} is absolute; paths are relative to the kustomization"));
        }
        let found = resolve(self.snapshot, &join(self.root(), path)?)?;
        let Some(file) = self.snapshot.files.get(&found) else {
            let what = if is_directory(self.snapshot, &found) { "is a directory" } else { "does not exist" };
            return Err(format!("{path} {what}"));
        };
        if self.restricted && !is_below(&found, self.root()) {
            return Err(format!(
                "{path} is not in or below {}, the directory of the kustomization",
                shown(self.root())
            ));
        }
        Ok(&file.bytes)
    }
}

fn shown(directory: &str) -> &str {
    if directory.is_empty() { "." } else { directory }
}

/// True for the directory itself too.
fn is_below(path: &str, directory: &str) -> bool {
    directory.is_empty() || path.strip_prefix(directory).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn is_directory(snapshot: &Snapshot, path: &str) -> bool {
    if path.is_empty() {
        return true;
    }
    let prefix = format!("{path}/");
    snapshot.files.range(prefix.clone()..).next().is_some_and(|(file, _)| file.starts_with(&prefix))
}

/// A path from the top of the snapshot, without `.` and `..`.
fn join(root: &str, path: &str) -> Result<String, String> {
    let mut parts: Vec<&str> = root.split('/').filter(|part| !part.is_empty()).collect();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                if parts.pop().is_none() {
                    return Err(format!("{path} {LEADS_OUT}"));
                }
            }
            part => parts.push(part),
        }
    }
    Ok(parts.join("/"))
}

/// Follows links, in every part of the path.
fn resolve(snapshot: &Snapshot, path: &str) -> Result<String, String> {
    let mut path = path.to_owned();
    for _ in 0..LINKS_MAX {
        let Some((end, target)) = first_link(snapshot, &path)? else { return Ok(path) };
        if target.starts_with('/') {
            return Err(format!("{} is a link to {target}, outside of the repository", &path[..end]));
        }
        let parent = path[..end].rsplit_once('/').map_or("", |(parent, _)| parent);
        let found = join(parent, target)?;
        path = join(&found, &path[end..])?;
    }
    Err(format!("{path}: too many links lead to each other"))
}

/// The first part of the path that is a link: where it ends, and its target.
fn first_link<'s>(snapshot: &'s Snapshot, path: &str) -> Result<Option<(usize, &'s str)>, String> {
    let ends = path.match_indices('/').map(|(at, _)| at).chain([path.len()]);
    for end in ends {
        if let Some(file) = snapshot.files.get(&path[..end])
            && file.mode == FileMode::Symlink
        {
            let target = std::str::from_utf8(&file.bytes).map_err(|_| format!("the link {path} is not UTF-8"))?;
            return Ok(Some((end, target)));
        }
    }
    Ok(None)
}

/// True for what names a git repository rather than a directory.
pub(super) fn is_remote(path: &str) -> bool {
    let lower = path.to_ascii_lowercase();
    let lower = lower.strip_prefix("git::").unwrap_or(&lower);
    let schemes = ["ssh://", "https://", "http://", "file://"];
    let rest = schemes.iter().find_map(|scheme| lower.strip_prefix(scheme));
    if rest.is_some() || lower.starts_with("github.com/") || lower.starts_with("github.com:") {
        return true;
    }
    let user = lower.split_once('@').map(|(user, _)| user);
    user.is_some_and(|user| {
        user.starts_with(|c: char| c.is_ascii_alphabetic())
            && user.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && lower.contains([':', '/'])
    })
}
