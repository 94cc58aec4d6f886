//! What people ask for. What changes something ends in a commit or a Promotion.

mod standing;
mod wish;

pub use wish::{Refusal, Wish};

use crate::Reconciler;
use crate::project::{Handle, View};
use crate::projections::promotion as object;
use crate::settle::until;
use futures::Stream;
use model::flow::Plan;
use model::journal::Entry;
use model::ports::PortError;
use model::records::{Class, Kind, PromotionSpec, PromotionStatus};
use model::{BuildId, CommitId, Component, Environment, ImageRef, Project, Promotion};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// A project that was just created is looked at within this.
const FIRST_LOOK: Duration = Duration::from_secs(30);
/// Digits of a commit's id that may stand for it.
const COMMIT_DIGITS_MIN: usize = 4;
/// Promotions of one environment and component that may wait for each other's names.
const NAMES_MAX: usize = 10_000;

impl Reconciler {
    /// Images that pins name, and that components wait for.
    pub fn missing_images(&self) -> BTreeSet<ImageRef> {
        self.projects().iter().flat_map(|handle| handle.missing_images()).collect()
    }

    /// Names of all projects.
    pub fn names(&self) -> Vec<Project> {
        self.projects().iter().map(|handle| handle.name.clone()).collect()
    }

    /// Asks for a movement. Answers with the name of the Promotion.
    pub async fn request(&self, project: &Project, wish: Wish, actor: &str) -> Result<String, Refusal> {
        let (handle, view) = self.look(project).await?;
        let environment = &wish.environment;
        known_environment(&view, environment)?;
        let component = wish.component.or_else(|| wish.build.as_ref().map(|build| build.component.clone()));
        if let Some(component) = &component {
            known_component(&view, component)?;
        }
        if component.is_none() && wish.release.is_none() && wish.class != Class::Rollback {
            return Err(Refusal::Refused("what moves? Name a component or a release".to_owned()));
        }
        let stem = match (wish.class, &component, &wish.release) {
            (Class::Rollback, _, _) => format!("{environment}-rollback"),
            (_, Some(component), _) => format!("{environment}-{component}"),
            (_, None, Some(version)) => format!("{environment}-{version}"),
            (_, None, None) => environment.to_string(),
        };
        if wish.config.is_some() && (component.is_none() || wish.class != Class::Promote) {
            return Err(Refusal::Refused(
                "a release has its configuration, and a rollback that of what was there: a commit goes with a component".to_owned(),
            ));
        }
        let config = match &wish.config {
            Some(start) => Some(self.config_commit(project, start).await?),
            None => None,
        };
        let spec = PromotionSpec {
            component,
            build: wish.build,
            config,
            release: wish.release,
            change_ref: wish.change_ref,
            overriding: wish.overriding,
            quarantine: wish.quarantine,
            reason: wish.reason,
            ..PromotionSpec::new(project, environment, wish.class, actor, self.0.now())
        };
        if wish.class == Class::Promote && spec.overriding.is_none() && is_reviewed(&view, &spec.environment) {
            let settled = until(&handle, FIRST_LOOK, || handle.view().filter(|view| view.settled)).await;
            let facts = promote::Facts { now: self.0.now(), ..(*settled.unwrap_or(view).facts).clone() };
            let write = promote::proposal(&facts, &spec).map_err(Refusal::Refused)?;
            return Err(Refusal::Opened(self.open_change(project, &write, vec![spec.environment]).await?));
        }
        self.ask(&handle, &stem, spec).await
    }

    /// Asks for a build of a component in an environment. Answers with the name of the Promotion.
    pub async fn promote(
        &self,
        project: &Project,
        component: &Component,
        build: Option<BuildId>,
        to: &Environment,
        actor: &str,
        reason: &str,
    ) -> Result<String, Refusal> {
        let wish = Wish {
            component: Some(component.clone()),
            build,
            reason: reason.to_owned(),
            ..Wish::new(Class::Promote, to)
        };
        self.request(project, wish, actor).await
    }

    /// Asks for what was there before. Answers with the name of the Promotion.
    pub async fn rollback(
        &self,
        project: &Project,
        environment: &Environment,
        component: Option<Component>,
        to: Option<BuildId>,
        actor: &str,
        reason: &str,
    ) -> Result<String, Refusal> {
        let wish = Wish { component, build: to, reason: reason.to_owned(), ..Wish::new(Class::Rollback, environment) };
        self.request(project, wish, actor).await
    }

    /// The commit on main of the config repository whose id begins so. Read anew: it may have been pushed just now.
    async fn config_commit(&self, project: &Project, start: &str) -> Result<CommitId, Refusal> {
        let (handle, _) = self.look(project).await?;
        let repository = &handle.config;
        let head = self.0.main(&handle).await?;
        let head = head.ok_or_else(|| Refusal::NotFound(format!("{repository} has no commit on main")))?;
        let log = self.0.ports.repositories.log(repository, &head, None, crate::project::LOG_MAX).await?;
        let begins = |id: &CommitId| start.len() >= COMMIT_DIGITS_MIN && id.as_str().starts_with(start);
        let meant = |c: &model::ports::Commit| begins(&c.id) || begins(&crate::line::written(c, repository).commit);
        let mut found = log.into_iter().filter(meant).map(|c| c.id);
        match (found.next(), found.next()) {
            (Some(commit), None) => Ok(commit),
            (Some(_), Some(_)) => {
                Err(Refusal::NotFound(format!("more than one commit of {repository} begins with {start}")))
            }
            (None, _) => Err(Refusal::NotFound(format!(
                "{start} is no commit on main of {repository} (give {COMMIT_DIGITS_MIN} digits at least)"
            ))),
        }
    }

    async fn ask(&self, handle: &Handle, stem: &str, spec: PromotionSpec) -> Result<String, Refusal> {
        for number in 1..=NAMES_MAX {
            let promotion =
                Promotion { name: format!("{stem}-{number}"), spec: spec.clone(), status: PromotionStatus::default() };
            if self.0.ports.records.create(Kind::Promotion, &object(&promotion)).await? {
                handle.told();
                return Ok(promotion.name);
            }
        }
        Err(Refusal::NotFound(format!("{NAMES_MAX} promotions named {stem} exist: delete old ones")))
    }

    /// All promotions that are kept, newest first.
    pub async fn promotions(&self, project: &Project) -> Result<Vec<Promotion>, Refusal> {
        let (_, view) = self.look(project).await?;
        let mut promotions = (*view.facts.promotions).clone();
        promotions.sort_by(|a, b| b.spec.created.cmp(&a.spec.created).then_with(|| a.name.cmp(&b.name)));
        Ok(promotions)
    }

    /// A promotion as it changes, until it is final.
    pub async fn promotion(
        &self,
        project: &Project,
        name: &str,
    ) -> Result<impl Stream<Item = Promotion> + Send + use<>, Refusal> {
        let (handle, view) = self.look(project).await?;
        let (name, missing) = (name.to_owned(), format!("there is no promotion {name}"));
        if !view.facts.promotions.iter().any(|p| p.name == name) {
            // One that was asked for just now may not have been looked at yet, but it is recorded.
            let recorded = self.0.ports.records.list(Kind::Promotion, project).await?;
            if !recorded.iter().any(|record| record["metadata"]["name"] == *name) {
                return Err(Refusal::NotFound(missing));
            }
        }
        let known = handle.clone();
        let of_name = move |view: View| view.facts.promotions.iter().find(|p| p.name == name).cloned();
        let first = of_name.clone();
        let found = until(&handle, FIRST_LOOK, move || known.view().and_then(&first)).await;
        let Some(found) = found else { return Err(Refusal::NotFound(missing)) };
        let state = (handle, Some(found), true);
        Ok(futures::stream::unfold(state, move |(handle, last, fresh)| {
            let of_name = of_name.clone();
            async move {
                let last = last?;
                if fresh {
                    return Some((last.clone(), (handle, Some(last), false)));
                }
                if last.status.phase.is_final() {
                    return None;
                }
                let current = handle.clone();
                let changed =
                    until(&handle, Duration::MAX, || current.view().and_then(&of_name).filter(|p| *p != last)).await?;
                Some((changed.clone(), (handle, Some(changed), false)))
            }
        }))
    }

    /// The journal, newest first.
    pub async fn history(
        &self,
        project: &Project,
        environment: Option<&Environment>,
        limit: usize,
    ) -> Result<Vec<Entry>, Refusal> {
        self.look(project).await?;
        let journal = self.0.ports.repositories.journal(project).await?;
        let of_it = |entry: &&Entry| environment.is_none() || entry.environment.as_ref() == environment;
        Ok(journal.iter().rev().filter(of_it).take(limit).cloned().collect())
    }

    /// What applying would do now.
    pub async fn diff(&self, project: &Project, environment: &Environment) -> Result<Plan, Refusal> {
        let (handle, view) = self.look(project).await?;
        known_environment(&view, environment)?;
        let outcome = handle.environment(environment).map(|e| e.outcome()).unwrap_or_default();
        Ok(outcome.plan.clone().unwrap_or_else(|| Plan {
            project: project.clone(),
            environment: environment.clone(),
            commit: view.facts.head.clone(),
            steps: Vec::new(),
        }))
    }

    /// Public address of a component.
    pub async fn url(
        &self,
        project: &Project,
        component: &Component,
        environment: &Environment,
    ) -> Result<String, Refusal> {
        let (handle, view) = self.look(project).await?;
        known_environment(&view, environment)?;
        let pinned = || Some(handle.environment(environment)?.target()?.state.pins.contains_key(component));
        if pinned() != Some(true) {
            let advice = format!("trimtab explain {component} --env {environment}");
            return Err(Refusal::NotFound(format!("{component} does not run in {environment}: {advice}")));
        }
        let seen = || {
            handle.environment(environment)?.outcome().components.iter().find(|c| c.component == *component).cloned()
        };
        let running = until(&handle, FIRST_LOOK, seen).await;
        let running = running.ok_or_else(|| PortError::Transient(format!("{environment} cannot be read yet")))?;
        let target = handle.environment(environment).and_then(|e| e.target()).filter(|target| !target.is_routed());
        if let Some(plane) = target.as_ref().and_then(|target| target.plane.as_ref()) {
            let name = &plane.name;
            return Err(Refusal::NotFound(format!(
                "{component} runs in {environment} on data plane {name}, whose Pods the gateway does not reach: an Ingress or Service there gives it its address. If they can be reached from here, say `reachable: true` in dataplanes/{name}.yaml"
            )));
        }
        running.url.ok_or_else(|| Refusal::NotFound(format!("{component} has no public endpoint (visibility: public)")))
    }

    /// Whether people change an environment by Changes only, as it is admitted.
    pub fn is_reviewed(&self, project: &str, environment: &str) -> bool {
        let (Ok(project), Ok(environment)) = (project.parse(), environment.parse()) else { return false };
        let Some(handle) = self.project(&project) else { return false };
        match handle.environment(&environment).and_then(|environment| environment.target()) {
            Some(target) => target.state.file.is_reviewed(),
            // Nobody has looked yet: better too careful for a moment.
            None => handle.view().is_none(),
        }
    }

    /// Returns when the gateway sends nothing to this address any more.
    pub async fn drained(&self, address: std::net::IpAddr) {
        self.0.routes.gone(address).await;
    }

    pub(crate) async fn look(&self, project: &Project) -> Result<(Arc<Handle>, View), Refusal> {
        let handle = self.project(project).ok_or_else(|| {
            let known: Vec<String> = self.names().iter().map(ToString::to_string).collect();
            let known = if known.is_empty() { "none yet".to_owned() } else { known.join(", ") };
            Refusal::NotFound(format!("there is no project {project}; there is: {known}"))
        })?;
        let seen = || handle.view().map(Ok).or_else(|| handle.trouble().map(Err));
        match until(&handle, FIRST_LOOK, seen).await {
            Some(Ok(view)) => Ok((handle, view)),
            Some(Err(trouble)) => Err(PortError::Terminal(format!("project {project} is held: {trouble}")).into()),
            None => Err(PortError::Transient(format!("project {project} cannot be read yet")).into()),
        }
    }
}

/// Whether people change an environment by Changes: as it was admitted, or as its first file says.
fn is_reviewed(view: &View, name: &Environment) -> bool {
    let commit = view.decision.environments.get(name).and_then(|report| report.admitted.as_ref());
    let state = view.facts.state(commit.unwrap_or(&view.facts.head), name);
    state.is_some_and(|reading| reading.as_ref().is_ok_and(|state| state.file.is_reviewed()))
}

pub(crate) fn known_environment(view: &View, name: &Environment) -> Result<(), Refusal> {
    if view.facts.environments.contains(name) {
        return Ok(());
    }
    let known: Vec<&str> = view.facts.environments.iter().map(Environment::as_str).collect();
    Err(Refusal::NotFound(format!("there is no environment {name}; there is: {}", known.join(", "))))
}

pub(crate) fn known_component(view: &View, name: &Component) -> Result<(), Refusal> {
    let mut known: Vec<&str> = view.facts.builds.iter().map(|b| b.spec.build.component.as_str()).collect();
    known.sort_unstable();
    known.dedup();
    if known.contains(&name.as_str()) {
        return Ok(());
    }
    let known = if known.is_empty() { "none was built yet".to_owned() } else { known.join(", ") };
    Err(Refusal::NotFound(format!("there is no component {name}; there is: {known}")))
}
