//! From the upper directory of an overlay to a layer's tar.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::fs::{self, File, Metadata};
use std::io::{self, Read, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{lgetxattr, llistxattr};
use rustix::io::Errno;
use tar::{EntryType, Header};

use super::{CommitOptions, OPAQUE, OPAQUE_ATTRIBUTE, WHITEOUT, pad};

const XATTR_BYTES_MAX: usize = 64 << 10;

/// Writes everything below `root`, in order of the names.
pub(super) fn pack(root: &Path, options: &CommitOptions, out: impl Write) -> io::Result<()> {
    let exclude = options.exclude.iter().map(|path| below(path)).collect();
    let mut packer = Packer { root, exclude, modified_max: options.modified_max, out, links: BTreeMap::new() };
    packer.children(Path::new(""))?;
    // Two empty records end a tar.
    packer.out.write_all(&[0; 1024])?;
    packer.out.flush()
}

/// A path as one below the root, whatever it begins with: `..` and a leading slash lead nowhere.
pub(super) fn below(path: &Path) -> PathBuf {
    path.components().filter(|part| matches!(part, Component::Normal(_))).collect()
}

struct Packer<'a, W> {
    root: &'a Path,
    exclude: BTreeSet<PathBuf>,
    modified_max: Option<u64>,
    out: W,
    /// Files with several names, by device and inode: the first name.
    links: BTreeMap<(u64, u64), PathBuf>,
}

impl<W: Write> Packer<'_, W> {
    fn children(&mut self, directory: &Path) -> io::Result<()> {
        let mut names = fs::read_dir(self.root.join(directory))?
            .map(|entry| Ok(entry?.file_name()))
            .collect::<io::Result<Vec<_>>>()?;
        names.sort();
        for name in names {
            let path = directory.join(&name);
            if !self.exclude.contains(&path) {
                self.entry(&path, &name).map_err(|error| io::Error::other(format!("{}: {error}", path.display())))?;
            }
        }
        Ok(())
    }

    fn entry(&mut self, path: &Path, name: &OsStr) -> io::Result<()> {
        let full = self.root.join(path);
        let metadata = fs::symlink_metadata(&full)?;
        let kind = metadata.file_type();
        if name.as_bytes().starts_with(WHITEOUT) {
            return Err(io::Error::other("a file of an image cannot be called `.wh.…`, which marks deleted files"));
        }
        if kind.is_char_device() && metadata.rdev() == 0 {
            let hidden = [WHITEOUT, name.as_bytes()].concat();
            return self.marker(&path.with_file_name(OsString::from_vec(hidden)));
        }
        if kind.is_dir() {
            self.write(EntryType::Directory, path, &full, &metadata, None)?;
            if lgetxattr_to_vec(&full, OPAQUE_ATTRIBUTE)?.as_deref() == Some(b"y") {
                self.marker(&path.join(OsStr::from_bytes(OPAQUE)))?;
            }
            return self.children(path);
        }
        if kind.is_symlink() {
            let target = fs::read_link(&full)?;
            return self.write(EntryType::Symlink, path, &full, &metadata, Some(&target));
        }
        if metadata.nlink() > 1 {
            let key = (metadata.dev(), metadata.ino());
            if let Some(first) = self.links.get(&key).cloned() {
                return self.write(EntryType::Link, path, &full, &metadata, Some(&first));
            }
            self.links.insert(key, path.to_owned());
        }
        match () {
            () if kind.is_file() => self.write(EntryType::Regular, path, &full, &metadata, None),
            () if kind.is_fifo() => self.write(EntryType::Fifo, path, &full, &metadata, None),
            // Sockets mean nothing without their process; devices are the container's, not the image's.
            () => Ok(()),
        }
    }

    /// An empty file that says something by its name.
    fn marker(&mut self, path: &Path) -> io::Result<()> {
        self.named(plain_header(EntryType::Regular, 0), path, None, &BTreeMap::new())
    }

    fn write(
        &mut self,
        kind: EntryType,
        path: &Path,
        full: &Path,
        metadata: &Metadata,
        target: Option<&Path>,
    ) -> io::Result<()> {
        let mut header = Header::new_ustar();
        header.set_entry_type(kind);
        header.set_mode(metadata.mode() & 0o7777);
        let modified = u64::try_from(metadata.mtime()).unwrap_or(0);
        header.set_mtime(self.modified_max.map_or(modified, |max| modified.min(max)));
        header.set_uid(metadata.uid().into());
        header.set_gid(metadata.gid().into());
        let size = if kind == EntryType::Regular { metadata.len() } else { 0 };
        header.set_size(size);
        let extended =
            if matches!(kind, EntryType::Regular | EntryType::Directory) { attributes(full)? } else { BTreeMap::new() };
        self.named(header, path, target, &extended)?;
        if size > 0 {
            let copied = io::copy(&mut File::open(full)?.take(size), &mut self.out)?;
            if copied != size {
                return Err(io::Error::other("the file shrank while it was read"));
            }
            pad(&mut self.out, size)?;
        }
        Ok(())
    }

    /// A header with its name; what does not fit goes into a pax header before it.
    fn named(
        &mut self,
        mut header: Header,
        path: &Path,
        target: Option<&Path>,
        extended: &BTreeMap<String, Vec<u8>>,
    ) -> io::Result<()> {
        let mut records: BTreeMap<String, Vec<u8>> =
            extended.iter().map(|(name, value)| (format!("SCHILY.xattr.{name}"), value.clone())).collect();
        if header.set_path(path).is_err() {
            records.insert("path".to_owned(), path.as_os_str().as_bytes().to_vec());
            header.set_path("long")?;
        }
        if let Some(target) = target
            && header.set_link_name_literal(target.as_os_str().as_bytes()).is_err()
        {
            records.insert("linkpath".to_owned(), target.as_os_str().as_bytes().to_vec());
            header.set_link_name_literal("long")?;
        }
        self.pax(&records)?;
        header.set_cksum();
        self.out.write_all(header.as_bytes())
    }

    fn pax(&mut self, records: &BTreeMap<String, Vec<u8>>) -> io::Result<()> {
        if records.is_empty() {
            return Ok(());
        }
        let content: Vec<u8> = records.iter().flat_map(|(name, value)| record(name, value)).collect();
        let mut header = plain_header(EntryType::XHeader, content.len() as u64);
        header.set_path("pax")?;
        header.set_cksum();
        self.out.write_all(header.as_bytes())?;
        self.out.write_all(&content)?;
        pad(&mut self.out, content.len() as u64)
    }
}

/// Of an entry that is not a file of the image.
fn plain_header(kind: EntryType, size: u64) -> Header {
    let mut header = Header::new_ustar();
    header.set_entry_type(kind);
    header.set_mode(0o600);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(size);
    header
}

/// `<length> <name>=<value>\n`, where the length counts its own digits.
fn record(name: &str, value: &[u8]) -> Vec<u8> {
    let rest = name.len() + value.len() + 3;
    let mut length = rest;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    [format!("{length} {name}=").as_bytes(), value, b"\n"].concat()
}

/// The extended attributes that belong to a file's content.
fn attributes(path: &Path) -> io::Result<BTreeMap<String, Vec<u8>>> {
    let mut names = vec![0; XATTR_BYTES_MAX];
    let length = match llistxattr(path, &mut names) {
        Err(Errno::OPNOTSUPP) => 0,
        result => result?,
    };
    let mut found = BTreeMap::new();
    for name in names[..length].split(|byte| *byte == 0).filter_map(|name| std::str::from_utf8(name).ok()) {
        if (name == "security.capability" || name.starts_with("user."))
            && let Some(value) = lgetxattr_to_vec(path, name)?
        {
            found.insert(name.to_owned(), value);
        }
    }
    Ok(found)
}

fn lgetxattr_to_vec(path: &Path, name: &str) -> io::Result<Option<Vec<u8>>> {
    let mut value = vec![0; XATTR_BYTES_MAX];
    match lgetxattr(path, name, &mut value) {
        Ok(length) => {
            value.truncate(length);
            Ok(Some(value))
        }
        Err(Errno::NODATA | Errno::OPNOTSUPP) => Ok(None),
        Err(error) => Err(error.into()),
    }
}
