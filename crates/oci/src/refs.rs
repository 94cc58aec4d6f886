//! Repositories: which manifests they hold, and what their tags name.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::reference::Reference;
use crate::store::{Store, commit, failpoint};

/// The file of a repository.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Repository {
    pub tags: BTreeMap<String, Digest>,
    /// With their media types.
    pub manifests: BTreeMap<Digest, String>,
}

impl Store {
    /// Makes `reference`'s tag name the manifest (or index) `digest`.
    pub fn tag(&self, reference: &Reference, digest: &Digest) -> Result<()> {
        let media_type = self.manifest_type(digest)?;
        self.change(&reference.name(), |repository| {
            repository.manifests.insert(digest.clone(), media_type);
            repository.tags.extend(reference.tag.clone().map(|tag| (tag, digest.clone())));
        })
    }

    /// Removes a tag, or with a digest the manifest and all tags on it. False if there was none.
    pub fn untag(&self, reference: &Reference) -> Result<bool> {
        let mut found = false;
        self.change(&reference.name(), |repository| match (&reference.digest, &reference.tag) {
            (Some(digest), _) => {
                found = repository.manifests.remove(digest).is_some();
                repository.tags.retain(|_, tagged| tagged != digest);
            }
            (None, Some(tag)) => found = repository.tags.remove(tag).is_some(),
            (None, None) => {}
        })?;
        Ok(found)
    }

    /// The manifest (or index) that a reference names: its digest if the repository holds it, else its tag.
    pub fn resolve(&self, reference: &Reference) -> Result<Digest> {
        let repository = self.repository(&reference.name())?;
        let found = match (&reference.digest, &reference.tag) {
            (Some(digest), _) => Some(digest).filter(|digest| repository.manifests.contains_key(*digest)).cloned(),
            (None, Some(tag)) => repository.tags.get(tag).cloned(),
            (None, None) => None,
        };
        found.ok_or_else(|| Error::NotFound { reference: Box::new(reference.clone()) })
    }

    /// Every tag of every repository, sorted.
    pub fn tags(&self) -> Result<Vec<(Reference, Digest)>> {
        let mut all = Vec::new();
        for name in self.repositories()? {
            for (tag, digest) in self.repository(&name)?.tags {
                if let Ok(reference) = format!("{name}:{tag}").parse() {
                    all.push((reference, digest));
                }
            }
        }
        Ok(all)
    }

    /// The names of all repositories, sorted.
    pub(crate) fn repositories(&self) -> Result<BTreeSet<String>> {
        let path = self.path("refs");
        let failed = |source| Error::Read { path: path.clone(), source };
        let mut names = BTreeSet::new();
        for entry in fs::read_dir(&path).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name();
            names.extend(name.to_str().and_then(|name| Some(name.strip_suffix(".json")?.replace('+', "/"))));
        }
        Ok(names)
    }

    /// Empty if there is no such repository.
    pub(crate) fn repository(&self, name: &str) -> Result<Repository> {
        let path = self.repository_path(name);
        match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| Error::Read { path, source: error.into() }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Repository::default()),
            Err(source) => Err(Error::Read { path, source }),
        }
    }

    /// Reads, changes, writes; one at a time.
    pub(crate) fn change(&self, name: &str, change: impl FnOnce(&mut Repository)) -> Result<()> {
        let _one_writer = self.lock_refs();
        self.change_locked(name, change)
    }

    /// For who holds `lock_refs`.
    pub(crate) fn change_locked(&self, name: &str, change: impl FnOnce(&mut Repository)) -> Result<()> {
        let mut repository = self.repository(name)?;
        change(&mut repository);
        let path = self.repository_path(name);
        failpoint("oci.ref.before");
        let written = self.write_repository(&path, &repository);
        failpoint("oci.ref.after");
        self.shared.changed.send_modify(|count| *count += 1);
        written.map_err(|source| Error::Write { path, source })
    }

    fn write_repository(&self, path: &PathBuf, repository: &Repository) -> io::Result<()> {
        if repository.manifests.is_empty() && repository.tags.is_empty() {
            return match fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                _ => Ok(()),
            };
        }
        let temporary = self.temporary();
        let mut file = File::create_new(&temporary)?;
        file.write_all(&serde_json::to_vec(repository)?)?;
        commit(&file, &temporary, path)
    }

    fn repository_path(&self, name: &str) -> PathBuf {
        // Names are validated where they come in: they hold neither `+` nor `..`.
        self.path("refs").join(format!("{}.json", name.replace('/', "+")))
    }
}
