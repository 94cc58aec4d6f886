//! Components that describe their own objects: a directory of plain YAML, or an overlay per environment.

use crate::error::Error;
use crate::kustomize::{self, Options};
use crate::own::{Owner, own};
use crate::plain::plain;
use model::flow::{Manifests, Snapshot};
use model::remote::Remotes;
use model::{Component, ComponentFile, Environment, EnvironmentFile, Pin};

/// Everything that the objects of such a component depend on.
#[derive(Clone, Copy)]
pub struct Described<'a> {
    /// What runs, as its repository describes it.
    pub component: &'a ComponentFile,
    /// Which build of it.
    pub pin: &'a Pin,
    /// Where.
    pub environment: &'a Environment,
    /// The environment, then those whose overlay it takes if it has none of its own.
    pub layers: &'a [Environment],
    /// What is different there.
    pub file: &'a EnvironmentFile,
    /// The whole repository at the pin's source, because an overlay may name a base anywhere in it.
    pub repository: &'a Snapshot,
    /// What was fetched of that which the manifests name elsewhere.
    pub remotes: &'a Remotes,
    /// What charts that overlays name are rendered with.
    pub charts: &'a kustomize::Charts,
    /// Overlays that were built before.
    pub cache: &'a kustomize::Cache,
}

/// The objects of a component with `manifests: {path}` in one environment.
///
/// The first of these that is there: the overlay `<path>/overlays/<environment>` of the environment or of one that it
/// is like; `<path>` with a kustomization; `<path>/base` with one; the YAML files below `<path>`.
///
/// # Errors
/// Where the directory cannot be built, or holds what a component may not bring along. [`Error::Remote`] names what is to
/// be fetched first.
pub fn described(input: &Described<'_>) -> Result<Manifests, Error> {
    let name = &input.component.component;
    let manifests = input.component.manifests.as_ref().ok_or_else(|| field(name, "manifests", "is missing"))?;
    alone(input)?;
    let directory = join(&input.component.path, &manifests.path)
        .ok_or_else(|| field(name, "manifests.path", "must lie inside the component's path"))?;
    let built = |directory: &str| {
        let charts = Some(input.charts.clone());
        let options = Options { remotes: input.remotes.clone(), charts, ..Options::default() };
        input.cache.build(input.repository, directory, &options)
    };
    let overlays = join(&directory, "overlays").expect("it lies inside");
    let mut candidates: Vec<String> = input.layers.iter().map(|layer| format!("{overlays}/{layer}")).collect();
    candidates.extend([directory.clone(), format!("{}base", prefix(&directory))]);
    let mut made = Vec::new();
    let mut found = match candidates.iter().find(|candidate| kustomize::is_kustomization(input.repository, candidate)) {
        Some(overlay) => {
            let kustomize::Built { objects, from_charts } = &*built(overlay)?;
            made.clone_from(from_charts);
            Manifests { objects: objects.clone(), ..Manifests::default() }
        }
        None => plain_below(input, &directory, &overlays)?,
    };
    let owner = Owner { component: input.component, pin: input.pin, environment: input.environment, file: input.file };
    let by_chart = |index: usize| made.get(index).copied().unwrap_or_default();
    let described = found.objects.iter().enumerate().filter(|(index, _)| !by_chart(*index)).map(|(_, object)| object);
    let secrets = described.filter(|object| object["kind"] == "Secret");
    let plain = |object: &&serde_json::Value| object.get("data").is_some() || object.get("stringData").is_some();
    found.notes.extend(secrets.filter(plain).map(|secret| {
        format!(
            "Secret {} stands in git in plain text; `trimtab secret set` keeps it encrypted",
            secret["metadata"]["name"]
        )
    }));
    found.objects = own(&owner, found.objects)?;
    Ok(found)
}

/// Fields that only a generated workload has.
fn alone(input: &Described<'_>) -> Result<(), Error> {
    let name = &input.component.component;
    if input.component.workload != Default::default() {
        return Err(field(name, "workload", "stands beside `manifests`: the manifests say how it runs"));
    }
    if input.file.overrides.contains_key(name) {
        let place = format!("environments/{}.yaml: overrides", input.environment);
        return Err(field(name, &place, "the component has manifests: what differs belongs into its overlay"));
    }
    Ok(())
}

fn plain_below(input: &Described<'_>, directory: &str, overlays: &str) -> Result<Manifests, Error> {
    let below = prefix(directory);
    let mut here = Snapshot { revision: input.repository.revision.clone(), files: Default::default() };
    for (path, file) in input.repository.files.range(below.clone()..).take_while(|(path, _)| path.starts_with(&below)) {
        here.files.insert(path.clone(), file.clone());
    }
    let name = &input.component.component;
    if here.files.is_empty() {
        return Err(field(name, "manifests.path", &format!("there is no directory {directory:?} in the repository")));
    }
    let overlays = prefix(overlays);
    if here.files.keys().any(|path| path.starts_with(&overlays)) {
        let mut there: Vec<&str> = here
            .files
            .keys()
            .filter_map(|path| path.strip_prefix(&overlays)?.split_once('/'))
            .map(|(n, _)| n)
            .collect();
        there.dedup();
        let problem = format!(
            "has no overlay for {} (there is: {}) and no base with a kustomization",
            input.environment,
            there.join(", ")
        );
        return Err(field(name, "manifests.path", &problem));
    }
    let here_only = Snapshot {
        files: here
            .files
            .into_iter()
            .filter(|(path, _)| [".yaml", ".yml", ".json"].iter().any(|e| path.ends_with(e)))
            .collect(),
        revision: here.revision,
    };
    plain(&here_only)
}

pub(crate) fn prefix(directory: &str) -> String {
    if directory.is_empty() { String::new() } else { format!("{directory}/") }
}

/// `a/./b/../c` of both, from the top of the repository; `None` if it leads out of the first.
pub(crate) fn join(base: &str, path: &str) -> Option<String> {
    let mut parts: Vec<&str> = base.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
    let floor = parts.len();
    if path.starts_with('/') {
        return None;
    }
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.len() > floor => drop(parts.pop()),
            ".." => return None,
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

pub(crate) fn field(component: &Component, field: &str, problem: &str) -> Error {
    Error::Field { component: component.clone(), field: field.to_owned(), problem: problem.to_owned() }
}
