//! Making projects and environments, and taking environments away: one commit each.

use crate::Reconciler;
use crate::config::parse_config;
use crate::requests::{Refusal, known_environment};
use crate::write::{Edit, after, text};
use model::config::{EnvironmentFile, PromotionRule};
use model::flow::{Repository, Snapshot};
use model::ports::{Write, Written};
use model::{CommitId, Environment, NewEnvironment, Project, ProjectFile, Removal};
use std::collections::BTreeMap;

impl Reconciler {
    /// Writes the first commit of a config repository: dev (Auto), staging and prod (Manual). False if there is one already.
    pub async fn init_project(&self, project: &Project, actor: &str) -> Result<bool, Refusal> {
        let repository = Repository::config(project);
        let repositories = &self.0.ports.repositories;
        if repositories.head(&repository, model::MAIN).await?.is_some() {
            return Ok(false);
        }
        let file = |text: String| Some(text.into_bytes());
        let write = Write {
            expect: None,
            files: BTreeMap::from([
                ("project.yaml".into(), file(format!("project: {project}\nenvironments: [dev, staging, prod]\n"))),
                ("environments/dev.yaml".into(), file("promotion:\n  strategy: Auto\n".into())),
                ("environments/staging.yaml".into(), file("promotion:\n  from: [dev]\n  strategy: Manual\n".into())),
                (
                    "environments/prod.yaml".into(),
                    file("production: true\npromotion:\n  from: [staging]\n  strategy: Manual\n".into()),
                ),
            ]),
            author: actor.to_owned(),
            message: format!("Project {project} with dev, staging and prod\n"),
            at: self.0.now(),
        };
        let created = matches!(repositories.write(&repository, &write).await?, Written::Commit(_));
        self.wake();
        self.known(project).await;
        Ok(created)
    }

    /// Makes an environment: its file and its place in `project.yaml`, in one commit.
    pub async fn create_environment(
        &self,
        project: &Project,
        wanted: &NewEnvironment,
        actor: &str,
    ) -> Result<CommitId, Refusal> {
        let name = &wanted.name;
        let commit = self.edit(project, actor, |snapshot| creation(snapshot, wanted).map(Some)).await?;
        commit.ok_or_else(|| Refusal::Refused(format!("{name} did not change anything")))
    }

    /// What would go with an environment; with `confirmed`, it goes.
    pub async fn delete_environment(
        &self,
        project: &Project,
        name: &Environment,
        confirmed: bool,
        actor: &str,
    ) -> Result<Removal, Refusal> {
        let (handle, view) = self.look(project).await?;
        known_environment(&view, name)?;
        let head = self.0.main(&handle).await?.unwrap_or_else(|| view.facts.head.clone());
        let revision = model::flow::Revision { repository: handle.config.clone(), commit: head };
        let snapshot = self.0.ports.repositories.snapshot(&revision, ".").await?;
        let edit = deletion(&snapshot, name)?;
        let outcome = handle.environment(name).map(|e| e.outcome()).unwrap_or_default();
        let namespace = |object: &&model::flow::Step| object.object.kind != "Namespace";
        let mut removal = Removal {
            files: edit.files.iter().filter(|(_, text)| text.is_none()).map(|(path, _)| path.clone()).collect(),
            objects: outcome
                .plan
                .iter()
                .flat_map(|plan| &plan.steps)
                .filter(namespace)
                .map(|s| s.object.to_string())
                .collect(),
            addresses: outcome.components.iter().filter_map(|c| c.url.clone()).collect(),
            commit: None,
        };
        if confirmed {
            removal.commit = self.edit(project, actor, |snapshot| deletion(snapshot, name).map(Some)).await?;
        }
        Ok(removal)
    }
}

pub(crate) fn creation(snapshot: &Snapshot, wanted: &NewEnvironment) -> Result<Edit, Refusal> {
    let name = &wanted.name;
    let config = parse_config(snapshot);
    let project = config.project.clone().map_err(|problems| Refusal::Refused(problems.join("; ")))?;
    if config.environments.contains_key(name) {
        return Err(Refusal::Refused(format!("there is an environment {name} already")));
    }
    for other in wanted.like.iter().chain(&wanted.after) {
        if !project.environments.contains(other) {
            let known: Vec<&str> = project.environments.iter().map(Environment::as_str).collect();
            return Err(Refusal::NotFound(format!("there is no environment {other}; there is: {}", known.join(", "))));
        }
    }
    let model = wanted.like.as_ref().and_then(|like| config.environments[like].as_ref().ok());
    let rule = model.map(|state| state.file.promotion.clone()).unwrap_or_default();
    let file = EnvironmentFile {
        production: wanted.production,
        like: wanted.like.clone(),
        domain: wanted.domain.clone(),
        promotion: PromotionRule {
            from: if wanted.after.is_empty() { rule.from.clone() } else { wanted.after.clone() },
            strategy: wanted.strategy.unwrap_or(rule.strategy),
            ..rule
        },
        ..EnvironmentFile::default()
    };
    let value = serde_json::to_value(&file).expect("files of environments serialise");
    let place = project
        .environments
        .iter()
        .rposition(|e| wanted.after.contains(e))
        .map_or(project.environments.len(), |place| place + 1);
    let mut order = project.environments.clone();
    order.insert(place, name.clone());
    let after_which = place.checked_sub(1).map(|before| &project.environments[before]);
    let mut listed = list(text(snapshot, "project.yaml")?, &project, &order, Some((name, after_which)))?;
    if wanted.own_repo {
        let own = project.own_repositories.iter().chain([name]).cloned().collect();
        listed = own_repositories(&listed, &ProjectFile { environments: order, own_repositories: own, ..project })?;
    }
    let files = BTreeMap::from([
        (format!("environments/{name}.yaml"), Some(yaml::to_string_in_order(&value).into_bytes())),
        ("project.yaml".to_owned(), Some(listed.into_bytes())),
    ]);
    let made = parse_config(&after(snapshot, &files));
    if let Some(Err(problems)) = made.environments.get(name) {
        return Err(Refusal::Refused(problems.join("; ")));
    }
    let like = wanted.like.as_ref().map_or(String::new(), |like| format!(" like {like}"));
    Ok(Edit { files, message: format!("{name}: a new environment{like}\n") })
}

fn deletion(snapshot: &Snapshot, name: &Environment) -> Result<Edit, Refusal> {
    let config = parse_config(snapshot);
    let project = config.project.clone().map_err(|problems| Refusal::Refused(problems.join("; ")))?;
    let needs = |(other, reading): (&Environment, &promote::Reading)| {
        let file = &reading.as_ref().ok()?.file;
        let named = file.promotion.from.contains(name) || file.like.as_ref() == Some(name);
        (named && other != name).then(|| other.to_string())
    };
    let users: Vec<String> = config.environments.iter().filter_map(needs).collect();
    if !users.is_empty() {
        let users = users.join(", ");
        return Err(Refusal::Refused(format!("{name} cannot go: {users} names it in promotion.from or like")));
    }
    let order: Vec<Environment> = project.environments.iter().filter(|e| *e != name).cloned().collect();
    let mut listed = list(text(snapshot, "project.yaml")?, &project, &order, None)?;
    if project.own_repositories.contains(name) {
        let own = project.own_repositories.iter().filter(|e| *e != name).cloned().collect();
        listed = own_repositories(&listed, &ProjectFile { environments: order, own_repositories: own, ..project })?;
    }
    let (file, directory) = (format!("environments/{name}.yaml"), format!("environments/{name}/"));
    let own = snapshot.files.keys().filter(|path| **path == file || path.starts_with(&directory));
    let mut files: BTreeMap<String, Option<Vec<u8>>> = own.map(|path| (path.clone(), None)).collect();
    files.insert("project.yaml".to_owned(), Some(listed.into_bytes()));
    // Groups and values of configuration may name it.
    let known = config.problems();
    let problems: Vec<String> =
        parse_config(&after(snapshot, &files)).problems().into_iter().filter(|one| !known.contains(one)).collect();
    if !problems.is_empty() {
        return Err(Refusal::Refused(format!("{name} cannot go, something is for it: {}", problems.join("; "))));
    }
    Ok(Edit { files, message: format!("{name}: the environment goes\n") })
}

/// `project.yaml` with another list of those that have a repository of their own.
fn own_repositories(text: &str, wanted: &ProjectFile) -> Result<String, Refusal> {
    let names: Vec<&str> = wanted.own_repositories.iter().map(Environment::as_str).collect();
    let line = (!names.is_empty()).then(|| format!("[{}]", names.join(", ")));
    model::edit::set_line("project.yaml", text, "ownRepositories", line.as_deref(), wanted).map_err(Refusal::Refused)
}

/// `project.yaml` with another list of environments, on one line or a line each.
fn list(
    text: &str,
    before: &ProjectFile,
    order: &[Environment],
    new: Option<(&Environment, Option<&Environment>)>,
) -> Result<String, Refusal> {
    let wanted = ProjectFile { environments: order.to_vec(), ..before.clone() };
    let names: Vec<&str> = order.iter().map(Environment::as_str).collect();
    let line = format!("[{}]", names.join(", "));
    let one_line = model::edit::set_line("project.yaml", text, "environments", Some(&line), &wanted);
    let item = |line: &str| {
        line.trim_start().strip_prefix("- ").map(|rest| rest.split('#').next().unwrap_or("").trim().to_owned())
    };
    let mut lines: Vec<String> = Vec::new();
    for line in text.split_inclusive('\n') {
        let listed = item(line);
        let gone = listed
            .as_ref()
            .is_some_and(|l| !names.contains(&l.as_str()) && before.environments.iter().any(|e| e.as_str() == l));
        if !gone {
            lines.push(line.to_owned());
        }
        if let (Some(listed), Some((name, Some(behind)))) = (listed, new)
            && listed == behind.as_str()
        {
            let indent = &line[..line.len() - line.trim_start().len()];
            lines.push(format!("{indent}- {name}\n"));
        }
    }
    let line_each = lines.concat();
    let reads = yaml::from_str::<ProjectFile>(&line_each, "project.yaml").is_ok_and(|read| read == wanted);
    if reads { Ok(line_each) } else { one_line.map_err(Refusal::Refused) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::flow::{File, FileMode, Repository, Revision};

    fn snapshot(project: &str) -> Snapshot {
        let file = |text: &str| File { mode: FileMode::Regular, bytes: text.as_bytes().into() };
        let repository = Repository { project: "shop".parse().unwrap(), name: "config".into() };
        let files = [
            ("project.yaml", project),
            ("environments/dev.yaml", "promotion: {strategy: Auto}\n"),
            ("environments/staging.yaml", "promotion: {from: [dev], approvals: {count: 1}}\n"),
            ("environments/prod.yaml", "promotion: {from: [staging]}\n"),
        ];
        Snapshot {
            revision: Revision { repository, commit: "0".repeat(40).parse().unwrap() },
            files: files.iter().map(|(path, text)| ((*path).to_owned(), file(text))).collect(),
        }
    }

    fn wanted() -> NewEnvironment {
        let env = |name: &str| name.parse().unwrap();
        NewEnvironment {
            name: env("qa"),
            like: Some(env("staging")),
            after: vec![env("dev")],
            strategy: None,
            production: false,
            domain: None,
            own_repo: false,
        }
    }

    fn written(edit: &Edit, path: &str) -> String {
        String::from_utf8(edit.files[path].clone().unwrap()).unwrap()
    }

    #[test]
    fn a_new_environment_is_one_commit_with_its_place_in_the_order() {
        for (before, expect) in [
            (
                "project: shop\nenvironments: [dev, staging, prod] # in order\n",
                "project: shop\nenvironments: [dev, qa, staging, prod] # in order\n",
            ),
            (
                "project: shop\nenvironments:\n  - dev # first\n  - staging\n  - prod\n",
                "project: shop\nenvironments:\n  - dev # first\n  - qa\n  - staging\n  - prod\n",
            ),
        ] {
            let edit = creation(&snapshot(before), &wanted()).unwrap();
            assert_eq!(written(&edit, "project.yaml"), expect);
            let file: EnvironmentFile = yaml::from_str(&written(&edit, "environments/qa.yaml"), "qa").unwrap();
            assert_eq!(file.like, wanted().like);
            assert_eq!((file.promotion.from, file.promotion.approvals.count), (wanted().after, 1));
            assert_eq!(edit.message, "qa: a new environment like staging\n");
        }
    }

    #[test]
    fn what_is_there_or_is_not_is_said() {
        let before = snapshot("project: shop\nenvironments: [dev, staging, prod]\n");
        let twice = NewEnvironment { name: "dev".parse().unwrap(), ..wanted() };
        assert_eq!(creation(&before, &twice).err().unwrap().to_string(), "there is an environment dev already");
        let nowhere = NewEnvironment { after: vec!["nowhere".parse().unwrap()], ..wanted() };
        let error = creation(&before, &nowhere).err().unwrap().to_string();
        assert_eq!(error, "there is no environment nowhere; there is: dev, staging, prod");
    }

    #[test]
    fn an_environment_goes_when_nobody_names_it() {
        let before = snapshot("project: shop\nenvironments:\n- dev\n- staging\n- prod\n");
        let error = deletion(&before, &"staging".parse().unwrap()).err().unwrap().to_string();
        assert_eq!(error, "staging cannot go: prod names it in promotion.from or like");
        let edit = deletion(&before, &"prod".parse().unwrap()).unwrap();
        assert_eq!(edit.files["environments/prod.yaml"], None);
        assert_eq!(written(&edit, "project.yaml"), "project: shop\nenvironments:\n- dev\n- staging\n");
    }
}
