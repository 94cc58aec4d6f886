//! What the config repository gives to a component: resolved for each environment, and told apart by digests, so that
//! promote can decide without reading anything.

use crate::config::{Config, Described, Reader};
use crate::given;
use model::chart::ChartOrigin;
use model::config::ComponentFile;
use model::flow::{Repository, Revision};
use model::ports::PortError;
use model::release::Version;
use model::settings::Chain;
use model::{BuildId, CommitId, Component, Digest, Environment, Project};
use promote::{Facts, Input, Inputs};
use render::settings::Resolved;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, PoisonError};

/// So many are remembered, each some hundred bytes.
const REMEMBERED_MAX: usize = 20_000;

/// So many of the newest releases are looked at before anybody asks for them: the strategy Auto takes the newest that is
/// certified.
const RELEASES_MAX: usize = 3;

/// (build, config commit, what stands at head) → what it comes to.
pub type Known = HashMap<(Revision, BuildId, CommitId, Digest), Arc<Input>>;

/// The ConfigGroups of a component as they hold in one environment.
///
/// # Errors
/// For people: a group that does not exist, or is broken.
pub fn groups(file: &ComponentFile, config: &Config, chain: &Chain) -> Result<Vec<Resolved>, String> {
    let one = |used: &model::settings::Use| {
        let group = config.groups.get(&used.name).ok_or_else(|| {
            let known: Vec<&str> = config.groups.keys().map(model::Group::as_str).collect();
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            format!("{}: there is no config/{}.yaml; there is: {known}", file.component, used.name)
        })?;
        let group = group.as_ref().map_err(|problems| problems.join("; "))?;
        group
            .resolve(chain, used.mount_path.clone())
            .map_err(|problems| problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))
    };
    file.workload.config_groups.iter().map(one).collect()
}

/// What a component lacks of its secrets in one environment, with the command that sets it.
pub fn lacks(file: &ComponentFile, head: &Config, chain: &Chain) -> Option<String> {
    let lacking = given::sealed(file, head, chain).err();
    let workload = file.workload.secrets.iter().find_map(|used| match head.secrets.get(&used.name) {
        None => Some(format!(
            "{} needs secret {}, which does not exist: trimtab secret set {1} KEY --env {}",
            file.component, used.name, chain.environment
        )),
        Some(Err(problems)) => Some(problems.join("; ")),
        Some(Ok(secret)) => secret.resolve(chain).err().map(|error| format!("{}: {error}", file.component)),
    });
    workload.or(lacking)
}

/// What a description says of how a build runs: which version of its chart there shall be is what makes builds.
fn plain(file: &ComponentFile) -> ComponentFile {
    let mut file = file.clone();
    if let Some(ChartOrigin::Repository(source)) = file.chart.as_mut().map(|rule| &mut rule.origin) {
        source.version.clear();
    }
    file
}

/// What a build is given, for every environment.
fn input(described: &Described, config: &Config, head: &Config, environments: &[Environment]) -> Input {
    let file = &described.file;
    let own = described.place.1.is_config().then(|| plain(file));
    let one = |name: &Environment| {
        let chain = head.chain(name);
        let resolved = groups(file, config, &chain)?;
        if let Some(lack) = lacks(file, head, &chain) {
            return Err(lack);
        }
        let layers = head.layers(name);
        let values = match &file.chart {
            Some(rule) => render::values_of(file, rule, &layers, None, &config.values)?,
            None => Vec::new(),
        };
        let shown: Vec<_> = resolved.iter().map(|g| json!([g.name, g.data, g.files, g.mount_path])).collect();
        let listed = file.chart.as_ref().and_then(|rule| Some((rule.source()?, rule.listed.as_ref()?)));
        let digest = match (values.is_empty(), listed) {
            (true, None) => json!([own, shown]),
            (false, None) => json!([own, shown, values]),
            // Values of the list that are for others are none of its configuration.
            (_, Some((source, listed))) => {
                let values: Vec<_> =
                    values.iter().map(|(_, text)| render::helm::relevant(text, &source.name, listed)).collect();
                json!([own, shown, values, listed])
            }
        };
        Ok(Digest::of(digest.to_string().as_bytes()))
    };
    Input {
        environments: environments.iter().map(|name| (name.clone(), one(name))).collect(),
        secrets: given::named(file),
    }
}

/// What a decision may ask for: what is pinned and admitted, and what could be, each with the configuration that it has
/// and with the newest.
pub async fn inputs(reader: &Reader, project: &Project, facts: &Facts) -> Result<Inputs, PortError> {
    let head = reader.config(&Repository::config(project), &facts.head).await?;
    let standing = Digest::of(json!([facts.environments, scheme(&head)]).to_string().as_bytes());
    let newest = promote::newest_configuration(facts);
    let mut found = Inputs::default();
    for (build, config) in wanted(facts, newest.as_ref()) {
        let Some(record) = facts.build(&build) else { continue };
        let source = Revision { repository: record.spec.repository.clone(), commit: record.spec.commit.clone() };
        let key = (source, build, config, standing.clone());
        let known = reader.inputs.lock().unwrap_or_else(PoisonError::into_inner).get(&key).cloned();
        let input = match known {
            Some(known) => known,
            None => {
                let (source, build, config, _) = &key;
                let at = reader.config(&Repository::config(project), config).await?;
                let described = match reader.described(source, config, Some(&build.component)).await {
                    // Its source is not here: what lacks is said where it is to run.
                    Err(PortError::Terminal(_)) => continue,
                    described => described?,
                };
                let input = match described {
                    Some(Ok(described)) => input(&described, &at, &head, &facts.environments),
                    other => {
                        let nothing =
                            || format!("{build} is described nowhere: {} is missing", crate::config::COMPONENT_FILE);
                        let why = other.and_then(Result::err).unwrap_or_else(nothing);
                        let environments = facts.environments.iter().map(|name| (name.clone(), Err(why.clone())));
                        Input { environments: environments.collect(), secrets: BTreeSet::new() }
                    }
                };
                let input = Arc::new(input);
                let mut known = reader.inputs.lock().unwrap_or_else(PoisonError::into_inner);
                if known.len() >= REMEMBERED_MAX {
                    known.clear();
                }
                known.insert(key.clone(), input.clone());
                input
            }
        };
        found.insert(key.1, key.2, input);
    }
    Ok(found)
}

/// What at head decides beside the configuration itself: where values are looked for, and which keys of secrets have any.
fn scheme(head: &Config) -> serde_json::Value {
    let chains: Vec<_> = head.chains.values().map(|chain| json!([chain.environment, chain.steps])).collect();
    let keys = |values: &BTreeMap<String, render::settings::SecretValue>| values.keys().cloned().collect::<Vec<_>>();
    let secret = |secret: &Result<render::settings::SecretFile, Vec<String>>| match secret {
        Ok(file) => json!(file.keys.iter().map(|(key, values)| json!([key, keys(values)])).collect::<Vec<_>>()),
        Err(problems) => json!(problems),
    };
    let secrets: Vec<_> = head.secrets.iter().map(|(name, file)| json!([name, secret(file)])).collect();
    json!([chains, secrets])
}

pub(crate) fn wanted(facts: &Facts, newest: Option<&CommitId>) -> BTreeSet<(BuildId, CommitId)> {
    let mut wanted = BTreeSet::new();
    let mut builds: BTreeSet<BuildId> = BTreeSet::new();
    let mut latest: BTreeMap<&Component, &BuildId> = BTreeMap::new();
    for build in facts.builds.iter().filter(|b| b.status.phase == model::records::BuildPhase::Succeeded) {
        let id = &build.spec.build;
        let last = latest.entry(&id.component).or_insert(id);
        if id.number > last.number {
            *last = id;
        }
    }
    builds.extend(latest.into_values().cloned());
    let promote::Compared { standing, retracted } = promote::compared(facts);
    for (environment, commit) in &standing {
        if let Some(Ok(state)) = facts.state(commit, environment) {
            builds.extend(state.pins.values().map(|pin| pin.build.clone()));
            wanted.extend(state.pins.values().map(|pin| (pin.build.clone(), pin.config.clone())));
        }
    }
    builds.extend(retracted.iter().map(|(build, _)| build.clone()));
    wanted.extend(retracted);
    for promotion in facts.promotions.iter().filter(|p| !p.status.phase.is_final()) {
        builds.extend(promotion.spec.build.clone());
        if let (Some(build), Some(config)) = (&promotion.spec.build, &promotion.spec.config) {
            wanted.insert((build.clone(), config.clone()));
        }
        if let (Some(component), Some(config)) = (&promotion.spec.component, &promotion.spec.config) {
            let of_it: Vec<_> = builds.iter().filter(|b| b.component == *component).cloned().collect();
            wanted.extend(of_it.into_iter().map(|build| (build, config.clone())));
        }
    }
    for version in releases(facts) {
        let Some(release) = facts.releases.get(version) else { continue };
        for pin in release.file.pins.values() {
            // What somebody went back from may be in it.
            let gone: Vec<_> = builds.iter().filter(|build| build.component == pin.build.component).cloned().collect();
            wanted.extend(gone.into_iter().chain([pin.build.clone()]).map(|build| (build, pin.config.clone())));
        }
    }
    let newest = newest.unwrap_or(&facts.head);
    wanted.extend(builds.into_iter().map(|build| (build, newest.clone())));
    wanted
}

/// Releases that may move: those that are asked for, and the newest.
fn releases(facts: &Facts) -> BTreeSet<&Version> {
    let asked = facts.promotions.iter().filter(|p| !p.status.phase.is_final()).filter_map(|p| p.spec.release.as_ref());
    let newest = facts.releases.keys().rev().take(RELEASES_MAX);
    asked.chain(newest).collect()
}
