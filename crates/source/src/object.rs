//! Git's objects as values: reading and making the bytes of trees, commits and packs.

use crate::error::Error;
use flate2::Compression;
use flate2::write::ZlibEncoder;
use model::names::CommitId;
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use std::fmt;
use std::io::Write as _;
use std::sync::Arc;

/// Identity of an object: SHA-1 over its kind, size and content.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Oid([u8; 20]);

impl Oid {
    /// From 40 hexadecimal digits.
    pub fn parse(text: &str) -> Option<Self> {
        let mut bytes = [0; 20];
        hex::decode_to_slice(text, &mut bytes).ok()?;
        Some(Self(bytes))
    }

    /// Of this content.
    pub fn of(kind: Kind, content: &[u8]) -> Self {
        let mut bytes = format!("{} {}\0", kind.word(), content.len()).into_bytes();
        bytes.extend_from_slice(content);
        Self::from_slice(digest(&SHA1_FOR_LEGACY_USE_ONLY, &bytes).as_ref())
    }

    fn from_slice(bytes: &[u8]) -> Self {
        Self(bytes.try_into().expect("callers pass 20 bytes"))
    }

    /// As the rest of the program names commits.
    pub fn commit(self) -> CommitId {
        self.to_string().parse().expect("40 hexadecimal digits are a commit id")
    }
}

impl From<&CommitId> for Oid {
    fn from(id: &CommitId) -> Self {
        Self::parse(id.as_str()).expect("a commit id has 40 hexadecimal digits")
    }
}
impl fmt::Display for Oid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}
impl fmt::Debug for Oid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Kinds of object, numbered as in a pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Commit = 1,
    Tree = 2,
    Blob = 3,
    Tag = 4,
}

impl Kind {
    pub fn word(self) -> &'static str {
        match self {
            Self::Commit => "commit",
            Self::Tree => "tree",
            Self::Blob => "blob",
            Self::Tag => "tag",
        }
    }
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Commit, Self::Tree, Self::Blob, Self::Tag].into_iter().find(|kind| kind.word() == word)
    }
}

/// An object's kind and content.
#[derive(Debug, Clone)]
pub struct Object {
    pub id: Oid,
    pub kind: Kind,
    pub bytes: Arc<[u8]>,
}

impl Object {
    pub fn new(kind: Kind, bytes: Vec<u8>) -> Self {
        Self { id: Oid::of(kind, &bytes), kind, bytes: bytes.into() }
    }

    /// Its entries, if it is a well-formed tree.
    pub fn tree(&self) -> Result<Vec<TreeEntry>, Error> {
        self.expect(Kind::Tree)?;
        parse_tree(&self.bytes).ok_or_else(|| Error::Content(format!("tree {} is damaged", self.id)))
    }

    /// Its fields, if it is a well-formed commit.
    pub fn commit(&self) -> Result<Commit, Error> {
        self.expect(Kind::Commit)?;
        parse_commit(&self.bytes).ok_or_else(|| Error::Content(format!("commit {} is damaged", self.id)))
    }

    fn expect(&self, kind: Kind) -> Result<(), Error> {
        if self.kind == kind {
            return Ok(());
        }
        Err(Error::Content(format!("{} is a {}, not a {}", self.id, self.kind.word(), kind.word())))
    }
}

/// The modes that trees hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Directory,
    Regular,
    Executable,
    Symlink,
    Submodule,
}

impl Mode {
    fn parse(text: &[u8]) -> Option<Self> {
        Some(match text {
            b"40000" | b"040000" => Self::Directory,
            // 100664 was written by very old versions of git.
            b"100644" | b"100664" => Self::Regular,
            b"100755" => Self::Executable,
            b"120000" => Self::Symlink,
            b"160000" => Self::Submodule,
            _ => return None,
        })
    }
    fn text(self) -> &'static str {
        match self {
            Self::Directory => "40000",
            Self::Regular => "100644",
            Self::Executable => "100755",
            Self::Symlink => "120000",
            Self::Submodule => "160000",
        }
    }
}

/// One name in a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TreeEntry {
    pub mode: Mode,
    pub name: Vec<u8>,
    pub id: Oid,
}

fn parse_tree(mut bytes: &[u8]) -> Option<Vec<TreeEntry>> {
    let mut entries = Vec::new();
    while !bytes.is_empty() {
        let space = bytes.iter().position(|&b| b == b' ')?;
        let mode = Mode::parse(&bytes[..space])?;
        bytes = &bytes[space + 1..];
        let end = bytes.iter().position(|&b| b == 0)?;
        let (name, id) = (bytes[..end].to_vec(), bytes.get(end + 1..end + 21)?);
        entries.push(TreeEntry { mode, name, id: Oid::from_slice(id) });
        bytes = &bytes[end + 21..];
    }
    Some(entries)
}

/// A tree of these entries, which need no order.
pub fn make_tree(mut entries: Vec<TreeEntry>) -> Object {
    // Git sorts a directory as if its name ended with a slash.
    let key = |entry: &TreeEntry| {
        let mut key = entry.name.clone();
        if entry.mode == Mode::Directory {
            key.push(b'/');
        }
        key
    };
    entries.sort_by_cached_key(key);
    let mut bytes = Vec::new();
    for entry in &entries {
        bytes.extend_from_slice(entry.mode.text().as_bytes());
        bytes.push(b' ');
        bytes.extend_from_slice(&entry.name);
        bytes.push(0);
        bytes.extend_from_slice(&entry.id.0);
    }
    Object::new(Kind::Tree, bytes)
}

/// What we read of a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commit {
    pub tree: Oid,
    pub parents: Vec<Oid>,
    /// Name without address.
    pub author: String,
    /// Seconds since 1970 of the committer.
    pub committed_s: i64,
    pub message: String,
}

fn parse_commit(bytes: &[u8]) -> Option<Commit> {
    let text = String::from_utf8_lossy(bytes);
    let (head, message) = text.split_once("\n\n").unwrap_or((&text, ""));
    let (mut tree, mut parents, mut author, mut committed_s) = (None, Vec::new(), String::new(), 0);
    for line in head.lines() {
        let Some((key, value)) = line.split_once(' ') else { continue };
        match key {
            "tree" => tree = Oid::parse(value),
            "parent" => parents.push(Oid::parse(value)?),
            "author" => author = value.split_once(" <").map_or(value, |(name, _)| name).to_owned(),
            "committer" => {
                let time = value.rsplit_once("> ").map_or("", |(_, time)| time);
                committed_s = time.split(' ').next().and_then(|s| s.parse().ok()).unwrap_or(0);
            }
            _ => {}
        }
    }
    Some(Commit { tree: tree?, parents, author, committed_s, message: message.to_owned() })
}

/// `Key: value` lines of the last paragraph, if that has nothing else and is not the subject.
pub fn trailers(message: &str) -> Vec<(String, String)> {
    let message = message.trim_end();
    let Some((_, last)) = message.rsplit_once("\n\n") else { return Vec::new() };
    let mut trailers: Vec<(String, String)> = Vec::new();
    for line in last.lines() {
        if let (true, Some(trailer)) = (line.starts_with([' ', '\t']), trailers.last_mut()) {
            trailer.1.push(' ');
            trailer.1.push_str(line.trim());
            continue;
        }
        let Some((key, value)) = line.split_once(':') else { return Vec::new() };
        if key.is_empty() || !key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
            return Vec::new();
        }
        trailers.push((key.to_owned(), value.trim().to_owned()));
    }
    trailers
}

/// What a message says between its subject and its trailers.
pub fn body(message: &str) -> String {
    let message = message.trim_end();
    let Some((_, rest)) = message.split_once('\n') else { return String::new() };
    let rest = match (trailers(message).is_empty(), rest.rsplit_once("\n\n")) {
        (true, _) => rest,
        (false, Some((before, _))) => before,
        (false, None) => "",
    };
    rest.trim().to_owned()
}

/// A pack that holds these objects whole.
pub fn make_pack(objects: &[Object]) -> Vec<u8> {
    let mut pack = b"PACK\0\0\0\x02".to_vec();
    let count = u32::try_from(objects.len()).expect("a commit of ours has few objects");
    pack.extend_from_slice(&count.to_be_bytes());
    for object in objects {
        // Kind and low four bits of the size, then seven bits of the size a byte.
        let mut size = object.bytes.len();
        let mut byte = ((object.kind as u8) << 4) | (size & 0x0f) as u8;
        size >>= 4;
        while size > 0 {
            pack.push(byte | 0x80);
            byte = (size & 0x7f) as u8;
            size >>= 7;
        }
        pack.push(byte);
        let mut zlib = ZlibEncoder::new(&mut pack, Compression::fast());
        zlib.write_all(&object.bytes).and_then(|()| zlib.finish()).expect("writing to memory cannot fail");
    }
    let sum = digest(&SHA1_FOR_LEGACY_USE_ONLY, &pack);
    pack.extend_from_slice(sum.as_ref());
    pack
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_objects_have_their_known_ids() {
        assert_eq!(Object::new(Kind::Tree, Vec::new()).id.to_string(), "4b825dc642cb6eb9a060e54bf8d69288fbee4904");
        assert_eq!(
            Object::new(Kind::Blob, b"hello\n".to_vec()).id.to_string(),
            "ce013625030ba8dba906f756967f9e9ca394464a"
        );
    }

    #[test]
    fn a_tree_survives_and_is_sorted_as_git_sorts() {
        let id = Oid::of(Kind::Blob, b"");
        let entry = |mode, name: &str| TreeEntry { mode, name: name.into(), id };
        let tree = make_tree(vec![
            entry(Mode::Directory, "a"),
            entry(Mode::Regular, "a.yaml"),
            entry(Mode::Executable, "a-b"),
            entry(Mode::Symlink, "b"),
        ]);
        let names: Vec<_> =
            tree.tree().unwrap().iter().map(|e| String::from_utf8_lossy(&e.name).into_owned()).collect();
        assert_eq!(names, ["a-b", "a.yaml", "a", "b"]);
    }

    #[test]
    fn damaged_trees_are_errors() {
        for bad in [&b"100644"[..], b"100644 a\0short", b"999 a\0aaaaaaaaaaaaaaaaaaaa"] {
            assert!(Object::new(Kind::Tree, bad.to_vec()).tree().is_err(), "{bad:?} was accepted");
        }
    }

    #[test]
    fn trailers_are_the_last_paragraph_and_nothing_else() {
        let some = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
            pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
        };
        for (message, expect) in [
            ("subject\n", some(&[])),
            ("fix: a thing\n", some(&[])),
            ("subject\n\nTrimtab-Id: 7\nOther: x\n  y\n", some(&[("Trimtab-Id", "7"), ("Other", "x y")])),
            ("subject\n\nsome text\nKey: value\n", some(&[])),
            ("subject\n\nKey: lost\n\nlast words\n", some(&[])),
        ] {
            assert_eq!(trailers(message), expect, "{message:?}");
            assert!(!body(message).contains("Trimtab-Id"), "{message:?}");
        }
    }

    #[test]
    fn a_commit_is_read_with_a_signature_in_it() {
        let text = "tree 4b825dc642cb6eb9a060e54bf8d69288fbee4904\n\
            parent ce013625030ba8dba906f756967f9e9ca394464a\nauthor A B <a@b> 5 +0000\n\
            committer T <t@x> 1700000000 +0200\ngpgsig -----BEGIN\n parent x\n -----END\n\nhello\n\nbody\n";
        let commit = Object::new(Kind::Commit, text.into()).commit().unwrap();
        assert_eq!((commit.parents.len(), commit.author.as_str(), commit.committed_s), (1, "A B", 1_700_000_000));
        assert_eq!(commit.message, "hello\n\nbody\n");
    }
}
