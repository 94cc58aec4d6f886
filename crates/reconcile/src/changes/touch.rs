//! What a difference between two states of a config repository is about: which environments, and which rights.

use crate::config::Config;
use model::people::Right;
use model::{Component, Environment, EnvironmentFile, Window};
use std::collections::BTreeSet;

/// Where rules over plans stand: they may be for any environment.
const POLICIES: &str = "policies/";

/// Environments of which something is different: their files, their values, windows and data plane.
pub fn touched(before: &Config, after: &Config, paths: &BTreeSet<String>) -> BTreeSet<Environment> {
    let names: BTreeSet<&Environment> = before.environments.keys().chain(after.environments.keys()).collect();
    let everywhere = paths.iter().any(|path| path.starts_with(POLICIES));
    let differs = |name: &Environment| {
        everywhere
            || before.environments.get(name) != after.environments.get(name)
            || before.chain(name) != after.chain(name)
            || values(before, name) != values(after, name)
            || windows(before, name) != windows(after, name)
            || plane(before, name) != plane(after, name)
    };
    names.into_iter().filter(|name| differs(name)).cloned().collect()
}

/// Of these, the ones whose changes are reviewed, as it stands before.
pub fn reviewed(before: &Config, after: &Config, paths: &BTreeSet<String>) -> Vec<Environment> {
    let touched = touched(before, after, paths);
    touched.into_iter().filter(|name| reviewed_by(before, name)).collect()
}

/// Whether an environment's changes are reviewed.
pub fn reviewed_by(config: &Config, name: &Environment) -> bool {
    matches!(config.environments.get(name), Some(Ok(state)) if state.file.is_reviewed())
}

type Values = Vec<(String, Vec<(String, String)>)>;

/// What every ConfigGroup gives there.
fn values(config: &Config, name: &Environment) -> Values {
    let chain = config.chain(name);
    let one = |group: &render::settings::ConfigGroup| {
        let entries = group.entries().map(|(key, places)| {
            let value = chain.find(places).ok().flatten().map_or(String::new(), |(_, value)| value.text.clone());
            (key.to_owned(), value)
        });
        let mut entries: Vec<(String, String)> = entries.filter(|(_, value)| !value.is_empty()).collect();
        entries.sort();
        (group.name.to_string(), entries)
    };
    config.groups.values().flatten().map(one).filter(|(_, entries)| !entries.is_empty()).collect()
}

/// The windows that have a say there.
fn windows<'c>(config: &'c Config, name: &Environment) -> Vec<&'c Window> {
    let state = config.environments.get(name).and_then(|reading| reading.as_ref().ok());
    let named = state.map(|state| state.file.promotion.windows.as_slice()).unwrap_or_default();
    let components: Vec<&Component> = state.iter().flat_map(|state| state.pins.keys()).collect();
    let has_a_say = |window: &&Window| window.applies(name, named, components.iter().copied());
    config.windows.iter().flatten().filter(has_a_say).collect()
}

fn plane<'c>(config: &'c Config, name: &Environment) -> Option<&'c Result<model::DataPlaneFile, String>> {
    let state = config.environments.get(name)?.as_ref().ok()?;
    config.data_planes.get(state.file.remote()?)
}

/// A right that somebody needs who merges.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Needed {
    /// To push to main.
    Main,
    /// To move builds into this environment.
    Promote(Environment),
    /// To suspend it.
    Suspend(Environment),
}

impl Needed {
    pub fn right(&self) -> Right {
        match self {
            Self::Main => Right::Write,
            Self::Promote(_) => Right::Promote,
            Self::Suspend(_) => Right::Suspend,
        }
    }
}

/// What somebody must be allowed to do to bring these paths to main: builds are moved by who may promote, all else is for
/// who may push.
pub fn needed(before: &Config, after: &Config, paths: &BTreeSet<String>) -> BTreeSet<Needed> {
    paths.iter().map(|path| of_path(before, after, path)).collect()
}

fn of_path(before: &Config, after: &Config, path: &str) -> Needed {
    let inner = path.strip_prefix("environments/").and_then(|rest| rest.strip_suffix(".yaml"));
    let Some(inner) = inner else { return Needed::Main };
    let (name, component) = inner.split_once('/').map_or((inner, None), |(name, component)| (name, Some(component)));
    let Ok(name) = name.parse::<Environment>() else { return Needed::Main };
    let file = |config: &Config| config.environments.get(&name)?.as_ref().ok().map(|state| state.file.clone());
    match (component, file(before), file(after)) {
        (Some(component), Some(_), Some(_)) if component.parse::<Component>().is_ok() => Needed::Promote(name),
        (None, Some(old), Some(new)) if old != new => {
            let released = EnvironmentFile { release: new.release.clone(), ..old.clone() };
            let suspended = EnvironmentFile { suspend: new.suspend, ..old };
            match (released == new, suspended == new) {
                (true, _) => Needed::Promote(name),
                (_, true) => Needed::Suspend(name),
                _ => Needed::Main,
            }
        }
        _ => Needed::Main,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse_config;
    use model::flow::{File, FileMode, Repository, Revision, Snapshot};

    const PIN: &str = "{build: web-1, source: a1, image: x, config: a1}";

    fn files(more: &[(&str, &str)]) -> Snapshot {
        let pin =
            PIN.replace("a1", &format!("a{}", "1".repeat(39))).replace("x,", &format!("x@sha256:{},", "1".repeat(64)));
        let base = [
            ("project.yaml", "project: shop\nenvironments: [dev, prod]\n"),
            ("environments/dev.yaml", "promotion: {strategy: Auto}\n"),
            ("environments/prod.yaml", "changes: reviewed\npromotion: {from: [dev]}\n"),
            ("environments/prod/web.yaml", pin.as_str()),
            ("config/common.yaml", "data: {LEVEL: {default: info}}\n"),
            (
                "windows.yaml",
                "- {name: freeze, kind: deny, from: 2026-12-24, to: 2026-12-26, selector: {environments: [prod]}}\n",
            ),
        ];
        let mut found: Vec<(String, String)> = base.iter().map(|(p, t)| ((*p).to_owned(), (*t).to_owned())).collect();
        for (path, text) in more {
            found.retain(|(known, _)| known != path);
            if !text.is_empty() {
                found.push(((*path).to_owned(), text.replace("PIN", &pin)));
            }
        }
        let file = |text: &str| File { mode: FileMode::Regular, bytes: text.as_bytes().into() };
        let repository = Repository { project: "shop".parse().unwrap(), name: "config".into() };
        let revision = Revision { repository, commit: "0".repeat(40).parse().unwrap() };
        Snapshot { revision, files: found.iter().map(|(path, text)| (path.clone(), file(text))).collect() }
    }

    #[test]
    fn only_what_an_environment_gets_touches_it() {
        let before = parse_config(&files(&[]));
        for (path, text, expect) in [
            ("README.md", "hello\n", ""),
            ("environments/dev.yaml", "promotion: {strategy: Manual}\n", "dev"),
            ("environments/prod.yaml", "changes: direct\npromotion: {from: [dev]}\n", "prod"),
            ("environments/prod/web.yaml", "", "prod"),
            ("environments/prod/api.yaml", "", ""),
            ("config/common.yaml", "data: {LEVEL: {default: info, dev: debug}}\n", "dev"),
            ("config/common.yaml", "data: {LEVEL: {default: info, prod: warn}}\n", "prod"),
            ("config/common.yaml", "data: {LEVEL: {default: warn}}\n", "dev prod"),
            ("config/common.yaml", "data: {LEVEL: {default: info, prod: info}}\n", ""),
            ("windows.yaml", "", "prod"),
            ("policies/images.yaml", "anything\n", "dev prod"),
            ("components/api.yaml", "project: shop\ncomponent: api\nimage: nginx\n", ""),
        ] {
            let after = parse_config(&files(&[(path, text)]));
            let paths = BTreeSet::from([path.to_owned()]);
            let found: Vec<String> = touched(&before, &after, &paths).iter().map(ToString::to_string).collect();
            assert_eq!(found.join(" "), expect, "{path}: {text}");
            let prod = found.iter().filter(|name| *name == "prod").count();
            assert_eq!(reviewed(&before, &after, &paths).len(), prod, "{path}: only prod is reviewed");
        }
    }

    #[test]
    fn who_may_move_builds_may_merge_pins_and_nothing_else() {
        let before = parse_config(&files(&[]));
        let prod: Environment = "prod".parse().unwrap();
        for (path, text, expect) in [
            ("environments/prod/web.yaml", "", Needed::Promote(prod.clone())),
            (
                "environments/prod.yaml",
                "changes: reviewed\npromotion: {from: [dev]}\nrelease: 1.0.0\n",
                Needed::Promote(prod.clone()),
            ),
            (
                "environments/prod.yaml",
                "changes: reviewed\npromotion: {from: [dev]}\nsuspend: true\n",
                Needed::Suspend(prod),
            ),
            ("environments/prod.yaml", "promotion: {from: [dev]}\n", Needed::Main),
            ("environments/prod.yaml", "promotion: {from: [dev]}\nrelease: 1.0.0\n", Needed::Main),
            ("environments/qa/web.yaml", "PIN", Needed::Main),
            ("config/common.yaml", "data: {}\n", Needed::Main),
            ("windows.yaml", "", Needed::Main),
        ] {
            let after = parse_config(&files(&[(path, text)]));
            let found = needed(&before, &after, &BTreeSet::from([path.to_owned()]));
            assert_eq!(found, BTreeSet::from([expect]), "{path}: {text}");
        }
    }
}
