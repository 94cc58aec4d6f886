//! What a pusher is told: refusals before refs move, and what comes of the push after.

use crate::config::{Config, parse_component, parse_config, parse_release, twice};
use crate::project::{Handle, Seen, View};
use crate::rights;
use crate::settle::until;
use crate::{Inner, Reconciler, changes};
use async_trait::async_trait;
use model::change::FOR_MAIN;
use model::config::{ComponentFile, Strategy};
use model::flow::{Health, Repository, Revision, Snapshot};
use model::ports::{Lines, PortError, Proposal, Proposed, Push, Pushed, Receiver, RefUpdate};
use model::records::BuildPhase;
use model::release::Version;
use model::{Build, BuildId, Change, CommitId, Environment};
use std::sync::Arc;
use std::time::Duration;

/// A pusher is told of a new project's first look within this.
const FIRST_LOOK: Duration = Duration::from_secs(30);
/// A build and its rollout are followed for so long; they go on regardless.
const FOLLOW: Duration = Duration::from_secs(3600);
/// A rollout is followed for so long after the build.
const ROLLOUT: Duration = Duration::from_secs(180);

#[async_trait]
impl Receiver for Reconciler {
    async fn check(&self, push: &Push, pushed: &dyn Pushed) -> Result<(), Vec<String>> {
        for update in push.updates.iter().filter(|u| u.name == model::MAIN || u.name == FOR_MAIN) {
            let Some(new) = &update.new else {
                return Err(vec!["main cannot be deleted: it is what Trimtab builds and runs".to_owned()]);
            };
            let snapshot = pushed.snapshot(new, ".").await.map_err(|error| vec![error.to_string()])?;
            let mut problems = self.broken(&push.repository, &snapshot).await;
            if let (true, Some(old)) = (problems.is_empty() && update.name == model::MAIN, &update.old) {
                problems = self.past_review(&push.repository, old, &snapshot).await;
                problems.extend(self.past_rights(push, old, &snapshot).await?);
            }
            if !problems.is_empty() {
                return Err([problems, vec!["nothing was changed".to_owned()]].concat());
            }
        }
        if push.repository.is_config() {
            for update in &push.updates {
                self.check_tag(push, update, pushed).await?;
            }
        }
        Ok(())
    }

    async fn propose(&self, proposal: &Proposal) -> Result<Proposed, Vec<String>> {
        self.propose_pushed(proposal)
            .await
            .map_err(|refusal| vec![refusal.to_string(), "nothing was changed".to_owned()])
    }

    async fn follow(&self, push: &Push, lines: &dyn Lines) {
        self.wake();
        for number in push.updates.iter().filter_map(|update| Change::of_head_ref(&update.name)) {
            self.tell_of(&push.repository.project, number, lines).await;
        }
        for update in push.updates.iter().filter(|u| u.name == model::MAIN) {
            let Some(new) = &update.new else { continue };
            lines.line(&format!("received {} {}", push.repository, new.short()));
            let Some(handle) = self.found(push).await else {
                lines.line("the project is not ready yet: see `trimtab status`");
                return;
            };
            handle.wake();
            let follower = Follower { inner: &self.0, handle: &handle, lines };
            match push.repository.is_config() {
                true => follower.config(new).await,
                false => follower.application(&push.repository, new).await,
            }
        }
    }
}

impl Reconciler {
    /// What is wrong with what would stand on main, as far as that can be said before it does.
    pub(crate) async fn broken(&self, repository: &Repository, snapshot: &Snapshot) -> Vec<String> {
        let project = &repository.project;
        if repository.is_config() {
            let mut problems = crate::line::misplaced(snapshot);
            let snapshot = &match self.whole(snapshot).await {
                Ok(whole) => whole,
                Err(error) => return vec![error.to_string()],
            };
            let config = parse_config(snapshot);
            problems.extend(config.problems());
            if let Ok(file) = &config.project
                && file.project != *project
            {
                problems.push(format!("project.yaml: project: this is the config repository of {project}"));
            }
            problems.extend(self.unusable(repository, &config).await);
            problems.extend(self.released(repository, snapshot));
            return problems;
        }
        match parse_component(snapshot) {
            Some(Err(problem)) => vec![problem],
            Some(Ok(file)) if file.project != *project => {
                let text = format!("{} is not {project}, to which this repository belongs", file.project);
                vec![format!("trimtab.yaml: project: {text}")]
            }
            Some(Ok(file)) => self.described_twice(repository, &file),
            None => Vec::new(),
        }
    }

    /// What would stand in all config repositories, with this in one of them.
    async fn whole(&self, snapshot: &Snapshot) -> Result<Snapshot, PortError> {
        match self.project(&snapshot.revision.repository.project) {
            Some(handle) => self.0.whole(&handle, snapshot).await,
            None => Ok(snapshot.clone()),
        }
    }

    /// What a push changes that its pusher may not.
    async fn past_rights(&self, push: &Push, old: &CommitId, snapshot: &Snapshot) -> Result<Vec<String>, Vec<String>> {
        if !push.repository.is_config() {
            return Ok(Vec::new());
        }
        let revision = Revision { repository: push.repository.clone(), commit: old.clone() };
        let stood = self.0.ports.repositories.snapshot(&revision, ".").await;
        let stood = stood.map_err(|error| vec![error.to_string()])?;
        let paths = changes::difference(&stood, snapshot);
        let said = |error: PortError| vec![error.to_string()];
        let before = parse_config(&self.whole(&stood).await.map_err(said)?);
        let after = parse_config(&self.whole(snapshot).await.map_err(said)?);
        Ok(rights::missing(&push.person, &push.repository.project, &before, &after, paths.keys()))
    }

    /// What a push would change of environments whose changes are reviewed.
    async fn past_review(&self, repository: &Repository, old: &CommitId, snapshot: &Snapshot) -> Vec<String> {
        if !repository.is_config() {
            return Vec::new();
        }
        let revision = Revision { repository: repository.clone(), commit: old.clone() };
        let read = async {
            let before = self.0.ports.repositories.snapshot(&revision, ".").await?;
            let paths = changes::difference(&before, snapshot).into_keys().collect();
            Ok::<_, PortError>((self.whole(&before).await?, self.whole(snapshot).await?, paths))
        };
        let (before, after, paths) = match read.await {
            Ok(read) => read,
            Err(error) => return vec![error.to_string()],
        };
        let reviewed = changes::reviewed(&parse_config(&before), &parse_config(&after), &paths);
        if reviewed.is_empty() {
            return Vec::new();
        }
        let names: Vec<&str> = reviewed.iter().map(Environment::as_str).collect();
        vec![
            format!("changes to {} are reviewed: main takes them as Changes only. To open one:", names.join(", ")),
            format!("  git push origin HEAD:{FOR_MAIN}"),
        ]
    }

    /// What a push to a config repository would take from what is pinned in it: values that nobody here can open, groups
    /// and secrets that a component names.
    async fn unusable(&self, repository: &Repository, config: &Config) -> Vec<String> {
        let view = self.project(&repository.project).and_then(|handle| Some((handle.view()?, handle)));
        let mut problems = Vec::new();
        let known =
            |name: &model::Group| view.as_ref().and_then(|(view, _)| view.config.secrets.get(name)?.as_ref().ok());
        for secret in config.secrets.values().flatten() {
            for (key, values) in &secret.keys {
                for (place, value) in values {
                    let before = known(&secret.name).and_then(|before| before.keys.get(key)?.get(place));
                    if before != Some(value)
                        && let Err(error) = self.0.ports.secrets.open(&value.sealed)
                    {
                        let command = format!("trimtab secret set {} {key} --env {place}", secret.name);
                        problems.push(value.problem(key, place, format!("{error}: {command}")).to_string());
                    }
                }
            }
        }
        let Some((view, handle)) = &view else { return problems };
        for (environment, state) in &config.environments {
            let Ok(state) = state.clone().and_then(|state| state.resolve(environment, &view.facts.releases)) else {
                continue;
            };
            for pin in state.pins.values() {
                let Some(build) = view.facts.build(&pin.build) else { continue };
                let source = Revision { repository: build.spec.repository.clone(), commit: pin.source.clone() };
                let Ok(described) =
                    handle.reader(&self.0).described(&source, &pin.config, Some(&pin.build.component)).await
                else {
                    continue;
                };
                let Some(Ok(described)) = described else { continue };
                let workload = &described.file.workload;
                let groups = workload
                    .config_groups
                    .iter()
                    .map(|used| ("config", &used.name, config.groups.contains_key(&used.name)));
                let named = crate::given::named(&described.file);
                let secrets = named.iter().map(|name| ("secrets", name, config.secrets.contains_key(name)));
                for (directory, name, there) in groups.chain(secrets) {
                    let was = match directory {
                        "config" => view.config.groups.contains_key(name),
                        _ => view.config.secrets.contains_key(name),
                    };
                    if was && !there {
                        let component = &pin.build.component;
                        problems
                            .push(format!("{directory}/{name}.yaml is gone, and {component} in {environment} uses it"));
                    }
                }
            }
        }
        problems
    }

    fn described_twice(&self, repository: &Repository, file: &ComponentFile) -> Vec<String> {
        let view = self.project(&repository.project).and_then(|handle| handle.view());
        let config = view.map(|view| view.config).filter(|config| config.components.contains_key(&file.component));
        config.map(|config| twice(&file.component, repository, &config.place(&file.component))).into_iter().collect()
    }

    /// What a push would change of releases: they never change.
    fn released(&self, repository: &Repository, snapshot: &Snapshot) -> Vec<String> {
        let Some(view) = self.project(&repository.project).and_then(|handle| handle.view()) else {
            return Vec::new();
        };
        let changed = view.facts.releases.iter().filter(
            |(version, release)| !matches!(parse_release(snapshot, version), Some(Ok(file)) if file == release.file),
        );
        changed
            .map(|(version, _)| {
                format!("{}: {version} is released, its file stays as it is: make a new release", version.path())
            })
            .collect()
    }

    /// A tag that names a version makes a release: its commit holds the file, and it stays where it is.
    async fn check_tag(&self, push: &Push, update: &RefUpdate, pushed: &dyn Pushed) -> Result<(), Vec<String>> {
        let name = update.name.strip_prefix("refs/tags/v").and_then(|name| name.parse::<Version>().ok());
        let Some(version) = name else { return Ok(()) };
        let tag = version.tag();
        let Some(new) = update.new.as_ref().filter(|_| update.old.is_none()) else {
            return Err(vec![format!(
                "{tag} of {} is a release: it can be neither moved nor deleted",
                push.repository
            )]);
        };
        let snapshot = pushed.snapshot(new, ".").await.map_err(|error| vec![error.to_string()])?;
        match parse_release(&snapshot, &version) {
            Some(Ok(_)) => Ok(()),
            Some(Err(problem)) => Err(vec![problem]),
            None => Err(vec![
                format!("{tag} makes a release, but its commit holds no {}", version.path()),
                format!("trimtab release create {version} --from ENVIRONMENT writes both"),
            ]),
        }
    }

    /// The project of a push, which may be its first.
    async fn found(&self, push: &Push) -> Option<Arc<Handle>> {
        let deadline = tokio::time::Instant::now() + FIRST_LOOK;
        loop {
            if let Some(handle) = self.project(&push.repository.project) {
                return Some(handle);
            }
            if tokio::time::Instant::now() > deadline {
                return None;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

struct Follower<'a> {
    inner: &'a Inner,
    handle: &'a Handle,
    lines: &'a dyn Lines,
}

impl Follower<'_> {
    /// Tells whoever still reads.
    fn say(&self, text: &str) {
        self.lines.line(text);
    }

    async fn application(&self, repository: &Repository, commit: &CommitId) {
        let seen = until(self.handle, FIRST_LOOK, || {
            let view = self.handle.view()?;
            let built = view.facts.builds.iter().find(|b| b.spec.repository == *repository && b.spec.commit == *commit);
            let looked = view.heads.get(repository).filter(|(head, _)| head == commit);
            built.map(|b| Seen::Build(b.spec.build.clone())).or(looked.map(|(_, seen)| seen.clone()))
        });
        match seen.await {
            Some(Seen::Build(build)) => self.build(&build).await,
            Some(Seen::Nothing(why)) => {
                self.say(&format!("nothing to build: {why}"));
            }
            None => {
                self.say("nobody has looked at it yet: see `trimtab status`");
            }
        }
    }

    async fn build(&self, id: &BuildId) {
        let Some(Some(build)) = tokio::time::timeout(FOLLOW, self.tail(id)).await.ok() else { return };
        let took = match (build.status.started, build.status.finished) {
            (Some(from), Some(to)) => format!(" {:.1} s", from.duration_until(to).as_secs_f64()),
            _ => String::new(),
        };
        match build.status.phase {
            BuildPhase::Succeeded => self.say(&format!("✔ build {id}{took}")),
            BuildPhase::Superseded => {
                self.say(&format!("{id}: {}", build.status.message));
                return;
            }
            _ => {
                self.say(&format!("✘ build {id} failed"));
                build.status.message.lines().for_each(|line| self.say(line));
                return;
            }
        };
        self.rollout(id).await;
    }

    /// Passes the build's log on until it has ended. `None` if the reader has left.
    async fn tail(&self, id: &BuildId) -> Option<Build> {
        let mut log = self.handle.logs(self.inner).follow(id);
        let mut ticks = self.handle.ticks();
        let mut next = 0;
        loop {
            ticks.borrow_and_update();
            // The phase is read before the lines: a build that had ended then has no lines to come.
            let found = |view: View| view.facts.builds.iter().find(|b| b.spec.build == *id).cloned();
            let ended = self
                .handle
                .view()
                .and_then(found)
                .filter(|b| !matches!(b.status.phase, BuildPhase::Queued | BuildPhase::Running));
            let (new, after) = log.borrow_and_update().from(next);
            next = after;
            for line in new {
                if !self.lines.line(&line) {
                    return None;
                }
            }
            if ended.is_some() {
                return ended;
            }
            tokio::select! {
                changed = log.changed() => changed.ok()?,
                changed = ticks.changed() => changed.ok()?,
            }
        }
    }

    /// Tells of the environments that take the build by themselves, and of the others how it gets there.
    async fn rollout(&self, id: &BuildId) {
        let Some(view) = self.handle.view() else { return };
        let automatic: Vec<Environment> = view
            .facts
            .environments
            .iter()
            .filter(|name| matches!(view.config.environments.get(*name), Some(Ok(state)) if state.file.promotion.strategy == Strategy::Auto))
            .cloned()
            .collect();
        if automatic.is_empty() {
            self.say(&format!("no environment takes it by itself: trimtab promote {} --to ENVIRONMENT", id.component));
        }
        for environment in automatic {
            let arrived = until(self.handle, ROLLOUT, || self.arrived(id, &environment)).await;
            match arrived {
                Some(Ok(())) => {
                    self.say(&format!("{id} → {environment}"));
                    self.healthy(id, &environment).await;
                }
                Some(Err(why)) => self.say(&format!("{environment} does not take {id}: {why}")),
                None => self.say(&format!(
                    "{environment} has not taken {id} yet: trimtab explain {} --env {environment}",
                    id.component
                )),
            }
        }
    }

    /// Whether a build is what an environment admits, or why it will not be.
    fn arrived(&self, id: &BuildId, environment: &Environment) -> Option<Result<(), String>> {
        let view = self.handle.view()?;
        let target = self.handle.environment(environment)?.target();
        let present = target.as_ref().and_then(|t| t.state.pins.get(&id.component)).map(|pin| &pin.build);
        match present {
            Some(present) if present == id => return Some(Ok(())),
            Some(present) if present.number > id.number => return Some(Err(format!("it has {present} already"))),
            _ => {}
        }
        let known = view.facts.builds.iter().any(|b| b.spec.build == *id && b.status.phase == BuildPhase::Succeeded);
        if !view.settled || !known {
            return None;
        }
        let of_it = |p: &&model::Promotion| p.spec.environment == *environment && p.spec.build.as_ref() == Some(id);
        let asked = view.facts.promotions.iter().filter(of_it).max_by_key(|p| p.spec.created);
        let report = view.decision.environments.get(environment)?;
        let why = report.held.as_ref().map(|held| held.reason.clone()).or(asked.map(|p| p.status.message.clone()));
        Some(Err(why.filter(|w| !w.is_empty()).unwrap_or_else(|| "it waits for the environments before".to_owned())))
    }

    async fn healthy(&self, id: &BuildId, environment: &Environment) {
        let ended = until(self.handle, ROLLOUT, || {
            let handle = self.handle.environment(environment)?;
            let (target, outcome) = (handle.target()?, handle.outcome());
            if let Some(error) = &outcome.error {
                return Some(Err(error.clone()));
            }
            if target.state.pins.get(&id.component).is_some_and(|pin| pin.build != *id) {
                return Some(Err("another build came after it".to_owned()));
            }
            let status = outcome.components.iter().find(|c| c.build == *id)?;
            let told = outcome.commit.as_ref() == Some(&target.commit);
            match status.health {
                Health::Healthy if told && self.journaled(id, environment) => Some(Ok(status.url.clone())),
                Health::Missing if told && crate::lacks::waits(status) => Some(Err(status.message.clone())),
                Health::Degraded if told => Some(Err(format!("{}: {}", status.reason, status.message))),
                _ => None,
            }
        });
        match ended.await {
            Some(Ok(url)) => {
                self.say(&format!("✔ {environment} healthy {}", url.unwrap_or_default()));
                let broken =
                    self.handle.environment(environment).map(|e| e.outcome().policies.clone()).unwrap_or_default();
                broken.iter().for_each(|one| self.say(&format!("{environment}: {}: {one}", one.action)));
            }
            Some(Err(why)) => {
                self.say(&format!("✘ {environment}: {id} is not healthy"));
                why.lines().for_each(|line| self.say(line));
            }
            None => self.say(&format!("{environment} is still on its way: trimtab status")),
        }
    }

    /// True once the routes are acknowledged: only then does the journal say that a build is healthy.
    fn journaled(&self, id: &BuildId, environment: &Environment) -> bool {
        self.handle.view().is_some_and(|view| view.facts.was_healthy(environment, id))
    }

    async fn config(&self, commit: &CommitId) {
        let view = until(self.handle, FIRST_LOOK, || {
            let view = self.handle.view().filter(|v| v.settled)?;
            let stands = crate::line::standing_for(&view.facts.log, commit, &self.handle.config)?.id.clone();
            Some((view, stands))
        });
        let Some((view, commit)) = view.await else {
            self.say("nobody has looked at it yet: see `trimtab status`");
            return;
        };
        let commit = &commit;
        for (environment, report) in &view.decision.environments {
            if let Some(held) = report.held.as_ref().filter(|held| held.commit == *commit) {
                self.say(&format!("{environment}: {} is held: {}", held.change, held.reason));
            } else if report.admitted.as_ref() == Some(commit) {
                self.say(&format!("{environment}: admitted{}", if report.suspended { ", suspended" } else { "" }));
            }
        }
        // Charts of repositories that it describes anew.
        let of_it = |build: &&Build| build.spec.repository.is_config() && build.spec.commit == *commit;
        for build in view.facts.builds.iter().filter(of_it) {
            self.build(&build.spec.build).await;
        }
    }
}
