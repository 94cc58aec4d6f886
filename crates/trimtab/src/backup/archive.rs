//! The file: parts in, parts out, each with its digest in the seal.

use super::part::Part;
use anyhow::{Context, Result, anyhow, bail};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::path::Path;

/// What this program writes.
const FORMAT: u32 = 2;
/// The oldest that it reads: one without people and data planes.
const FORMAT_OLDEST: u32 = 1;
/// Pieces of what has no known size when it begins; also what one of them costs in memory.
const PIECE_BYTES: usize = 4 << 20;
/// Header, seal and lists of references are read whole; a seal names half a million parts in this.
const WHOLE_BYTES_MAX: u64 = 64 << 20;

/// The first part.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Header {
    /// Always `trimtab backup`.
    pub kind: String,
    /// Of the file.
    pub format: u32,
    /// Which program wrote it.
    pub version: String,
    /// When.
    pub created: Timestamp,
    /// Whose.
    pub instance: String,
    /// Revision of the store.
    pub revision: u64,
    /// Keys, tokens and Secrets are in it, under a passphrase.
    pub keys: bool,
}

impl Header {
    pub fn new(instance: &str, revision: u64, keys: bool) -> Self {
        let (version, created) = (env!("CARGO_PKG_VERSION").to_owned(), Timestamp::now());
        let instance = instance.to_owned();
        Self { kind: KIND.to_owned(), format: FORMAT, version, created, instance, revision, keys }
    }
}

const KIND: &str = "trimtab backup";

/// The last part.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Seal {
    parts: Vec<Sealed>,
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Sealed {
    name: String,
    bytes: u64,
    sha256: String,
}

/// Writes parts.
pub struct Writer<W: Write> {
    tar: tar::Builder<zstd::Encoder<'static, W>>,
    seal: Seal,
}

impl<W: Write> Writer<W> {
    pub fn new(out: W) -> io::Result<Self> {
        let mut encoder = zstd::Encoder::new(out, 3)?;
        encoder.include_checksum(true)?;
        Ok(Self { tar: tar::Builder::new(encoder), seal: Seal::default() })
    }

    /// A part of known size; an error if the content ends before.
    pub fn part(&mut self, part: &Part, bytes: u64, content: impl Read) -> io::Result<()> {
        let name = part.to_string();
        let mut hashing = Hashing { inner: content.take(bytes), hasher: Sha256::new(), bytes: 0 };
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes);
        header.set_mode(0o600);
        header.set_mtime(0);
        self.tar.append_data(&mut header, &name, &mut hashing)?;
        if hashing.bytes != bytes {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, format!("{name} became shorter as it was read")));
        }
        let sha256 = hex::encode(hashing.hasher.finalize());
        self.seal.parts.push(Sealed { name, bytes, sha256 });
        Ok(())
    }

    pub fn whole(&mut self, part: &Part, content: &[u8]) -> io::Result<()> {
        self.part(part, content.len() as u64, content)
    }

    pub fn json(&mut self, part: &Part, value: &impl Serialize) -> io::Result<()> {
        self.whole(part, &serde_json::to_vec(value)?)
    }

    /// Parts of what is written to the result, piece by piece. Ended by [`Pieces::finish`].
    pub fn pieces<F: Fn(usize) -> Part>(&mut self, name: F) -> Pieces<'_, W, F> {
        Pieces { writer: self, name, buffer: Vec::new(), count: 0 }
    }

    /// Seals the file.
    pub fn finish(mut self) -> io::Result<W> {
        let seal = std::mem::take(&mut self.seal);
        self.json(&Part::Seal, &seal)?;
        self.tar.into_inner()?.finish()
    }
}

/// See [`Writer::pieces`].
pub struct Pieces<'a, W: Write, F: Fn(usize) -> Part> {
    writer: &'a mut Writer<W>,
    name: F,
    buffer: Vec<u8>,
    count: usize,
}

impl<W: Write, F: Fn(usize) -> Part> Pieces<'_, W, F> {
    fn emit(&mut self) -> io::Result<()> {
        self.writer.whole(&(self.name)(self.count), &self.buffer)?;
        self.buffer.clear();
        self.count += 1;
        Ok(())
    }

    pub fn finish(mut self) -> io::Result<()> {
        if self.buffer.is_empty() { Ok(()) } else { self.emit() }
    }
}

impl<W: Write, F: Fn(usize) -> Part> Write for Pieces<'_, W, F> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = PIECE_BYTES - self.buffer.len();
        let taken = bytes.len().min(room);
        self.buffer.extend_from_slice(&bytes[..taken]);
        if self.buffer.len() == PIECE_BYTES {
            self.emit()?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Hashing<R> {
    inner: R,
    hasher: Sha256,
    bytes: u64,
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.hasher.update(&buffer[..count]);
        self.bytes += count as u64;
        Ok(count)
    }
}

/// What a backup holds, for people.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    #[serde(flatten)]
    pub header: Header,
    pub repositories: usize,
    pub blobs: usize,
    pub parts: usize,
    /// Of all parts, unpacked.
    pub bytes: u64,
}

/// Reads a file to its end, and says what is in it, or why it is not a whole backup.
pub fn verify(path: &Path) -> Result<Summary> {
    read(path, &mut |_, _, _| Ok(()))
}

/// Hands each part (but header and seal) to `each`, in order, and compares everything with the seal. What `each` does not read is skipped.
pub fn read(path: &Path, each: &mut dyn FnMut(&Header, &Part, &mut dyn Read) -> Result<()>) -> Result<Summary> {
    let shown = path.display();
    let file = File::open(path).with_context(|| format!("opening {shown}"))?;
    let decoder = zstd::Decoder::new(BufReader::new(file)).with_context(|| format!("{shown} is no backup"))?;
    let mut tar = tar::Archive::new(decoder);
    let mut header: Option<Header> = None;
    let mut seal: Option<Seal> = None;
    let mut found = Seal::default();
    let torn = |error: io::Error| {
        anyhow!("{shown} is cut off or altered: {error}. Nothing was changed; take another backup file")
    };
    let foreign = |_| anyhow!("{shown} is no backup of Trimtab. Nothing was changed");
    let entries = tar.entries().map_err(foreign)?;
    for entry in entries {
        let entry = match (entry, &header) {
            (Ok(entry), _) => entry,
            (Err(error), None) => return Err(foreign(error)),
            (Err(error), Some(_)) => return Err(torn(error)),
        };
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let part = Part::parse(&name);
        let mut content = Hashing { inner: entry, hasher: Sha256::new(), bytes: 0 };
        match (&header, part) {
            (None, Some(Part::Header)) => {
                let text = whole(&mut content).map_err(torn)?;
                header = Some(understood(&text).with_context(|| format!("{shown}"))?);
            }
            (None, _) => bail!("{shown} is no backup of Trimtab. Nothing was changed"),
            (Some(_), Some(Part::Seal)) => {
                let text = whole(&mut content).map_err(torn)?;
                seal = Some(serde_json::from_slice(&text).with_context(|| format!("{shown}: its seal"))?);
                continue;
            }
            (Some(header), Some(part)) if part != Part::Header && seal.is_none() => {
                each(header, &part, &mut content)?;
                io::copy(&mut content, &mut io::sink()).map_err(torn)?;
            }
            _ => bail!("{shown} holds {name:?}, which is no part of a backup. Nothing was changed"),
        }
        let sha256 = hex::encode(content.hasher.finalize());
        found.parts.push(Sealed { name, bytes: content.bytes, sha256 });
    }
    // The archive ends before the file does: what follows holds the checksum.
    io::copy(&mut tar.into_inner(), &mut io::sink()).map_err(torn)?;
    let (Some(header), Some(seal)) = (header, seal) else {
        bail!("{shown} ends before its seal: it was cut off. Nothing was changed; take another backup file");
    };
    if let Some((one, _)) = found.parts.iter().zip(&seal.parts).find(|(found, sealed)| found != sealed) {
        bail!("{shown} was altered at {}. Nothing was changed; take another backup file", one.name);
    }
    if found.parts.len() != seal.parts.len() {
        bail!("{shown} has {} parts, its seal names {}. Nothing was changed", found.parts.len(), seal.parts.len());
    }
    let count = |prefix: &str, end: &str| {
        found.parts.iter().filter(|part| part.name.starts_with(prefix) && part.name.ends_with(end)).count()
    };
    Ok(Summary {
        header,
        repositories: count("git/", "/refs"),
        blobs: count("images/sha256/", ""),
        parts: found.parts.len(),
        bytes: found.parts.iter().map(|part| part.bytes).sum(),
    })
}

/// A small part as a whole.
pub fn whole(content: &mut dyn Read) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    content.take(WHOLE_BYTES_MAX + 1).read_to_end(&mut text)?;
    if text.len() as u64 > WHOLE_BYTES_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a list in it is too long"));
    }
    Ok(text)
}

fn understood(text: &[u8]) -> Result<Header> {
    #[derive(Deserialize)]
    struct Any {
        kind: String,
        format: u32,
        version: String,
    }
    let any: Any = serde_json::from_slice(text).context("this is no backup of Trimtab")?;
    if any.kind != KIND {
        bail!("this is no backup of Trimtab, but {:?}", any.kind);
    }
    if !(FORMAT_OLDEST..=FORMAT).contains(&any.format) {
        bail!(
            "this backup has format {}, written by Trimtab {}; this program ({}) reads formats {FORMAT_OLDEST} to {FORMAT}. \
             Nothing was changed; restore it with the version that wrote it",
            any.format,
            any.version,
            env!("CARGO_PKG_VERSION")
        );
    }
    serde_json::from_slice(text).context("its header")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(header: &Header, path: &Path) -> Vec<u8> {
        let mut writer = Writer::new(Vec::new()).unwrap();
        writer.json(&Part::Header, header).unwrap();
        let mut pieces = writer.pieces(Part::Objects);
        // Incompressible, and more than a piece.
        let noise: Vec<u8> = (0..140_000u32).flat_map(|n| <[u8; 32]>::from(Sha256::digest(n.to_le_bytes()))).collect();
        pieces.write_all(&noise).unwrap();
        pieces.finish().unwrap();
        writer.whole(&Part::ImageNames, b"{}").unwrap();
        let bytes = writer.finish().unwrap();
        std::fs::write(path, &bytes).unwrap();
        bytes
    }

    #[test]
    fn a_backup_cut_altered_or_of_another_version_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("b");
        let header = Header::new("0123", 7, false);
        let good = written(&header, &path);
        let summary = verify(&path).unwrap();
        assert_eq!((summary.parts, summary.header.revision), (4, 7));

        let refused = |bytes: &[u8]| {
            std::fs::write(&path, bytes).unwrap();
            format!("{:#}", verify(&path).unwrap_err())
        };
        for keep in [good.len() / 2, good.len() - 1, good.len() - 100, 20_000, 200] {
            let error = refused(&good[..keep]);
            assert!(error.contains("cut off") || error.contains("no backup"), "{keep}: {error}");
        }
        for at in (0..12).map(|n| n * good.len() / 12) {
            let mut altered = good.clone();
            altered[at] ^= 0x20;
            // What zstd's own frame header ignores changes nothing in the content.
            std::fs::write(&path, &altered).unwrap();
            if let Err(error) = verify(&path) {
                let error = format!("{error:#}");
                assert!(["altered", "cut off", "no backup"].iter().any(|word| error.contains(word)), "{at}: {error}");
            } else {
                assert_eq!(zstd::decode_all(&altered[..]).unwrap(), zstd::decode_all(&good[..]).unwrap(), "{at}");
            }
        }
        let other = Header { format: 9, version: "9.0.0".into(), ..header.clone() };
        let error = refused(&written(&other, &path));
        assert!(error.contains("format 9") && error.contains("9.0.0") && error.contains("formats 1 to 2"), "{error}");
        let error = refused(&written(&Header { kind: "x".into(), ..header }, &path));
        assert!(error.contains("no backup of Trimtab"), "{error}");
        assert!(refused(b"hello").contains("no backup"));
    }
}
