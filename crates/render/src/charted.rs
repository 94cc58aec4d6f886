//! Components that are Helm charts: values out of repositories, the release, and what runs when something happens to it.

use crate::described::{field, join, prefix};
use crate::error::Error;
use crate::helm::{self, Capabilities, Chart, Files, KubeVersion, Layers, Lookup, Options};
use crate::open;
use crate::own::{Owner, own};
use crate::plain::{Places, read};
use jiff::Timestamp;
use model::chart::{ChartOrigin, ChartRule, ImageValues, SecretKey};
use model::flow::{FileMode, Hook, HookDeletion, HookEvent, Manifests, Snapshot};
use model::names::workload_namespace;
use model::ports::Capabilities as Can;
use model::settings::Plain;
use model::{ComponentFile, Environment, EnvironmentFile, ImageRef, Pin};

/// Everything that the objects of a chart depend on, beside what `lookup` finds.
pub struct Charted<'a> {
    /// What runs, as its repository describes it.
    pub component: &'a ComponentFile,
    /// Which build of it.
    pub pin: &'a Pin,
    /// Where.
    pub environment: &'a Environment,
    /// What the environment allows.
    pub file: &'a EnvironmentFile,
    /// The chart of the pin.
    pub chart: &'a Chart,
    /// Names and contents of files of values, later ones winning; see [`values_of`].
    pub values: Vec<(String, String)>,
    /// What passwords and keys follow from: secret, and the same as long as the component is in the environment.
    pub seed: [u8; 32],
    /// What `now` gives: when the build was asked for.
    pub now: Timestamp,
    /// Something of it was there before.
    pub is_upgrade: bool,
    /// How many pins of it stood in the environment since it came, with this one.
    pub revision: u32,
    /// What the environment's cluster can do; without it, what the embedded one can.
    pub capabilities: Option<&'a Can>,
    /// Secrets that values are given.
    pub secrets: &'a [Given],
    /// The cluster that `lookup` asks.
    pub lookup: Option<Lookup>,
}

/// A secret of the environment for a value of a chart.
#[derive(Debug)]
pub struct Given {
    /// Path of the value: `auth.password`.
    pub path: String,
    /// Which.
    pub secret: SecretKey,
    /// In the open.
    pub value: Plain,
}

/// The objects and hooks of a component with a chart in one environment.
///
/// # Errors
/// What the chart, its values or templates have wrong, in helm's words; what the environment does not allow; a secret that
/// would stand outside of a Secret. No message holds a secret.
pub fn charted(input: Charted<'_>) -> Result<Manifests, Error> {
    let component = input.component;
    let name = &component.component;
    let rule = component.chart.as_ref().ok_or_else(|| field(name, "chart", "is missing"))?;
    alone(component, input.file, input.environment)?;
    let mut options = Options {
        seed: input.seed,
        now: input.now,
        lookup: input.lookup,
        capabilities: capabilities(input.capabilities),
        ..Options::default()
    };
    options.release.name = rule.release(name).to_owned();
    options.release.namespace = workload_namespace(&component.project, input.environment);
    (options.release.is_upgrade, options.release.revision) = (input.is_upgrade, input.revision);
    let mut layers = Layers { files: input.values, ..Layers::default() };
    if let (Some(image), Some(values)) = (&input.pin.image, &rule.image) {
        layers.set_string = image_values(values, image, input.pin.build.number);
    }
    layers.set_literal = open::settings(input.secrets).map_err(|problem| field(name, "chart.secrets", &problem))?;
    let failed = |error: helm::Error| field(name, "chart", &open::without(&error.to_string(), input.secrets));
    let around = rule.listed.as_ref().map(|listed| input.chart.alone(listed));
    let rendered = helm::render(around.as_ref().unwrap_or(input.chart), &layers, options).map_err(failed)?;

    let mut places = Places::new();
    let mut objects = Vec::new();
    for (path, text) in &rendered.crds {
        objects.extend(read(text, path, &mut places)?);
    }
    for document in &rendered.manifests {
        objects.extend(read(&document.text, &document.path, &mut places)?);
    }
    let (count, mut hooks) = (objects.len(), Vec::new());
    for hook in &rendered.hooks {
        for object in read(&hook.document.text, &hook.document.path, &mut Places::new())? {
            hooks.push(hook);
            objects.push(object);
        }
    }
    open::check(&objects, input.secrets).map_err(|problem| field(name, "chart.secrets", &problem))?;
    let owner = Owner { component, pin: input.pin, environment: input.environment, file: input.file };
    let mut objects = own(&owner, objects)?;
    let owned = objects.split_off(count);
    let mut hooks: Vec<Hook> = owned.into_iter().zip(hooks).map(|(object, hook)| of(object, hook)).collect();
    // What is rendered stands by kind already; of equal weight that order stays.
    hooks.sort_by_key(|hook| hook.weight);
    Ok(Manifests { objects, hooks, notes: Vec::new() })
}

fn capabilities(of: Option<&Can>) -> Capabilities {
    let parse = |version: &str| KubeVersion::parse(version).ok();
    let own = || parse(object::schema::KUBERNETES_VERSION).unwrap_or_default();
    match of {
        None => Capabilities { kube_version: own(), ..Capabilities::default() },
        Some(can) => Capabilities {
            kube_version: parse(&can.version).unwrap_or_else(own),
            api_versions: can.api_versions.clone(),
        },
    }
}

fn of(object: serde_json::Value, hook: &helm::Hook) -> Hook {
    let deleted = hook.delete_policies.iter().filter_map(|policy| match policy.as_str() {
        "hook-succeeded" => Some(HookDeletion::Succeeded),
        "hook-failed" => Some(HookDeletion::Failed),
        _ => None,
    });
    let events = hook.events.iter().filter_map(|event| HookEvent::parse(event));
    Hook { object, events: events.collect(), weight: hook.weight, deleted: deleted.collect() }
}

/// Fields that only a generated workload has.
fn alone(component: &ComponentFile, file: &EnvironmentFile, environment: &Environment) -> Result<(), Error> {
    let name = &component.component;
    if component.manifests.is_some() {
        return Err(field(name, "manifests", "stands beside `chart`: one of them says what runs"));
    }
    if component.workload != Default::default() {
        return Err(field(name, "workload", "stands beside `chart`: the chart's values say how it runs"));
    }
    if file.overrides.contains_key(name) {
        let place = format!("environments/{environment}.yaml: overrides");
        return Err(field(name, &place, "the component is a chart: what differs belongs into its values"));
    }
    Ok(())
}

/// The values that name the image, as `--set-string` takes them.
fn image_values(values: &ImageValues, image: &ImageRef, number: u64) -> Vec<String> {
    let (registry, path) = image.name().split_once('/').unwrap_or(("", image.name()));
    let digest = image.digest();
    let tag = match values.digest {
        Some(_) => number.to_string(),
        // `repository:42@sha256:…` is a name that any runtime reads.
        None => format!("{number}@{digest}"),
    };
    let repository = if values.registry.is_some() { path } else { image.name() };
    let pairs = [
        (&values.name, image.as_str()),
        (&values.registry, registry),
        (&values.repository, repository),
        (&values.tag, tag.as_str()),
        (&values.digest, digest.as_str()),
    ];
    pairs.iter().filter_map(|(path, value)| Some(format!("{}={value}", path.as_ref()?))).collect()
}

/// The regular files of a directory of a snapshot, with paths from its top. `path` is looked for from `base`.
///
/// # Errors
/// The path leads out of the repository, or there is nothing.
pub fn chart_files(snapshot: &Snapshot, base: &str, path: &str) -> Result<Files, String> {
    let mut directory = base.to_owned();
    let mut rest = path;
    // `../` may lead up to the top of the repository and no further.
    while let Some(after) = rest.strip_prefix("../").or_else(|| (rest == "..").then_some("")) {
        let clean = directory.trim_matches('/');
        if matches!(clean, "" | ".") {
            return Err(format!("{path} leads out of the repository"));
        }
        directory = clean.rsplit_once('/').map_or(String::new(), |(above, _)| above.to_owned());
        rest = after;
    }
    let directory = join(&directory, rest).ok_or_else(|| format!("{path} leads out of the repository"))?;
    let below = prefix(&directory);
    let found = snapshot.files.range(below.clone()..).take_while(|(path, _)| path.starts_with(&below));
    let regular = found.filter(|(_, file)| file.mode != FileMode::Symlink);
    let files: Files = regular.map(|(path, file)| (path[below.len()..].to_owned(), file.bytes.clone())).collect();
    match files.is_empty() {
        true => Err(format!("there is no directory {directory:?} in the repository")),
        false => Ok(files),
    }
}

/// Directory of the config repository with a list of charts: `requirements.yaml`, and the values of all of them.
pub const CHARTS: &str = "charts";

/// The word in the name of a file of values that the environment stands for.
const ENVIRONMENT: &str = "{environment}";

/// The files of values of a component: those of its own repository, and over them `components/<component>/values.yaml`
/// and `values-<environment>.yaml` of the config repository; of a chart of the list, those of the list. A file for an environment is that of the first of
/// `layers` that has one. `source` is absent if the component stands in the config repository alone.
///
/// # Errors
/// A file that is declared and is not there, or is not UTF-8.
pub fn values_of(
    component: &ComponentFile,
    rule: &ChartRule,
    layers: &[Environment],
    source: Option<&Snapshot>,
    config: &Snapshot,
) -> Result<Vec<(String, String)>, String> {
    let mut found = Vec::new();
    if let Some(source) = source {
        let declared = rule.values.is_some();
        let directory = match &rule.origin {
            // The chart's own values are in it already.
            ChartOrigin::Path(path) => join(&component.path, path).unwrap_or_default(),
            ChartOrigin::Repository(_) => component.path.clone(),
        };
        let standard = match &rule.origin {
            ChartOrigin::Path(_) => vec!["values-{environment}.yaml".to_owned()],
            ChartOrigin::Repository(_) => {
                vec!["values.yaml".to_owned(), "values-{environment}.yaml".to_owned()]
            }
        };
        let base = if declared { component.path.as_str() } else { directory.as_str() };
        for name in rule.values.as_ref().unwrap_or(&standard) {
            let path =
                join(base, name).ok_or_else(|| format!("chart.values: {name} leads out of the component's path"))?;
            match first(source, &path, layers)? {
                Some(file) => found.push(file),
                None if declared && !name.contains(ENVIRONMENT) => {
                    return Err(format!("chart.values: there is no file {path} in {}", source.revision.repository));
                }
                None => {}
            }
        }
    }
    let own = format!("components/{}", component.component);
    let directory = if rule.listed.is_some() { CHARTS } else { own.as_str() };
    for name in ["values.yaml", "values-{environment}.yaml"] {
        found.extend(first(config, &format!("{directory}/{name}"), layers)?);
    }
    Ok(found)
}

fn first(snapshot: &Snapshot, path: &str, layers: &[Environment]) -> Result<Option<(String, String)>, String> {
    let names: Vec<String> = match path.contains(ENVIRONMENT) {
        true => layers.iter().map(|layer| path.replace(ENVIRONMENT, layer.as_str())).collect(),
        false => vec![path.to_owned()],
    };
    let found = names.into_iter().find_map(|name| Some((snapshot.text(&name)?, name)));
    match found {
        None => Ok(None),
        Some((Ok(text), name)) => Ok(Some((name, text.to_owned()))),
        Some((Err(_), name)) => Err(format!("{name} is not UTF-8")),
    }
}
