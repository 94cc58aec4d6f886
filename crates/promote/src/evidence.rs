//! What was found out about what may move: policies that it breaks, signatures that it lacks. The caller worked it out;
//! what is missing here is taken to be right.

use model::release::Version;
use model::views::PolicyResult;
use model::{BuildId, CommitId, Environment};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// A policy that a pin would break.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What it breaks.
    pub result: PolicyResult,
    /// Only if this person asks for it; absent: whoever does.
    pub actor: Option<String>,
    /// Only if it comes with this release, or with none; absent: however it comes.
    pub release: Option<Option<Version>>,
}

/// Build, and commit of the config repository.
type Moved = (BuildId, CommitId);

/// What gates know beyond the journal.
#[derive(Debug, Clone, Default)]
pub struct Evidence {
    /// Environments in which a policy has a say.
    pub ruled: BTreeSet<Environment>,
    /// What pins would break.
    pub findings: BTreeMap<(Environment, Moved), Arc<Vec<Finding>>>,
    /// Builds whose commits are all signed by somebody who is known, where a policy asks for that.
    pub signed: BTreeSet<(Environment, BuildId)>,
    /// Environments that ask for signatures.
    pub guarded: BTreeSet<Environment>,
    /// Commits that lack one, of what a pin would bring: for people.
    pub unsigned: BTreeMap<(Environment, Moved), Arc<Vec<String>>>,
    /// The same of commits on main that change an environment.
    pub unsigned_commits: BTreeMap<(Environment, CommitId), String>,
    /// The same of releases.
    pub unsigned_tags: BTreeMap<(Environment, Version), String>,
}
