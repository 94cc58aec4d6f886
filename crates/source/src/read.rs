//! Reading a repository: snapshots, history, differences between trees.

use crate::batch::{Place, Pool};
use crate::cache::Cache;
use crate::error::Error;
use crate::object::{Kind, Mode, Object, Oid, TreeEntry, body, trailers};
use model::flow::{File, FileMode, Revision, Snapshot};
use model::ports::Commit;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

/// Tags that point at tags are followed so far.
const TAGS_MAX: usize = 4;
/// Deeper directories are refused.
const DEPTH_MAX: usize = 64;

/// What a snapshot may hold.
#[derive(Debug, Clone, Copy)]
pub struct SnapshotLimits {
    /// Files, and directories.
    pub files_max: usize,
    /// All files together.
    pub bytes_max: u64,
}

/// The objects of one place.
#[derive(Clone)]
pub struct Objects {
    /// Which repository, for the cache.
    pub key: u64,
    pub place: Place,
    pub pool: Arc<Pool>,
    pub cache: Arc<Cache>,
    pub limits: SnapshotLimits,
    /// Submodules are left out rather than refused.
    pub skip_submodules: bool,
}

impl Objects {
    pub async fn resolve(&self, reference: &str) -> Result<Option<Oid>, Error> {
        self.pool.resolve(&self.place, reference).await
    }

    pub async fn one(&self, id: Oid) -> Result<Object, Error> {
        let mut found = self.many(&[id]).await?;
        found.pop().ok_or_else(|| Error::Content(format!("there is no object {id}")))
    }

    /// In the order of the ids, which may repeat.
    pub async fn many(&self, ids: &[Oid]) -> Result<Vec<Object>, Error> {
        let mut known: HashMap<Oid, Object> = HashMap::with_capacity(ids.len());
        let mut wanted = BTreeSet::new();
        for &id in ids {
            match self.cache.get(self.key, id) {
                Some(object) => drop(known.insert(id, object)),
                None => drop(wanted.insert(id)),
            }
        }
        let wanted: Vec<Oid> = wanted.into_iter().collect();
        if !wanted.is_empty() {
            for object in self.pool.read(&self.place, &wanted, self.limits.bytes_max).await? {
                self.cache.put(self.key, &object);
                known.insert(object.id, object);
            }
        }
        Ok(ids.iter().map(|id| known[id].clone()).collect())
    }

    /// The files below a directory; none if the directory does not exist, as git knows no empty ones.
    pub async fn snapshot(&self, revision: &Revision, path: &str) -> Result<Snapshot, Error> {
        let mut found = BTreeMap::new();
        if let Some(tree) = self.directory(revision, path).await? {
            found = self.files(tree).await?;
        }
        let ids: Vec<Oid> = found.values().map(|(_, id)| *id).collect();
        let blobs = self.many(&ids).await?;
        let total: u64 = blobs.iter().map(|blob| blob.bytes.len() as u64).sum();
        if total > self.limits.bytes_max {
            let limit = self.limits.bytes_max >> 20;
            return Err(Error::Content(format!(
                "{revision_text} is larger than {limit} MiB, which is the limit",
                revision_text = at(revision, path)
            )));
        }
        let files = found
            .into_iter()
            .zip(blobs)
            .map(|((path, (mode, _)), blob)| (path, File { mode, bytes: blob.bytes }))
            .collect();
        Ok(Snapshot { revision: revision.clone(), files })
    }

    /// The commit, by its own id or that of a tag that points at it.
    pub async fn peeled(&self, id: Oid) -> Result<Oid, Error> {
        let object = self.commit_under(id).await?;
        object.commit()?;
        Ok(object.id)
    }

    /// The commit itself, or what an annotated tag points at: a push names either.
    async fn commit_under(&self, id: Oid) -> Result<Object, Error> {
        let mut object = self.one(id).await?;
        for _ in 0..TAGS_MAX {
            if object.kind != Kind::Tag {
                return Ok(object);
            }
            let text = String::from_utf8_lossy(&object.bytes).into_owned();
            let target = text.lines().next().and_then(|line| line.strip_prefix("object ")).and_then(Oid::parse);
            let damaged = || Error::Content(format!("tag {} is damaged", object.id));
            object = self.one(target.ok_or_else(damaged)?).await?;
        }
        Err(Error::Content(format!("{id} is a tag of tags, deeper than {TAGS_MAX}")))
    }

    async fn directory(&self, revision: &Revision, path: &str) -> Result<Option<Oid>, Error> {
        let mut tree = self.commit_under((&revision.commit).into()).await?.commit()?.tree;
        for name in components(path)? {
            let entries = self.one(tree).await?.tree()?;
            match entries.into_iter().find(|entry| entry.name == name.as_bytes()) {
                None => return Ok(None),
                Some(TreeEntry { mode: Mode::Directory, id, .. }) => tree = id,
                Some(_) => return Err(Error::Content(format!("{} is no directory", at(revision, path)))),
            }
        }
        Ok(Some(tree))
    }

    async fn files(&self, root: Oid) -> Result<BTreeMap<String, (FileMode, Oid)>, Error> {
        let mut files = BTreeMap::new();
        let mut level = vec![(String::new(), root)];
        let mut directories = 0;
        for _ in 0..DEPTH_MAX {
            directories += level.len();
            self.count(directories + files.len())?;
            let ids: Vec<Oid> = level.iter().map(|(_, id)| *id).collect();
            let trees = self.many(&ids).await?;
            let mut next = Vec::new();
            for ((prefix, _), tree) in level.iter().zip(trees) {
                for entry in tree.tree()? {
                    let path = join(prefix, &entry.name)?;
                    let mode = match entry.mode {
                        Mode::Directory => {
                            next.push((path, entry.id));
                            self.count(directories + next.len() + files.len())?;
                            continue;
                        }
                        Mode::Regular => FileMode::Regular,
                        Mode::Executable => FileMode::Executable,
                        Mode::Symlink => FileMode::Symlink,
                        Mode::Submodule if self.skip_submodules => continue,
                        Mode::Submodule => {
                            return Err(Error::Content(format!(
                                "{path} is a submodule, which is not supported: commit its files instead"
                            )));
                        }
                    };
                    files.insert(path, (mode, entry.id));
                    self.count(directories + next.len() + files.len())?;
                }
            }
            if next.is_empty() {
                return Ok(files);
            }
            level = next;
        }
        Err(Error::Content(format!("{} lies deeper than {DEPTH_MAX} directories", level[0].0)))
    }

    fn count(&self, names: usize) -> Result<(), Error> {
        if names <= self.limits.files_max {
            return Ok(());
        }
        Err(Error::Content(format!("there are more than {} files and directories", self.limits.files_max)))
    }

    /// First-parent history, newest first.
    pub async fn log(&self, tip: Oid, until: Option<Oid>, limit: usize) -> Result<Vec<Commit>, Error> {
        let mut commits = Vec::new();
        let mut next = Some(tip);
        while let Some(id) = next.filter(|id| Some(*id) != until && commits.len() < limit) {
            let commit = self.one(id).await?.commit()?;
            let parent = commit.parents.first().copied();
            let before = match parent {
                Some(parent) => Some(self.one(parent).await?.commit()?.tree),
                None => None,
            };
            let at = jiff::Timestamp::from_second(commit.committed_s).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
            commits.push(Commit {
                id: id.commit(),
                parent: parent.map(Oid::commit),
                author: commit.author,
                at,
                subject: commit.message.lines().next().unwrap_or_default().to_owned(),
                body: body(&commit.message),
                trailers: trailers(&commit.message),
                paths: self.changed(before, commit.tree).await?,
            });
            next = parent;
        }
        Ok(commits)
    }

    /// Paths that differ between two trees, in byte order. Equal directories are never opened.
    async fn changed(&self, before: Option<Oid>, after: Oid) -> Result<Vec<String>, Error> {
        let mut paths = Vec::new();
        let mut pairs = vec![(String::new(), before, Some(after))];
        let mut depth = 0;
        while !pairs.is_empty() {
            if depth == DEPTH_MAX {
                return Err(Error::Content(format!("{} lies deeper than {DEPTH_MAX} directories", pairs[0].0)));
            }
            depth += 1;
            let mut next = Vec::new();
            for (prefix, before, after) in pairs {
                if before == after {
                    continue;
                }
                self.compare(&prefix, before, after, &mut paths, &mut next).await?;
                self.count(paths.len() + next.len())?;
            }
            pairs = next;
        }
        paths.sort();
        Ok(paths)
    }

    async fn compare(
        &self,
        prefix: &str,
        before: Option<Oid>,
        after: Option<Oid>,
        paths: &mut Vec<String>,
        next: &mut Vec<(String, Option<Oid>, Option<Oid>)>,
    ) -> Result<(), Error> {
        let (mut old, new) = (self.entries(before).await?, self.entries(after).await?);
        let mut pairs: Vec<(Vec<u8>, Option<TreeEntry>, Option<TreeEntry>)> = Vec::new();
        for (name, entry) in new {
            let was = old.remove(&name);
            pairs.push((name, was, Some(entry)));
        }
        pairs.extend(old.into_iter().map(|(name, entry)| (name, Some(entry), None)));
        for (name, was, is) in pairs {
            if was == is {
                continue;
            }
            let path = join(prefix, &name)?;
            let tree = |entry: &Option<TreeEntry>| entry.as_ref().filter(|e| e.mode == Mode::Directory).map(|e| e.id);
            let (old_tree, new_tree) = (tree(&was), tree(&is));
            // A name may change from file to directory: then both the file and what lies below differ.
            if (was.is_some() && old_tree.is_none()) || (is.is_some() && new_tree.is_none()) {
                paths.push(path.clone());
            }
            if old_tree.is_some() || new_tree.is_some() {
                next.push((path, old_tree, new_tree));
            }
        }
        Ok(())
    }

    async fn entries(&self, tree: Option<Oid>) -> Result<BTreeMap<Vec<u8>, TreeEntry>, Error> {
        let Some(tree) = tree else { return Ok(BTreeMap::new()) };
        Ok(self.one(tree).await?.tree()?.into_iter().map(|entry| (entry.name.clone(), entry)).collect())
    }
}

fn at(revision: &Revision, path: &str) -> String {
    format!("{path} in {} at {}", revision.repository, revision.commit.short())
}

fn join(prefix: &str, name: &[u8]) -> Result<String, Error> {
    let Ok(name) = std::str::from_utf8(name) else {
        let shown = String::from_utf8_lossy(name);
        return Err(Error::Content(format!("the name of {prefix}/{shown} is not UTF-8: rename it")));
    };
    Ok(if prefix.is_empty() { name.to_owned() } else { format!("{prefix}/{name}") })
}

/// The names in a relative path; `.` and slashes at the end mean nothing.
pub fn components(path: &str) -> Result<Vec<&str>, Error> {
    let names: Vec<&str> = path.split('/').filter(|name| !name.is_empty() && *name != ".").collect();
    let bad = |name: &&str| *name == ".." || name.eq_ignore_ascii_case(".git") || name.contains('\0');
    if path.starts_with('/') || names.iter().any(bad) {
        return Err(Error::Name(format!("{path:?} must be a path inside the repository")));
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::components;

    #[test]
    fn paths_stay_inside() {
        for (path, expect) in [
            (".", Some(vec![])),
            ("", Some(vec![])),
            ("./a//b/", Some(vec!["a", "b"])),
            ("a/./b", Some(vec!["a", "b"])),
        ] {
            assert_eq!(components(path).ok(), expect, "{path:?}");
        }
        for bad in ["..", "a/../b", "/etc", "a/.git/config", ".GIT", "a\0"] {
            assert!(components(bad).is_err(), "{bad:?} was accepted");
        }
    }
}
