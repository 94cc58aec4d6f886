//! From what is described and what stands to what will be done: [`plan`].
//!
//! What an apply would do is not guessed: the server's dry run says what would stand, and that is compared with what
//! stands. Nothing is deleted that does not carry our labels and our field manager, and never a namespace.

mod hooks;
mod order;
pub mod policy;
mod reason;
#[cfg(test)]
mod tests;
mod usage;

pub use hooks::{HOOK_LIMIT, HookInput, HookProgress, hooks, hooks_over};

use model::flow::{Action, Change, Step};
use model::{
    CommitId, Component, Environment, FIELD_MANAGER, LABEL_CLAIM, LABEL_COMPONENT, LABEL_ENVIRONMENT, LABEL_HOOK,
    LABEL_PROJECT, ObjectId, Observation, Plan, Project,
};
use object::{Gvk, Schema, diff, meta};
use serde_json::Value;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Everything that a plan depends on.
#[derive(Debug, Clone, Copy)]
pub struct Input<'a> {
    /// Whose.
    pub project: &'a Project,
    /// Where.
    pub environment: &'a Environment,
    /// Config commit that is admitted.
    pub commit: &'a CommitId,
    /// What should stand, and which component describes it.
    pub desired: &'a [(Option<Component>, Value)],
    /// Answers of the server's dry run, in the order of `desired`.
    pub predicted: &'a [Result<Value, String>],
    /// What stands.
    pub observation: &'a Observation,
    /// Exactly this was applied before: what differs now was changed by others.
    pub applied: bool,
    /// Delete what is no longer described.
    pub prune: bool,
}

/// Why there is no plan. Nothing is done then.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The namespace belongs to somebody else.
    #[error(
        "namespace {namespace} exists and is not ours ({owner}): delete it, or choose another name for the project or environment"
    )]
    ForeignNamespace {
        /// Its name.
        namespace: String,
        /// For people.
        owner: String,
    },
    /// The API server does not take a manifest.
    #[error("the API server refuses {object}: {message}")]
    Rejected {
        /// Which.
        object: Box<ObjectId>,
        /// Who described it.
        component: Option<Component>,
        /// In the server's words.
        message: String,
    },
}

/// What applying would do: first creations and changes in the order in which they depend on each other, then deletions.
///
/// # Errors
/// A namespace of others, or the first manifest that the server refuses.
pub fn plan(input: &Input<'_>) -> Result<Plan, Refusal> {
    debug_assert_eq!(input.desired.len(), input.predicted.len(), "one answer per manifest");
    let mut steps = Vec::with_capacity(input.desired.len());
    for ((component, manifest), predicted) in input.desired.iter().zip(input.predicted) {
        let object = ObjectId::of(manifest);
        let predicted = predicted.as_ref().map_err(|message| Refusal::Rejected {
            object: Box::new(object.clone()),
            component: component.clone(),
            message: message.clone(),
        })?;
        let live = input.observation.get(&object);
        if object.kind == "Namespace" {
            claimed(input.project, manifest, live, predicted)?;
        }
        steps.push(step(input, component.clone(), manifest, live, predicted));
    }
    steps.sort_by_key(|step| order::rank(&step.object));
    if input.prune {
        steps.extend(prune(input));
    }
    Ok(Plan {
        project: input.project.clone(),
        environment: input.environment.clone(),
        commit: input.commit.clone(),
        steps,
    })
}

/// A namespace is ours by its labels: the project's name, and on a cluster that several may use, which project of that
/// name. One that nobody observed yet may be ours from a moment ago; it is not if somebody
/// else wrote it.
fn claimed(project: &Project, manifest: &Value, live: Option<&Value>, predicted: &Value) -> Result<(), Refusal> {
    let refuse = |owner: String| Err(Refusal::ForeignNamespace { namespace: meta(predicted).name().to_owned(), owner });
    match live {
        Some(live) => match meta(live).label(LABEL_PROJECT) {
            Some(owner) if owner == project.as_str() => {
                match (meta(live).label(LABEL_CLAIM), meta(manifest).label(LABEL_CLAIM)) {
                    (theirs, ours) if theirs == ours => Ok(()),
                    (None, _) => refuse(format!("it has no label {LABEL_CLAIM}")),
                    (Some(_), _) => refuse(format!("it belongs to another project {owner}")),
                }
            }
            Some(owner) => refuse(format!("it belongs to project {owner}")),
            None => refuse(format!("it has no label {LABEL_PROJECT}")),
        },
        None if meta(predicted).resource_version().is_empty() => Ok(()),
        None => match reason::managers(predicted).find(|(manager, _)| *manager != FIELD_MANAGER) {
            Some((manager, _)) => refuse(format!("made by {manager}, without the label {LABEL_PROJECT}")),
            None => Ok(()),
        },
    }
}

fn step(
    input: &Input<'_>,
    component: Option<Component>,
    manifest: &Value,
    live: Option<&Value>,
    predicted: &Value,
) -> Step {
    let object = ObjectId::of(manifest);
    let Some(live) = live else {
        let reason = if input.applied { "deleted in the cluster" } else { "described and absent" };
        return Step {
            action: Action::Create,
            object,
            component,
            manifest: Some(manifest.clone()),
            uid: None,
            changes: Vec::new(),
            reason: reason.to_owned(),
        };
    };
    let changes = changes(live, predicted);
    let action = if changes.is_empty() { Action::Unchanged } else { Action::Configure };
    let is_secret = object.is_secret();
    Step {
        action,
        object,
        component,
        manifest: (action == Action::Configure).then(|| manifest.clone()),
        uid: Some(meta(live).uid().to_owned()).filter(|uid| !uid.is_empty()),
        reason: match (action, input.applied) {
            (Action::Unchanged, _) => "as described".to_owned(),
            (_, true) => reason::drift(live, &changes, is_secret),
            (_, false) => "described differently".to_owned(),
        },
        changes,
    }
}

/// Fields that differ, except those that the server and controllers keep.
fn changes(live: &Value, predicted: &Value) -> Vec<Change> {
    let schema = Gvk::of(predicted).and_then(|gvk| object::schema::schema_for(&gvk)).unwrap_or_else(Schema::any);
    let found = diff(&comparable(live), &comparable(predicted), &schema);
    found.into_iter().map(|d| Change { path: d.path, before: d.before, after: d.after }).collect()
}

fn comparable(object: &Value) -> Value {
    let mut object = object.clone();
    if let Some(fields) = object.as_object_mut() {
        fields.remove("status");
    }
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        for field in ["managedFields", "resourceVersion", "generation", "uid", "creationTimestamp", "selfLink"] {
            metadata.remove(field);
        }
    }
    object
}

/// Live objects of ours that nobody describes any more, workloads before what they use. What Pods still refer to stays
/// until they are gone.
fn prune(input: &Input<'_>) -> Vec<Step> {
    let used = usage::in_use(input.observation);
    let described: BTreeSet<ObjectId> = input.desired.iter().map(|(_, manifest)| ObjectId::of(manifest)).collect();
    // Hooks come and go with events of their component, and go with it.
    let components: BTreeSet<&str> =
        input.desired.iter().filter_map(|(component, _)| Some(component.as_ref()?.as_str())).collect();
    let hook = |live: &Value| {
        let meta = meta(live);
        meta.label(LABEL_HOOK).is_some() && meta.label(LABEL_COMPONENT).is_some_and(|name| components.contains(name))
    };
    let superfluous = |(id, live): &(&ObjectId, &Arc<Value>)| {
        !described.contains(*id) && !used.contains(*id) && ours(input, id, live) && !hook(live)
    };
    let mut steps: Vec<Step> =
        input.observation.objects.iter().filter(superfluous).map(|(id, live)| delete(id, live)).collect();
    steps.sort_by_key(|step| std::cmp::Reverse(order::rank(&step.object)));
    steps
}

fn ours(input: &Input<'_>, id: &ObjectId, live: &Value) -> bool {
    let meta = meta(live);
    let labelled = meta.label(LABEL_PROJECT) == Some(input.project.as_str())
        && meta.label(LABEL_ENVIRONMENT) == Some(input.environment.as_str());
    let applied =
        meta.managed_fields().is_empty() || reason::managers(live).any(|(manager, _)| manager == FIELD_MANAGER);
    labelled
        && applied
        && id.kind != "Namespace"
        && meta.owner_references().next().is_none()
        && meta.deletion_timestamp().is_none()
}

fn delete(id: &ObjectId, live: &Value) -> Step {
    Step {
        action: Action::Delete,
        object: id.clone(),
        component: meta(live).label(LABEL_COMPONENT).and_then(|name| name.parse().ok()),
        manifest: None,
        uid: Some(meta(live).uid().to_owned()).filter(|uid| !uid.is_empty()),
        changes: Vec::new(),
        reason: "no longer described".to_owned(),
    }
}
