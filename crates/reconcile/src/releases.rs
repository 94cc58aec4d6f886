//! Releases, for people: making one, listing them, and what differs between any two sets of pins.

use crate::Reconciler;
use crate::config::listed::LIST;
use crate::config::{Described, parse_release};
use crate::project::{Handle, View};
use crate::requests::{Refusal, known_environment};
use crate::settle::until;
use crate::sketch::{Sketch, Values};
use crate::write::{Edit, after};
use jiff::Timestamp;
use model::flow::{Change, ObjectId, Repository, Revision};
use model::journal::{EntryKind, detail};
use model::release::{Notes, ReleaseFile, Version};
use model::views::{ComponentDifference, Difference, ManifestDifference, ReleaseStatus};
use model::{Component, Environment, Pin, Project};
use promote::State;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// A release has its tag within this.
const TAGGED: Duration = Duration::from_secs(10);
/// Characters of the hash at the end of a ConfigMap's name.
const HASH: usize = 10;
/// Commits of one component that are listed.
const COMMITS_MAX: usize = 200;

impl Reconciler {
    /// Makes a release of what is admitted and settled in an environment: a commit, and a tag on it.
    pub async fn create_release(
        &self,
        project: &Project,
        version: &Version,
        from: &Environment,
        actor: &str,
    ) -> Result<ReleaseStatus, Refusal> {
        let (handle, view) = self.look(project).await?;
        let settled = until(&handle, TAGGED, || handle.view().filter(|view| view.settled)).await;
        let view = settled.unwrap_or(view);
        let pins = promote::draft(&view.facts, version, from).map_err(Refusal::Refused)?;
        let notes = self.notes(&view, version, &pins).await?;
        let file = ReleaseFile { pins, notes };
        let path = version.path();
        let body = yaml::to_string_in_order(&serde_json::to_value(&file).expect("releases serialise"));
        let decide = |snapshot: &_| {
            if parse_release(snapshot, version).is_some() {
                return Err(Refusal::Refused(format!("{path} exists already, and a release never changes")));
            }
            let files = BTreeMap::from([(path.clone(), Some(body.clone().into_bytes()))]);
            match parse_release(&after(snapshot, &files), version) {
                Some(Ok(read)) if read == file => {
                    let message = format!("release {version} from {from}\n\n{}: {version}\n", promote::TRAILER_RELEASE);
                    Ok(Some(Edit { files, message }))
                }
                _ => Err(Refusal::Refused(format!("{path} would not read as it was meant"))),
            }
        };
        self.edit(project, actor, decide).await?;
        handle.wake();
        let stands = || status(&handle.view()?, version);
        let made = until(&handle, TAGGED, stands).await;
        made.ok_or_else(|| {
            Refusal::Refused(format!("{path} stands, its tag is on its way: trimtab release show {version}"))
        })
    }

    /// All releases, newest first.
    pub async fn releases(&self, project: &Project) -> Result<Vec<ReleaseStatus>, Refusal> {
        let (_, view) = self.look(project).await?;
        Ok(view.facts.releases.keys().rev().filter_map(|version| status(&view, version)).collect())
    }

    /// What differs between two releases, environments or times: `1.4.0`, `staging`, `staging@2026-11-01T14:00`.
    pub async fn difference(&self, project: &Project, from: &str, to: &str) -> Result<Difference, Refusal> {
        let (handle, view) = self.look(project).await?;
        let before = self.side(&handle, &view, from).await?;
        let after = self.side(&handle, &view, to).await?;
        let names: BTreeSet<&Component> = before.state.pins.keys().chain(after.state.pins.keys()).collect();
        let mut components = Vec::new();
        for name in names {
            let (old, new) = (before.state.pins.get(name), after.state.pins.get(name));
            let commits = match (old, new) {
                (Some(old), Some(new)) => self.commits(&view, old, new).await?,
                _ => Vec::new(),
            };
            let configuration = match (old, new) {
                (Some(old), Some(new)) => {
                    let mut given = self.given(&handle, &view, old).await?;
                    given.append(&mut self.given(&handle, &view, new).await?);
                    let of_it = |path: &String| given.iter().any(|place| path.starts_with(place));
                    self.between(&handle.config, &old.config, &new.config, of_it).await?
                }
                _ => Vec::new(),
            };
            let manifests = manifests(
                &self.rendered(&handle, &view, &before, old).await?,
                &self.rendered(&handle, &view, &after, new).await?,
            );
            if old != new || !manifests.is_empty() {
                components.push(ComponentDifference {
                    component: name.clone(),
                    before: old.cloned(),
                    after: new.cloned(),
                    commits,
                    configuration,
                    manifests,
                });
            }
        }
        Ok(Difference { from: before.label, to: after.label, components })
    }

    /// One side of a comparison.
    async fn side(&self, handle: &Handle, view: &View, text: &str) -> Result<Side, Refusal> {
        if let Ok(version) = text.parse::<Version>() {
            let release = view.facts.releases.get(&version);
            let release = release.ok_or_else(|| Refusal::NotFound(format!("there is no release {version}")))?;
            // Seen without an environment: what is in common.
            let state = State { pins: release.file.pins.clone(), ..State::default() };
            return Ok(Side { label: text.to_owned(), state, place: None });
        }
        let (name, at) = text.split_once('@').map_or((text, None), |(name, at)| (name, Some(at)));
        let unknown = |_| {
            Refusal::Refused(format!(
                "{text:?} is neither a release (1.4.0) nor an environment (staging, staging@2026-11-01T14:00)"
            ))
        };
        let environment: Environment = name.parse().map_err(unknown)?;
        known_environment(view, &environment)?;
        let time = at.map(crate::deployments::instant).transpose()?;
        let state = match time {
            None => admitted(view, &environment, None),
            Some(time) => self.state_at(handle, view, &environment, time).await?.map(|(state, _)| state),
        };
        let state = state.unwrap_or_default();
        let label = state.label().map_or_else(|| text.to_owned(), |label| format!("{text} ({label})"));
        Ok(Side { label, state, place: Some(environment) })
    }

    /// Commits of the application between two pins.
    async fn commits(&self, view: &View, old: &Pin, new: &Pin) -> Result<Vec<String>, Refusal> {
        let repository = |pin: &Pin| view.facts.build(&pin.build).map(|build| build.spec.repository.clone());
        match (repository(old), repository(new)) {
            (Some(before), Some(after)) if before == after => {
                self.between(&after, &old.source, &new.source, |_| true).await
            }
            _ => Ok(Vec::new()),
        }
    }

    /// Where the configuration of a pin stands: its groups, and what describes it or its chart's values in the config
    /// repository. Beginnings of paths.
    async fn given(&self, handle: &Handle, view: &View, pin: &Pin) -> Result<BTreeSet<String>, Refusal> {
        let name = &pin.build.component;
        let own = view.config.place(name);
        let listed = own == LIST;
        let mut places = BTreeSet::from([format!("components/{name}/"), own]);
        places.extend(listed.then(|| format!("{}/values", render::CHARTS)));
        if let Some(build) = view.facts.build(&pin.build) {
            let source = Revision { repository: build.spec.repository.clone(), commit: pin.source.clone() };
            if let Some(Ok(Described { file, .. })) =
                handle.reader(&self.0).described(&source, &pin.config, Some(name)).await?
            {
                places.extend(file.workload.config_groups.iter().map(|used| format!("config/{}.yaml", used.name)));
            }
        }
        Ok(places)
    }

    /// Commits between two of a repository that touch such paths, newest first; with `-` those that going there takes
    /// away. Merges and empty commits name no paths and are among them.
    async fn between(
        &self,
        repository: &Repository,
        old: &model::CommitId,
        new: &model::CommitId,
        of_it: impl Fn(&String) -> bool,
    ) -> Result<Vec<String>, Refusal> {
        if old == new {
            return Ok(Vec::new());
        }
        let repositories = &self.0.ports.repositories;
        let (sign, tip, until) = match repositories.is_ancestor(repository, new, old).await? {
            true => ("- ", old, new),
            false => ("", new, old),
        };
        let log = repositories.log(repository, tip, Some(until), COMMITS_MAX).await?;
        let touching = log.iter().filter(|c| c.paths.is_empty() || c.paths.iter().any(&of_it));
        Ok(touching.map(|c| format!("{sign}{} {}: {}", c.id.short(), c.author, c.subject)).collect())
    }

    /// The objects of a pin; none if it is not there or cannot be rendered.
    async fn rendered(
        &self,
        handle: &Handle,
        view: &View,
        side: &Side,
        pin: Option<&Pin>,
    ) -> Result<Vec<Value>, Refusal> {
        let Some((pin, build)) = pin.and_then(|pin| Some((pin, view.facts.build(&pin.build)?))) else {
            return Ok(Vec::new());
        };
        let any: Environment = "any".parse().expect("a label is a name");
        let sketch = Sketch {
            inner: &self.0,
            handle,
            environment: side.place.as_ref().unwrap_or(&any),
            state: &side.state,
            config: &view.config,
            head: &view.config,
            overlays: &render::kustomize::Cache::default(),
        };
        let objects = sketch.objects(pin, &build.spec.repository, build.spec.created, Values::OfPin).await?;
        // What cannot be rendered is shown as nothing.
        Ok(objects.unwrap_or_default())
    }

    /// What is new since the release before.
    async fn notes(&self, view: &View, version: &Version, pins: &BTreeMap<Component, Pin>) -> Result<Notes, Refusal> {
        let Some((since, last)) = view.facts.releases.range(..version.clone()).next_back() else {
            return Ok(Notes::default());
        };
        let mut notes = Notes { since: Some(since.clone()), ..Notes::default() };
        for (component, pin) in pins {
            let Some(before) = last.file.pins.get(component) else { continue };
            let commits = self.commits(view, before, pin).await?;
            notes.commits.extend(commits.into_iter().map(|commit| format!("{component} {commit}")));
        }
        let issues: BTreeSet<u64> = notes.commits.iter().flat_map(|commit| issues(commit)).collect();
        notes.issues = issues.into_iter().map(|number| format!("#{number}")).collect();
        Ok(notes)
    }
}

/// Pins, and where they are looked at.
struct Side {
    label: String,
    state: State,
    place: Option<Environment>,
}

/// What is admitted in an environment, or was at a time.
pub(crate) fn admitted(view: &View, environment: &Environment, at: Option<Timestamp>) -> Option<promote::State> {
    let of_it = |e: &&model::journal::Entry| {
        e.kind == EntryKind::Admitted && e.environment.as_ref() == Some(environment) && at.is_none_or(|at| e.at <= at)
    };
    let commit = view.facts.journal.iter().rev().find(of_it)?.commit.as_ref()?;
    view.facts.state(commit, environment)?.as_ref().ok().cloned()
}

fn status(view: &View, version: &Version) -> Option<ReleaseStatus> {
    let (facts, release) = (&view.facts, view.facts.releases.get(version)?);
    let named = version.to_string();
    let certified = facts.journal.iter().filter(|e| e.kind == EntryKind::Certified);
    let certified = certified.filter(|e| e.detail(detail::RELEASE) == Some(&named));
    let runs = |name: &&Environment| {
        admitted(view, name, None).is_some_and(|state| state.file.release.as_ref() == Some(version))
    };
    Some(ReleaseStatus {
        version: version.clone(),
        commit: release.commit.clone(),
        author: release.author.clone(),
        at: release.at,
        file: release.file.clone(),
        certified: certified.filter_map(|e| e.environment.clone()).collect(),
        environments: facts.environments.iter().filter(runs).cloned().collect(),
    })
}

/// Numbers of issues that a text names: `#12`.
fn issues(text: &str) -> impl Iterator<Item = u64> {
    text.split('#').skip(1).filter_map(|rest| {
        let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
        digits.parse().ok()
    })
}

/// Field by field, objects matched by kind and name.
fn manifests(before: &[Value], after: &[Value]) -> Vec<ManifestDifference> {
    let key = |object: &Value| {
        let id = ObjectId::of(object);
        let group = if id.group.is_empty() { String::new() } else { format!(".{}", id.group) };
        (format!("{}{group} ", id.kind), id.name)
    };
    // The name of a ConfigMap, or of a Job that tests, tells what is in it; what was in it before is the same one, if there
    // is no other.
    let stem = |(kind, name): (String, String)| match name.rsplit_once('-') {
        Some((stem, hash)) if ["ConfigMap ", "Job.batch "].contains(&kind.as_str()) && hash.len() == HASH => {
            format!("{kind}{stem}")
        }
        _ => format!("{kind}{name}"),
    };
    let by_key = |objects: &[Value]| -> BTreeMap<String, Value> {
        let alike = |object: &Value| objects.iter().filter(|other| stem(key(other)) == stem(key(object))).count();
        let name = |object: &Value| match alike(object) {
            1 => stem(key(object)),
            _ => format!("{}{}", key(object).0, key(object).1),
        };
        objects.iter().map(|object| (name(object), object.clone())).collect()
    };
    let (old, new) = (by_key(before), by_key(after));
    let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let mut found = Vec::new();
    for name in names {
        let change = |path: String, before, after| ManifestDifference {
            object: name.clone(),
            change: Change { path, before, after },
        };
        match (old.get(name), new.get(name)) {
            (Some(old), Some(new)) => {
                let schema = object::Gvk::of(new).and_then(|gvk| object::schema::schema_for(&gvk));
                let schema = schema.unwrap_or_else(object::Schema::any);
                let differences = object::diff(&bare(old), &bare(new), &schema);
                found.extend(differences.into_iter().map(|d| change(d.path, d.before, d.after)));
            }
            (old, new) => found.push(change(String::new(), old.map(|_| json!("there")), new.map(|_| json!("there")))),
        }
    }
    found
}

/// Without where it stands: that differs between any two environments.
fn bare(object: &Value) -> Value {
    let mut object = object.clone();
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("namespace");
        // Objects are compared by name, without the hash at its end.
        metadata.remove("name");
    }
    for pointer in
        ["/metadata/labels", "/spec/template/metadata/labels", "/spec/selector/matchLabels", "/spec/selector"]
    {
        if let Some(labels) = object.pointer_mut(pointer).and_then(Value::as_object_mut) {
            labels.remove(model::LABEL_ENVIRONMENT);
            labels.remove("app.kubernetes.io/instance");
        }
    }
    if let Some(annotations) = object.pointer_mut("/spec/template/metadata/annotations").and_then(Value::as_object_mut)
    {
        annotations.remove("trimtab.dev/template");
    }
    object
}

#[cfg(test)]
mod tests {
    use super::issues;

    #[test]
    fn issues_are_numbers_behind_a_hash() {
        let found: Vec<u64> = issues("1234abcd Ada: fixes #12, #7 (see shop#90) and # nothing").collect();
        assert_eq!(found, [12, 7, 90]);
    }
}
