//! Which commits and tags lack a signature that counts.

use super::{Court, REMEMBERED_MAX, Trusted, UNSIGNED_MAX, Work};
use model::flow::Repository;
use model::journal::EntryKind;
use model::ports::PortError;
use model::trust::Unsigned;
use model::{Build, CommitId, Digest, Pin};
use promote::Evidence;
use serde_json::json;
use std::sync::Arc;

impl Work<'_> {
    /// Whether all commits that a build brings to an environment are signed by somebody who is known.
    pub(super) async fn signed(&self, court: &Court<'_>, build: &Build) -> Result<bool, PortError> {
        let signers = court.commits.as_ref().unwrap_or(&self.people);
        Ok(self.source(court, build, signers).await?.is_empty())
    }

    /// Commits of the application that come new with a build and are not signed.
    async fn source(
        &self,
        court: &Court<'_>,
        build: &Build,
        signers: &Trusted,
    ) -> Result<Arc<Vec<Unsigned>>, PortError> {
        let admitted = court.admitted.and_then(|state| state.pins.get(&build.spec.build.component));
        let until = admitted.map(|pin| &pin.source).filter(|until| **until != build.spec.commit);
        self.walk(&build.spec.repository, &build.spec.commit, until, signers).await
    }

    async fn walk(
        &self,
        repository: &Repository,
        tip: &CommitId,
        until: Option<&CommitId>,
        signers: &Trusted,
    ) -> Result<Arc<Vec<Unsigned>>, PortError> {
        let key = Digest::of(json!([repository, tip, until, signers.digest]).to_string().as_bytes());
        if let Some(known) = self.known().unsigned.get(&key) {
            return Ok(known.clone());
        }
        let repositories = &self.inner.ports.repositories;
        let found = match repositories.unsigned(repository, tip, until, &signers.signers, UNSIGNED_MAX).await {
            // Its commits are not here: nothing can be said of them.
            Err(PortError::Terminal(why)) => {
                vec![Unsigned { commit: tip.clone(), author: String::new(), why: format!("it cannot be read ({why})") }]
            }
            found => found?,
        };
        let found = Arc::new(found);
        let mut known = self.known();
        if known.unsigned.len() >= REMEMBERED_MAX {
            known.unsigned.clear();
        }
        known.unsigned.insert(key, found.clone());
        Ok(found)
    }

    /// What a pin brings without a signature that counts: of the application, and of its configuration.
    pub(super) async fn unsigned(
        &self,
        court: &Court<'_>,
        build: &Build,
        pin: &Pin,
        signers: &Trusted,
    ) -> Result<Vec<String>, PortError> {
        let own = self.source(court, build, signers).await?;
        let mut lacks: Vec<String> = own.iter().map(|one| told(&build.spec.repository, one)).collect();
        let before = court.admitted.and_then(|state| state.pins.get(&pin.build.component)).map(|pin| &pin.config);
        if before == Some(&pin.config) {
            return Ok(lacks);
        }
        // Commits of the config repository that say something of configuration, each by itself.
        let configures =
            |commit: &&model::ports::Commit| commit.paths.iter().any(|path| model::config::configures(path));
        let log = self.facts.log.iter().skip_while(|c| c.id != pin.config);
        let new = log.take_while(|c| Some(&c.id) != before).take(if before.is_some() { usize::MAX } else { 1 });
        for commit in new.filter(configures) {
            let written = self.inner.signed_as(self.handle, commit).await?;
            let found = self.walk(&written.repository, &written.commit, None, signers).await?;
            lacks.extend(found.iter().map(|one| told(&written.repository, one)));
        }
        Ok(lacks)
    }

    /// Commits on main that change an environment: each with everything below it that is not admitted.
    pub(super) async fn unsigned_commits(
        &self,
        court: &Court<'_>,
        signers: &Trusted,
        evidence: &mut Evidence,
    ) -> Result<(), PortError> {
        let (file, directory) = (format!("environments/{}.yaml", court.name), format!("environments/{}/", court.name));
        let of_it = |entry: &&model::journal::Entry| {
            entry.kind == EntryKind::Admitted && entry.environment.as_ref() == Some(court.name)
        };
        let until = self.facts.journal.iter().rev().find(of_it).and_then(|entry| entry.commit.as_ref());
        // Of what stood before Trimtab was asked, nobody asks for signatures.
        let Some(until) = until else { return Ok(()) };
        let beyond = self.facts.log.iter().take_while(|commit| commit.id != *until);
        let touches =
            |commit: &&model::ports::Commit| commit.paths.iter().any(|p| *p == file || p.starts_with(&directory));
        let mut beyond: Vec<_> = beyond.filter(touches).collect();
        beyond.reverse();
        let mut lack = None;
        for commit in beyond {
            if lack.is_none() {
                let written = self.inner.signed_as(self.handle, commit).await?;
                let found = self.walk(&written.repository, &written.commit, None, signers).await?;
                lack = found.first().map(|one| told(&written.repository, one));
            }
            if let Some(lack) = &lack {
                evidence.unsigned_commits.insert((court.name.clone(), commit.id.clone()), lack.clone());
            }
        }
        Ok(())
    }

    pub(super) async fn unsigned_tags(
        &self,
        court: &Court<'_>,
        signers: &Trusted,
        evidence: &mut Evidence,
    ) -> Result<(), PortError> {
        for (version, release) in self.facts.releases.iter() {
            let tag = version.tag();
            let key = json!([self.handle.config, "tag", tag, release.commit, signers.digest]);
            let key = Digest::of(key.to_string().as_bytes());
            let known = self.known().unsigned.get(&key).cloned();
            let found = match known {
                Some(known) => known,
                None => {
                    let found =
                        self.inner.ports.repositories.unsigned_tag(&self.handle.config, &tag, &signers.signers).await?;
                    let found: Arc<Vec<Unsigned>> = Arc::new(found.into_iter().collect());
                    self.known().unsigned.insert(key, found.clone());
                    found
                }
            };
            if let Some(one) = found.first() {
                let by = if one.author.is_empty() { String::new() } else { format!(" by {}", one.author) };
                let text = format!(
                    "tag {tag}{by} is not signed: {}. Make a new release (trimtab release create), or name the key in `verify.tags`",
                    one.why
                );
                evidence.unsigned_tags.insert((court.name.clone(), version.clone()), text);
            }
        }
        Ok(())
    }
}

/// With commit, author and what to do.
fn told(repository: &Repository, one: &Unsigned) -> String {
    let by = if one.author.is_empty() { String::new() } else { format!(" by {}", one.author) };
    let (commit, why) = (one.commit.short(), &one.why);
    format!(
        "commit {commit} of {repository}{by} is not signed: {why}. Sign it (git commit --amend -S) with a key that is registered (trimtab key add) or named in `verify`, and push again"
    )
}
