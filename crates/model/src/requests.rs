//! What people and systems ask for, as it travels from the command line and the UI to the loops.

use crate::config::Strategy;
use crate::names::{BuildId, CommitId, Domain, Environment};
use crate::release::Version;
use serde::{Deserialize, Serialize};

/// `POST /api/v1/projects/{project}/environments`: an environment to be made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NewEnvironment {
    /// Its name.
    pub name: Environment,
    /// Its rules, overlays and configuration are those of that one, until it has its own.
    #[serde(default)]
    pub like: Option<Environment>,
    /// Where its builds come from, and behind which it stands.
    #[serde(default)]
    pub after: Vec<Environment>,
    /// Who moves it.
    #[serde(default)]
    pub strategy: Option<Strategy>,
    /// Shown with care.
    #[serde(default)]
    pub production: bool,
    /// Under which its hosts are.
    #[serde(default)]
    pub domain: Option<Domain>,
    /// Its file and its pins stand in a config repository of their own.
    #[serde(default)]
    pub own_repo: bool,
}

/// `POST /api/v1/projects/{project}/at`: what ran somewhere shall run somewhere else.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recreate {
    /// Where it ran.
    #[serde(rename = "env")]
    pub environment: Environment,
    /// When: `2026-11-01T14:00`.
    pub time: String,
    /// Where it shall run; an environment that is not there is made.
    pub into: Environment,
}

/// What goes when an environment goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Removal {
    /// Files of the config repository.
    pub files: Vec<String>,
    /// Objects of the cluster.
    pub objects: Vec<String>,
    /// Addresses that nobody answers any more.
    pub addresses: Vec<String>,
    /// The commit, once it is done.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub commit: Option<CommitId>,
}

/// `POST /api/v1/projects/{project}/checks`: what a check found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Check {
    /// Its name, as rules have it.
    pub check: String,
    /// Where it ran.
    #[serde(rename = "env")]
    pub environment: Environment,
    /// The build that it was of, ...
    #[serde(default)]
    pub build: Option<BuildId>,
    /// ... or the release.
    #[serde(default)]
    pub release: Option<Version>,
    /// What came of it.
    pub passed: bool,
    /// What it found, or where that can be read.
    #[serde(default)]
    pub reason: String,
}
