//! Who may change which file of a config repository. That somebody may push there at all was asked before; here it is
//! what a push changes. Rules that others are held to (gates, policies, members) are an administrator's.

use crate::config::Config;
use model::config::EnvironmentFile;
use model::people::{Person, Right, Target, allowed};
use model::{Environment, Project};

/// What a person lacks for turning one state of a config repository into another: one sentence for each file.
pub fn missing<'p>(
    person: &Person,
    project: &Project,
    before: &Config,
    after: &Config,
    paths: impl IntoIterator<Item = &'p String>,
) -> Vec<String> {
    let mut told = Vec::new();
    for path in paths {
        let needed = needed(path, before, after);
        let denied = needed.iter().find_map(|(right, environment)| {
            let production = |environment: &Environment| {
                // Of what cannot be read, nobody knows that it is not.
                let of = |config: &Config| match config.environments.get(environment) {
                    Some(reading) => reading.as_ref().map_or(true, |state| state.file.production),
                    None => false,
                };
                of(before) || of(after)
            };
            let target = match environment {
                Some(environment) => Target::Environment { project, environment, production: production(environment) },
                None => Target::Project(project),
            };
            allowed(person, *right, &target).err()
        });
        told.extend(denied.map(|denied| format!("{path}: {denied}")));
    }
    told
}

/// The rights that a change of one file takes; none: those of every pusher.
fn needed(path: &str, before: &Config, after: &Config) -> Vec<(Right, Option<Environment>)> {
    if path.starts_with(crate::config::policies::DIRECTORY) || path == promote::WINDOWS {
        return vec![(Right::Administer, None)];
    }
    if path == "project.yaml" {
        let rules = |config: &Config| {
            config
                .project
                .as_ref()
                .ok()
                .map(|file| (file.members.clone(), file.verify.clone(), file.own_repositories.clone()))
        };
        // What could not be read before said nothing.
        let (old, new) = (rules(before).unwrap_or_default(), rules(after).unwrap_or_default());
        return if old == new { Vec::new() } else { vec![(Right::Administer, None)] };
    }
    let Some(inner) = path.strip_prefix("environments/") else { return Vec::new() };
    let (name, pin) = match inner.split_once('/') {
        Some((name, _)) => (name, true),
        None => (inner.trim_end_matches(".yaml"), false),
    };
    let Ok(environment) = name.parse::<Environment>() else { return Vec::new() };
    if pin {
        return vec![(Right::Promote, Some(environment))];
    }
    let file = |config: &Config| Some(config.environments.get(&environment)?.as_ref().ok()?.file.clone());
    let (Some(old), Some(new)) = (file(before), file(after)) else {
        // It comes or goes as a whole, or is mended.
        return vec![(Right::Suspend, Some(environment))];
    };
    let mut needed = Vec::new();
    if gates(&old) != gates(&new) {
        needed.push((Right::Administer, None));
    }
    if old.release != new.release {
        needed.push((Right::Promote, Some(environment.clone())));
    }
    let rest = |file: EnvironmentFile| EnvironmentFile { release: None, ..file };
    if rest(old) != rest(new) {
        needed.push((Right::Suspend, Some(environment)));
    }
    needed
}

/// What a movement is held to.
fn gates(file: &EnvironmentFile) -> impl PartialEq + use<> {
    (file.promotion.clone(), file.verify.clone(), file.production, file.allow.clone(), file.changes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse_config;
    use model::flow::{File, FileMode, Repository, Revision, Snapshot};
    use model::people::Grant;
    use std::collections::BTreeMap;

    const ONE: &str = "{build: web-1, source: a123456789012345678901234567890123456789, image: 'x@sha256:0123456789012345678901234567890123456789012345678901234567890123', config: a123456789012345678901234567890123456789}\n";
    const TWO: &str = "{build: web-2, source: a123456789012345678901234567890123456789, image: 'x@sha256:0123456789012345678901234567890123456789012345678901234567890123', config: a123456789012345678901234567890123456789}\n";

    const BASE: [(&str, &str); 7] = [
        ("project.yaml", "project: shop\nenvironments: [dev, prod]\nmembers: {ada: [developer]}\n"),
        ("environments/dev.yaml", "promotion: {strategy: Auto}\n"),
        ("environments/prod.yaml", "production: true\npromotion: {from: [dev]}\n"),
        ("environments/prod/web.yaml", ONE),
        ("environments/dev/web.yaml", ONE),
        ("config/common.yaml", "data: {A: {default: b}}\n"),
        ("windows.yaml", "# none\n"),
    ];

    fn read(change: Option<(&str, &str)>) -> Config {
        let mut files: BTreeMap<&str, &str> = BTreeMap::from(BASE);
        files.extend(change);
        let file = |text: &str| File { mode: FileMode::Regular, bytes: text.as_bytes().into() };
        let repository = Repository { project: "shop".parse().unwrap(), name: "config".into() };
        let revision = Revision { repository, commit: "0".repeat(40).parse().unwrap() };
        let files = files.into_iter().map(|(path, text)| (path.to_owned(), file(text))).collect();
        let snapshot = Snapshot { revision, files };
        parse_config(&snapshot)
    }

    #[test]
    fn each_file_takes_the_right_that_it_is_about() {
        let person = |role: &str, environments: &[&str]| Person {
            name: "ada".into(),
            grants: vec![Grant {
                role: role.parse().unwrap(),
                project: Some("shop".parse().unwrap()),
                branches: Vec::new(),
                environments: environments.iter().map(|name| name.parse().unwrap()).collect(),
            }],
            read_only: false,
        };
        let people =
            [person("admin", &[]), person("operator", &[]), person("operator", &["dev"]), person("developer", &[])];
        // Who may: administrator, operator, operator of dev only, developer.
        for (path, text, who) in [
            ("environments/dev/web.yaml", TWO, "yyyy"),
            ("environments/prod/web.yaml", TWO, "yy.."),
            ("environments/dev.yaml", "suspend: true\npromotion: {strategy: Auto}\n", "yyy."),
            ("environments/prod.yaml", "suspend: true\nproduction: true\npromotion: {from: [dev]}\n", "yy.."),
            ("environments/prod.yaml", "release: 1.0.0\nproduction: true\npromotion: {from: [dev]}\n", "yy.."),
            ("environments/dev.yaml", "promotion: {strategy: Manual}\n", "y..."),
            ("environments/prod.yaml", "production: true\n", "y..."),
            ("environments/prod.yaml", "promotion: {from: [dev]}\n", "y..."),
            ("environments/dev.yaml", "verify: {commits: {}}\npromotion: {strategy: Auto}\n", "y..."),
            ("environments/dev.yaml", "allow: [privileged]\npromotion: {strategy: Auto}\n", "y..."),
            ("environments/qa.yaml", "{}", "yy.."),
            ("windows.yaml", "- {name: w, from: 2026-12-24, to: 2026-12-26}\n", "y..."),
            (
                "project.yaml",
                "project: shop\nenvironments: [dev, prod]\nownRepositories: [prod]\nmembers: {ada: [developer]}\n",
                "y...",
            ),
            ("policies/a.yaml", "rules: [{expression: signed}]\n", "y..."),
            ("project.yaml", "project: shop\nenvironments: [dev, prod]\nmembers: {ada: [admin]}\n", "y..."),
            ("project.yaml", "project: shop\nenvironments: [prod, dev]\nmembers: {ada: [developer]}\n", "yyyy"),
            ("config/common.yaml", "data: {A: {default: c}}\n", "yyyy"),
        ] {
            let (before, after) = (read(None), read(Some((path, text))));
            let may = |person: &Person| {
                missing(person, &"shop".parse().unwrap(), &before, &after, [&path.to_owned()]).is_empty()
            };
            let given: String = people.iter().map(|person| if may(person) { 'y' } else { '.' }).collect();
            assert_eq!(given, who, "{path}: {text}");
        }
        let (before, after) = (read(None), read(Some(("environments/prod.yaml", "production: true\n"))));
        let paths = ["environments/prod.yaml".to_owned()];
        let told = missing(&people[1], &"shop".parse().unwrap(), &before, &after, &paths);
        assert!(
            told.len() == 1
                && told[0].starts_with(
                    "environments/prod.yaml: ada may not administer project shop: the right `administer` is missing"
                ),
            "{told:?}"
        );
    }
}
