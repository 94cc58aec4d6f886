//! Changes: what somebody proposes for main, and what people and systems say of it before it gets there.

use crate::flow::{Action, Repository};
use crate::names::{CommitId, Environment, NameError, Project};
use crate::records::Gate;
use crate::views::PolicyResult;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Where a proposal is pushed to.
pub const FOR_MAIN: &str = "refs/for/main";
/// Trailer of a commit that brings a Change to main other than by moving main forward: its number.
pub const TRAILER: &str = "Trimtab-Change";

/// A Change. Its object in namespace `<project>` has its number as name; what people agreed to, and how it ended, is told
/// by the journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Change {
    /// Number in its project, from 1.
    pub number: u64,
    /// What is proposed.
    pub spec: ChangeSpec,
    /// What became of it.
    #[serde(default)]
    pub status: ChangeStatus,
}

/// What is proposed, and where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ChangeSpec {
    /// Project.
    pub project: Project,
    /// The repository whose main is to take it.
    pub repository: Repository,
    /// Who opened it.
    pub author: String,
    /// What tells it from others of the same author: `-o topic=…` of the push.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub topic: Option<String>,
    /// When it was opened.
    pub created: Timestamp,
}

/// What became of a Change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub struct ChangeStatus {
    /// Where it stands.
    pub state: ChangeState,
    /// What was proposed, oldest first; only the last one counts.
    pub patch_sets: Vec<PatchSet>,
    /// What people say.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub comments: Vec<Comment>,
    /// What systems found, of the last patch set.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub checks: Vec<Check>,
    /// The commit on main that it became.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub commit: Option<CommitId>,
    /// Who merged or abandoned it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub closed_by: Option<String>,
    /// When that was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub closed: Option<Timestamp>,
}

/// Where a Change stands. The words are shown to people.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
pub enum ChangeState {
    /// It may still be merged.
    #[default]
    Open,
    /// It stands on main.
    Merged,
    /// It never will.
    Abandoned,
}

impl fmt::Display for ChangeState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Open => "open",
            Self::Merged => "merged",
            Self::Abandoned => "abandoned",
        })
    }
}

/// One proposal of a Change: `refs/changes/<change>/<number>`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PatchSet {
    /// From 1.
    pub number: u32,
    /// What should stand on main.
    pub commit: CommitId,
    /// The newest commit of main that it builds on.
    pub base: CommitId,
    /// Commits between the two.
    pub commits: u32,
    /// Who pushed it.
    pub by: String,
    /// When.
    pub at: Timestamp,
    /// Subject of the commit.
    pub title: String,
    /// What else its message says, without trailers.
    #[serde(skip_serializing_if = "String::is_empty", default)]
    pub description: String,
}

/// What somebody says of a Change, or of a line in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Comment {
    /// Who.
    pub by: String,
    /// When.
    pub at: Timestamp,
    /// Of which patch set.
    pub patch_set: u32,
    /// Of which file.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub path: Option<String>,
    /// Of which line of it, from 1.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub line: Option<u32>,
    /// In their words.
    pub text: String,
}

/// What a system found out about a patch set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Check {
    /// Its name: `build`, or what the reporting system calls it.
    pub name: String,
    /// What came of it.
    pub state: CheckState,
    /// Of which commit.
    pub commit: CommitId,
    /// Who says so.
    pub by: String,
    /// When.
    pub at: Timestamp,
    /// What it found, or where that can be read.
    #[serde(skip_serializing_if = "String::is_empty", default)]
    pub message: String,
}

/// What came of a check. The words are shown to people.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum CheckState {
    /// On its way.
    Running,
    /// As it should be.
    Passed,
    /// Not so.
    Failed,
}

impl Change {
    /// The proposal that counts. A Change always has one.
    pub fn latest(&self) -> &PatchSet {
        self.status.patch_sets.last().expect("a Change is opened with a patch set")
    }
    /// Subject of what is proposed.
    pub fn title(&self) -> &str {
        &self.latest().title
    }
    /// `refs/changes/12/head`.
    pub fn head_ref(number: u64) -> String {
        format!("refs/changes/{number}/head")
    }
    /// `refs/changes/12/3`.
    pub fn patch_set_ref(number: u64, patch_set: u32) -> String {
        format!("refs/changes/{number}/{patch_set}")
    }
    /// The number in `refs/changes/12/head`.
    pub fn of_head_ref(reference: &str) -> Option<u64> {
        reference.strip_prefix("refs/changes/")?.strip_suffix("/head")?.parse().ok()
    }
    /// Everybody who wrote some of it: none of them may approve it.
    pub fn authors(&self) -> impl Iterator<Item = &str> {
        let pushers = self.status.patch_sets.iter().map(|set| set.by.as_str());
        std::iter::once(self.spec.author.as_str()).chain(pushers)
    }
}

/// What a push asks for beside its commit: `-o topic=…`, `-o change=…`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ChangeOptions {
    /// Adds to the open Change of this author with this topic, or opens one.
    pub topic: Option<String>,
    /// Adds to this Change.
    pub change: Option<u64>,
}

impl ChangeOptions {
    /// Of `key=value` texts.
    pub fn parse<S: AsRef<str>>(options: &[S]) -> Result<Self, NameError> {
        let mut found = Self::default();
        for option in options {
            let option = option.as_ref();
            let unknown = || NameError(format!("{option:?} is no option of a Change: topic=NAME, change=NUMBER"));
            let (key, value) = option.split_once('=').ok_or_else(unknown)?;
            match key {
                "topic" if topic(value) => found.topic = Some(value.to_owned()),
                "topic" => {
                    return Err(NameError(format!("{value:?} is no topic: letters, digits, - _ . /, at most 60")));
                }
                "change" => {
                    let number = value.parse().map_err(|_| NameError(format!("{value:?} is no number of a Change")))?;
                    found.change = Some(number);
                }
                _ => return Err(unknown()),
            }
        }
        Ok(found)
    }
}

fn topic(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
    (1..=60).contains(&text.len()) && text.chars().all(plain)
}

/// A Change instead of a commit: what was asked for touches an environment whose changes are reviewed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Opened {
    /// Whose.
    pub project: Project,
    /// Its number.
    pub number: u64,
    /// Its title.
    pub title: String,
    /// Where it is looked at in a browser.
    pub address: String,
    /// The environments that ask for it.
    pub environments: Vec<Environment>,
}

impl fmt::Display for Opened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.environments.iter().map(Environment::as_str).collect();
        let Self { number, title, address, .. } = self;
        write!(
            f,
            "changes to {} are reviewed: opened Change {number} instead: {title}\n  {address}\n  trimtab change show {number}",
            names.join(", ")
        )
    }
}

/// A Change in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ChangeSummary {
    /// The record.
    #[serde(flatten)]
    pub change: Change,
    /// People who agree to the last patch set.
    pub approved_by: Vec<String>,
    /// What keeps it from being merged; empty: it may be.
    pub blocked: Vec<String>,
}

/// A Change with all that a reviewer needs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ChangeDetail {
    /// As in lists.
    #[serde(flatten)]
    pub summary: ChangeSummary,
    /// Where it is looked at in a browser.
    pub address: String,
    /// Who must agree.
    pub needs: Vec<Need>,
    /// What it would do, per environment in the project's order.
    pub plans: Vec<EnvironmentPlan>,
    /// What it changes in files.
    pub files: Vec<FileDifference>,
}

/// Approvals that an environment asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Need {
    /// Which.
    pub environment: Environment,
    /// So many.
    pub count: u32,
    /// Of these people or roles; empty: everybody who may approve.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub from: Vec<String>,
    /// Those who agree and count.
    pub by: Vec<String>,
}

/// What a Change would do to one environment once it is on main.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EnvironmentPlan {
    /// Which.
    pub environment: Environment,
    /// Its changes are reviewed.
    pub reviewed: bool,
    /// What moves: `web-1 → web-2`; empty: nothing does.
    #[serde(skip_serializing_if = "String::is_empty", default)]
    pub change: String,
    /// Objects that differ from what is admitted there now.
    pub objects: Vec<ObjectDifference>,
    /// What it would wait for.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub gates: Vec<Gate>,
    /// Policies that it breaks.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub policies: Vec<PolicyResult>,
    /// Those of them that deny what it changes, as they were not broken before: it cannot be merged.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub denied: Vec<PolicyResult>,
    /// What else is to be known, such as why it cannot be rendered.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub notes: Vec<String>,
}

/// `POST …/changes/{number}/comments`: what somebody has to say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewComment {
    /// Of which file of the last patch set; absent: of all of it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub path: Option<String>,
    /// Of which line, from 1.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub line: Option<u32>,
    /// In their words.
    pub text: String,
}

/// `POST …/changes/{number}/checks`: what a system found out about the last patch set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewCheck {
    /// Name of the check.
    pub check: String,
    /// The commit that it looked at; absent: that of the last patch set.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub commit: Option<CommitId>,
    /// What came of it.
    pub state: CheckState,
    /// What it found, or where that can be read.
    #[serde(skip_serializing_if = "String::is_empty", default)]
    pub message: String,
}

impl EnvironmentPlan {
    /// True if nothing is different there.
    pub fn is_empty(&self) -> bool {
        self.change.is_empty() && self.objects.is_empty() && self.notes.is_empty() && self.policies.is_empty()
    }

    /// For people: what moves, a line per object, what it would wait for.
    pub fn lines(&self) -> Vec<String> {
        let name = &self.environment;
        if self.is_empty() {
            return vec![format!("{name}: nothing changes")];
        }
        let reviewed = if self.reviewed { " (reviewed)" } else { "" };
        let what = if self.change.is_empty() { "no build moves" } else { self.change.as_str() };
        let mut lines = vec![format!("{name}{reviewed}: {what}")];
        lines.extend(self.objects.iter().map(|one| {
            let sign = match one.action {
                Action::Create => '+',
                Action::Delete => '-',
                Action::Configure | Action::Unchanged => '~',
            };
            format!("  {sign} {}", one.object)
        }));
        lines.extend(self.notes.iter().map(|note| format!("  {note}")));
        lines.extend(self.policies.iter().map(|broken| format!("  {} ({})", broken, broken.action)));
        lines.extend(self.gates.iter().map(|gate| format!("  would wait: {}", gate.message)));
        lines
    }
}

/// One object, before and after.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ObjectDifference {
    /// `Deployment.apps web`.
    pub object: String,
    /// Create, configure or delete.
    pub action: Action,
    /// Unified, of both as YAML.
    pub diff: String,
}

/// One file, before and after.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FileDifference {
    /// Which.
    pub path: String,
    /// Unified; says so where it is no text.
    pub diff: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_of_a_push_are_read_or_refused() {
        let parse = |options: &[&str]| ChangeOptions::parse(options).map_err(|error| error.to_string());
        assert_eq!(parse(&[]), Ok(ChangeOptions::default()));
        let both = ChangeOptions { topic: Some("fix/login".into()), change: Some(12) };
        assert_eq!(parse(&["topic=fix/login", "change=12"]), Ok(both));
        for bad in ["topic=", "topic=a b", "change=x", "change=-1", "wip", "reviewer=ada"] {
            assert!(parse(&[bad]).is_err(), "{bad:?} was accepted");
        }
        assert_eq!(Change::of_head_ref("refs/changes/12/head"), Some(12));
        assert_eq!(Change::of_head_ref("refs/changes/12/1"), None);
    }
}
