//! What stays behind when an environment moves to another data plane: it runs on until the new one is healthy.

use crate::environment::{Target, Work};
use crate::{planes, wake_of};
use model::flow::{ObjectId, Observation, Plan};
use model::names::workload_namespace;
use model::ports::PortError;
use model::settings::Opened;
use model::{DataPlaneName, LABEL_CLAIM, LABEL_PROJECT};

/// What stands on a data plane that the environment has left.
pub struct Leftover {
    pub plane: DataPlaneName,
    /// The deletions, or why they are not known.
    pub plan: Result<Plan, String>,
}

impl Work {
    /// Looks at every data plane that was left.
    pub async fn leftovers(&self, target: &Target) -> Vec<Leftover> {
        let mut found = Vec::new();
        for plane in &self.left {
            let plan = self.leftover(target, plane).await.map_err(|error| error.to_string());
            found.push(Leftover { plane: plane.clone(), plan });
        }
        found
    }

    async fn leftover(&self, target: &Target, name: &DataPlaneName) -> Result<Plan, PortError> {
        let scope = &self.handle.scope;
        let placement = planes::find(&self.inner, &self.project, name).await?;
        let mut observation = placement.plane.observe(scope, wake_of(&self.handle.notify)).await?;
        // Everything goes: nothing has to stay for Pods that still use it.
        observation.objects.retain(|id, _| id.kind != "Pod");
        let namespace = workload_namespace(&scope.project, &scope.environment);
        let mut plan = Plan {
            project: scope.project.clone(),
            environment: scope.environment.clone(),
            commit: target.commit.clone(),
            steps: Vec::new(),
        };
        // Objects of a namesake of this project carry the same labels: the namespace says whose they are.
        if !is_ours(&observation, &namespace, scope.project.as_str(), target.claim_on(name)) {
            return Ok(plan);
        }
        let input = plan::Input {
            project: &scope.project,
            environment: &scope.environment,
            commit: &target.commit,
            desired: &[],
            predicted: &[],
            observation: &observation,
            applied: false,
            prune: true,
        };
        let all = plan::plan(&input).map_err(|refusal| PortError::Terminal(refusal.to_string()))?;
        plan.steps = all.steps;
        // On the embedded one there are no others: objects of the whole cluster are ours as well.
        plan.steps.retain(|step| step.object.namespace == namespace || name.is_embedded());
        for step in &mut plan.steps {
            step.reason = match target.removed {
                true => format!("{} is no environment of {} any more", scope.environment, scope.project),
                false => format!("stands on data plane {name}, which {} has left", scope.environment),
            };
        }
        Ok(plan)
    }

    /// For people: what stays where, and until when.
    pub fn notes(&self, target: &Target, leftovers: &[Leftover]) -> Vec<String> {
        let environment = &self.handle.name;
        let note = |one: &Leftover| {
            let plane = &one.plane;
            match &one.plan {
                Err(why) => {
                    Some(format!("what {environment} left on data plane {plane} is deleted when that answers: {why}"))
                }
                Ok(plan) if plan.steps.is_empty() => None,
                Ok(plan) => {
                    let count = plan.steps.len();
                    Some(match target.state.file.sync.prune {
                        true => format!(
                            "{count} objects on data plane {plane} are deleted when {environment} is healthy on {}",
                            target.plane_name()
                        ),
                        false => format!("{count} objects stay on data plane {plane}: sync.prune is false"),
                    })
                }
            }
        };
        let unguarded = self.unguarded.then(|| {
            format!(
                "changes are reviewed, and data plane {} does not refuse what people write there (its API has no \
                 ValidatingAdmissionPolicy, or we may not write one): that is repaired",
                target.plane_name()
            )
        });
        leftovers.iter().filter_map(note).chain(unguarded).chain(target.bench.problems.iter().cloned()).collect()
    }

    /// Deletes what was left. True if something remains to be looked at again.
    pub async fn clear(&mut self, target: &Target, leftovers: Vec<Leftover>) -> Result<bool, PortError> {
        for Leftover { plane, plan } in leftovers {
            match plan {
                Ok(plan) if plan.steps.is_empty() => {
                    self.left.remove(&plane);
                    self.handle.notify.notify_one(); // shows that
                }
                Ok(plan) if target.state.file.sync.prune => {
                    let placement = planes::find(&self.inner, &self.project, &plane).await?;
                    placement.plane.execute(&plan, &Opened::default()).await?;
                }
                Ok(_) | Err(_) => {}
            }
        }
        Ok(!self.left.is_empty())
    }
}

fn is_ours(observation: &Observation, namespace: &str, project: &str, claim: Option<&str>) -> bool {
    let id =
        ObjectId { group: String::new(), kind: "Namespace".into(), namespace: String::new(), name: namespace.into() };
    let labels = observation.get(&id).and_then(|object| object.pointer("/metadata/labels"));
    let label = |key: &str| labels.and_then(|labels| labels.get(key)?.as_str());
    label(LABEL_PROJECT) == Some(project) && label(LABEL_CLAIM) == claim
}
