//! What `components/`, `config/` and `secrets/` of a config repository say.

use super::{Config, parse};
use model::config::{ComponentFile, ProjectFile};
use model::flow::Snapshot;
use model::settings::{Chain, DEFAULT};
use model::{Component, Digest, Environment, Group};
use render::settings::{SecretFile, read_groups, read_secrets};
use std::collections::{BTreeMap, BTreeSet};

/// Groups of environments that hold what is none, or are named as something else is.
pub(super) fn wrong_groups(file: &ProjectFile) -> Option<Vec<String>> {
    let known: Vec<&str> = file.environments.iter().map(Environment::as_str).collect();
    let mut problems = Vec::new();
    for (group, members) in &file.groups {
        if group.as_str() == DEFAULT || known.contains(&group.as_str()) {
            problems.push(format!(
                "project.yaml: groups.{group}: the name is taken: it is that of an environment, or `{DEFAULT}`"
            ));
        }
        for member in members.iter().filter(|member| !file.environments.contains(member)) {
            let known = known.join(", ");
            problems.push(format!("project.yaml: groups.{group}: there is no environment {member}; there is: {known}"));
        }
    }
    (!problems.is_empty()).then_some(problems)
}

/// `components/<name>.yaml`.
pub(super) fn components(
    snapshot: &Snapshot,
    project: Option<&ProjectFile>,
) -> BTreeMap<Component, Result<ComponentFile, String>> {
    let mut found = BTreeMap::new();
    for path in snapshot.files.keys() {
        let Some(name) = path.strip_prefix("components/").and_then(|rest| rest.strip_suffix(".yaml")) else { continue };
        let Ok(name) = name.parse::<Component>() else { continue };
        let parsed = parse::<ComponentFile>(snapshot, path).unwrap_or_else(|| Err(format!("{path} is missing")));
        let checked = parsed.and_then(|file| match project.map(|p| &p.project) {
            _ if file.component != name => {
                Err(format!("{path}: component: {} stands in the file of {name}", file.component))
            }
            Some(project) if file.project != *project => {
                Err(format!("{path}: project: {} is not {project}, to which this repository belongs", file.project))
            }
            _ => Ok(file),
        });
        found.insert(name, checked);
    }
    found
}

impl Config {
    /// Reads `config/` and `secrets/`, and notes in each environment's state what secrets it would get.
    pub(super) fn settings(&mut self, snapshot: &Snapshot) {
        let like: BTreeMap<Environment, Environment> = self
            .environments
            .iter()
            .filter_map(|(name, reading)| Some((name.clone(), reading.as_ref().ok()?.file.like.clone()?)))
            .collect();
        let project = self.project.as_ref().ok();
        let groups = project.map(|file| file.groups.clone()).unwrap_or_default();
        let names: BTreeSet<Environment> =
            self.environments.keys().chain(project.iter().flat_map(|p| &p.environments)).cloned().collect();
        self.chains = names.iter().map(|name| (name.clone(), Chain::of(name, &like, &groups))).collect();
        let places: BTreeSet<String> = names
            .iter()
            .map(ToString::to_string)
            .chain(groups.keys().map(ToString::to_string))
            .chain([DEFAULT.to_owned()])
            .collect();
        let listed: Vec<Chain> = project.iter().flat_map(|p| &p.environments).map(|name| self.chain(name)).collect();
        let (read, mut stray) = read_groups(snapshot);
        for (name, reading) in read {
            let checked = reading.and_then(|group| match group.check(&places, &listed) {
                problems if problems.is_empty() => Ok(group),
                problems => Err(problems),
            });
            self.groups.insert(name, checked.map_err(texts));
        }
        let (read, more) = read_secrets(snapshot);
        stray.extend(more);
        for (name, reading) in read {
            let checked = reading.and_then(|secret| match secret.check(&places) {
                problems if problems.is_empty() => Ok(secret),
                problems => Err(problems),
            });
            self.secrets.insert(name, checked.map_err(texts));
        }
        self.stray = texts(stray);
        let broken: Vec<String> =
            self.secrets.values().filter_map(|secret| secret.as_ref().err()).flatten().cloned().collect();
        for (name, chain) in &self.chains {
            let Some(Ok(state)) = self.environments.get_mut(name) else { continue };
            let holds = |(_, members): &(&Group, &Vec<Environment>)| members.contains(name);
            state.groups = groups.iter().filter(holds).map(|(group, _)| group.clone()).collect();
            let holding = |secret: &SecretFile| Some((secret.name.clone(), sealed(secret, chain)?));
            state.secrets = self.secrets.values().flatten().filter_map(holding).collect();
            if !broken.is_empty() {
                self.environments.insert(name.clone(), Err(broken.clone()));
            }
        }
    }
}

/// Digest of the sealed values that hold in an environment; `None`: none does.
fn sealed(secret: &SecretFile, chain: &Chain) -> Option<Digest> {
    let mut text = String::new();
    for (key, values) in &secret.keys {
        if let Ok(Some((_, value))) = chain.find(values) {
            text.push_str(&format!("{key} {}\n", value.sealed));
        }
    }
    (!text.is_empty()).then(|| Digest::of(text.as_bytes()))
}

fn texts(problems: Vec<yaml::Error>) -> Vec<String> {
    problems.iter().map(ToString::to_string).collect()
}
