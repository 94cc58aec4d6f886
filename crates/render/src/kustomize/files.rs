//! The files that a build may read, and what it asked of them.

use super::loader::LEADS_OUT;
use model::Snapshot;
use model::flow::{File, FileMode};
use model::remote::{Address, Fetched, Remotes};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Links that lead to links are followed this often.
const LINKS_MAX: usize = 40;

/// What one build reads from, beside its snapshot.
#[derive(Debug)]
pub(super) struct Sources<'s> {
    remotes: &'s Remotes,
    /// Addresses that were named and are not at hand.
    lacking: RefCell<BTreeSet<Address>>,
    /// What was asked of the snapshot that is built.
    trace: RefCell<Trace>,
}

/// Questions and their answers: a build in which all answers are the same again is the same build.
#[derive(Debug, Default)]
pub(super) struct Trace {
    files: BTreeMap<String, Option<File>>,
    directories: BTreeMap<String, bool>,
    below: BTreeMap<String, Vec<(String, File)>>,
    remotes: BTreeSet<String>,
}

impl Trace {
    /// True if these files give the same answers.
    pub fn holds(&self, snapshot: &Snapshot) -> bool {
        self.files.iter().all(|(path, file)| same(snapshot.files.get(path), file.as_ref()))
            && self.directories.iter().all(|(path, is)| *is == is_directory(snapshot, path))
            && self.below.iter().all(|(prefix, files)| {
                let mut now = below(snapshot, prefix);
                files.iter().all(|(path, file)| {
                    now.next().is_some_and(|(other, now)| other == path && same(Some(now), Some(file)))
                }) && now.next().is_none()
            })
    }

    /// True if something elsewhere was read.
    pub fn has_remotes(&self) -> bool {
        !self.remotes.is_empty()
    }
}

fn same(a: Option<&File>, b: Option<&File>) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => a.mode == b.mode && (Arc::ptr_eq(&a.bytes, &b.bytes) || a.bytes == b.bytes),
        (a, b) => a.is_none() && b.is_none(),
    }
}

impl<'s> Sources<'s> {
    pub fn new(remotes: &'s Remotes) -> Self {
        Self { remotes, lacking: RefCell::default(), trace: RefCell::default() }
    }

    /// What lies at an address. What is not at hand is remembered: whoever builds may fetch it and build again.
    pub fn fetched(&self, address: &Address) -> Option<&'s Fetched> {
        let key = address.key();
        let found = self.remotes.get(&key);
        match found {
            Some(_) => drop(self.trace.borrow_mut().remotes.insert(key)),
            None => drop(self.lacking.borrow_mut().insert(address.clone())),
        }
        found
    }

    /// The addresses that were named and are not at hand.
    pub fn lacking(&self) -> Vec<Address> {
        self.lacking.borrow().iter().cloned().collect()
    }

    /// What was asked so far.
    pub fn take_trace(&self) -> Trace {
        self.trace.take()
    }
}

/// A snapshot: the one that is built, or one of a repository elsewhere.
#[derive(Debug, Clone, Copy)]
pub(super) struct Files<'s> {
    snapshot: &'s Snapshot,
    /// Absent for what lies elsewhere: that never changes.
    traced: bool,
}

impl<'s> Files<'s> {
    pub fn new(snapshot: &'s Snapshot, traced: bool) -> Self {
        Self { snapshot, traced }
    }

    pub fn get(self, sources: &Sources<'_>, path: &str) -> Option<&'s File> {
        let found = self.snapshot.files.get(path);
        if self.traced && !sources.trace.borrow().files.contains_key(path) {
            sources.trace.borrow_mut().files.insert(path.to_owned(), found.cloned());
        }
        found
    }

    pub fn is_directory(self, sources: &Sources<'_>, path: &str) -> bool {
        let is = is_directory(self.snapshot, path);
        if self.traced {
            sources.trace.borrow_mut().directories.insert(path.to_owned(), is);
        }
        is
    }

    /// The regular files below a directory, from its top.
    pub fn below(self, sources: &Sources<'_>, directory: &str) -> BTreeMap<String, Arc<[u8]>> {
        let prefix = if directory.is_empty() { String::new() } else { format!("{directory}/") };
        if self.traced {
            let files = below(self.snapshot, &prefix).map(|(path, file)| (path.clone(), file.clone())).collect();
            sources.trace.borrow_mut().below.insert(prefix.clone(), files);
        }
        let regular = below(self.snapshot, &prefix).filter(|(_, file)| file.mode != FileMode::Symlink);
        regular.map(|(path, file)| (path[prefix.len()..].to_owned(), Arc::clone(&file.bytes))).collect()
    }

    /// Follows links, in every part of the path.
    pub fn resolve(self, sources: &Sources<'_>, path: &str) -> Result<String, String> {
        let mut path = path.to_owned();
        for _ in 0..LINKS_MAX {
            let Some((end, target)) = self.first_link(sources, &path)? else { return Ok(path) };
            if target.starts_with('/') {
                return Err(format!("{} is a link to {target}, outside of the repository", &path[..end]));
            }
            let parent = path[..end].rsplit_once('/').map_or("", |(parent, _)| parent);
            let found = join(parent, target)?;
            path = join(&found, &path[end..])?;
        }
        Err(format!("{path}: too many links lead to each other"))
    }

    /// The first part of the path that is a link: where it ends, and its target.
    fn first_link(self, sources: &Sources<'_>, path: &str) -> Result<Option<(usize, &'s str)>, String> {
        let ends = path.match_indices('/').map(|(at, _)| at).chain([path.len()]);
        for end in ends {
            if let Some(file) = self.get(sources, &path[..end])
                && file.mode == FileMode::Symlink
            {
                let target = std::str::from_utf8(&file.bytes).map_err(|_| format!("the link {path} is not UTF-8"))?;
                return Ok(Some((end, target)));
            }
        }
        Ok(None)
    }
}

fn below<'f>(snapshot: &'f Snapshot, prefix: &str) -> impl Iterator<Item = (&'f String, &'f File)> {
    let prefix = prefix.to_owned();
    snapshot.files.range(prefix.clone()..).take_while(move |(path, _)| path.starts_with(&prefix))
}

fn is_directory(snapshot: &Snapshot, path: &str) -> bool {
    path.is_empty() || below(snapshot, &format!("{path}/")).next().is_some()
}

/// A path from the top of the snapshot, without `.` and `..`.
pub(super) fn join(root: &str, path: &str) -> Result<String, String> {
    let mut parts: Vec<&str> = root.split('/').filter(|part| !part.is_empty()).collect();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                if parts.pop().is_none() {
                    return Err(format!("{path} {LEADS_OUT}"));
                }
            }
            part => parts.push(part),
        }
    }
    Ok(parts.join("/"))
}
