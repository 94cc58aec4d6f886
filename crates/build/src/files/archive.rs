//! Archives that ADD unpacks.

use super::{Entry, Kind, Memory};
use flate2::read::MultiGzDecoder;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

/// An archive may unpack to this much: it is held in memory.
const BYTES_MAX: u64 = 512 << 20;

/// The files of an archive; `None` if `bytes` are no archive that is known, and must be copied as they are.
pub(super) fn unpack(bytes: &[u8]) -> io::Result<Option<Memory>> {
    if bytes.starts_with(&[0x1f, 0x8b]) {
        // A compressed file that holds no archive is copied as it is, compressed.
        let mut head = [0; 512];
        let read = MultiGzDecoder::new(bytes).read_exact(&mut head);
        return if read.is_ok() && is_tar(&head) { files(MultiGzDecoder::new(bytes)).map(Some) } else { Ok(None) };
    }
    if bytes.starts_with(b"BZh") || bytes.starts_with(b"\xfd7zXZ\0") || bytes.starts_with(b"\x28\xb5\x2f\xfd") {
        let message = "archives in this compression are not unpacked by ADD (tar and tar.gz are); use COPY and RUN tar";
        return Err(io::Error::new(io::ErrorKind::Unsupported, message));
    }
    if is_tar(bytes) { files(bytes).map(Some) } else { Ok(None) }
}

fn is_tar(bytes: &[u8]) -> bool {
    bytes.get(257..262) == Some(b"ustar")
}

fn files(source: impl Read) -> io::Result<Memory> {
    let mut tree = Memory::default();
    let mut left = BYTES_MAX;
    for item in tar::Archive::new(source).entries()? {
        let mut item = item?;
        let path = item.path()?.into_owned();
        let header = item.header();
        // Some programs leave the fields of owners blank.
        let number = |n: io::Result<u64>| n.ok().and_then(|n| u32::try_from(n).ok()).unwrap_or(0);
        let (mode, uid, gid) = (header.mode()? & 0o7777, number(header.uid()), number(header.gid()));
        let mut content: Arc<[u8]> = [].into();
        let kind = match header.entry_type() {
            tar::EntryType::Directory => Kind::Directory,
            tar::EntryType::Symlink => Kind::Symlink(item.link_name()?.unwrap_or_default().into_owned()),
            tar::EntryType::Link => {
                let first = item.link_name()?.unwrap_or_default().into_owned();
                content = tree.content(&super::normal(&first)).ok_or(io::ErrorKind::NotFound)?;
                Kind::File { size: content.len() as u64 }
            }
            tar::EntryType::Regular | tar::EntryType::Continuous | tar::EntryType::GNUSparse => {
                let mut bytes = Vec::new();
                (&mut item).take(left + 1).read_to_end(&mut bytes)?;
                left = left.checked_sub(bytes.len() as u64).ok_or_else(too_large)?;
                content = bytes.into();
                Kind::File { size: content.len() as u64 }
            }
            // Devices in an archive from a repository are nothing that an image needs.
            _ => continue,
        };
        if super::normal(&path) != Path::new("") {
            tree.insert(&path, Entry { kind, mode, uid, gid, attributes: Vec::new() }, content);
        }
    }
    Ok(tree)
}

fn too_large() -> io::Error {
    io::Error::other("the archive unpacks to more than 512 MiB; use COPY and RUN tar")
}
