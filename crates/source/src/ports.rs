//! [`Source`] as the port [`Repositories`] of reconcile.

use crate::error::Error;
use crate::journal::Journal;
use crate::object::{Kind, Object, Oid};
use crate::trust::{self, Judge};
use crate::write::{Draft, Edits, Failpoints, put, store};
use crate::{Host, Source, hosting};
use async_trait::async_trait;
use model::MAIN;
use model::flow::{Repository, Revision, Snapshot};
use model::journal::Entry;
use model::names::{CommitId, Project};
use model::ports::{Commit, Repositories, Result, Tag, Write, Written};
use model::remote::{Address, Fetched};
use model::trust::{Signers, Unsigned};
use std::sync::Arc;
use tokio::sync::MutexGuard;

const WRITE: Failpoints = Failpoints { before: "source.write.before", after: "source.write.after" };
const TAG: Failpoints = Failpoints { before: "source.tag.before", after: "source.tag.after" };
pub const KEEP: Failpoints = Failpoints { before: "source.keep.before", after: "source.keep.after" };

#[async_trait]
impl Repositories for Source {
    async fn create(&self, repository: &Repository) -> Result<bool> {
        Ok(Source::create(self, repository).await?)
    }

    async fn list(&self) -> Result<Vec<Repository>> {
        Ok(hosting::list(&self.inner.root)?)
    }

    async fn head(&self, repository: &Repository, reference: &str) -> Result<Option<CommitId>> {
        let host = self.inner.host(repository)?;
        let found = host.head(valid(reference)?).await?;
        if found.is_none() && host.objects.place.directory.join(reference).is_file() {
            let damaged = format!(
                "{repository} is damaged: {reference} cannot be read. Nothing was changed; `trimtab restore` of a backup, or a push \
                 to a repository that is made anew, brings it back"
            );
            return Err(Error::Content(damaged).into());
        }
        Ok(found.map(Oid::commit))
    }

    async fn snapshot(&self, revision: &Revision, path: &str) -> Result<Snapshot> {
        let host = self.inner.host(&revision.repository)?;
        Ok(host.objects.snapshot(revision, path).await?)
    }

    async fn elsewhere(&self, revision: &Revision, address: &Address, hosts: &[String]) -> Result<Fetched> {
        Ok(self.kept_elsewhere(revision, address, hosts).await?)
    }

    async fn log(
        &self,
        repository: &Repository,
        tip: &CommitId,
        until: Option<&CommitId>,
        limit: usize,
    ) -> Result<Vec<Commit>> {
        let host = self.inner.host(repository)?;
        Ok(host.objects.log(tip.into(), until.map(Oid::from), limit).await?)
    }

    async fn is_ancestor(&self, repository: &Repository, ancestor: &CommitId, commit: &CommitId) -> Result<bool> {
        let host = self.inner.host(repository)?;
        if ancestor == commit {
            return Ok(true);
        }
        let args = ["merge-base", "--is-ancestor", ancestor.as_str(), commit.as_str()];
        Ok(self.inner.git.test(&host.objects.place.directory, args, None).await?)
    }

    async fn write(&self, repository: &Repository, write: &Write) -> Result<Written> {
        let host = self.inner.host(repository)?;
        let _writing = self.inner.writers.read().await;
        let _turn = host.writing.lock().await;
        let written = self.write_in_turn(&host, write).await?;
        if let Written::Commit(_) = written {
            self.inner.changed();
        }
        Ok(written)
    }

    async fn stage(&self, repository: &Repository, write: &Write) -> Result<CommitId> {
        let host = self.inner.host(repository)?;
        let _writing = self.inner.writers.read().await;
        let (commit, made) = self.made(&host, write, write.expect.as_ref().map(Oid::from)).await?;
        put(&self.inner.git, &host.objects, &made).await?;
        Ok(commit.commit())
    }

    async fn propose(&self, repository: &Repository, reference: &str, commit: &CommitId) -> Result<()> {
        if !reference.starts_with("refs/changes/") {
            return Err(Error::Name(format!("{reference} is no reference of a Change")).into());
        }
        self.point(repository, reference, commit).await
    }

    async fn advance(&self, repository: &Repository, expect: &CommitId, to: &CommitId) -> Result<Written> {
        let host = self.inner.host(repository)?;
        let _writing = self.inner.writers.read().await;
        let _turn = host.writing.lock().await;
        let (old, new) = (Oid::from(expect), Oid::from(to));
        host.objects.one(new).await?.commit()?;
        if host.objects.resolve(MAIN).await? != Some(old)
            || !store(&self.inner.git, &host.objects, &[], (MAIN, Some(old), new), &WRITE).await?
        {
            return Ok(Written::Superseded(host.objects.resolve(MAIN).await?.map(Oid::commit)));
        }
        self.inner.changed();
        Ok(Written::Commit(to.clone()))
    }

    async fn tag(&self, repository: &Repository, tag: &Tag) -> Result<()> {
        let host = self.inner.host(repository)?;
        let reference = format!("refs/tags/{}", tag.name);
        let commit = Oid::from(&tag.commit);
        let _turn = host.writing.lock().await;
        let stands = || async { host.objects.resolve(valid(&reference)?).await };
        let elsewhere = |at: Oid| Error::Content(format!("{reference} of {repository} stands on {at} already"));
        match stands().await? {
            Some(at) if at == commit => return Ok(()),
            Some(at) => return Err(elsewhere(at).into()),
            None => {}
        }
        host.objects.one(commit).await?.commit()?;
        let object = self.inner.committer.tag(tag);
        let id = object.id;
        if !store(&self.inner.git, &host.objects, &[object], (&reference, None, id), &TAG).await? {
            return match stands().await? {
                Some(at) if at == commit => Ok(()),
                Some(at) => Err(elsewhere(at).into()),
                None => Err(Error::Content(format!("{reference} of {repository} cannot be written")).into()),
            };
        }
        self.inner.changed();
        Ok(())
    }

    async fn unsigned(
        &self,
        repository: &Repository,
        tip: &CommitId,
        until: Option<&CommitId>,
        signers: &Signers,
        limit: usize,
    ) -> Result<Vec<Unsigned>> {
        let host = self.inner.host(repository)?;
        let directory = &host.objects.place.directory;
        let commits: Vec<Oid> = match until {
            None => vec![tip.into()],
            Some(until) => {
                let most = format!("--max-count={WALK_MAX}");
                let not = format!("^{until}");
                let listed = self.inner.git.run(directory, ["rev-list", &most, tip.as_str(), &not, "--"], b"").await?;
                let ids = String::from_utf8_lossy(&listed).lines().map(|line| line.parse::<CommitId>()).collect();
                let ids: std::result::Result<Vec<CommitId>, _> = ids;
                let ids = ids.map_err(|error| Error::Content(error.to_string()))?;
                ids.iter().map(Oid::from).collect()
            }
        };
        let mut judge = Judge::new(signers, self.inner.committer.signer.public_key(), &self.inner.root);
        let mut unsigned = Vec::new();
        for object in host.objects.many(&commits).await? {
            object.commit()?;
            if let Err(why) = judge.ask(trust::of_commit(&object.bytes).as_ref()).await? {
                unsigned.push(Unsigned { commit: object.id.commit(), author: person(&object.bytes, "author "), why });
                if unsigned.len() >= limit {
                    break;
                }
            }
        }
        Ok(unsigned)
    }

    async fn unsigned_tag(&self, repository: &Repository, tag: &str, signers: &Signers) -> Result<Option<Unsigned>> {
        let host = self.inner.host(repository)?;
        let reference = format!("refs/tags/{tag}");
        if host.objects.resolve(valid(&reference)?).await?.is_none() {
            return Ok(None);
        }
        let directory = &host.objects.place.directory;
        let shown = self.inner.git.run(directory, ["show-ref", "--verify", "--hash", &reference], b"").await?;
        let shown = String::from_utf8_lossy(&shown).trim().parse::<CommitId>();
        let id = Oid::from(&shown.map_err(|error| Error::Content(error.to_string()))?);
        let object = host.objects.one(id).await?;
        let mut judge = Judge::new(signers, self.inner.committer.signer.public_key(), &self.inner.root);
        let answer = match object.kind {
            Kind::Tag => judge.ask(trust::of_tag(&object.bytes).as_ref()).await?,
            _ => Err("it is no tag object, so nobody signed it (git tag -s)".to_owned()),
        };
        let author = person(&object.bytes, "tagger ");
        Ok(answer.err().map(|why| Unsigned { commit: id.commit(), author, why }))
    }

    async fn keep(&self, repository: &Repository, name: &str, commit: &CommitId) -> Result<()> {
        self.point(repository, &format!("refs/trimtab/keep/{name}"), commit).await
    }

    async fn unkeep(&self, repository: &Repository, name: &str) -> Result<()> {
        let host = self.inner.host(repository)?;
        let _writing = self.inner.writers.read().await;
        let reference = format!("refs/trimtab/keep/{name}");
        if let Some(old) = host.objects.resolve(valid(&reference)?).await? {
            let args = ["update-ref", "-d", &reference, &old.to_string()];
            self.inner.git.run(&host.objects.place.directory, args, &[]).await?;
        }
        Ok(())
    }

    async fn journal(&self, project: &Project) -> Result<Arc<Vec<Entry>>> {
        let host = self.inner.host(&Repository::config(project))?;
        let slot = self.journal_of(&host).await?;
        Ok(slot.as_ref().map(|journal| journal.entries()).unwrap_or_default())
    }

    async fn append(&self, project: &Project, entry: &Entry) -> Result<()> {
        let host = self.inner.host(&Repository::config(project))?;
        let _writing = self.inner.writers.read().await;
        let mut slot = self.journal_of(&host).await?;
        let journal = slot.get_or_insert_default();
        Ok(journal.append(&self.inner.git, &host.objects, &self.inner.committer, entry).await?)
    }
}

impl Source {
    /// Puts a reference that only we move on a commit.
    async fn point(&self, repository: &Repository, reference: &str, commit: &CommitId) -> Result<()> {
        let host = self.inner.host(repository)?;
        let _writing = self.inner.writers.read().await;
        let new = Oid::from(commit);
        let old = host.objects.resolve(valid(reference)?).await?;
        if old == Some(new) {
            return Ok(());
        }
        host.objects.one(new).await?.commit()?;
        if store(&self.inner.git, &host.objects, &[], (reference, old, new), &KEEP).await? {
            return Ok(());
        }
        Err(Error::Content(format!("{reference} of {repository} was moved by somebody else")).into())
    }

    async fn write_in_turn(&self, host: &Arc<Host>, write: &Write) -> std::result::Result<Written, Error> {
        let objects = &host.objects;
        let head = objects.resolve(MAIN).await?;
        let expect = write.expect.as_ref().map(Oid::from);
        if head != expect {
            return Ok(Written::Superseded(head.map(Oid::commit)));
        }
        let (new, made) = self.made(host, write, head).await?;
        if store(&self.inner.git, objects, &made, (MAIN, expect, new), &WRITE).await? {
            return Ok(Written::Commit(new.commit()));
        }
        Ok(Written::Superseded(objects.resolve(MAIN).await?.map(Oid::commit)))
    }

    /// The commit on top of another, with all objects that are new.
    async fn made(
        &self,
        host: &Host,
        write: &Write,
        parent: Option<Oid>,
    ) -> std::result::Result<(Oid, Vec<Object>), Error> {
        let objects = &host.objects;
        let before = match parent {
            Some(parent) => Some(objects.one(parent).await?.commit()?.tree),
            None => None,
        };
        let mut made = Vec::new();
        let tree = match Edits::of(&write.files)?.apply(objects, before, &mut made).await? {
            Some(tree) => tree,
            None => {
                made.push(crate::object::make_tree(Vec::new()));
                made[made.len() - 1].id
            }
        };
        let draft = Draft { tree, parent, author: &write.author, at: write.at, message: &write.message };
        let commit = self.inner.committer.commit(&draft);
        let new = commit.id;
        made.push(commit);
        Ok((new, made))
    }

    /// The journal, read from disk the first time. Appends take turns on it.
    async fn journal_of<'a>(&self, host: &'a Host) -> std::result::Result<MutexGuard<'a, Option<Journal>>, Error> {
        let mut slot = host.journal.lock().await;
        if slot.is_none() {
            *slot = Some(Journal::load(&self.inner.git, &host.objects).await?);
        }
        Ok(slot)
    }
}

/// So many commits of one movement are looked at.
const WALK_MAX: usize = 1000;

/// The name in a header of a commit or tag.
fn person(object: &[u8], header: &str) -> String {
    let text = String::from_utf8_lossy(object);
    let line = text.lines().take_while(|line| !line.is_empty()).find_map(|line| line.strip_prefix(header));
    line.and_then(|line| line.split(" <").next()).unwrap_or_default().to_owned()
}

/// A full reference name: nothing that git would read as an expression.
fn valid(reference: &str) -> std::result::Result<&str, Error> {
    let plain = |c: char| !c.is_control() && !c.is_whitespace() && !"~^:?*[\\@{".contains(c);
    if reference.starts_with("refs/")
        && reference.chars().all(plain)
        && reference.split('/').all(|name| !name.is_empty() && !name.starts_with('.') && !name.ends_with(".lock"))
        && !reference.contains("..")
    {
        return Ok(reference);
    }
    Err(Error::Name(format!("{reference:?} is not a full reference name such as refs/heads/main")))
}

#[cfg(test)]
mod tests {
    use super::valid;

    #[test]
    fn a_reference_is_never_an_expression() {
        for good in ["refs/heads/main", "refs/trimtab/keep/web-42", "refs/tags/v1.0.0"] {
            assert!(valid(good).is_ok(), "{good:?} was refused");
        }
        for bad in [
            "main",
            "HEAD",
            "refs/heads/a~1",
            "refs/heads/a\ncontents x",
            "refs//a",
            "refs/a..b",
            "refs/.a",
            "refs/a.lock",
        ] {
            assert!(valid(bad).is_err(), "{bad:?} was accepted");
        }
    }
}
