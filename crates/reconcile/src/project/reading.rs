//! Everything that a decision depends on, read: what is as it was is taken as it was read before.

use super::{LOG_MAX, Work};
use crate::config::Config;
use crate::evidence::{Law, evidence, law};
use crate::inputs::inputs;
use crate::removal;
use model::journal::Entry;
use model::ports::PortError;
use model::release::{Release, Version};
use model::{CommitId, Environment};
use promote::{Facts, States};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

impl Work {
    /// Everything that a decision depends on; `None` while the config repository is empty.
    pub(super) async fn facts(&mut self) -> Result<Option<(Facts, Arc<Config>, Arc<Law>)>, PortError> {
        let inner = self.inner.clone();
        let (name, repository) = (self.handle.name.clone(), self.handle.config.clone());
        let Some(head) = inner.main(&self.handle).await? else { return Ok(None) };
        let log = match &self.log {
            Some((at, log)) if *at == head => log.clone(),
            _ => Arc::new(inner.ports.repositories.log(&repository, &head, None, LOG_MAX).await?),
        };
        self.log = Some((head.clone(), log.clone()));
        let journal = inner.ports.repositories.journal(&name).await?;
        let config = self.handle.reader(&inner).config(&repository, &head).await?;
        let environments = match &config.project {
            Ok(file) => file.environments.clone(),
            Err(_) => known_environments(&journal),
        };
        let (releases, untagged) = self.handle.reader(&inner).releases(&repository, &config.versions).await?;
        let gone = removal::gone(&journal, &environments);
        let all: Vec<Environment> = environments.iter().chain(&gone).cloned().collect();
        let needed = promote::needs(&head, &log, &journal, &all);
        let mut facts = Facts {
            states: self.states(needed, &releases).await?,
            project: name.clone(),
            now: inner.now(),
            head,
            environments,
            log,
            texts: config.texts.clone(),
            windows: config.windows.clone(),
            releases,
            untagged: untagged.into_iter().collect(),
            builds: inner.records.builds(&name).await?,
            promotions: inner.records.promotions(&name).await?,
            journal,
            inputs: promote::Inputs::default(),
            evidence: promote::Evidence::default(),
            undescribed: BTreeSet::new(),
            unreachable: self.handle.unreachable(),
        };
        let reader = self.handle.reader(&inner);
        facts.inputs = inputs(reader, &name, &facts).await?;
        let law = law(reader, &facts, &config).await?;
        let law = match self.handle.view() {
            Some(view) if *view.law == law => view.law,
            _ => Arc::new(law),
        };
        facts.evidence = evidence(&inner, &self.handle, &facts, &config, &law).await?;
        Ok(Some((facts, config, law)))
    }

    /// What stands at these commits, on these releases.
    async fn states(
        &mut self,
        commits: BTreeSet<CommitId>,
        releases: &Arc<BTreeMap<Version, Release>>,
    ) -> Result<BTreeMap<CommitId, Arc<States>>, PortError> {
        let mut known = std::mem::take(&mut self.resolved);
        for commit in commits {
            let states = match known.remove(&commit) {
                Some((on, states)) if Arc::ptr_eq(&on, releases) => states,
                _ => {
                    let config = self.handle.reader(&self.inner).config(&self.handle.config, &commit).await?;
                    Arc::new(resolved(&config, releases))
                }
            };
            self.resolved.insert(commit, (releases.clone(), states));
        }
        Ok(self.resolved.iter().map(|(commit, (_, states))| (commit.clone(), states.clone())).collect())
    }
}

/// What stands at a commit, on these releases.
pub fn resolved(config: &Config, releases: &BTreeMap<Version, Release>) -> States {
    let one = |(name, reading): (&Environment, &promote::Reading)| {
        let state = reading.as_ref().map_err(Clone::clone).and_then(|state| state.resolve(name, releases));
        (name.clone(), state)
    };
    config.environments.iter().map(one).collect()
}

fn known_environments(journal: &[Entry]) -> Vec<Environment> {
    let mut known: Vec<Environment> = Vec::new();
    for environment in journal.iter().filter_map(|entry| entry.environment.as_ref()) {
        if !known.contains(environment) {
            known.push(environment.clone());
        }
    }
    known
}
