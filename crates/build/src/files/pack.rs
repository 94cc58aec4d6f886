//! Writing layers: reproducible tar archives, with deletions as OCI names them.

use super::layers::{entry_of, is_opaque, is_whiteout};
use super::{Entry, Kind, Layers, Tree};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use tar::{Builder, EntryType, Header};

/// A layer in the making. Times are all 0: equal content gives equal bytes.
pub(crate) struct Layer<W: Write> {
    tar: Builder<W>,
    entries: u64,
}

impl<W: Write> Layer<W> {
    pub fn new(output: W) -> Self {
        Self { tar: Builder::new(output), entries: 0 }
    }

    /// One entry; `content` gives exactly the bytes of a file and is not looked at for other kinds.
    pub fn put(&mut self, path: &Path, entry: &Entry, content: &mut dyn Read) -> io::Result<()> {
        self.entries += 1;
        let attributes: Vec<_> =
            entry.attributes.iter().map(|(name, value)| (format!("SCHILY.xattr.{name}"), value)).collect();
        let pax = attributes.iter().map(|(name, value)| (name.as_str(), &value[..]));
        self.tar.append_pax_extensions(pax)?;
        let mut header = Header::new_gnu();
        header.set_mode(entry.mode);
        header.set_uid(entry.uid.into());
        header.set_gid(entry.gid.into());
        header.set_mtime(0);
        header.set_size(0);
        match &entry.kind {
            Kind::Directory => {
                header.set_entry_type(EntryType::Directory);
                self.tar.append_data(&mut header, path.join(""), io::empty())
            }
            Kind::File { size } => {
                header.set_entry_type(EntryType::Regular);
                header.set_size(*size);
                let mut exact = Exact { source: content, left: *size };
                self.tar.append_data(&mut header, path, &mut exact)
            }
            Kind::Symlink(target) => {
                header.set_entry_type(EntryType::Symlink);
                self.tar.append_link(&mut header, path, target)
            }
            Kind::Special { file_type, device } => {
                let kind = match file_type {
                    0o010_000 => EntryType::Fifo,
                    0o020_000 => EntryType::Char,
                    0o060_000 => EntryType::Block,
                    // Sockets mean nothing without the process behind them.
                    _ => return Ok(()),
                };
                header.set_entry_type(kind);
                header.set_device_major(rustix::fs::major(*device))?;
                header.set_device_minor(rustix::fs::minor(*device))?;
                self.tar.append_data(&mut header, path, io::empty())
            }
        }
    }

    /// Another name of a file that is in this layer already.
    fn hard_link(&mut self, path: &Path, entry: &Entry, first: &Path) -> io::Result<()> {
        self.entries += 1;
        let mut header = Header::new_gnu();
        header.set_entry_type(EntryType::Link);
        header.set_mode(entry.mode);
        header.set_uid(entry.uid.into());
        header.set_gid(entry.gid.into());
        header.set_mtime(0);
        header.set_size(0);
        self.tar.append_link(&mut header, path, first)
    }

    /// An empty file whose name says what is gone.
    fn marker(&mut self, path: &Path) -> io::Result<()> {
        self.put(path, &Entry { kind: Kind::File { size: 0 }, ..Entry::directory(0o600) }, &mut io::empty())
    }

    /// The output, and how many entries are in it.
    pub fn finish(self) -> io::Result<(W, u64)> {
        Ok((self.tar.into_inner()?, self.entries))
    }
}

/// A file that changes its size while it is read would shift everything behind it.
struct Exact<'a> {
    source: &'a mut dyn Read,
    left: u64,
}

impl Read for Exact<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = buffer.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let count = self.source.read(&mut buffer[..most])?;
        if count == 0 && self.left > 0 && most > 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the file became shorter while it was read"));
        }
        self.left -= count as u64;
        Ok(count)
    }
}

/// Packs what a container changed: the upper directory of its overlay.
///
/// `stubs` are paths that exist only as mount points: they are left out where they are still empty and nothing stands
/// there in `below`. The directories above them are left out with them if nothing else changed in there.
pub(crate) fn pack_upper<W: Write>(
    upper: &Path,
    below: &Layers,
    stubs: &[PathBuf],
    layer: &mut Layer<W>,
) -> io::Result<()> {
    Packer { below, stubs, layer, links: BTreeMap::new() }.directory(upper, Path::new("")).map(|_| ())
}

struct Packer<'a, W: Write> {
    below: &'a Layers,
    stubs: &'a [PathBuf],
    layer: &'a mut Layer<W>,
    /// First name of a file with several, by device and inode.
    links: BTreeMap<(u64, u64), PathBuf>,
}

impl<W: Write> Packer<'_, W> {
    fn directory(&mut self, upper: &Path, at: &Path) -> io::Result<()> {
        let mut names: Vec<_> =
            fs::read_dir(upper)?.map(|item| item.map(|i| i.file_name())).collect::<Result<_, _>>()?;
        names.sort_by(|a, b| a.as_bytes().cmp(b.as_bytes()));
        for name in names {
            self.item(&upper.join(&name), &at.join(&name))?;
        }
        Ok(())
    }

    fn item(&mut self, upper: &Path, at: &Path) -> io::Result<()> {
        let about = fs::symlink_metadata(upper)?;
        if is_whiteout(&about) {
            // overlayfs leaves one behind even for a name that only this container made and deleted.
            return if self.below.entry(at)?.is_some() { self.layer.marker(&deleted(at)) } else { Ok(()) };
        }
        if self.is_stub(upper, at)? {
            return Ok(());
        }
        let entry = entry_of(upper, &about)?;
        if entry.is_directory() {
            self.layer.put(at, &entry, &mut io::empty())?;
            if is_opaque(upper) && self.below.entry(at)?.is_some() {
                self.layer.marker(&at.join(".wh..wh..opq"))?;
            }
            return self.directory(upper, at);
        }
        if about.nlink() > 1 && about.is_file() {
            if let Some(first) = self.links.get(&(about.dev(), about.ino())) {
                let first = first.clone();
                return self.layer.hard_link(at, &entry, &first);
            }
            self.links.insert((about.dev(), about.ino()), at.to_owned());
        }
        match entry.kind {
            Kind::File { .. } => self.layer.put(at, &entry, &mut File::open(upper)?),
            _ => self.layer.put(at, &entry, &mut io::empty()),
        }
    }

    /// A mount point, or a directory above one, that holds nothing else and was not there before.
    fn is_stub(&self, upper: &Path, at: &Path) -> io::Result<bool> {
        if !self.stubs.iter().any(|stub| stub.starts_with(at)) {
            return Ok(false);
        }
        let about = fs::symlink_metadata(upper)?;
        if !about.is_dir() {
            return Ok(about.is_file() && about.len() == 0 && self.below.entry(at)?.is_none());
        }
        let untouched = match self.below.entry(at)? {
            None => true,
            // Copied up only because a mount point was made inside.
            Some(below) => below == entry_of(upper, &about)? && !is_opaque(upper),
        };
        if !untouched {
            return Ok(false);
        }
        for item in fs::read_dir(upper)? {
            let item = item?;
            if !self.is_stub(&item.path(), &at.join(item.file_name()))? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// `a/b` → `a/.wh.b`.
fn deleted(path: &Path) -> PathBuf {
    let mut name = std::ffi::OsString::from(".wh.");
    name.push(path.file_name().unwrap_or_default());
    path.with_file_name(name)
}
