//! Objects of the control API out of values, and back.

use crate::config::Described;
use model::change::ChangeStatus;
use model::config::{Pin, ProjectFile};
use model::flow::{Health, Repository};
use model::ports::{PortError, Records};
use model::records::{BuildStatus, DeploymentStatus, Kind, PromotionStatus};
use model::views::ComponentStatus;
use model::{Build, Change, CommitId, Digest, Environment, Project, Promotion};
use promote::{Report, State};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// Where a projection's truth stands: file and repository. Admission shows both to who edits the object.
const FILE: &str = "trimtab.dev/file";
const REPOSITORY: &str = "trimtab.dev/repository";

/// Records as they were written last, by whoever alone writes them: what stands so already is not written again.
#[derive(Default)]
pub struct Projected(BTreeMap<(Kind, String), Digest>);

impl Projected {
    /// Writes one if it is another than it was.
    pub async fn put(&mut self, records: &dyn Records, kind: Kind, object: &Value) -> Result<(), PortError> {
        let key = (kind, object["metadata"]["name"].as_str().unwrap_or_default().to_owned());
        let digest = Digest::of(object.to_string().as_bytes());
        if self.0.get(&key) != Some(&digest) {
            records.apply(kind, object).await?;
            self.0.insert(key, digest);
        }
        Ok(())
    }

    /// Deletes those of a kind that are not among these.
    pub async fn keep_only(
        &mut self,
        records: &dyn Records,
        project: &Project,
        kind: Kind,
        names: &BTreeSet<String>,
    ) -> Result<(), PortError> {
        let gone = |(of, name): &&(Kind, String)| *of == kind && !names.contains(name);
        let gone: Vec<_> = self.0.keys().filter(gone).cloned().collect();
        for key in gone {
            records.delete(kind, project, &key.1).await?;
            self.0.remove(&key);
        }
        Ok(())
    }
}

fn object(kind: Kind, project: &Project, name: &str, spec: impl Serialize, status: impl Serialize) -> Value {
    json!({
        "apiVersion": format!("{}/{}", model::GROUP, model::VERSION),
        "kind": kind.name(),
        "metadata": { "name": name, "namespace": project, "labels": { model::LABEL_PROJECT: project } },
        "spec": spec,
        "status": status,
    })
}

fn projected(mut object: Value, file: &str, repository: &Repository) -> Value {
    object["metadata"]["annotations"] = json!({ FILE: file, REPOSITORY: repository.to_string() });
    object
}

/// Of a Build.
pub fn build(build: &Build) -> Value {
    let mut value = object(Kind::Build, &build.spec.project, &build.spec.build.to_string(), &build.spec, &build.status);
    value["metadata"]["labels"][model::LABEL_COMPONENT] = json!(build.spec.build.component);
    value
}

/// Of a Promotion.
pub fn promotion(promotion: &Promotion) -> Value {
    let mut value =
        object(Kind::Promotion, &promotion.spec.project, &promotion.name, &promotion.spec, &promotion.status);
    value["metadata"]["labels"][model::LABEL_ENVIRONMENT] = json!(promotion.spec.environment);
    value
}

/// Of a Change.
pub fn change(change: &Change) -> Value {
    object(Kind::Change, &change.spec.project, &change.number.to_string(), &change.spec, &change.status)
}

/// A Change, or why the object is none.
pub fn read_change(value: &Value) -> Result<Change, serde_json::Error> {
    let number = serde_json::from_value::<String>(value["metadata"]["name"].clone())?;
    let number = number.parse().map_err(serde::de::Error::custom)?;
    let spec = Deserialize::deserialize(&value["spec"])?;
    let status = value.get("status").map(ChangeStatus::deserialize).transpose()?;
    Ok(Change { number, spec, status: status.unwrap_or_default() })
}

/// A Build, or why the object is none.
pub fn read_build(value: &Value) -> Result<Build, serde_json::Error> {
    let spec = Deserialize::deserialize(&value["spec"])?;
    let status = value.get("status").map(BuildStatus::deserialize).transpose()?;
    Ok(Build { spec, status: status.unwrap_or_default() })
}

/// A Promotion, or why the object is none.
pub fn read_promotion(value: &Value) -> Result<Promotion, serde_json::Error> {
    let spec = Deserialize::deserialize(&value["spec"])?;
    let status = value.get("status").map(PromotionStatus::deserialize).transpose()?;
    let name = value["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    Ok(Promotion { name, spec, status: status.unwrap_or_default() })
}

/// Of `project.yaml`.
pub fn project(file: &ProjectFile, head: &CommitId, problems: &[String]) -> Value {
    let ready = match problems.first() {
        None => condition("Ready", true, "Parsed", "all files of the config repository can be read"),
        Some(problem) => condition("Ready", false, "BrokenFiles", problem),
    };
    let status = json!({ "commit": head, "conditions": [ready] });
    let config = Repository::config(&file.project);
    projected(object(Kind::Project, &file.project, file.project.as_str(), file, status), "project.yaml", &config)
}

/// Of `trimtab.yaml`, or of `components/<name>.yaml`.
pub fn component(described: &Described) -> Value {
    let (file, (path, repository)) = (&described.file, &described.place);
    projected(object(Kind::Component, &file.project, file.component.as_str(), file, json!({})), path, repository)
}

/// Of `environments/<env>.yaml`, with what is admitted and held.
pub fn environment(
    repository: &Repository,
    name: &Environment,
    state: &State,
    report: &Report,
    outcome: &crate::environment::Outcome,
) -> Value {
    let worst = outcome.components.iter().map(|c| c.health).max().unwrap_or(Health::Healthy);
    let message = outcome.components.iter().find(|c| c.health == worst).map_or(String::new(), |c| c.message.clone());
    let applied = outcome.error.is_none();
    let error = outcome.error.clone().unwrap_or_default();
    let conditions = json!([
        condition(
            "Ready",
            applied && worst == Health::Healthy,
            match (applied, &outcome.unreachable) {
                (true, _) => word(worst),
                (false, Some(_)) => "DataPlaneUnreachable",
                (false, None) => "NotApplied",
            },
            if applied { &message } else { &error }
        ),
        condition("Progressing", worst == Health::Progressing || worst == Health::Missing, word(worst), ""),
        condition("Degraded", worst == Health::Degraded || !applied, word(worst), &error),
        condition("Suspended", report.suspended, if report.suspended { "Suspended" } else { "Running" }, ""),
    ]);
    let mut status = json!({
        "admitted": report.admitted,
        "held": report.held,
        "applied": outcome.applied,
        "dataPlane": outcome.data_plane,
        "dataPlanesLeft": outcome.left,
        "conditions": conditions,
    });
    if let Some(capabilities) = &outcome.capabilities {
        status["capabilities"] = json!(**capabilities);
    }
    let mut spec = json!(state.file);
    // A file that says nothing has rules nevertheless, and an object without a spec is none.
    spec["promotion"] = json!(state.file.promotion);
    let value = object(Kind::Environment, &repository.project, name.as_str(), &spec, status);
    projected(value, &format!("environments/{name}.yaml"), repository)
}

/// Of a pin, with what became of it.
pub fn deployment(
    repository: &Repository,
    name: &Environment,
    pin: &Pin,
    commit: &CommitId,
    now: &ComponentStatus,
) -> Value {
    let status = DeploymentStatus {
        health: now.health,
        reason: now.reason.clone(),
        message: now.message.clone(),
        build: Some(now.build.clone()),
        commit: Some(commit.clone()),
        url: now.url.clone(),
        drifted: now.drifted,
    };
    let id = deployment_name(name, &pin.build.component);
    let mut value = object(Kind::ComponentDeployment, &repository.project, &id, pin, status);
    value["metadata"]["labels"][model::LABEL_ENVIRONMENT] = json!(name);
    value["metadata"]["labels"][model::LABEL_COMPONENT] = json!(pin.build.component);
    projected(value, &promote::pin_path(name, &pin.build.component), repository)
}

/// `<component>.<env>`.
pub fn deployment_name(environment: &Environment, component: &model::Component) -> String {
    format!("{component}.{environment}")
}

fn word(health: Health) -> &'static str {
    match health {
        Health::Healthy => "Healthy",
        Health::Suspended => "Suspended",
        Health::Progressing => "Progressing",
        Health::Missing => "Missing",
        Health::Degraded => "Degraded",
    }
}

fn condition(kind: &str, holds: bool, reason: &str, message: &str) -> Value {
    json!({ "type": kind, "status": if holds { "True" } else { "False" }, "reason": reason, "message": message })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_environment_whose_file_says_nothing_has_a_spec() {
        let (state, report) = (State::default(), Report::default());
        let outcome = crate::environment::Outcome::default();
        let value = environment(
            &Repository::config(&"shop".parse().unwrap()),
            &"qa".parse().unwrap(),
            &state,
            &report,
            &outcome,
        );
        assert_eq!(value["spec"], json!({ "promotion": { "strategy": "Manual" } }));
    }
}
