//! File trees: the build context in memory, a root made of layers on disk, and copying between them.
//!
//! Nothing here mounts anything. Paths are relative to the root of their tree and never lead out of it: symbolic links
//! are followed by [`resolve`], inside the tree, as the kernel would after `chroot`.

mod archive;
mod copy;
mod ignore;
mod layers;
mod memory;
mod pack;
mod pattern;
mod users;

#[cfg(test)]
mod tests;

pub(crate) use copy::{CopyError, CopySpec, copy, make_directory};
pub(crate) use ignore::Ignore;
pub(crate) use layers::Layers;
pub(crate) use memory::Memory;
pub(crate) use pack::{Layer, pack_upper};
pub(crate) use users::user;

use std::io::{self, Read};
use std::path::{Component, Path, PathBuf};

/// So many symbolic links in one path are a loop; the kernel's limit.
const LINKS_MAX: usize = 40;

/// What stands at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub kind: Kind,
    /// Permission bits with setuid, setgid and sticky.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    /// `security.capability` and `user.*`, in order of their names.
    pub attributes: Vec<(String, Vec<u8>)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    Directory,
    File {
        size: u64,
    },
    Symlink(PathBuf),
    /// Type bits of `st_mode`, and the device number.
    Special {
        file_type: u32,
        device: u64,
    },
}

impl Entry {
    pub fn directory(mode: u32) -> Self {
        Self { kind: Kind::Directory, mode, uid: 0, gid: 0, attributes: Vec::new() }
    }
    pub fn is_directory(&self) -> bool {
        self.kind == Kind::Directory
    }
}

/// Files below one root. The empty path is the root itself. Methods do not follow links: callers [`resolve`] first.
pub(crate) trait Tree: Send + Sync {
    fn entry(&self, path: &Path) -> io::Result<Option<Entry>>;
    /// Names in a directory, sorted.
    fn list(&self, path: &Path) -> io::Result<Vec<PathBuf>>;
    fn open(&self, path: &Path) -> io::Result<Box<dyn Read + '_>>;
}

/// `/a/./b/../c` → `a/c`; `..` at the root stays there.
pub(crate) fn normal(path: impl AsRef<Path>) -> PathBuf {
    let mut out = PathBuf::new();
    for component in path.as_ref().components() {
        match component {
            Component::Normal(name) => out.push(name),
            Component::ParentDir => {
                out.pop();
            }
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    out
}

/// Where `path` leads when symbolic links are followed, the last component's only if `last`. What does not exist is
/// kept as it is, so that it can be created there.
pub(crate) fn resolve(tree: &dyn Tree, path: &Path, last: bool) -> io::Result<PathBuf> {
    resolve_with(&|path: &Path| tree.entry(path), path, last)
}

/// [`resolve`] with any way to look at a path.
fn resolve_with(entry: &dyn Fn(&Path) -> io::Result<Option<Entry>>, path: &Path, last: bool) -> io::Result<PathBuf> {
    let mut todo: Vec<PathBuf> = parts(path);
    let mut done = PathBuf::new();
    let mut links = 0;
    while let Some(part) = todo.pop() {
        if part.as_os_str() == ".." {
            done.pop();
            continue;
        }
        let next = done.join(&part);
        let follow = last || !todo.is_empty();
        match entry(&next)? {
            Some(Entry { kind: Kind::Symlink(target), .. }) if follow => {
                links += 1;
                if links > LINKS_MAX {
                    let message = format!("{}: too many symbolic links", path.display());
                    return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
                }
                if target.is_absolute() {
                    done = PathBuf::new();
                }
                todo.extend(parts(&target));
            }
            _ => done = next,
        }
    }
    Ok(done)
}

/// Components in reverse, `..` included: behind a symbolic link it means the parent of the link's target.
fn parts(path: &Path) -> Vec<PathBuf> {
    let part = |c: Component<'_>| match c {
        Component::Normal(name) => Some(PathBuf::from(name)),
        Component::ParentDir => Some(PathBuf::from("..")),
        _ => None,
    };
    let mut parts: Vec<_> = path.components().filter_map(part).collect();
    parts.reverse();
    parts
}
