//! Newer versions of charts: looked for now and then, when somebody calls, and when a person asks.

use super::{CALLS, LOOK, LOOK_MIN, NAMES_MAX, access, choose};
use crate::config::Described;
use crate::project::{self, View, highest};
use crate::requests::Refusal;
use crate::{Inner, Reconciler, projections};
use model::chart::{ChartSource, ChartWish};
use model::flow::Revision;
use model::ports::PortError;
use model::records::{BuildSpec, BuildStatus, Kind};
use model::settings::{DEFAULT, Plain};
use model::{Build, BuildId, Component, Digest, Project};
use render::helm;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// A chart that may have newer versions: its component, described now, and its last build.
struct Followed {
    described: Described,
    last: Build,
}

impl Inner {
    /// Components whose chart comes from a repository.
    async fn followed(&self, handle: &project::Handle, view: &View) -> Result<Vec<Followed>, PortError> {
        let mut latest: HashMap<&Component, &Build> = HashMap::new();
        for build in view.facts.builds.iter().filter(|build| build.spec.chart.is_some()) {
            let last = latest.entry(&build.spec.build.component).or_insert(build);
            if build.spec.build.number > last.spec.build.number {
                *last = build;
            }
        }
        let mut found = Vec::new();
        for (component, last) in latest {
            // What its repository says now, and not when it was built last.
            let (repository, config) = (&last.spec.repository, &view.facts.head);
            let head = match repository.is_config() {
                true => Some(config.clone()),
                false => self.ports.repositories.head(repository, model::MAIN).await?,
            };
            let Some(commit) = head else { continue };
            let revision = Revision { repository: repository.clone(), commit };
            let described = handle.reader(self).described(&revision, config, Some(component)).await?;
            if let Some(Ok(described)) = described
                && described.file.chart.as_ref().is_some_and(|rule| rule.source().is_some())
            {
                let mut last = last.clone();
                last.spec.commit = revision.commit;
                found.push(Followed { described, last });
            }
        }
        Ok(found)
    }

    /// A build of another version of a chart than the last one has; `None` if that is the newest already.
    async fn advance(
        &self,
        handle: &project::Handle,
        view: &View,
        followed: &Followed,
        version: Option<&str>,
        actor: &str,
    ) -> Result<Option<BuildId>, Refusal> {
        let Followed { described: Described { file, .. }, last } = followed;
        let rule = file.chart.as_ref();
        let Some((rule, source)) = rule.and_then(|rule| Some((rule, rule.source()?))) else { return Ok(None) };
        let access = access(self, rule, &view.config)?.map_err(Refusal::Refused)?;
        let versions = self.ports.charts.versions(source, &access).await?;
        let asked = ChartSource { version: version.unwrap_or(&source.version).to_owned(), ..source.clone() };
        let chosen = choose(&asked, &versions).map_err(Refusal::NotFound)?;
        let had = last.status.chart.as_ref().map(|pin| pin.version.as_str());
        let under_way = !last.status.phase.is_final();
        let stays = match version {
            Some(_) => had == Some(chosen.as_str()),
            // What somebody asked for by hand stays until there is something newer.
            None => under_way || had.is_some_and(|had| !helm::newer(&chosen, had)),
        };
        if stays {
            return Ok(None);
        }
        let highest = highest(&view.facts, file);
        for number in highest + 1..=highest + NAMES_MAX {
            let build = BuildId { component: file.component.clone(), number };
            let spec = BuildSpec {
                build: build.clone(),
                pushed_by: actor.to_owned(),
                message: format!("{} {chosen} from {}", source.name, source.repository),
                created: self.now(),
                chart: Some(ChartWish { source: source.clone(), version: Some(chosen.clone()) }),
                ..last.spec.clone()
            };
            self.ports.repositories.keep(&spec.repository, &format!("builds/{build}"), &spec.commit).await?;
            let record = Build { spec, status: BuildStatus::default() };
            if self.ports.records.create(Kind::Build, &projections::build(&record)).await? {
                handle.wake();
                handle.builds.notify_one();
                return Ok(Some(build));
            }
        }
        Err(Refusal::Refused(format!("{} is built all the time: try again", file.component)))
    }
}

/// Looks for newer versions of charts from time to time, and when somebody says that there may be some, until `shutdown`.
pub async fn watch(inner: Arc<Inner>, handle: Arc<project::Handle>, shutdown: CancellationToken) {
    let mut looked = None::<Instant>;
    let mut next = async || {
        drop(tokio::time::timeout(LOOK, handle.charts.notified()).await);
        // Who is told often looks no more often than this.
        if let Some(looked) = looked {
            tokio::time::sleep_until(looked + LOOK_MIN).await;
        }
        looked = Some(Instant::now());
    };
    while shutdown.run_until_cancelled(next()).await.is_some() {
        let Some(view) = handle.view() else { continue };
        let followed = match inner.followed(&handle, &view).await {
            Ok(followed) => followed,
            Err(error) => {
                tracing::warn!(project = %handle.name, %error, "charts cannot be looked for");
                continue;
            }
        };
        for one in followed {
            let source = one.described.file.chart.as_ref().and_then(|rule| rule.source());
            if source.is_none_or(|source| helm::is_exact(&source.version)) {
                continue;
            }
            let advanced =
                shutdown.run_until_cancelled(inner.advance(&handle, &view, &one, None, promote::ACTOR)).await;
            match advanced {
                Some(Err(error)) => {
                    let component = &one.described.file.component;
                    tracing::warn!(project = %handle.name, %component, %error, "newer versions of a chart cannot be looked for");
                }
                Some(Ok(_)) => {}
                None => return,
            }
        }
    }
}

impl Reconciler {
    /// Archives that must not be lost: what pins name, of all that was admitted lately or stands on main, what releases and
    /// open Changes name, and what builds made.
    pub async fn charts(&self) -> Result<BTreeSet<Digest>, Refusal> {
        let mut found = BTreeSet::new();
        for handle in self.projects() {
            if self.0.ports.repositories.head(&handle.config, model::MAIN).await?.is_none() {
                continue; // nothing was pushed to it yet
            }
            let (_, view) = self.look(&handle.name).await?;
            let states = view.facts.states.values().flat_map(|environments| environments.values()).flatten();
            let released = view.facts.releases.values().flat_map(|release| release.file.pins.values());
            let pinned = states.flat_map(|state| state.pins.values()).chain(released);
            let pinned = pinned.filter_map(|pin| pin.chart.as_ref());
            let built = view.facts.builds.iter().filter_map(|build| build.status.chart.as_ref());
            found.extend(pinned.chain(built).map(|chart| chart.digest.clone()));
            found.extend(self.0.proposed_charts(&handle.name).await?);
        }
        Ok(found)
    }

    /// What calls that say that there are newer charts are signed with: key `charts` of secret `webhooks`, its default.
    pub async fn charts_key(&self, project: &Project) -> Result<Option<Plain>, Refusal> {
        let (_, view) = self.look(project).await?;
        let (name, key) = CALLS;
        let secret = view.config.secrets.iter().find(|(other, _)| other.as_str() == name);
        let Some((_, Ok(secret))) = secret else { return Ok(None) };
        let Some(value) = secret.keys.get(key).and_then(|places| places.get(DEFAULT)) else { return Ok(None) };
        Ok(Some(self.0.ports.secrets.open(&value.sealed)?))
    }

    /// Newer versions of the charts of a project are looked for now, and not only when it is time to.
    pub fn look_for_charts(&self, project: &Project) {
        if let Some(handle) = self.project(project) {
            handle.charts.notify_one();
        }
    }

    /// A build of the newest version of a component's chart that its range allows, or of this one. `None`: that is the
    /// version of its last build.
    pub async fn update_chart(
        &self,
        project: &Project,
        component: &Component,
        version: Option<&str>,
        actor: &str,
    ) -> Result<Option<BuildId>, Refusal> {
        let (handle, view) = self.look(project).await?;
        crate::requests::known_component(&view, component)?;
        let followed = self.0.followed(&handle, &view).await?;
        let one = followed.into_iter().find(|one| one.described.file.component == *component).ok_or_else(|| {
            Refusal::Refused(format!(
                "{component} takes no chart from a repository (`chart: {{repository, name, version}}`)"
            ))
        })?;
        self.0.advance(&handle, &view, &one, version, actor).await
    }
}
