//! A root as overlayfs would show it, read from the directories of its layers.

use super::{Entry, Kind, Tree};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

/// Set on a directory that hides those below it.
const OPAQUE: &str = "trusted.overlay.opaque";

/// Unpacked layers, the topmost first. None at all: an empty root.
#[derive(Debug, Clone, Default)]
pub(crate) struct Layers(pub Vec<PathBuf>);

/// What one path is: a directory made of several, or one file.
enum Found {
    Directory(Vec<PathBuf>),
    File(PathBuf, Metadata),
}

impl Layers {
    fn find(&self, path: &Path) -> io::Result<Option<Found>> {
        let mut here = self.0.clone();
        let mut names = path.components().peekable();
        while let Some(name) = names.next() {
            match step(&here, name.as_ref())? {
                Some(Found::Directory(next)) => here = next,
                Some(file) if names.peek().is_none() => return Ok(Some(file)),
                _ => return Ok(None),
            }
        }
        Ok(Some(Found::Directory(here)))
    }
}

/// The child `name` of a merged directory.
fn step(directories: &[PathBuf], name: &Path) -> io::Result<Option<Found>> {
    let mut merged = Vec::new();
    for directory in directories {
        let path = directory.join(name);
        let about = match fs::symlink_metadata(&path) {
            Ok(about) => about,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        if is_whiteout(&about) {
            break;
        }
        if !about.is_dir() {
            // A file below a directory is hidden by it.
            return Ok(if merged.is_empty() { Some(Found::File(path, about)) } else { Some(Found::Directory(merged)) });
        }
        let opaque = is_opaque(&path);
        merged.push(path);
        if opaque {
            break;
        }
    }
    Ok((!merged.is_empty()).then_some(Found::Directory(merged)))
}

/// The character device 0:0 stands for a name that is deleted.
pub(super) fn is_whiteout(about: &Metadata) -> bool {
    about.file_type().is_char_device() && about.rdev() == 0
}

pub(super) fn is_opaque(path: &Path) -> bool {
    let mut value = [0; 1];
    matches!(rustix::fs::lgetxattr(path, OPAQUE, &mut value), Ok(1)) && value == *b"y"
}

pub(super) fn entry_of(path: &Path, about: &Metadata) -> io::Result<Entry> {
    let kind = if about.is_dir() {
        Kind::Directory
    } else if about.is_symlink() {
        Kind::Symlink(fs::read_link(path)?)
    } else if about.is_file() {
        Kind::File { size: about.len() }
    } else {
        Kind::Special { file_type: about.mode() & 0o170_000, device: about.rdev() }
    };
    let attributes = attributes(path)?;
    Ok(Entry { kind, mode: about.mode() & 0o7777, uid: about.uid(), gid: about.gid(), attributes })
}

/// The extended attributes that belong to an image. Others describe this machine: overlayfs, SELinux, ACLs.
fn attributes(path: &Path) -> io::Result<Vec<(String, Vec<u8>)>> {
    let mut names = vec![0; 64 << 10];
    let length = match rustix::fs::llistxattr(path, &mut names) {
        Ok(length) => length,
        Err(rustix::io::Errno::NOTSUP) => 0,
        Err(error) => return Err(error.into()),
    };
    let mut found = Vec::new();
    for name in names[..length].split(|b| *b == 0) {
        let Ok(name) = std::str::from_utf8(name) else { continue };
        if name == "security.capability" || name.starts_with("user.") && !name.starts_with("user.overlay.") {
            let mut value = vec![0; 64 << 10];
            let length = rustix::fs::lgetxattr(path, name, &mut value)?;
            value.truncate(length);
            found.push((name.to_owned(), value));
        }
    }
    found.sort();
    Ok(found)
}

impl Tree for Layers {
    fn entry(&self, path: &Path) -> io::Result<Option<Entry>> {
        match self.find(path)? {
            Some(Found::File(path, about)) => entry_of(&path, &about).map(Some),
            Some(Found::Directory(merged)) => match merged.first() {
                Some(top) => entry_of(top, &fs::symlink_metadata(top)?).map(Some),
                None => Ok(Some(Entry::directory(0o755))),
            },
            None => Ok(None),
        }
    }

    fn list(&self, path: &Path) -> io::Result<Vec<PathBuf>> {
        let Some(Found::Directory(merged)) = self.find(path)? else { return Ok(Vec::new()) };
        // The first layer that knows a name decides whether it is there.
        let mut names: BTreeMap<OsString, bool> = BTreeMap::new();
        for directory in merged {
            for item in fs::read_dir(directory)? {
                let item = item?;
                let shown = !is_whiteout(&fs::symlink_metadata(item.path())?);
                names.entry(item.file_name()).or_insert(shown);
            }
        }
        let mut shown: Vec<_> = names.into_iter().filter(|(_, shown)| *shown).map(|(name, _)| name.into()).collect();
        shown.sort_by(|a: &PathBuf, b| a.as_os_str().as_bytes().cmp(b.as_os_str().as_bytes()));
        Ok(shown)
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn Read + '_>> {
        match self.find(path)? {
            Some(Found::File(path, about)) if about.is_file() => Ok(Box::new(File::open(path)?)),
            _ => Err(io::ErrorKind::NotFound.into()),
        }
    }
}
