//! What ran somewhere at some time, made to run somewhere else: one commit.

use crate::Reconciler;
use crate::config::parse_config;
use crate::environments::creation;
use crate::requests::{Refusal, known_environment};
use crate::write::{Edit, after, text};
use model::config::{EnvironmentFile, PromotionRule, Strategy};
use model::flow::Snapshot;
use model::views::Recreated;
use model::{NewEnvironment, Project, Recreate};
use promote::{State, pin_path, pin_text};
use std::collections::BTreeMap;

impl Reconciler {
    /// Pins what ran in an environment at a time in another one, which is made if it is not there. One that is there lets
    /// it in as it lets in any commit: through its gates.
    pub async fn recreate(&self, project: &Project, wanted: &Recreate, actor: &str) -> Result<Recreated, Refusal> {
        let Recreate { environment, time, into } = wanted;
        let (handle, view) = self.look(project).await?;
        known_environment(&view, environment)?;
        if environment == into {
            return Err(Refusal::Refused(format!(
                "{into} itself goes back with `trimtab rollback --env {into} --to BUILD|RELEASE`"
            )));
        }
        let found = self.state_at(&handle, &view, environment, crate::deployments::instant(time)?).await?;
        let found = found.filter(|(state, _)| !state.pins.is_empty());
        let (state, entry) =
            found.ok_or_else(|| Refusal::NotFound(format!("nothing ran in {environment} at {time}")))?;
        let created = !view.config.environments.contains_key(into);
        let commit = self.edit(project, actor, |snapshot| replay(snapshot, wanted, &state)).await?;
        let deployment = self.deployment(&handle, &view, &entry).await?;
        let deployment = deployment.ok_or_else(|| Refusal::NotFound(format!("{environment} cannot be read then")))?;
        Ok(Recreated { deployment, commit, created })
    }
}

fn replay(snapshot: &Snapshot, wanted: &Recreate, state: &State) -> Result<Option<Edit>, Refusal> {
    let Recreate { environment, time, into } = wanted;
    let config = parse_config(snapshot);
    let path = format!("environments/{into}.yaml");
    let (mut files, before) = match config.environments.get(into) {
        Some(Err(problems)) => return Err(Refusal::Refused(problems.join("; "))),
        Some(Ok(before)) => (BTreeMap::new(), before.clone()),
        None => {
            // Configuration and secrets are those of where it ran; nothing stands between it and its pins.
            let new = NewEnvironment {
                name: into.clone(),
                like: Some(environment.clone()),
                after: Vec::new(),
                strategy: Some(Strategy::Manual),
                production: false,
                domain: None,
                own_repo: false,
            };
            let file = EnvironmentFile {
                like: new.like.clone(),
                promotion: PromotionRule { strategy: Strategy::Manual, ..PromotionRule::default() },
                ..EnvironmentFile::default()
            };
            let mut edit = creation(snapshot, &new)?;
            let value = serde_json::to_value(&file).expect("files of environments serialise");
            edit.files.insert(path.clone(), Some(yaml::to_string_in_order(&value).into_bytes()));
            (edit.files, State { file, ..State::default() })
        }
    };
    let made = after(snapshot, &files);
    let file = EnvironmentFile { release: state.file.release.clone(), ..before.file.clone() };
    let version = state.file.release.as_ref().map(ToString::to_string);
    let rules = model::edit::set_line(&path, text(&made, &path)?, "release", version.as_deref(), &file);
    files.insert(path, Some(rules.map_err(Refusal::Refused)?.into_bytes()));
    let own = |component: &model::Component| state.file.release.is_none() || state.beside.contains(component);
    for component in before.pins.keys().filter(|component| !state.pins.contains_key(*component) || !own(component)) {
        files.insert(pin_path(into, component), None);
    }
    for (component, pin) in state.pins.iter().filter(|(component, _)| own(component)) {
        files.insert(pin_path(into, component), Some(pin_text(pin).into_bytes()));
    }
    let stands =
        |path: &String, text: &Option<Vec<u8>>| snapshot.files.get(path).map(|file| file.bytes.to_vec()) == *text;
    files.retain(|path, text| !stands(path, text));
    let message = format!("{into}: what ran in {environment} at {time}\n");
    Ok((!files.is_empty()).then_some(Edit { files, message }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::Pin;
    use model::flow::{File, FileMode, Repository, Revision};

    fn snapshot(files: &[(&str, &str)]) -> Snapshot {
        let file = |text: &str| File { mode: FileMode::Regular, bytes: text.as_bytes().into() };
        let repository = Repository { project: "shop".parse().unwrap(), name: "config".into() };
        Snapshot {
            revision: Revision { repository, commit: "0".repeat(40).parse().unwrap() },
            files: files.iter().map(|(path, text)| ((*path).to_owned(), file(text))).collect(),
        }
    }

    fn pin(build: &str) -> Pin {
        Pin {
            build: build.parse().unwrap(),
            source: "1".repeat(40).parse().unwrap(),
            image: Some(format!("registry.trimtab.internal/shop/web@sha256:{}", "2".repeat(64)).parse().unwrap()),
            chart: None,
            config: "3".repeat(40).parse().unwrap(),
        }
    }

    fn wanted(into: &str) -> Recreate {
        Recreate { environment: "prod".parse().unwrap(), time: "2026-11-01".into(), into: into.parse().unwrap() }
    }

    const PROJECT: &str = "project: shop\nenvironments: [prod]\n";
    const PROD: &str = "production: true\npromotion: {approvals: {count: 1}}\n";

    fn written(edit: &Edit, path: &str) -> Option<String> {
        edit.files.get(path).and_then(|text| Some(String::from_utf8(text.clone()?).unwrap()))
    }

    #[test]
    fn a_new_environment_takes_the_pins_and_no_gates() {
        let web = pin("web-4");
        let state = State { pins: BTreeMap::from([("web".parse().unwrap(), web.clone())]), ..State::default() };
        let before = snapshot(&[("project.yaml", PROJECT), ("environments/prod.yaml", PROD)]);
        let edit = replay(&before, &wanted("replay"), &state).unwrap().unwrap();
        assert_eq!(edit.message, "replay: what ran in prod at 2026-11-01\n");
        assert_eq!(written(&edit, "project.yaml").unwrap(), "project: shop\nenvironments: [prod, replay]\n");
        let file: EnvironmentFile = yaml::from_str(&written(&edit, "environments/replay.yaml").unwrap(), "r").unwrap();
        assert_eq!((file.like, file.promotion), (Some("prod".parse().unwrap()), PromotionRule::default()));
        assert_eq!(written(&edit, "environments/replay/web.yaml").unwrap(), pin_text(&web));
    }

    #[test]
    fn one_that_is_there_keeps_its_rules_and_loses_other_pins() {
        let release = "1.4.0".parse().unwrap();
        let state = State {
            file: EnvironmentFile { release: Some(release), ..EnvironmentFile::default() },
            pins: BTreeMap::from([("web".parse().unwrap(), pin("web-4"))]),
            ..State::default()
        };
        let qa = "# mine\npromotion: {approvals: {count: 1}}\n";
        let old = pin_text(&pin("web-9"));
        let before = snapshot(&[
            ("project.yaml", "project: shop\nenvironments: [qa, prod]\n"),
            ("environments/prod.yaml", PROD),
            ("environments/qa.yaml", qa),
            ("environments/qa/web.yaml", &old),
        ]);
        let edit = replay(&before, &wanted("qa"), &state).unwrap().unwrap();
        assert_eq!(written(&edit, "environments/qa.yaml").unwrap(), format!("{qa}release: 1.4.0\n"));
        assert_eq!(edit.files["environments/qa/web.yaml"], None);
        assert_eq!(edit.files.len(), 2);
        // And what stands so already is no commit.
        let after = after(&before, &edit.files);
        assert!(replay(&after, &wanted("qa"), &state).unwrap().is_none());
    }
}
