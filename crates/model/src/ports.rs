//! What `reconcile` asks of places. Each trait stands because the tests of reconcile fake it.

use crate::chart::ChartSource;
use crate::config::{BuildRule, DataPlaneFile};
use crate::flow::{Observation, Plan, Receipt, Repository, Revision, Snapshot};
use crate::journal::Entry;
use crate::names::{BuildId, CommitId, DataPlaneName, Digest, Environment, ImageRef, Project};
use crate::people::Person;
use crate::records::Kind;
use crate::remote::{Address, Fetched};
use crate::routes::RouteTable;
use crate::settings::{Ciphertext, Opened, Plain, Sealed};
use crate::trust::{Signer, Signers, Unsigned};
use async_trait::async_trait;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Called when something may have changed. Carries nothing: wake, read the latest state, act.
pub type Wake = Arc<dyn Fn() + Send + Sync>;

/// Why a place could not do it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PortError {
    /// May work when tried again; the message says what did not answer.
    #[error("{0}")]
    Transient(String),
    /// Will not work until somebody changes something; the message says what.
    #[error("{0}")]
    Terminal(String),
}

/// Of a port.
pub type Result<T> = std::result::Result<T, PortError>;

/// A sink of lines for a person who may leave at any time.
pub trait Lines: Send + Sync {
    /// False when nobody reads any more; work goes on regardless.
    fn line(&self, text: &str) -> bool;
}

/// A commit as the log shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commit {
    /// Its id.
    pub id: CommitId,
    /// First parent, if any.
    pub parent: Option<CommitId>,
    /// Name of the author.
    pub author: String,
    /// Time of the committer.
    pub at: Timestamp,
    /// First line.
    pub subject: String,
    /// What the message says between that and its trailers.
    pub body: String,
    /// `Key: value` lines at the end of the message, in order.
    pub trailers: Vec<(String, String)>,
    /// Paths that differ from the first parent.
    pub paths: Vec<String>,
}

impl Commit {
    /// The first trailer with this key.
    pub fn trailer(&self, key: &str) -> Option<&str> {
        self.trailers.iter().find(|(k, _)| k == key).map(|(_, v)| v.as_str())
    }
}

/// One commit to be written on main.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Write {
    /// Main must stand here, or nothing is written. `None`: the branch must not exist.
    pub expect: Option<CommitId>,
    /// Path → new content, `None` to delete.
    pub files: BTreeMap<String, Option<Vec<u8>>>,
    /// Who asked; the committer is always Trimtab.
    pub author: String,
    /// Subject, body and trailers.
    pub message: String,
    /// Time of both author and committer.
    pub at: Timestamp,
}

/// What became of a write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Written {
    /// It stands, durably.
    Commit(CommitId),
    /// Somebody was faster: re-read and re-decide.
    Superseded(Option<CommitId>),
}

/// An annotated, signed tag to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tag {
    /// Without `refs/tags/`.
    pub name: String,
    /// What it points at.
    pub commit: CommitId,
    /// Who asked; Trimtab signs.
    pub author: String,
    /// Subject and body.
    pub message: String,
    /// When.
    pub at: Timestamp,
}

/// Repositories: reading, and the one writer.
#[async_trait]
pub trait Repositories: Send + Sync {
    /// Makes an empty one; false if there is one of this name.
    async fn create(&self, repository: &Repository) -> Result<bool>;
    /// All hosted repositories.
    async fn list(&self) -> Result<Vec<Repository>>;
    /// Where a ref stands.
    async fn head(&self, repository: &Repository, reference: &str) -> Result<Option<CommitId>>;
    /// Files below a directory (`.` for all), with paths relative to it.
    async fn snapshot(&self, revision: &Revision, path: &str) -> Result<Snapshot>;
    /// What lay at an address when this revision first asked; from then on always the same. Only these hosts are reached.
    async fn elsewhere(&self, revision: &Revision, address: &Address, hosts: &[String]) -> Result<Fetched>;
    /// First-parent history from `tip` back to `until` (exclusive), newest first, at most `limit` commits.
    async fn log(
        &self,
        repository: &Repository,
        tip: &CommitId,
        until: Option<&CommitId>,
        limit: usize,
    ) -> Result<Vec<Commit>>;
    /// True if `ancestor` is `commit` or an ancestor of it.
    async fn is_ancestor(&self, repository: &Repository, ancestor: &CommitId, commit: &CommitId) -> Result<bool>;
    /// One commit on main, by compare and swap.
    async fn write(&self, repository: &Repository, write: &Write) -> Result<Written>;
    /// Makes the commit that [`Self::write`] would make, and leaves main where it is; nothing names it yet.
    async fn stage(&self, repository: &Repository, write: &Write) -> Result<CommitId>;
    /// Puts a reference below `refs/changes/` on a commit, wherever it stood.
    async fn propose(&self, repository: &Repository, reference: &str, commit: &CommitId) -> Result<()>;
    /// Moves main from `expect` forward to a commit that is there already, by compare and swap.
    async fn advance(&self, repository: &Repository, expect: &CommitId, to: &CommitId) -> Result<Written>;
    /// Puts a tag on a commit. One that stands there already is left as it is; one elsewhere is an error.
    async fn tag(&self, repository: &Repository, tag: &Tag) -> Result<()>;
    /// Commits that `tip` has and `until` has not (without `until`: `tip` alone) and whose signatures do not count, at
    /// most `limit`. Commits of Trimtab's own count.
    async fn unsigned(
        &self,
        repository: &Repository,
        tip: &CommitId,
        until: Option<&CommitId>,
        signers: &Signers,
        limit: usize,
    ) -> Result<Vec<Unsigned>>;
    /// Why the signature of a tag does not count, if so.
    async fn unsigned_tag(&self, repository: &Repository, tag: &str, signers: &Signers) -> Result<Option<Unsigned>>;
    /// Keeps a commit from garbage collection under `refs/trimtab/keep/<name>`.
    async fn keep(&self, repository: &Repository, name: &str, commit: &CommitId) -> Result<()>;
    /// Keeps what stands under this name no more; nothing happens if nothing does.
    async fn unkeep(&self, repository: &Repository, name: &str) -> Result<()>;
    /// The whole journal of a project, oldest first.
    async fn journal(&self, project: &Project) -> Result<Arc<Vec<Entry>>>;
    /// Appends, unless an entry with this id is there already.
    async fn append(&self, project: &Project, entry: &Entry) -> Result<()>;
}

/// Who is known.
pub trait Directory: Send + Sync {
    /// Everybody's registered SSH keys.
    fn keys(&self) -> Vec<Signer>;
}

/// One push, as the hook saw it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Push {
    /// Where.
    pub repository: Repository,
    /// Who.
    pub actor: String,
    /// The same with what they may do.
    pub person: Person,
    /// What.
    pub updates: Vec<RefUpdate>,
}

/// One ref of a push.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefUpdate {
    /// `refs/heads/main`.
    pub name: String,
    /// `None`: it is created.
    pub old: Option<CommitId>,
    /// `None`: it is deleted.
    pub new: Option<CommitId>,
    /// False for a forced update.
    pub fast_forward: bool,
}

/// A commit that was pushed to `refs/for/main`: it is stored, and nothing names it yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proposal {
    /// Where.
    pub repository: Repository,
    /// Who.
    pub actor: String,
    /// What.
    pub commit: CommitId,
    /// `-o` of the push, as they came.
    pub options: Vec<String>,
}

/// What a proposal became.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proposed {
    /// `refs/changes/12/head`, which stands on the commit now.
    pub reference: String,
    /// Where it stood before.
    pub before: Option<CommitId>,
    /// For the pusher.
    pub lines: Vec<String>,
}

/// Reads objects of a push that is not accepted yet.
#[async_trait]
pub trait Pushed: Send + Sync {
    /// Files below a directory of a pushed commit.
    async fn snapshot(&self, commit: &CommitId, path: &str) -> Result<Snapshot>;
}

/// Decides on pushes and tells the pusher what comes of them.
#[async_trait]
pub trait Receiver: Send + Sync {
    /// Before refs move. The lines of a refusal are shown to the pusher.
    async fn check(&self, push: &Push, pushed: &dyn Pushed) -> std::result::Result<(), Vec<String>>;
    /// What was pushed for review, after [`Self::check`]. The lines of a refusal are shown to the pusher.
    async fn propose(&self, proposal: &Proposal) -> std::result::Result<Proposed, Vec<String>>;
    /// After refs moved: tells what comes of it, and returns when it is settled. The work does not depend on it.
    async fn follow(&self, push: &Push, lines: &dyn Lines);
}

/// What to build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuildRequest {
    /// Project.
    pub project: Project,
    /// Which build this will be.
    pub build: BuildId,
    /// The component's files, paths relative to its path.
    pub snapshot: Snapshot,
    /// How.
    pub rule: BuildRule,
}

/// Why there is no image.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct BuildFailure {
    /// For people: file, line, what was wrong, what to do; for RUN its exit code.
    pub message: String,
}

/// Makes images.
#[async_trait]
pub trait Builder: Send + Sync {
    /// Builds and stores the image, telling its steps and their output. Dropping the future cancels.
    async fn build(&self, request: &BuildRequest, lines: &dyn Lines) -> std::result::Result<ImageRef, BuildFailure>;
    /// Takes an image made elsewhere into the store.
    async fn fetch(
        &self,
        project: &Project,
        build: &BuildId,
        image: &str,
        lines: &dyn Lines,
    ) -> std::result::Result<ImageRef, BuildFailure>;
    /// True if the store holds this image with all its layers.
    async fn has(&self, image: &ImageRef) -> Result<bool>;
    /// A build is kept no more: its image loses the name that the build gave it, and goes unless something else names it.
    async fn discard(&self, project: &Project, build: &BuildId) -> Result<()>;
}

/// What a chart repository asks for, and what its charts are verified with. Never printed.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct ChartAccess {
    /// Name and password, for basic authentication.
    pub user: Option<(String, String)>,
    /// Certificates of authorities that it is trusted by, in PEM, beside those of the machine.
    pub authority: Option<Vec<u8>>,
    /// Public keys of OpenPGP: only what one of them signed is taken.
    pub keyring: Option<Vec<u8>>,
    /// The only hosts that are asked; all if absent.
    pub hosts: Option<Vec<String>>,
}

impl std::fmt::Debug for ChartAccess {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ChartAccess")
    }
}

/// Repositories of charts, and the archives that were taken from there or packed here. An archive that was taken once
/// is here.
#[async_trait]
pub trait Charts: Send + Sync {
    /// Versions of a chart that its repository has, in no order. The version that the source asks for is not looked at.
    async fn versions(&self, source: &ChartSource, access: &ChartAccess) -> Result<Vec<String>>;
    /// Takes this version of a chart and answers with the digest of its archive. What the repository says of that is held
    /// against it.
    async fn fetch(&self, source: &ChartSource, version: &str, access: &ChartAccess) -> Result<Digest>;
    /// Keeps an archive that was packed here.
    async fn keep(&self, archive: Vec<u8>) -> Result<Digest>;
    /// An archive that is here.
    async fn archive(&self, digest: &Digest) -> Result<Option<Arc<[u8]>>>;
}

/// The part of a cluster that one environment owns: all objects with its labels, and what they own.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Scope {
    /// Project.
    pub project: Project,
    /// Environment.
    pub environment: Environment,
}

/// What a cluster can do, as templates of charts ask.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Capabilities {
    /// `v1.34.4`, with what the vendor adds.
    pub version: String,
    /// `apps/v1`, and of each kind `apps/v1/Deployment`; sorted.
    pub api_versions: Vec<String>,
}

/// One data plane.
#[async_trait]
pub trait DataPlane: Send + Sync {
    /// What stands there now, from a cache that watches keep fresh. The first call of a scope begins to watch
    /// and waits for the first answer; `wake` is called on each change after that.
    async fn observe(&self, scope: &Scope, wake: Wake) -> Result<Observation>;
    /// Server-side dry run of each manifest: what would stand there, in the same order, or why it is refused.
    async fn predict(&self, manifests: &[Value]) -> Result<Vec<std::result::Result<Value, String>>>;
    /// Runs a plan. `opened` holds the values that stand masked in its manifests; they go to the API server and nowhere else.
    async fn execute(&self, plan: &Plan, opened: &Opened) -> Result<Receipt>;
    /// Who we are there, if its API enforces rules over who writes what (`ValidatingAdmissionPolicy` of
    /// `admissionregistration.k8s.io/v1`).
    async fn writer(&self) -> Result<Option<String>> {
        Ok(None)
    }
    /// What it can do now, by its discovery. `None`: nothing is known.
    async fn capabilities(&self) -> Result<Option<Capabilities>> {
        Ok(None)
    }
    /// The end of a container's log, `previous` for the container before the last restart.
    async fn logs(&self, namespace: &str, pod: &str, lines: u32, previous: bool) -> Result<String>;
}

/// How the nodes of another cluster pull what was built here. Its password is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Registry {
    /// What stands there for `registry.trimtab.internal`.
    pub host: String,
    /// Whose token it is.
    pub user: String,
    /// May read the images of one project.
    pub password: String,
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Registry({}@{})", self.user, self.host)
    }
}

/// A data plane, and what is particular to it.
#[derive(Clone)]
pub struct Placement {
    /// What acts there.
    pub plane: Arc<dyn DataPlane>,
    /// `None`: its node reads the images of this instance as they lie.
    pub registry: Option<Registry>,
}

/// All data planes.
#[async_trait]
pub trait DataPlanes: Send + Sync {
    /// The one of this name and description, `None` for the embedded one. Does not ask it anything; fails if this
    /// instance has no credential for it, saying how to supply it.
    async fn get(&self, project: &Project, plane: Option<(&DataPlaneName, &DataPlaneFile)>) -> Result<Placement>;
}

/// Objects of the control API.
#[async_trait]
pub trait Records: Send + Sync {
    /// Makes the namespace of a project's objects, if it is not there.
    async fn open(&self, project: &Project) -> Result<()>;
    /// All of a kind in a project, complete objects.
    async fn list(&self, kind: Kind, project: &Project) -> Result<Vec<Value>>;
    /// Creates, with its status; `false` if one of that name exists already (it is left as it is).
    async fn create(&self, kind: Kind, object: &Value) -> Result<bool>;
    /// Applies metadata, spec and status as given (field manager `trimtab`); creates if absent. Equal content writes nothing.
    async fn apply(&self, kind: Kind, object: &Value) -> Result<()>;
    /// Deletes if present.
    async fn delete(&self, kind: Kind, project: &Project, name: &str) -> Result<()>;
    /// Calls `wake` whenever an object of ours in this project's namespace may have changed.
    async fn watch(&self, project: &Project, wake: Wake) -> Result<()>;
}

/// The keys of secrets. Errors say what is wrong with a value and never what it is.
pub trait Secrets: Send + Sync {
    /// To whom values are sealed (`age1…`). The key is made at first need.
    fn recipient(&self) -> Result<String>;
    /// The value in the open, for a moment.
    fn open(&self, sealed: &Ciphertext) -> Result<Plain>;
    /// Seals to the newest key.
    fn seal(&self, value: &Plain) -> Result<Ciphertext>;
    /// Tells values apart without showing them.
    fn digest(&self, value: &[u8]) -> Result<Sealed>;
    /// A secret that belongs to this text for ever, and to no other. It is never shown, not even as a digest.
    fn seed(&self, of: &str) -> Result<[u8; 32]>;
    /// A new key, to which is sealed from now on; answers with its recipient. Earlier ones still open.
    fn renew(&self) -> Result<String>;
}

/// The gateway.
#[async_trait]
pub trait Gateway: Send + Sync {
    /// Returns when the gateway has acknowledged: from then on no request goes to an address that is not in the table.
    async fn publish(&self, table: &RouteTable) -> Result<()>;
    /// What it serves by since before anything was published here; nothing if it is new.
    async fn inherited(&self) -> RouteTable {
        RouteTable::default()
    }
}
