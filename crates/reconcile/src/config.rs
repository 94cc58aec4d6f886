//! What stands in repositories, parsed. A commit never changes, so what was read of it is kept.

mod graph;
pub mod listed;
pub mod policies;
mod settings;

use crate::inputs::Known;
use model::config::{ComponentFile, EnvironmentFile, Pin, ProjectFile};
use model::flow::{Repository, Revision, Snapshot};
use model::ports::{PortError, Repositories};
use model::release::{Release, ReleaseFile, Version};
use model::settings::Chain;
use model::{CommitId, Component, DataPlaneFile, DataPlaneName, Environment, Group, Project, Window};
use promote::{Reading, State};
use render::settings::{ConfigGroup, SecretFile};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

/// So many commits are remembered, each a few KiB.
const REMEMBERED_MAX: usize = 4096;

/// A config repository at one commit.
#[derive(Debug, Clone)]
pub struct Config {
    /// `project.yaml`, or what is wrong with it.
    pub project: Result<ProjectFile, Vec<String>>,
    /// Per environment that has a file or a pin; releases are not resolved.
    pub environments: BTreeMap<Environment, Reading>,
    /// `components/<name>.yaml`, and the charts of `charts/requirements.yaml`.
    pub components: BTreeMap<Component, Result<ComponentFile, String>>,
    /// `config/<name>.yaml`.
    pub groups: BTreeMap<Group, Result<ConfigGroup, Vec<String>>>,
    /// `secrets/<name>.yaml`.
    pub secrets: BTreeMap<Group, Result<SecretFile, Vec<String>>>,
    /// Where values for each environment are looked for.
    pub chains: BTreeMap<Environment, Chain>,
    /// Problems with files of `config/` and `secrets/` that belong to none of them.
    stray: Vec<String>,
    /// `dataplanes/<name>.yaml`, or what is wrong with it.
    pub data_planes: BTreeMap<DataPlaneName, Result<DataPlaneFile, String>>,
    /// `environments/<env>.yaml` as people wrote them.
    pub texts: BTreeMap<Environment, String>,
    /// `windows.yaml`, or what is wrong with it.
    pub windows: Result<Vec<Window>, Vec<String>>,
    /// `policies/<name>.yaml`.
    pub policies: policies::Policies,
    /// Values of charts: `components/<name>/values.yaml` and `values-<env>.yaml`, and the same of the list of charts.
    pub values: Snapshot,
    /// What is wrong with the list of charts.
    listed: Vec<String>,
    /// What is wrong with the files in `releases/`.
    pub releases: Vec<String>,
    /// Versions that have a file there.
    pub versions: Vec<Version>,
}

impl Config {
    /// Hosts from which manifests may take what lies elsewhere.
    pub fn remotes(&self) -> &[String] {
        self.project.as_ref().map(|file| file.remotes.as_slice()).unwrap_or_default()
    }

    /// Where the file and the pins of an environment stand; `None`: project.yaml cannot be read.
    pub fn repository(&self, project: &Project, environment: &Environment) -> Option<Repository> {
        let own = self.project.as_ref().ok()?.own_repositories.contains(environment);
        Some(if own { Repository::of_environment(project, environment) } else { Repository::config(project) })
    }

    /// Everything that is wrong, for people: `environments/dev.yaml:3:1: …`.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = self.project.as_ref().err().cloned().unwrap_or_default();
        for reading in self.environments.values() {
            problems.extend(reading.as_ref().err().into_iter().flatten().cloned());
        }
        problems.extend(self.components.values().filter_map(|file| file.as_ref().err()).cloned());
        problems.extend(self.groups.values().filter_map(|group| group.as_ref().err()).flatten().cloned());
        problems.extend(self.secrets.values().filter_map(|secret| secret.as_ref().err()).flatten().cloned());
        problems.extend(self.stray.iter().chain(&self.listed).cloned());
        let mut told = BTreeSet::new();
        problems.retain(|problem| told.insert(problem.clone()));
        problems.extend(self.data_planes.values().filter_map(|read| read.as_ref().err().cloned()));
        problems.extend(self.windows.as_ref().err().into_iter().flatten().cloned());
        problems.extend(self.releases.iter().cloned());
        problems.extend(self.policies.values().filter_map(|policy| policy.as_ref().err()).flatten().cloned());
        problems
    }

    /// The environment, then those that it is like, nearest first.
    pub fn layers(&self, environment: &Environment) -> Vec<Environment> {
        let mut layers = vec![environment.clone()];
        while let Some(Ok(state)) = layers.last().and_then(|last| self.environments.get(last))
            && let Some(next) = state.file.like.clone().filter(|next| !layers.contains(next))
        {
            layers.push(next);
        }
        layers
    }

    /// Where values for an environment are looked for.
    pub fn chain(&self, environment: &Environment) -> Chain {
        self.chains
            .get(environment)
            .cloned()
            .unwrap_or_else(|| Chain::of(environment, &BTreeMap::new(), &BTreeMap::new()))
    }
}

/// Parses a config repository.
pub fn parse_config(snapshot: &Snapshot) -> Config {
    let project = match parse::<ProjectFile>(snapshot, "project.yaml") {
        Some(parsed) => parsed.map_err(|problem| vec![problem]),
        None => Err(vec!["project.yaml is missing".to_owned()]),
    };
    let mut environments: BTreeMap<Environment, Reading> = BTreeMap::new();
    let mut texts = BTreeMap::new();
    for path in snapshot.files.keys().filter(|path| path.starts_with("environments/") && path.ends_with(".yaml")) {
        let inner = path.trim_start_matches("environments/").trim_end_matches(".yaml");
        let (name, component) = inner.split_once('/').map_or((inner, None), |(e, c)| (e, Some(c)));
        let Ok(environment) = name.parse::<Environment>() else { continue };
        if component.is_none()
            && let Some(Ok(text)) = snapshot.text(path)
        {
            texts.insert(environment.clone(), text.to_owned());
        }
        let reading = environments.entry(environment).or_insert_with(|| Ok(State::default()));
        let problem = match component {
            None => match parse::<EnvironmentFile>(snapshot, path) {
                Some(Ok(file)) => {
                    reading.iter_mut().for_each(|state| state.file = file.clone());
                    None
                }
                other => other.and_then(Result::err),
            },
            Some(component) => match (component.parse(), parse::<Pin>(snapshot, path)) {
                (Ok(component), Some(Ok(pin))) if pin.build.component == component => {
                    reading.iter_mut().for_each(|state| {
                        state.pins.insert(component.clone(), pin.clone());
                    });
                    None
                }
                (Ok(component), Some(Ok(pin))) => {
                    Some(format!("{path}: build: {} is no build of {component}", pin.build))
                }
                (Err(error), _) => Some(format!("{path}: {error}")),
                (_, parsed) => parsed.and_then(Result::err),
            },
        };
        if let Some(problem) = problem {
            match reading {
                Ok(_) => *reading = Err(vec![problem]),
                Err(problems) => problems.push(problem),
            }
        }
    }
    for environment in project.iter().flat_map(|p: &ProjectFile| &p.environments) {
        if !snapshot.files.contains_key(&format!("environments/{environment}.yaml")) {
            let own = project.as_ref().is_ok_and(|file| file.own_repositories.contains(environment));
            let file = format!("environments/{environment}.yaml");
            let missing = match own {
                true => format!(
                    "{file} is missing in the repository config.{environment}, project.yaml names it: push it to what `trimtab url --config --env {environment}` prints"
                ),
                false => format!("{file} is missing, project.yaml names it"),
            };
            environments.insert(environment.clone(), Err(vec![missing]));
        }
    }
    let windows = parse_windows(snapshot);
    let name = project.as_ref().ok().map(|file| &file.project);
    for (environment, problem) in graph::problems(&environments, windows.as_deref().ok(), name) {
        environments.insert(environment, Err(vec![problem]));
    }
    let (mut versions, mut releases) = (Vec::new(), Vec::new());
    for (path, version) in snapshot.files.keys().filter_map(|path| Some((path, Version::of_path(path)?))) {
        match version {
            Ok(version) => versions.push(version),
            Err(error) => releases.push(format!("{path}: {error}")),
        }
    }
    let mut components = settings::components(snapshot, project.as_ref().ok());
    let listed = listed::add(snapshot, project.as_ref().ok(), &mut components);
    let mut config = Config {
        components,
        listed,
        project: project.and_then(|file| settings::wrong_groups(&file).map_or(Ok(file), Err)),
        environments,
        groups: BTreeMap::new(),
        secrets: BTreeMap::new(),
        chains: BTreeMap::new(),
        stray: Vec::new(),
        data_planes: data_planes(snapshot),
        texts,
        windows,
        policies: policies::policies(snapshot),
        values: values(snapshot),
        releases,
        versions,
    };
    for (environment, reading) in &mut config.environments {
        let wrong = reading.as_ref().ok().and_then(|state| state.file.verify.as_ref()?.problem());
        if let Some((field, error)) = wrong {
            *reading = Err(vec![format!("environments/{environment}.yaml: {field}: {error}")]);
        }
        let wanted = reading.as_ref().ok().and_then(|state| state.file.remote()).cloned();
        if let Some(name) = wanted.filter(|name| !config.data_planes.contains_key(name)) {
            *reading = Err(vec![unknown_data_plane(environment, &name, &config.data_planes)]);
        }
    }
    config.settings(snapshot);
    config
}

/// The files of values of charts.
fn values(snapshot: &Snapshot) -> Snapshot {
    let is_one = |path: &str| {
        let rest = path.strip_prefix("components/").and_then(|rest| Some(rest.split_once('/')?.1));
        let rest = rest.or_else(|| path.strip_prefix(render::CHARTS)?.strip_prefix('/'));
        rest.is_some_and(|file| file.starts_with("values") && file.ends_with(".yaml"))
    };
    let files = snapshot.files.iter().filter(|(path, _)| is_one(path));
    Snapshot {
        revision: snapshot.revision.clone(),
        files: files.map(|(path, file)| (path.clone(), file.clone())).collect(),
    }
}

fn data_planes(snapshot: &Snapshot) -> BTreeMap<DataPlaneName, Result<DataPlaneFile, String>> {
    let mut found = BTreeMap::new();
    for path in snapshot.files.keys() {
        let Some(name) = path.strip_prefix("dataplanes/").and_then(|file| file.strip_suffix(".yaml")) else { continue };
        let Ok(name) = name.parse::<DataPlaneName>() else { continue };
        let read = match parse::<DataPlaneFile>(snapshot, path) {
            _ if name.is_embedded() => {
                Err(format!("{path}: embedded is the cluster of Trimtab itself: choose another name"))
            }
            Some(read) => read,
            None => continue,
        };
        found.insert(name, read);
    }
    found
}

fn unknown_data_plane<T>(
    environment: &Environment,
    name: &DataPlaneName,
    known: &BTreeMap<DataPlaneName, T>,
) -> String {
    let known: Vec<&str> =
        [DataPlaneName::EMBEDDED].into_iter().chain(known.keys().map(DataPlaneName::as_str)).collect();
    let there = known.join(", ");
    format!(
        "environments/{environment}.yaml: dataPlane: there is no dataplanes/{name}.yaml; there is: {there}. `trimtab dataplane add {name} --kubeconfig FILE` writes it"
    )
}

/// Parses `windows.yaml`; none if there is none.
fn parse_windows(snapshot: &Snapshot) -> Result<Vec<Window>, Vec<String>> {
    let empty = |text: &str| text.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#'));
    if let Some(Ok(text)) = snapshot.text(promote::WINDOWS)
        && empty(text)
    {
        return Ok(Vec::new());
    }
    let windows = match parse::<Vec<Window>>(snapshot, promote::WINDOWS) {
        None => return Ok(Vec::new()),
        Some(parsed) => parsed.map_err(|problem| vec![problem])?,
    };
    let mut problems: Vec<String> = windows.iter().filter_map(|window| promote::windows::check(window).err()).collect();
    for (index, window) in windows.iter().enumerate() {
        if windows[..index].iter().any(|earlier| earlier.name == window.name) {
            problems.push(format!("window {} stands there twice", window.name));
        }
    }
    match problems.is_empty() {
        true => Ok(windows),
        false => Err(problems.into_iter().map(|problem| format!("{}: {problem}", promote::WINDOWS)).collect()),
    }
}

/// Parses the file of a release; `None` if there is none.
pub fn parse_release(snapshot: &Snapshot, version: &Version) -> Option<Result<ReleaseFile, String>> {
    let path = version.path();
    let parsed = parse::<ReleaseFile>(snapshot, &path)?;
    let foreign = |file: &ReleaseFile| {
        let wrong = file.pins.iter().find(|(component, pin)| pin.build.component != **component);
        wrong.map(|(component, pin)| format!("{path}: pins: {} is no build of {component}", pin.build))
    };
    Some(parsed.and_then(|file| foreign(&file).map_or(Ok(file), Err)))
}

/// Name of the file that describes a component.
pub const COMPONENT_FILE: &str = "trimtab.yaml";

/// Parses `trimtab.yaml`; `None` if there is none.
pub fn parse_component(snapshot: &Snapshot) -> Option<Result<ComponentFile, String>> {
    parse(snapshot, COMPONENT_FILE)
}

fn parse<T: serde::de::DeserializeOwned>(snapshot: &Snapshot, path: &str) -> Option<Result<T, String>> {
    Some(match snapshot.text(path)? {
        Ok(text) => yaml::from_str(text, path).map_err(|error| error.to_string()),
        Err(_) => Err(format!("{path}: it is not UTF-8")),
    })
}

/// Reads and remembers.
pub struct Reader {
    repositories: Arc<dyn Repositories>,
    configs: Mutex<HashMap<CommitId, Arc<Config>>>,
    /// What has a tag: a tag never moves.
    releases: Mutex<Arc<BTreeMap<Version, Release>>>,
    components: Mutex<HashMap<Revision, Arc<Option<Result<ComponentFile, String>>>>>,
    /// What components are given, see [`crate::inputs`].
    pub inputs: Mutex<Known>,
    /// See [`crate::evidence`].
    pub evidence: Mutex<crate::evidence::Known>,
}

impl Reader {
    pub fn new(repositories: Arc<dyn Repositories>) -> Self {
        Self {
            repositories,
            configs: Mutex::default(),
            releases: Mutex::default(),
            components: Mutex::default(),
            inputs: Mutex::default(),
            evidence: Mutex::default(),
        }
    }

    /// A config repository at a commit.
    pub async fn config(&self, repository: &Repository, commit: &CommitId) -> Result<Arc<Config>, PortError> {
        if let Some(known) = self.configs.lock().unwrap_or_else(PoisonError::into_inner).get(commit) {
            return Ok(known.clone());
        }
        let revision = Revision { repository: repository.clone(), commit: commit.clone() };
        let config = Arc::new(parse_config(&self.repositories.snapshot(&revision, ".").await?));
        self.remember(commit, &config);
        Ok(config)
    }

    /// From now on this is what stands at a commit.
    pub fn remember(&self, commit: &CommitId, config: &Arc<Config>) {
        let mut known = self.configs.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= REMEMBERED_MAX {
            known.clear();
        }
        known.insert(commit.clone(), config.clone());
    }

    /// The releases that have a tag, of those whose files stand at head, and those files that have none. The same value as
    /// the last time if there are no others.
    pub async fn releases(
        &self,
        repository: &Repository,
        versions: &[Version],
    ) -> Result<(Arc<BTreeMap<Version, Release>>, Vec<Version>), PortError> {
        let known = self.releases.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let (mut found, mut untagged) = (BTreeMap::new(), Vec::new());
        for version in versions.iter().filter(|version| !known.contains_key(*version)) {
            match self.release(repository, version).await? {
                Some(release) => drop(found.insert(version.clone(), release)),
                None => untagged.push(version.clone()),
            }
        }
        if found.is_empty() && known.keys().all(|version| versions.contains(version)) {
            return Ok((known, untagged));
        }
        let still = known.iter().filter(|(version, _)| versions.contains(version));
        found.extend(still.map(|(version, release)| (version.clone(), release.clone())));
        let found = Arc::new(found);
        *self.releases.lock().unwrap_or_else(PoisonError::into_inner) = found.clone();
        Ok((found, untagged))
    }

    async fn release(&self, repository: &Repository, version: &Version) -> Result<Option<Release>, PortError> {
        let tag = format!("refs/tags/{}", version.tag());
        let Some(commit) = self.repositories.head(repository, &tag).await? else { return Ok(None) };
        let revision = Revision { repository: repository.clone(), commit: commit.clone() };
        let snapshot = self.repositories.snapshot(&revision, ".").await?;
        let file = match parse_release(&snapshot, version) {
            Some(Ok(file)) => file,
            Some(Err(problem)) => {
                tracing::warn!(%version, problem, "a release cannot be read");
                return Ok(None);
            }
            None => return Ok(None),
        };
        let log = self.repositories.log(repository, &commit, None, 1).await?;
        let Some(made) = log.first() else { return Ok(None) };
        Ok(Some(Release { commit, author: made.author.clone(), at: made.at, file }))
    }

    /// What an application repository says of its component at a commit; `None` if it says nothing.
    pub async fn component(
        &self,
        revision: &Revision,
    ) -> Result<Arc<Option<Result<ComponentFile, String>>>, PortError> {
        if let Some(known) = self.components.lock().unwrap_or_else(PoisonError::into_inner).get(revision) {
            return Ok(known.clone());
        }
        let file = Arc::new(parse_component(&self.repositories.snapshot(revision, ".").await?));
        let mut known = self.components.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= REMEMBERED_MAX {
            known.clear();
        }
        known.insert(revision.clone(), file.clone());
        Ok(file)
    }
}

/// What describes a component.
#[derive(Debug, Clone)]
pub struct Described {
    pub file: ComponentFile,
    /// Where that stands: path and repository.
    pub place: (String, Repository),
}

impl Reader {
    /// What describes a component: `trimtab.yaml` at its source, or `components/<name>.yaml` in the config repository;
    /// `None` if neither does.
    pub async fn described(
        &self,
        source: &Revision,
        config: &CommitId,
        name: Option<&Component>,
    ) -> Result<Option<Result<Described, String>>, PortError> {
        let repository = Repository::config(&source.repository.project);
        let (own, ours) = (self.component(source).await?, self.config(&repository, config).await?);
        let name = match own.as_ref() {
            Some(Ok(file)) => Some(file.component.clone()),
            _ => name.cloned(),
        };
        let path = name.as_ref().map(|name| ours.place(name));
        let theirs = name.as_ref().and_then(|name| ours.components.get(name)).zip(path);
        Ok(match (own.as_ref(), theirs) {
            (Some(Ok(file)), None) => Some(Ok(Described {
                file: file.clone(),
                place: (COMPONENT_FILE.to_owned(), source.repository.clone()),
            })),
            (Some(Err(problem)), _) => Some(Err(problem.clone())),
            (Some(Ok(file)), Some((_, path))) => Some(Err(twice(&file.component, &source.repository, &path))),
            (None, Some((Ok(file), path))) => Some(Ok(Described { file: file.clone(), place: (path, repository) })),
            (None, Some((Err(problem), _))) => Some(Err(problem.clone())),
            (None, None) => None,
        })
    }
}

/// A description stands in exactly one place.
pub fn twice(component: &Component, repository: &Repository, path: &str) -> String {
    format!(
        "{component} is described in {COMPONENT_FILE} of {repository} and in {path} of the config repository: delete one"
    )
}

#[cfg(test)]
mod tests;
