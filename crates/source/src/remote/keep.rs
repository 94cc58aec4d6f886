//! What a revision's manifests name elsewhere, kept beside it: a commit of ours with the files, under
//! `refs/trimtab/remote/<revision>/<address>`. The first answer holds for good, so a pin's manifests never change, and
//! backups, rollbacks and a lost network find it where the revision lies.

use super::{Fetcher, Found, Rights, git, oci};
use crate::error::Error;
use crate::object::{Kind, Mode, Object, Oid, TreeEntry, make_tree, trailers};
use crate::ports::KEEP;
use crate::write::{Draft, store};
use crate::{Host, Source};
use jiff::Timestamp;
use model::flow::{File, FileMode, Revision, Snapshot};
use model::remote::{Address, Fetched, without_passwords};
use ring::digest::{SHA256, digest};
use std::collections::BTreeMap;
use std::sync::Arc;

const RESOLVED: &str = "Trimtab-Resolved";
const FORM: &str = "Trimtab-Form";
/// Name of a file that is no tree.
const FILE: &str = "file";

impl Source {
    /// What an address held when this revision first asked.
    pub(crate) async fn kept_elsewhere(
        &self,
        revision: &Revision,
        address: &Address,
        hosts: &[String],
    ) -> Result<Fetched, Error> {
        let host = self.inner.host(&revision.repository)?;
        let key = without_passwords(&address.key());
        let name = hex::encode(&digest(&SHA256, key.as_bytes()).as_ref()[..16]);
        let reference = format!("refs/trimtab/remote/{}/{name}", revision.commit);
        if let Some(kept) = host.objects.resolve(&reference).await? {
            return self.kept(&host, revision, kept).await;
        }
        let _turn = host.fetching.lock().await;
        if let Some(kept) = host.objects.resolve(&reference).await? {
            return self.kept(&host, revision, kept).await;
        }
        let fetcher = Fetcher {
            files_max: self.inner.limits.snapshot_files_max,
            bytes_max: self.inner.limits.snapshot_bytes_max,
            ..Fetcher::new(self.inner.root.clone(), Rights::Hosts(hosts.to_vec()), self.inner.newest)
        };
        fetcher.allowed(address)?;
        let (made, commit) = match self.known(&fetcher, &host, address, &name).await? {
            Some(commit) => (Vec::new(), commit),
            None => {
                let found = fetcher.fetch(address).await?;
                let mut made = Vec::new();
                let (tree, form) = written(&found.fetched, &mut made)?;
                let message = message(&key, &found, form);
                let at = Timestamp::now();
                let draft = Draft { tree, parent: None, author: "Trimtab", at, message: &message };
                let commit = self.inner.committer.commit(&draft);
                let id = commit.id;
                made.push(commit);
                (made, id)
            }
        };
        let _writing = self.inner.writers.read().await;
        store(&self.inner.git, &host.objects, &made, (&reference, None, commit), &KEEP).await?;
        // Whoever was faster has said what holds.
        let kept = host.objects.resolve(&reference).await?.unwrap_or(commit);
        self.kept(&host, revision, kept).await
    }

    /// What another revision got, if the same would be fetched again.
    async fn known(&self, fetcher: &Fetcher, host: &Host, address: &Address, name: &str) -> Result<Option<Oid>, Error> {
        if !matches!(address.kind, model::remote::Kind::Git(_) | model::remote::Kind::Oci(_)) {
            return Ok(None);
        }
        let pattern = format!("refs/trimtab/remote/*/{name}");
        let args = ["for-each-ref", "--format=%(objectname)", &pattern];
        let text = self.inner.git.run(&host.objects.place.directory, args, &[]).await?;
        let mut kept: Vec<Oid> = String::from_utf8_lossy(&text).lines().filter_map(Oid::parse).collect();
        kept.sort();
        kept.dedup();
        if kept.is_empty() {
            return Ok(None);
        }
        let now = match &address.kind {
            model::remote::Kind::Git(repository) => git::resolved(fetcher, repository).await?,
            model::remote::Kind::Oci(artifact) => Some(oci::resolved(address, artifact).await?),
            _ => None,
        };
        let Some(now) = now else { return Ok(None) };
        for object in host.objects.many(&kept).await? {
            if trailer(&object.commit()?.message, RESOLVED).is_some_and(|resolved| resolved == now) {
                return Ok(Some(object.id));
            }
        }
        Ok(None)
    }

    async fn kept(&self, host: &Host, revision: &Revision, kept: Oid) -> Result<Fetched, Error> {
        let commit = host.objects.one(kept).await?.commit()?;
        let place = Revision { repository: revision.repository.clone(), commit: kept.commit() };
        let mut snapshot = host.objects.snapshot(&place, ".").await?;
        if trailer(&commit.message, FORM).is_some_and(|form| form == FILE) {
            let file = snapshot.files.remove(FILE);
            let file = file.ok_or_else(|| Error::Content(format!("{kept} is damaged: it has no file")))?;
            return Ok(Fetched::File(file.bytes));
        }
        Ok(Fetched::Tree(Arc::new(snapshot)))
    }
}

fn trailer(message: &str, key: &str) -> Option<String> {
    trailers(message).into_iter().find(|(k, _)| k == key).map(|(_, value)| value)
}

fn message(key: &str, found: &Found, form: &str) -> String {
    let shown: String = key.chars().filter(|c| !c.is_control()).collect();
    format!("remote: {shown}\n\n{RESOLVED}: {}\n{FORM}: {form}", found.resolved)
}

/// The objects of a tree; its id and form.
fn written(fetched: &Fetched, made: &mut Vec<Object>) -> Result<(Oid, &'static str), Error> {
    Ok(match fetched {
        Fetched::File(bytes) => {
            let file = File { mode: FileMode::Regular, bytes: bytes.clone() };
            (tree(&BTreeMap::from([(FILE, &file)]), made), FILE)
        }
        Fetched::Tree(snapshot) => (whole(snapshot, made), "tree"),
    })
}

fn whole(snapshot: &Snapshot, made: &mut Vec<Object>) -> Oid {
    tree(&snapshot.files.iter().map(|(path, file)| (path.as_str(), file)).collect(), made)
}

/// Of paths from its top. As deep as the snapshot was, which is bounded.
fn tree(files: &BTreeMap<&str, &File>, made: &mut Vec<Object>) -> Oid {
    let mut entries = Vec::new();
    let mut directories: BTreeMap<&str, BTreeMap<&str, &File>> = BTreeMap::new();
    for (path, file) in files {
        if let Some((directory, rest)) = path.split_once('/') {
            directories.entry(directory).or_default().insert(rest, file);
            continue;
        }
        let mode = match file.mode {
            FileMode::Regular => Mode::Regular,
            FileMode::Executable => Mode::Executable,
            FileMode::Symlink => Mode::Symlink,
        };
        let blob = Object::new(Kind::Blob, file.bytes.to_vec());
        entries.push(TreeEntry { mode, name: path.as_bytes().to_vec(), id: blob.id });
        made.push(blob);
    }
    for (name, files) in directories {
        let id = tree(&files, made);
        entries.push(TreeEntry { mode: Mode::Directory, name: name.as_bytes().to_vec(), id });
    }
    let object = make_tree(entries);
    let id = object.id;
    made.push(object);
    id
}
