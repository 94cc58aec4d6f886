//! Artifacts of registries: files packed by tar, as Flux and others push them.

use super::{Fetcher, Found, failed, revision};
use crate::error::Error;
use flate2::read::MultiGzDecoder;
use model::flow::{File, FileMode, Snapshot};
use model::remote::{Address, Artifact as Named, Fetched};
use oci::{Artifact, Credentials, Reference};
use std::collections::BTreeMap;
use std::io::Read;
use std::sync::Arc;
use std::time::Duration;
use tar::EntryType;

/// All of it.
const WHOLE: Duration = Duration::from_secs(60);

/// The files of an artifact that anybody may read.
pub async fn fetch(fetcher: &Fetcher, address: &Address, named: &Named) -> Result<Found, Error> {
    let fail = |reason: String| failed(address.text(), &reason);
    let parts = async {
        let artifact = find(address, named).await?;
        let mut left = fetcher.bytes_max;
        let mut parts = Vec::new();
        for part in artifact.manifest.layers.iter().filter(|part| is_packed(&part.media_type)) {
            let bytes = artifact.part(part, left).await.map_err(|error| fail(error.to_string()))?;
            left = left.saturating_sub(bytes.len() as u64);
            parts.push(bytes);
        }
        Ok((artifact.digest.to_string(), parts))
    };
    let waited = tokio::time::timeout(WHOLE, parts).await;
    let (resolved, parts) = waited.map_err(|_| fail(format!("no end after {} s", WHOLE.as_secs())))??;
    if parts.is_empty() {
        return Err(fail("it has no part that is a tar archive".into()));
    }
    let (files_max, bytes_max) = (fetcher.files_max, fetcher.bytes_max);
    let unpacked = tokio::task::spawn_blocking(move || {
        let mut files = BTreeMap::new();
        let mut left = bytes_max;
        parts.iter().try_for_each(|part| unpack(part, &mut files, files_max, &mut left)).map(|()| files)
    });
    let files = unpacked.await.map_err(|error| fail(error.to_string()))?.map_err(fail)?;
    let commit = "0".repeat(40).parse().expect("40 digits");
    let snapshot = Snapshot { revision: revision(commit), files };
    Ok(Found { fetched: Fetched::Tree(Arc::new(snapshot)), resolved })
}

/// What its name means now.
pub async fn resolved(address: &Address, named: &Named) -> Result<String, Error> {
    let found = tokio::time::timeout(WHOLE, find(address, named)).await;
    let found = found.map_err(|_| failed(address.text(), &format!("no end after {} s", WHOLE.as_secs())))??;
    Ok(found.digest.to_string())
}

async fn find(address: &Address, named: &Named) -> Result<Artifact, Error> {
    let reference: Reference = named
        .name
        .parse()
        .map_err(|error| failed(address.text(), &format!("it is no name of an artifact: {error}")))?;
    let found = Artifact::find(&reference, &Credentials::Anonymous, None).await;
    found.map_err(|error| failed(address.text(), &error.to_string()))
}

fn is_packed(media_type: &str) -> bool {
    ["tar", "tar+gzip", "tar.gzip"]
        .iter()
        .any(|end| media_type.strip_suffix(end).is_some_and(|before| before.ends_with(['.', '/', '+'])))
}

/// Adds the files of an archive; links are kept as links, and followed by nobody here.
fn unpack(archive: &[u8], files: &mut BTreeMap<String, File>, files_max: usize, left: &mut u64) -> Result<(), String> {
    let too_large = || "unpacked it is larger than what is allowed".to_owned();
    // Headers and padding count too.
    let limit = left.saturating_mul(2).saturating_add(1 << 20);
    let stream: Box<dyn Read + '_> =
        if archive.starts_with(b"\x1f\x8b") { Box::new(MultiGzDecoder::new(archive)) } else { Box::new(archive) };
    let mut tar = tar::Archive::new(stream.take(limit));
    let unreadable = |error: std::io::Error| format!("the archive cannot be read: {error}");
    for entry in tar.entries().map_err(unreadable)? {
        let mut entry = entry.map_err(unreadable)?;
        let mode = match entry.header().entry_type() {
            EntryType::Regular | EntryType::Continuous if entry.header().mode().is_ok_and(|mode| mode & 0o111 != 0) => {
                FileMode::Executable
            }
            EntryType::Regular | EntryType::Continuous => FileMode::Regular,
            EntryType::Symlink => FileMode::Symlink,
            EntryType::Directory | EntryType::XGlobalHeader => continue,
            other => return Err(format!("it holds something that is neither file, directory nor link ({other:?})")),
        };
        let path = inside(&entry.path_bytes())?;
        let bytes: Arc<[u8]> = match mode {
            FileMode::Symlink => entry.link_name_bytes().unwrap_or_default().into_owned().into(),
            _ => {
                *left = left.checked_sub(entry.size()).ok_or_else(too_large)?;
                let mut bytes = Vec::new();
                entry.read_to_end(&mut bytes).map_err(unreadable)?;
                bytes.into()
            }
        };
        files.insert(path, File { mode, bytes });
        if files.len() > files_max {
            return Err(format!("it holds more than {files_max} files"));
        }
    }
    Ok(())
}

/// A path that stays below the top.
fn inside(path: &[u8]) -> Result<String, String> {
    let path = std::str::from_utf8(path).map_err(|_| "a name in it is not UTF-8".to_owned())?;
    let parts: Vec<&str> = path.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
    if path.starts_with('/') || parts.is_empty() || parts.contains(&"..") {
        return Err(format!("{path:?} leads out of it"));
    }
    Ok(parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn packed(entries: &[(EntryType, &str, &[u8])]) -> Vec<u8> {
        let mut tar = tar::Builder::new(Vec::new());
        for (kind, path, bytes) in entries {
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(*kind);
            header.set_mode(0o644);
            if *kind == EntryType::Symlink {
                header.set_link_name(std::str::from_utf8(bytes).unwrap()).unwrap();
            }
            let bytes = if *kind == EntryType::Symlink { &[][..] } else { bytes };
            header.set_size(bytes.len() as u64);
            // What the library would refuse to write is what is tested.
            header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
            header.set_cksum();
            tar.append(&header, bytes).unwrap();
        }
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&tar.into_inner().unwrap()).unwrap();
        gzip.finish().unwrap()
    }

    fn unpacked(archive: &[u8], files_max: usize, bytes_max: u64) -> Result<Vec<String>, String> {
        let (mut files, mut left) = (BTreeMap::new(), bytes_max);
        unpack(archive, &mut files, files_max, &mut left)?;
        Ok(files.into_keys().collect())
    }

    #[test]
    fn archives_are_unpacked_within_bounds_and_lead_nowhere_else() {
        let regular = EntryType::Regular;
        let good = packed(&[(regular, "./base/a.yaml", b"a"), (EntryType::Symlink, "base/link", b"a.yaml")]);
        assert_eq!(unpacked(&good, 10, 10).unwrap(), ["base/a.yaml", "base/link"]);
        for (archive, problem) in [
            (packed(&[(regular, "../a", b"a")]), "leads out"),
            (packed(&[(regular, "/etc/a", b"a")]), "leads out"),
            (packed(&[(EntryType::Char, "tty", b"")]), "neither file"),
            (packed(&[(EntryType::Link, "hard", b"")]), "neither file"),
            (packed(&[(regular, "a", b"12345678901")]), "larger"),
            (packed(&[(regular, "a", b""), (regular, "b", b""), (regular, "c", b"")]), "more than 2 files"),
            (good[..40].to_vec(), "cannot be read"),
        ] {
            let refused = unpacked(&archive, 2, 10).unwrap_err();
            assert!(refused.contains(problem), "{problem}: {refused}");
        }
    }
}
