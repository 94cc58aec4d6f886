//! From a layer's tar to a directory that overlayfs takes as a lower layer.
//!
//! The tar is hostile until proven otherwise. Every name is resolved by the kernel below the target directory
//! (`openat2` with `RESOLVE_IN_ROOT`), so neither `..` nor a link planted earlier leads out; the last component is never
//! followed. Device nodes are left out (a container gets its own `/dev`), and so are overlayfs' own attributes.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, FileType, Gid, Mode, OFlags, ResolveFlags, Timespec, Timestamps, Uid, XattrFlags, chmodat, chownat,
    fchmod, fchown, fsetxattr, futimens, linkat, mkdirat, mknodat, open, openat, openat2, statat, symlinkat, unlinkat,
    utimensat,
};
use rustix::io::Errno;
use tar::{Archive, Entry, EntryType};

use super::{OPAQUE, OPAQUE_ATTRIBUTE, WHITEOUT};

const DIRECTORY: OFlags = OFlags::DIRECTORY.union(OFlags::RDONLY).union(OFlags::CLOEXEC);
const XATTR_PREFIX: &str = "SCHILY.xattr.";

/// Unpacks `tar` into the existing directory `target`; the error names the entry.
pub(super) fn unpack(tar: &mut impl Read, target: &Path, entries_max: u64) -> Result<(), String> {
    let root = open(target, DIRECTORY, Mode::empty()).map_err(|error| error.to_string())?;
    let owns = rustix::process::geteuid().is_root();
    let mut unpacker = Unpacker { root, owns, parent: None, directories: Vec::new() };
    let mut archive = Archive::new(tar);
    let mut count = 0;
    for entry in archive.entries().map_err(|error| error.to_string())? {
        let mut entry = entry.map_err(|error| error.to_string())?;
        count += 1;
        if count > entries_max {
            return Err(format!("it has more than {entries_max} entries"));
        }
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        unpacker.entry(&mut entry).map_err(|error| format!("{name}: {error}"))?;
    }
    unpacker.finish().map_err(|error| error.to_string())
}

struct Unpacker {
    root: OwnedFd,
    /// Whether we may give files away. Without root, everything is ours.
    owns: bool,
    /// The directory of the last entry: entries mostly come in order.
    parent: Option<(PathBuf, OwnedFd)>,
    /// Times of directories, set last because filling a directory changes its time.
    directories: Vec<(PathBuf, i64)>,
}

/// What a tar says of a file beside its content.
struct Attributes {
    uid: u32,
    gid: u32,
    mode: Mode,
    modified: i64,
    extended: Vec<(String, Vec<u8>)>,
}

impl Unpacker {
    fn entry(&mut self, entry: &mut Entry<'_, impl Read>) -> io::Result<()> {
        let kind = entry.header().entry_type();
        if matches!(kind, EntryType::XGlobalHeader) {
            return Ok(());
        }
        let path = inside(&entry.path_bytes())?;
        let attributes = attributes(entry)?;
        let Some(name) = path.file_name().map(OsStr::to_owned) else {
            // The layer's own root.
            let root = openat(&self.root, ".", DIRECTORY, Mode::empty())?;
            return self.decorate(&root, &attributes);
        };
        let directory = self.directory(path.parent().unwrap_or(Path::new("")))?;
        let parent = directory.as_fd();
        if name.as_bytes() == OPAQUE {
            return opaque(parent);
        }
        if let Some(deleted) = name.as_bytes().strip_prefix(WHITEOUT) {
            return whiteout(parent, deleted);
        }
        match kind {
            EntryType::Directory => self.make_directory(parent, &path, &name, &attributes),
            EntryType::Symlink => self.make_symlink(parent, &name, entry, &attributes),
            EntryType::Link => self.make_link(parent, &name, entry),
            EntryType::Fifo => {
                make_room(parent, &name)?;
                mknodat(parent, &name, FileType::Fifo, attributes.mode, 0)?;
                self.own_link(parent, &name, &attributes)?;
                // mknod was subject to the umask.
                Ok(chmodat(parent, &name, attributes.mode, AtFlags::empty())?)
            }
            EntryType::Char | EntryType::Block => Ok(()),
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                self.make_file(parent, &name, entry, &attributes)
            }
            other => {
                Err(io::Error::other(format!("entries of type {:?} are not supported", char::from(other.as_byte()))))
            }
        }
    }

    /// Opens a directory below the root, and makes what is missing of it.
    fn directory(&mut self, path: &Path) -> io::Result<OwnedFd> {
        if let Some((known, directory)) = &self.parent
            && known == path
        {
            return directory.try_clone();
        }
        let directory = match self.resolve(path) {
            Err(Errno::NOENT) => self.make_directories(path)?,
            result => result?,
        };
        self.parent = Some((path.to_owned(), directory.try_clone()?));
        Ok(directory)
    }

    fn resolve(&self, path: &Path) -> Result<OwnedFd, Errno> {
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        openat2(&self.root, path, DIRECTORY, Mode::empty(), ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS)
    }

    fn make_directories(&self, path: &Path) -> io::Result<OwnedFd> {
        let mut prefix = PathBuf::new();
        let mut parent = self.resolve(&prefix)?;
        for name in path.components() {
            prefix.push(name);
            parent = match self.resolve(&prefix) {
                Err(Errno::NOENT) => {
                    mkdirat(&parent, name.as_os_str(), Mode::from_raw_mode(0o755))
                        .map_err(|_| io::Error::other(format!("{} is a link to nowhere", prefix.display())))?;
                    self.resolve(&prefix)?
                }
                result => result?,
            };
        }
        Ok(parent)
    }

    fn make_directory(
        &mut self,
        parent: BorrowedFd<'_>,
        path: &Path,
        name: &OsStr,
        attributes: &Attributes,
    ) -> io::Result<()> {
        let existing = statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)
            .map(|stat| (FileType::from_raw_mode(stat.st_mode), stat.st_rdev));
        let replaces = matches!(existing, Ok((FileType::CharacterDevice, 0)));
        if !matches!(existing, Ok((FileType::Directory, _))) {
            make_room(parent, name)?;
            mkdirat(parent, name, Mode::from_raw_mode(0o700))?;
        }
        let directory = openat(parent, name, DIRECTORY | OFlags::NOFOLLOW, Mode::empty())?;
        if replaces {
            opaque(directory.as_fd())?;
        }
        self.decorate(&directory, attributes)?;
        self.directories.push((path.to_owned(), attributes.modified));
        Ok(())
    }

    fn make_file(
        &self,
        parent: BorrowedFd<'_>,
        name: &OsStr,
        entry: &mut Entry<'_, impl Read>,
        attributes: &Attributes,
    ) -> io::Result<()> {
        make_room(parent, name)?;
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut file = File::from(openat(parent, name, flags, Mode::from_raw_mode(0o600))?);
        io::copy(entry, &mut file)?;
        self.decorate(&file, attributes)?;
        Ok(futimens(&file, &times(attributes.modified))?)
    }

    fn make_symlink(
        &self,
        parent: BorrowedFd<'_>,
        name: &OsStr,
        entry: &Entry<'_, impl Read>,
        attributes: &Attributes,
    ) -> io::Result<()> {
        let target = entry.link_name_bytes().ok_or_else(|| io::Error::other("the link has no target"))?;
        make_room(parent, name)?;
        symlinkat(OsStr::from_bytes(&target), parent, name)?;
        self.own_link(parent, name, attributes)?;
        Ok(utimensat(parent, name, &times(attributes.modified), AtFlags::SYMLINK_NOFOLLOW)?)
    }

    fn make_link(&mut self, parent: BorrowedFd<'_>, name: &OsStr, entry: &Entry<'_, impl Read>) -> io::Result<()> {
        let target = entry.link_name_bytes().ok_or_else(|| io::Error::other("the link has no target"))?;
        let target = inside(&target)?;
        let file = target.file_name().ok_or_else(|| io::Error::other("the link has no target"))?;
        let from = self.resolve(target.parent().unwrap_or(Path::new("")))?;
        make_room(parent, name)?;
        Ok(linkat(from, file, parent, name, AtFlags::empty())?)
    }

    fn own_link(&self, parent: BorrowedFd<'_>, name: &OsStr, attributes: &Attributes) -> io::Result<()> {
        if self.owns {
            let (uid, gid) = owner(attributes);
            chownat(parent, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)?;
        }
        Ok(())
    }

    fn decorate(&self, file: impl AsFd, attributes: &Attributes) -> io::Result<()> {
        let file = file.as_fd();
        if self.owns {
            let (uid, gid) = owner(attributes);
            fchown(file, uid, gid)?;
        }
        // After the owner, whose change clears setuid and capabilities.
        fchmod(file, attributes.mode)?;
        for (name, value) in &attributes.extended {
            match fsetxattr(file, name.as_str(), value, XattrFlags::empty()) {
                // A file system without them, or no right to set capabilities.
                Err(Errno::OPNOTSUPP | Errno::PERM) | Ok(()) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn finish(self) -> io::Result<()> {
        for (path, modified) in self.directories.iter().rev() {
            // A later entry may have replaced it.
            if let Ok(directory) = self.resolve(path) {
                futimens(&directory, &times(*modified))?;
            }
        }
        Ok(())
    }
}

/// The path of an entry relative to the root. `..` is refused; leading slashes and `.` mean nothing.
fn inside(bytes: &[u8]) -> io::Result<PathBuf> {
    let mut path = PathBuf::new();
    for part in bytes.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => return Err(io::Error::other("the path leads out of the layer")),
            part => path.push(OsString::from_vec(part.to_vec())),
        }
    }
    Ok(path)
}

fn attributes(entry: &mut Entry<'_, impl Read>) -> io::Result<Attributes> {
    let header = entry.header();
    let number = |value: u64| u32::try_from(value).map_err(|_| io::Error::other("the owner's number is too large"));
    let (uid, gid) = (number(header.uid()?)?, number(header.gid()?)?);
    let mode = Mode::from_raw_mode(header.mode()? & 0o7777);
    let modified = i64::try_from(header.mtime()?).unwrap_or(0);
    let mut extended = Vec::new();
    for extension in entry.pax_extensions()?.into_iter().flatten() {
        let extension = extension?;
        // trusted.overlay.* would redirect lookups in the mounted image; security.* beside capabilities is the host's.
        if let Some(name) = extension.key().ok().and_then(|key| key.strip_prefix(XATTR_PREFIX))
            && (name == "security.capability" || name.starts_with("user."))
        {
            extended.push((name.to_owned(), extension.value_bytes().to_vec()));
        }
    }
    Ok(Attributes { uid, gid, mode, modified, extended })
}

fn owner(attributes: &Attributes) -> (Option<Uid>, Option<Gid>) {
    (Some(Uid::from_raw(attributes.uid)), Some(Gid::from_raw(attributes.gid)))
}

fn times(modified: i64) -> Timestamps {
    let time = Timespec { tv_sec: modified, tv_nsec: 0 };
    Timestamps { last_access: time, last_modification: time }
}

fn opaque(directory: BorrowedFd<'_>) -> io::Result<()> {
    Ok(fsetxattr(directory, OPAQUE_ATTRIBUTE, b"y", XattrFlags::empty())?)
}

/// overlayfs' form of a deleted file. A name that this same layer has created already stays: whiteouts speak of lower layers.
fn whiteout(parent: BorrowedFd<'_>, deleted: &[u8]) -> io::Result<()> {
    if deleted.is_empty() || deleted.starts_with(WHITEOUT) || matches!(deleted, b"." | b"..") {
        return Ok(());
    }
    match mknodat(parent, OsStr::from_bytes(deleted), FileType::CharacterDevice, Mode::empty(), 0) {
        Err(Errno::EXIST) => Ok(()),
        result => Ok(result?),
    }
}

/// Removes what an entry replaces.
fn make_room(parent: BorrowedFd<'_>, name: &OsStr) -> io::Result<()> {
    let flags = match statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => return Ok(()),
        Err(error) => return Err(error.into()),
        Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Directory => AtFlags::REMOVEDIR,
        Ok(_) => AtFlags::empty(),
    };
    Ok(unlinkat(parent, name, flags)?)
}

/// Removes a file, or an empty directory, or nothing.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    make_room(CWD, path.as_os_str())
}
