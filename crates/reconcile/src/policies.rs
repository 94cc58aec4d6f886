//! What people ask about policies, and adding some.

use crate::Reconciler;
use crate::config::parse_config;
use crate::config::policies::DIRECTORY;
use crate::evidence::Law;
use crate::requests::{Refusal, known_environment};
use crate::write::{Edit, after};
use model::flow::{File, FileMode, Repository, Revision, Snapshot};
use model::views::{PolicyResult, PolicyStatus};
use model::{CommitId, Environment, Grant, Project};
use plan::policy::STARTER;
use std::collections::BTreeMap;

impl Reconciler {
    /// What `project.yaml` of every project makes of somebody.
    pub fn members(&self, name: &str) -> Vec<Grant> {
        let mut grants = Vec::new();
        for handle in self.projects() {
            let Some(view) = handle.view() else { continue };
            let Ok(file) = &view.config.project else { continue };
            let own = file.members.iter().filter(|(member, _)| member.as_str() == name);
            grants.extend(own.flat_map(|(_, all)| all).map(|one| Grant::of(&handle.name, one)));
        }
        grants
    }

    /// Environments whose workloads stand on the embedded data plane, and whether each is production; `None` while the
    /// project was not looked at.
    pub fn workloads(&self, project: &Project) -> Option<Vec<(Environment, bool)>> {
        let handle = self.project(project)?;
        let view = handle.view()?;
        let target = |name: &Environment| handle.environment(name).and_then(|e| e.target());
        let here = view.facts.environments.iter().filter_map(|name| {
            let target = target(name).filter(|target| target.plane.is_none() && !target.removed)?;
            Some((name.clone(), target.state.file.production))
        });
        Some(here.collect())
    }

    /// All policies, where they have a say, and what breaks them of what is admitted.
    pub async fn policies(&self, project: &Project) -> Result<Vec<PolicyStatus>, Refusal> {
        let (handle, view) = self.look(project).await?;
        let names = view.config.policies.keys();
        let status = |name: &String| {
            let policy = view.law.policies.iter().find(|policy| policy.name == *name);
            let production = |environment: &Environment| {
                let reading = view.config.environments.get(environment);
                reading.is_some_and(|reading| reading.as_ref().is_ok_and(|state| state.file.production))
            };
            let holds = |environment: &&Environment| {
                policy.is_some_and(|policy| policy.holds_in(environment, production(environment)))
            };
            let environments: Vec<Environment> = view.facts.environments.iter().filter(holds).cloned().collect();
            let results = environments.iter().filter_map(|environment| {
                let outcome = handle.environment(environment)?.outcome();
                let of_it: Vec<PolicyResult> =
                    outcome.policies.iter().filter(|one| one.policy == *name).cloned().collect();
                (!of_it.is_empty()).then(|| (environment.clone(), of_it))
            });
            PolicyStatus {
                name: name.clone(),
                file: policy.map(|policy| policy.file.clone()),
                problems: view.law.problems.get(name).cloned().unwrap_or_default(),
                results: results.collect(),
                environments,
            }
        };
        Ok(names.map(status).collect())
    }

    /// What policies would find in what is admitted in an environment; nothing is changed. `files`: policies by name
    /// instead of those on main.
    ///
    /// # Errors
    /// A policy that does not compile, with file, line and column.
    pub async fn test_policies(
        &self,
        project: &Project,
        environment: &Environment,
        files: &BTreeMap<String, String>,
    ) -> Result<Vec<PolicyResult>, Refusal> {
        let (handle, view) = self.look(project).await?;
        known_environment(&view, environment)?;
        let law = match files.is_empty() {
            true => (*view.law).clone(),
            false => {
                let config = parse_config(&only(&view.facts.head, project, files));
                let problems: Vec<String> =
                    config.policies.values().filter_map(|read| read.as_ref().err()).flatten().cloned().collect();
                if !problems.is_empty() {
                    return Err(Refusal::Refused(problems.join("\n")));
                }
                Law { policies: config.policies.into_values().flatten().collect(), problems: BTreeMap::new() }
            }
        };
        self.0.judge_admitted(&handle, &view, &law, environment).await
    }

    /// Writes policies of the starter set; none named: all of them. Those that stand there already stay as they are.
    pub async fn add_starter_policies(
        &self,
        project: &Project,
        names: &[String],
        actor: &str,
    ) -> Result<Option<CommitId>, Refusal> {
        let known: Vec<&str> = STARTER.iter().map(|(name, _)| *name).collect();
        if let Some(unknown) = names.iter().find(|name| !known.contains(&name.as_str())) {
            return Err(Refusal::NotFound(format!(
                "the starter set has no policy {unknown}; it has: {}",
                known.join(", ")
            )));
        }
        self.edit(project, actor, |snapshot| {
            let wanted = STARTER.iter().filter(|(name, _)| names.is_empty() || names.iter().any(|n| n == name));
            let path = |name: &str| format!("{DIRECTORY}{name}.yaml");
            let new = wanted.filter(|(name, _)| !snapshot.files.contains_key(&path(name)));
            let files: BTreeMap<String, Option<Vec<u8>>> =
                new.map(|(name, text)| (path(name), Some(text.as_bytes().to_vec()))).collect();
            if files.is_empty() {
                return Ok(None);
            }
            let before = parse_config(snapshot).problems();
            let mut problems = parse_config(&after(snapshot, &files)).problems();
            problems.retain(|problem| !before.contains(problem));
            if !problems.is_empty() {
                return Err(Refusal::Refused(problems.join("; ")));
            }
            let names: Vec<&str> =
                files.keys().filter_map(|path| path.strip_prefix(DIRECTORY)?.strip_suffix(".yaml")).collect();
            Ok(Some(Edit { message: format!("policies: {}\n", names.join(", ")), files }))
        })
        .await
    }
}

/// A config repository with nothing but policies.
fn only(head: &CommitId, project: &Project, files: &BTreeMap<String, String>) -> Snapshot {
    let revision = Revision { repository: Repository::config(project), commit: head.clone() };
    let file = |(name, text): (&String, &String)| {
        (format!("{DIRECTORY}{name}.yaml"), File { mode: FileMode::Regular, bytes: text.as_bytes().into() })
    };
    Snapshot { revision, files: files.iter().map(file).collect() }
}
