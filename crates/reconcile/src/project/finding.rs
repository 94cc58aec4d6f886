//! What there is to build: heads of application repositories of which there is no build yet.

use super::{LOG_MAX, Seen, Work};
use crate::config::{Config, Described, listed};
use crate::{charts, projections};
use model::chart::ChartWish;
use model::flow::{Repository, Revision};
use model::journal::EntryKind;
use model::ports::{Commit, PortError};
use model::records::{BuildPhase, BuildSpec, BuildStatus, Kind};
use model::{Build, BuildId, CommitId, Component};
use promote::Facts;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

impl Work {
    /// Components whose newest build is of a repository that describes them no more, and that nothing else does.
    pub(super) fn undescribed(&self, facts: &Facts, config: &Config) -> BTreeSet<Component> {
        let mut newest: BTreeMap<&Component, &BuildSpec> = BTreeMap::new();
        for build in facts.builds.iter() {
            let (component, spec) = (&build.spec.build.component, &build.spec);
            let last = newest.entry(component).or_insert(spec);
            if spec.build.number > last.build.number {
                *last = spec;
            }
        }
        let gone = |(component, spec): &(&Component, &BuildSpec)| {
            // One that is not here, or whose head cannot be read, may describe it still.
            let left = match self.described.get(&spec.repository) {
                Some(described) => described.as_ref() != Some(*component),
                None => spec.repository.is_config(),
            };
            left && !config.components.contains_key(*component)
        };
        newest.into_iter().filter(gone).map(|(component, _)| component.clone()).collect()
    }

    /// Heads of application repositories that no build is of. True if a build was added.
    pub(super) async fn find_builds(&mut self, facts: &Facts, config: &Config) -> Result<bool, PortError> {
        let mut added = false;
        let moved = self.handle.pushed.swap(false, Ordering::SeqCst);
        if moved || self.looked_at.as_ref() != Some(&facts.head) || !self.damaged.is_empty() {
            let found = self.look_at_all(facts, &mut added).await;
            if found.is_err() {
                self.handle.pushed.store(true, Ordering::SeqCst);
            }
            found?;
        }
        for (file, wish) in charts::unbuilt(facts, config, &self.hosted) {
            let place = (listed::place(file), self.handle.config.clone());
            self.put(Kind::Component, projections::component(&Described { file: file.clone(), place })).await?;
            let record = charts::build_of(facts, file, wish, self.inner.now());
            let (spec, ports) = (&record.spec, &self.inner.ports);
            ports.repositories.keep(&spec.repository, &format!("builds/{}", spec.build), &spec.commit).await?;
            ports.records.create(Kind::Build, &projections::build(&record)).await?;
            added = true;
        }
        Ok(added)
    }

    /// Looks at the heads of all application repositories, of those that are as they were not again.
    async fn look_at_all(&mut self, facts: &Facts, added: &mut bool) -> Result<(), PortError> {
        if self.looked_at.as_ref() != Some(&facts.head) {
            // What was nothing may be described in the config repository by now.
            Arc::make_mut(&mut self.heads).retain(|_, (_, seen)| matches!(seen, Seen::Build(_)));
            self.looked_at = Some(facts.head.clone());
        }
        self.damaged.clear();
        self.hosted.clear();
        for repository in self.inner.ports.repositories.list().await? {
            if repository.project != self.handle.name || repository.is_config() {
                continue;
            }
            let head = match self.inner.ports.repositories.head(&repository, model::MAIN).await {
                Ok(Some(head)) => head,
                Ok(None) => continue,
                Err(error) => {
                    self.hosted.insert(repository.name.clone());
                    self.damaged.push(error.to_string());
                    continue;
                }
            };
            self.hosted.insert(repository.name.clone());
            if self.heads.get(&repository).is_some_and(|(seen, _)| *seen == head) {
                continue;
            }
            let seen = match self.look(facts, &repository, &head, added).await {
                Err(PortError::Terminal(error)) => {
                    self.damaged.push(format!("{repository}: {error}"));
                    continue;
                }
                seen => seen?,
            };
            Arc::make_mut(&mut self.heads).insert(repository, (head, seen));
        }
        Ok(())
    }

    async fn look(
        &mut self,
        facts: &Facts,
        repository: &Repository,
        head: &CommitId,
        added: &mut bool,
    ) -> Result<Seen, PortError> {
        let of_it = |b: &&Build| b.spec.repository == *repository && b.spec.commit == *head;
        let revision = Revision { repository: repository.clone(), commit: head.clone() };
        // Described in the config repository, it has the name of its repository.
        let name = repository.name.parse().ok();
        let described = self.handle.reader(&self.inner).described(&revision, &facts.head, name.as_ref()).await?;
        self.described.remove(repository);
        let described = match described {
            None => {
                self.described.insert(repository.clone(), None);
                let nothing = format!(
                    "{repository} has no {}, and the config repository no components/{}.yaml",
                    crate::config::COMPONENT_FILE,
                    repository.name
                );
                return Ok(Seen::Nothing(nothing));
            }
            Some(Err(problem)) => return Ok(Seen::Nothing(problem)),
            Some(Ok(described)) if described.file.project != self.handle.name => {
                return Ok(Seen::Nothing(format!(
                    "trimtab.yaml names project {}, the repository is of {}",
                    described.file.project, self.handle.name
                )));
            }
            Some(Ok(described)) => described,
        };
        let file = &described.file;
        let own = described.place.1 == *repository;
        self.described.insert(repository.clone(), own.then(|| file.component.clone()));
        self.put(Kind::Component, projections::component(&described)).await?;
        if let Some(build) = facts.builds.iter().find(of_it) {
            return Ok(Seen::Build(build.spec.build.clone()));
        }
        let of_component = |b: &&Build| b.spec.repository == *repository && b.spec.build.component == file.component;
        let last = facts.builds.iter().filter(of_component).max_by_key(|b| b.spec.build.number);
        let repositories = &self.inner.ports.repositories;
        let until = last.map(|b| &b.spec.commit);
        let log = repositories.log(repository, head, until, LOG_MAX).await?;
        if last.is_some() && !log.iter().any(|commit| touches(commit, &file.path)) {
            return Ok(Seen::Nothing(format!("nothing below {} has changed", file.path)));
        }
        let build = BuildId { component: file.component.clone(), number: highest(facts, file) + 1 };
        let newest = log.first();
        let spec = BuildSpec {
            project: self.handle.name.clone(),
            build: build.clone(),
            repository: repository.clone(),
            commit: head.clone(),
            pushed_by: newest.map(|c| c.author.clone()).unwrap_or_default(),
            message: newest.map(|c| c.subject.clone()).unwrap_or_default(),
            created: self.inner.now(),
            chart: file
                .chart
                .as_ref()
                .and_then(|rule| rule.source())
                .map(|source| ChartWish { source: source.clone(), version: None }),
        };
        repositories.keep(repository, &format!("builds/{build}"), head).await?;
        let record = Build { spec, status: BuildStatus { phase: BuildPhase::Queued, ..BuildStatus::default() } };
        self.inner.ports.records.create(Kind::Build, &projections::build(&record)).await?;
        *added = true;
        Ok(Seen::Build(build))
    }
}

/// True if a commit changes something in a component's directory, or what describes it.
fn touches(commit: &Commit, path: &str) -> bool {
    let directory = path.trim_start_matches("./").trim_end_matches('/');
    let inside =
        |changed: &String| directory == "." || directory.is_empty() || changed.starts_with(&format!("{directory}/"));
    // A merge or an empty commit names no path: building once too often is the safe side.
    commit.paths.is_empty() || commit.paths.iter().any(|p| inside(p) || p == crate::config::COMPONENT_FILE)
}

/// The highest number that a build of the component ever had: in the records, or in a pin that was admitted.
pub fn highest(facts: &Facts, file: &model::ComponentFile) -> u64 {
    let released = facts.releases.values().flat_map(|release| release.file.pins.values());
    let built = facts.builds.iter().map(|b| &b.spec.build);
    let admitted = facts.journal.iter().filter(|e| e.kind == EntryKind::Admitted);
    let states = admitted.filter_map(|e| facts.state(e.commit.as_ref()?, e.environment.as_ref()?)?.as_ref().ok());
    let pins = states.flat_map(|state| state.pins.values()).chain(released).map(|pin| &pin.build);
    built.chain(pins).filter(|id| id.component == file.component).map(|id| id.number).max().unwrap_or(0)
}
