//! What flows from a commit to a cluster: Revision → Snapshot → Manifests → Plan → Receipt,
//! and back: Observation → Verdict.

use crate::names::{CommitId, Component, Digest, Environment, Project};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// Names of config repositories of single environments begin with this. No component's does: it has a dot.
const OF_ENVIRONMENT: &str = "config.";

/// A hosted repository: `config`, or an application repository of a project.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Repository {
    /// The project that owns it.
    pub project: Project,
    /// Its name without `.git`.
    pub name: String,
}

impl Repository {
    /// The config repository of a project.
    pub fn config(project: &Project) -> Self {
        Self { project: project.clone(), name: "config".into() }
    }
    /// The config repository of one environment alone, where it has one of its own: `config.prod`.
    pub fn of_environment(project: &Project, environment: &Environment) -> Self {
        Self { project: project.clone(), name: format!("{OF_ENVIRONMENT}{environment}") }
    }
    /// Another repository of the same project.
    pub fn beside(&self, name: &str) -> Self {
        Self { project: self.project.clone(), name: name.to_owned() }
    }
    /// The environment whose config repository it is, if it is that of one environment alone.
    pub fn environment(&self) -> Option<Environment> {
        self.name.strip_prefix(OF_ENVIRONMENT)?.parse().ok()
    }
    /// True for the config repository, and for that of an environment.
    pub fn is_config(&self) -> bool {
        self.name == "config" || self.environment().is_some()
    }
}
impl fmt::Display for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.project, self.name)
    }
}

/// One commit of one repository.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Revision {
    /// Where.
    pub repository: Repository,
    /// What.
    pub commit: CommitId,
}

/// The files of a revision, or of a directory in it. Paths are relative, with `/`, without `..`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// Where it was read.
    pub revision: Revision,
    /// Path → file, in byte order of the paths.
    pub files: BTreeMap<String, File>,
}

/// A file of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// What kind it is.
    pub mode: FileMode,
    /// Content; of a symbolic link, its target.
    pub bytes: Arc<[u8]>,
}

/// Kinds of file that git knows (submodules are refused when a snapshot is read).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileMode {
    /// 100644.
    Regular,
    /// 100755.
    Executable,
    /// 120000.
    Symlink,
}

impl Snapshot {
    /// The text of a file: `None` if it is absent, an error if it is not UTF-8.
    pub fn text(&self, path: &str) -> Option<Result<&str, std::str::Utf8Error>> {
        self.files.get(path).map(|f| std::str::from_utf8(&f.bytes))
    }
}

/// Identity of an object in a cluster, without its version.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ObjectId {
    /// Empty for the core group.
    pub group: String,
    /// `Deployment`.
    pub kind: String,
    /// Empty for cluster-scoped objects.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl ObjectId {
    /// Read from an object; absent parts are empty.
    pub fn of(object: &Value) -> Self {
        let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        let version = text("/apiVersion");
        let group = version.split_once('/').map_or(String::new(), |(g, _)| g.to_owned());
        Self { group, kind: text("/kind"), namespace: text("/metadata/namespace"), name: text("/metadata/name") }
    }
    /// True for a Secret, of which nobody sees the values.
    pub fn is_secret(&self) -> bool {
        self.group.is_empty() && self.kind == "Secret"
    }
}
impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.kind)?;
        if !self.group.is_empty() {
            write!(f, ".{}", self.group)?;
        }
        if self.namespace.is_empty() {
            write!(f, " {}", self.name)
        } else {
            write!(f, " {}/{}", self.namespace, self.name)
        }
    }
}

/// What should stand in a cluster for one component in one environment, in order of the source.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Manifests {
    /// Complete objects with apiVersion, kind, metadata.
    pub objects: Vec<Value>,
    /// Objects that come and go with events, in the order in which they run.
    pub hooks: Vec<Hook>,
    /// What a person should know though it is no error.
    pub notes: Vec<String>,
}

/// An object of a chart that is created when something happens to its component.
#[derive(Debug, Clone, PartialEq)]
pub struct Hook {
    /// Complete.
    pub object: Value,
    /// At which.
    pub events: Vec<HookEvent>,
    /// Lower ones run first.
    pub weight: i64,
    /// When it goes again, beside that it makes way for the next of its name.
    pub deleted: Vec<HookDeletion>,
}

/// What may happen to a component of a chart, as helm names it. What has no word here runs no hooks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HookEvent {
    /// It comes new: before anything of it is applied.
    PreInstall,
    /// It came new and is healthy.
    PostInstall,
    /// Another build or configuration of it comes.
    PreUpgrade,
    /// And is healthy.
    PostUpgrade,
    /// It goes back to an earlier build.
    PreRollback,
    /// And is healthy.
    PostRollback,
    /// It goes: before anything of it is deleted.
    PreDelete,
    /// Nothing of it stands any more.
    PostDelete,
    /// It is tested.
    Test,
}

impl HookEvent {
    /// As charts write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::PreInstall => "pre-install",
            Self::PostInstall => "post-install",
            Self::PreUpgrade => "pre-upgrade",
            Self::PostUpgrade => "post-upgrade",
            Self::PreRollback => "pre-rollback",
            Self::PostRollback => "post-rollback",
            Self::PreDelete => "pre-delete",
            Self::PostDelete => "post-delete",
            Self::Test => "test",
        }
    }
    /// Read from a chart.
    pub fn parse(text: &str) -> Option<Self> {
        use HookEvent::*;
        let all =
            [PreInstall, PostInstall, PreUpgrade, PostUpgrade, PreRollback, PostRollback, PreDelete, PostDelete, Test];
        all.into_iter().find(|event| event.as_str() == text)
    }
}

/// When a hook's object goes again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HookDeletion {
    /// Once all hooks of its event have succeeded.
    Succeeded,
    /// If it fails.
    Failed,
}

impl Manifests {
    /// Of the rendered content: equal digests need no apply.
    pub fn digest(&self) -> Digest {
        Digest::of(serde_json::to_string(&self.objects).expect("JSON values serialise").as_bytes())
    }
}

/// What stands in a cluster, of the objects that matter to one environment.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Observation {
    /// Live objects, and those that they own (ReplicaSets, Pods), by identity. Shared with whoever saw them.
    pub objects: BTreeMap<ObjectId, Arc<Value>>,
}

impl Observation {
    /// One of them.
    pub fn get(&self, id: &ObjectId) -> Option<&Value> {
        self.objects.get(id).map(|object| &**object)
    }

    /// All of them, by identity.
    pub fn values(&self) -> impl Iterator<Item = &Value> {
        self.objects.values().map(|object| &**object)
    }
}

impl FromIterator<Value> for Observation {
    fn from_iter<T: IntoIterator<Item = Value>>(objects: T) -> Self {
        let objects = objects.into_iter().map(|object| (ObjectId::of(&object), Arc::new(object)));
        Self { objects: objects.collect() }
    }
}

/// Everything that one apply will do. Immutable; leaves the executor no choice.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Plan {
    /// For which project.
    pub project: Project,
    /// For which environment.
    pub environment: Environment,
    /// Config commit that was admitted.
    pub commit: CommitId,
    /// In the order in which they run.
    pub steps: Vec<Step>,
}

impl Plan {
    /// Identity of what would be done.
    pub fn digest(&self) -> Digest {
        Digest::of(serde_json::to_string(self).expect("plans serialise").as_bytes())
    }
    /// Steps that do not leave their object as it is.
    pub fn changing(&self) -> impl Iterator<Item = &Step> {
        self.steps.iter().filter(|step| step.action != Action::Unchanged)
    }
    /// True when every step leaves its object as it is.
    pub fn is_empty(&self) -> bool {
        self.changing().next().is_none()
    }
}

/// One object's part of a plan.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Step {
    /// What happens.
    pub action: Action,
    /// To which object.
    pub object: ObjectId,
    /// Which component described it, if one did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub component: Option<Component>,
    /// What is sent to the API server: the manifest for create and configure.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub manifest: Option<Value>,
    /// For delete and configure: the object's uid, so that a namesake is never touched.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
    /// Which fields change.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub changes: Vec<Change>,
    /// Why, for people: "deleted by kubectl", "no longer described".
    pub reason: String,
}

/// What happens to an object. The words are shown to people.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// It is absent and will be created.
    Create,
    /// It differs and will be applied.
    Configure,
    /// It is as described.
    Unchanged,
    /// It is no longer described and will be deleted.
    Delete,
}

/// One field that changes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Change {
    /// `spec.template.spec.containers[name=web].image`.
    pub path: String,
    /// Absent before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<Value>,
    /// Absent after.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<Value>,
}

/// What became of a plan.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Receipt {
    /// One per step that ran; a failed step stops those behind it in the same component.
    pub results: Vec<StepResult>,
}

impl Receipt {
    /// The first failure, for people.
    pub fn failure(&self) -> Option<&StepResult> {
        self.results.iter().find(|r| r.error.is_some())
    }
}

/// What became of a step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepResult {
    /// Which object.
    pub object: ObjectId,
    /// What was done.
    pub action: Action,
    /// Why not, in the API server's words.
    pub error: Option<String>,
}

/// How an object or a set of them is doing. The words are shown to people.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Health {
    /// As it should be, and settled.
    Healthy,
    /// Stopped by a person.
    Suspended,
    /// On its way.
    Progressing,
    /// Not there.
    Missing,
    /// Will not become healthy by itself.
    Degraded,
}

/// Health with its reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// The worst of the set.
    pub health: Health,
    /// CamelCase, for machines: `CrashLoopBackOff`.
    pub reason: String,
    /// For people, with the last log lines where they explain it.
    pub message: String,
}
