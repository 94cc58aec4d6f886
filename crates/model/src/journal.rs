//! The journal: what happened, by whom and why. Each entry is one signed commit with an empty
//! tree on `refs/trimtab/journal` of the config repository; this is its message, both ways.

use crate::names::{BuildId, CommitId, Component, Environment, NameError};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    /// Decides idempotency: appending an id that the journal holds already changes nothing.
    pub id: String,
    /// What.
    pub kind: EntryKind,
    /// When, to the second.
    pub at: Timestamp,
    /// Who asked for it; `trimtab` for what nobody asked for.
    pub actor: String,
    /// Where.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub environment: Option<Environment>,
    /// For entries about one component.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub component: Option<Component>,
    /// The build it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub build: Option<BuildId>,
    /// Commit of the config repository that it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub commit: Option<CommitId>,
    /// Name of the Promotion that it belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub promotion: Option<String>,
    /// One line for people; the commit's subject.
    pub summary: String,
    /// Why, if there is more to say.
    #[serde(skip_serializing_if = "String::is_empty", default)]
    pub reason: String,
    /// What only some kinds say, by the names in [`detail`].
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub details: BTreeMap<String, String>,
}

/// Names of details; each is a trailer `Trimtab-<name>`.
pub mod detail {
    /// Version of a release: `admitted`, `released`, `certified`, `checked`.
    pub const RELEASE: &str = "Release";
    /// What an approval is for: environment, what moves, and the gates.
    pub const BINDING: &str = "Binding";
    /// Groups of who approved, with commas.
    pub const GROUPS: &str = "Groups";
    /// Name of a check.
    pub const CHECK: &str = "Check";
    /// `passed` or `failed`.
    pub const RESULT: &str = "Result";
    /// Until when what was rolled back is not taken by itself.
    pub const QUARANTINE: &str = "Quarantine-Until";
    /// How many pins of each chart stood in the environment since it came: `api=1 web=3`.
    pub const REVISIONS: &str = "Revisions";
    /// Event of a chart's hooks.
    pub const EVENT: &str = "Event";
    /// Number of a Change: `opened`, `approved`, `merged`, `abandoned`.
    pub const REVIEW: &str = "Change";
    /// Repository of a Change.
    pub const REPOSITORY: &str = "Repository";
    /// The change that a movement belongs to.
    pub const CHANGE: &str = "Change-Ref";
}

macro_rules! kinds {
    ($($(#[$meta:meta])* $name:ident = $text:literal),+ $(,)?) => {
        /// The closed vocabulary of the journal.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, Hash)]
        #[serde(rename_all = "camelCase")]
        pub enum EntryKind { $($(#[$meta])* $name),+ }
        impl EntryKind {
            /// As it stands in the trailer.
            pub fn as_str(self) -> &'static str { match self { $(Self::$name => $text),+ } }
        }
        impl FromStr for EntryKind {
            type Err = NameError;
            fn from_str(text: &str) -> Result<Self, NameError> {
                match text { $($text => Ok(Self::$name),)+ _ => Err(NameError(format!("{text:?} is no kind of journal entry"))) }
            }
        }
    };
}

kinds! {
    /// The gates let this commit's state into the environment: it is the desired state from here on.
    Admitted = "admitted",
    /// A commit on main is held back from the environment, with the reason.
    Held = "held",
    /// A component's build became healthy in the environment.
    Healthy = "healthy",
    /// A component's build will not become healthy in the environment.
    Failed = "failed",
    /// Somebody's change to a cluster was undone.
    Repaired = "repaired",
    /// A request or push was refused.
    Refused = "refused",
    /// Somebody went back to an earlier state.
    RolledBack = "rolledBack",
    /// A person agreed to a movement.
    Approved = "approved",
    /// A person withdrew a request.
    Cancelled = "cancelled",
    /// A person passed shut gates, with a reason.
    Overridden = "overridden",
    /// The environment is gone, and with it all that ran there; one of this name begins anew.
    Removed = "removed",
    /// A set of pins got a version.
    Released = "released",
    /// A check of a build or release in the environment ended.
    Checked = "checked",
    /// A release has shown in the environment what was asked of it.
    Certified = "certified",
    /// The hooks of a component's chart ran for an event: a movement of it runs them once.
    Hooked = "hooked",
    /// Somebody proposed something for main.
    Opened = "opened",
    /// A Change is on main.
    Merged = "merged",
    /// A Change will never be on main.
    Abandoned = "abandoned",
}

impl fmt::Display for EntryKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Entry {
    /// An entry about nothing in particular yet.
    pub fn new(kind: EntryKind, id: String, at: Timestamp, actor: &str) -> Self {
        Self {
            id,
            kind,
            at,
            actor: actor.to_owned(),
            environment: None,
            component: None,
            build: None,
            commit: None,
            promotion: None,
            summary: String::new(),
            reason: String::new(),
            details: BTreeMap::new(),
        }
    }

    /// One of the names of [`detail`].
    pub fn detail(&self, name: &str) -> Option<&str> {
        self.details.get(name).map(String::as_str)
    }

    /// The commit message: subject, reason, trailers.
    pub fn to_message(&self) -> String {
        let mut text = format!("{}\n", one_line(&self.summary));
        if !self.reason.is_empty() {
            // A line of the reason that looks like a trailer is indented, so that it can never be read as one.
            text.push('\n');
            for line in self.reason.lines() {
                text.push_str("  ");
                text.push_str(line);
                text.push('\n');
            }
        }
        text.push('\n');
        let mut trailer = |key: &str, value: Option<String>| {
            if let Some(value) = value {
                text.push_str(&format!("Trimtab-{key}: {}\n", one_line(&value)));
            }
        };
        trailer("Id", Some(self.id.clone()));
        trailer("Kind", Some(self.kind.to_string()));
        trailer("At", Some(self.at.to_string()));
        trailer("Actor", Some(self.actor.clone()));
        trailer("Environment", self.environment.as_ref().map(ToString::to_string));
        trailer("Component", self.component.as_ref().map(ToString::to_string));
        trailer("Build", self.build.as_ref().map(ToString::to_string));
        trailer("Commit", self.commit.as_ref().map(ToString::to_string));
        trailer("Promotion", self.promotion.clone());
        for (name, value) in &self.details {
            trailer(name, Some(value.clone()));
        }
        text
    }

    /// Read back from a commit message.
    pub fn parse(message: &str) -> Result<Self, NameError> {
        let mut lines = message.lines();
        let summary = lines.next().unwrap_or_default().to_owned();
        let mut reason = Vec::new();
        let mut fields = BTreeMap::new();
        for line in lines {
            if let Some(text) = line.strip_prefix("  ") {
                reason.push(text);
            } else if let Some((key, value)) = line.strip_prefix("Trimtab-").and_then(|l| l.split_once(": ")) {
                fields.insert(key.to_owned(), value.to_owned());
            }
        }
        let need = |key: &str| {
            fields.get(key).cloned().ok_or_else(|| NameError(format!("journal entry without Trimtab-{key}")))
        };
        fn optional<T: FromStr<Err = NameError>>(text: Option<&String>) -> Result<Option<T>, NameError> {
            text.map(|t| t.parse()).transpose()
        }
        Ok(Self {
            id: need("Id")?,
            kind: need("Kind")?.parse()?,
            at: need("At")?.parse().map_err(|e| NameError(format!("journal entry with a bad time: {e}")))?,
            actor: need("Actor")?,
            environment: optional(fields.get("Environment"))?,
            component: optional(fields.get("Component"))?,
            build: optional(fields.get("Build"))?,
            commit: optional(fields.get("Commit"))?,
            promotion: fields.get("Promotion").cloned(),
            summary,
            reason: reason.join("\n"),
            details: {
                fields.retain(|key, _| !FIELDS.contains(&key.as_str()));
                fields
            },
        })
    }
}

/// Trailers that are fields of an entry; all others are details.
const FIELDS: [&str; 9] = ["Id", "Kind", "At", "Actor", "Environment", "Component", "Build", "Commit", "Promotion"];

fn one_line(text: &str) -> String {
    text.replace(['\n', '\r'], " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_survives_its_message() {
        let entry = Entry {
            id: "admit-staging-1".into(),
            kind: EntryKind::Admitted,
            at: "2026-11-21T09:00:00Z".parse().unwrap(),
            actor: "alice".into(),
            environment: Some("staging".parse().unwrap()),
            component: None,
            build: Some("web-42".parse().unwrap()),
            commit: Some("0123456789012345678901234567890123456789".parse().unwrap()),
            promotion: Some("staging-web-42".into()),
            summary: "staging: web-41 → web-42".into(),
            reason: "because\nTrimtab-Kind: forged".into(),
            details: BTreeMap::from([(detail::RELEASE.to_owned(), "1.4.0".to_owned())]),
        };
        assert_eq!(Entry::parse(&entry.to_message()).unwrap(), entry);
    }

    #[test]
    fn a_message_without_its_trailers_is_an_error() {
        assert!(Entry::parse("hello\n").is_err());
    }
}
