//! Making commits: new trees from changed files, a signed commit, a pack for git to store, a reference to move.

use crate::error::Error;
use crate::failpoint;
use crate::git::Git;
use crate::object::{Kind, Mode, Object, Oid, TreeEntry, make_pack, make_tree};
use crate::read::{Objects, components};
use crate::sign::Signer;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use jiff::Timestamp;
use model::ports::Tag;
use std::collections::BTreeMap;

/// Who signs, and under which name.
pub struct Committer {
    pub signer: Signer,
    /// Behind the `@` of addresses.
    pub instance: String,
}

/// A commit to be made.
pub struct Draft<'a> {
    pub tree: Oid,
    pub parent: Option<Oid>,
    pub author: &'a str,
    pub at: Timestamp,
    pub message: &'a str,
}

impl Committer {
    /// The signed commit.
    pub fn commit(&self, draft: &Draft<'_>) -> Object {
        let parent = draft.parent.map_or(String::new(), |parent| format!("parent {parent}\n"));
        let author = self.identity(draft.author);
        let committer = format!("Trimtab <trimtab@{}>", self.instance);
        let seconds = draft.at.as_second();
        let head = format!(
            "tree {}\n{parent}author {author} {seconds} +0000\ncommitter {committer} {seconds} +0000\n",
            draft.tree
        );
        let message = format!("{}\n", draft.message.trim_end().replace('\0', ""));
        let signature = self.signer.sign(format!("{head}\n{message}").as_bytes());
        let header = signature.trim_end().replace('\n', "\n ");
        Object::new(Kind::Commit, format!("{head}gpgsig {header}\n\n{message}").into_bytes())
    }

    /// The signed tag object.
    pub fn tag(&self, tag: &Tag) -> Object {
        let tagger = self.identity(&tag.author);
        let message = format!("{}\n", tag.message.trim_end().replace('\0', ""));
        let text = format!(
            "object {}\ntype commit\ntag {}\ntagger {tagger} {} +0000\n\n{message}",
            tag.commit,
            tag.name,
            tag.at.as_second()
        );
        // Of a tag the signature stands behind the message, and is over all before it.
        let signature = self.signer.sign(text.as_bytes());
        Object::new(Kind::Tag, format!("{text}{}\n", signature.trim_end()).into_bytes())
    }

    /// `Alice <alice@instance>` of `alice`, or what is already of that form.
    fn identity(&self, who: &str) -> String {
        let clean = |text: &str| -> String {
            text.chars().filter(|c| !c.is_control() && !matches!(c, '<' | '>')).collect::<String>().trim().to_owned()
        };
        let (name, address) = match who.split_once('<') {
            Some((name, rest)) => (clean(name), clean(rest)),
            None => (clean(who), String::new()),
        };
        let name = if name.is_empty() { "unknown".to_owned() } else { name };
        if address.is_empty() {
            let local: String = name.chars().map(|c| if c.is_whitespace() { '.' } else { c }).collect();
            return format!("{name} <{local}@{}>", self.instance);
        }
        format!("{name} <{address}>")
    }
}

/// What changes in a directory.
#[derive(Default)]
pub struct Edits {
    files: BTreeMap<String, Option<Vec<u8>>>,
    directories: BTreeMap<String, Edits>,
}

impl Edits {
    /// From paths relative to the root; `None` deletes.
    pub fn of(changes: &BTreeMap<String, Option<Vec<u8>>>) -> Result<Self, Error> {
        let mut root = Self::default();
        for (path, content) in changes {
            let mut names = components(path)?;
            let name = names.pop().ok_or_else(|| Error::Name(format!("{path:?} names no file")))?;
            let mut directory = &mut root;
            for name in names {
                directory = directory.directories.entry(name.to_owned()).or_default();
            }
            directory.files.insert(name.to_owned(), content.clone());
        }
        Ok(root)
    }

    /// The tree with these changes, `None` if nothing is left; new objects go to `made`.
    pub fn apply<'a>(
        self,
        objects: &'a Objects,
        tree: Option<Oid>,
        made: &'a mut Vec<Object>,
    ) -> BoxFuture<'a, Result<Option<Oid>, Error>> {
        async move {
            let mut entries: BTreeMap<String, TreeEntry> = BTreeMap::new();
            if let Some(tree) = tree {
                for entry in objects.one(tree).await?.tree()? {
                    entries.insert(String::from_utf8_lossy(&entry.name).into_owned(), entry);
                }
            }
            for (name, edits) in self.directories {
                let below = match entries.get(&name) {
                    None => None,
                    Some(TreeEntry { mode: Mode::Directory, id, .. }) => Some(*id),
                    Some(_) => return Err(Error::Content(format!("{name} is a file where a directory is needed"))),
                };
                match edits.apply(objects, below, made).await? {
                    Some(id) => drop(entries.insert(name.clone(), entry(Mode::Directory, &name, id))),
                    None => drop(entries.remove(&name)),
                }
            }
            for (name, content) in self.files {
                let mode = match entries.get(&name).map(|entry| entry.mode) {
                    Some(Mode::Directory) => {
                        return Err(Error::Content(format!("{name} is a directory where a file is needed")));
                    }
                    Some(Mode::Executable) => Mode::Executable,
                    _ => Mode::Regular,
                };
                match content {
                    Some(content) => {
                        let blob = Object::new(Kind::Blob, content);
                        entries.insert(name.clone(), entry(mode, &name, blob.id));
                        made.push(blob);
                    }
                    None => drop(entries.remove(&name)),
                }
            }
            if entries.is_empty() {
                return Ok(None);
            }
            let tree = make_tree(entries.into_values().collect());
            let id = tree.id;
            made.push(tree);
            Ok(Some(id))
        }
        .boxed()
    }
}

fn entry(mode: Mode, name: &str, id: Oid) -> TreeEntry {
    TreeEntry { mode, name: name.into(), id }
}

/// Names of the failpoints around one kind of write.
pub struct Failpoints {
    pub before: &'static str,
    pub after: &'static str,
}

/// Stores objects durably, then moves a reference from `old` (`None`: it does not exist) to `new`.
/// False if it stood elsewhere.
pub async fn store(
    git: &Git,
    objects: &Objects,
    made: &[Object],
    (reference, old, new): (&str, Option<Oid>, Oid),
    failpoints: &Failpoints,
) -> Result<bool, Error> {
    failpoint(failpoints.before);
    put(git, objects, made).await?;
    let moved = move_reference(git, objects, reference, old, new).await?;
    failpoint(failpoints.after);
    Ok(moved)
}

/// Stores objects durably.
pub async fn put(git: &Git, objects: &Objects, made: &[Object]) -> Result<(), Error> {
    if !made.is_empty() {
        git.run(&objects.place.directory, ["unpack-objects", "-q", "--strict"], &make_pack(made)).await?;
    }
    for object in made {
        objects.cache.put(objects.key, object);
    }
    Ok(())
}

async fn move_reference(
    git: &Git,
    objects: &Objects,
    reference: &str,
    old: Option<Oid>,
    new: Oid,
) -> Result<bool, Error> {
    let (new, before) = (new.to_string(), old.map_or("0".repeat(40), |old| old.to_string()));
    let result = git.run(&objects.place.directory, ["update-ref", reference, &new, &before], &[]).await;
    let Err(error) = result else { return Ok(true) };
    // Git's words for "it moved" differ between versions; where it stands does not.
    if objects.resolve(reference).await? == old { Err(error) } else { Ok(false) }
}
