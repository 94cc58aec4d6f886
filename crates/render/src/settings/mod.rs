//! Configuration and secrets: what stands in `config/` and `secrets/` of a config repository, what of it holds in one
//! environment, and what a component is given of that.

mod files;
mod group;
mod objects;
mod read;
mod schema;
mod secret;
#[cfg(test)]
mod tests;

pub use files::{read_groups, read_secrets};
pub use group::{ConfigGroup, Value};
pub(crate) use objects::{Wiring, wiring};
pub use objects::{config_map_name, secret_name};
pub use secret::{SecretFile, SecretValue};

use model::Group;
use model::settings::Sealed;
use std::collections::BTreeMap;
use yaml::Error as Problem;

/// What one component is given in one environment, in the order in which it asks for it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings {
    /// ConfigGroups, resolved for the environment.
    pub groups: Vec<Resolved>,
    /// Secrets, of which only keyed digests are known.
    pub secrets: Vec<SealedSecret>,
}

/// A ConfigGroup as it holds in one environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    /// Which.
    pub name: Group,
    /// Variables.
    pub data: BTreeMap<String, String>,
    /// Files, by their path below where they are mounted.
    pub files: BTreeMap<String, String>,
    /// Where the component wants the files.
    pub mount_path: Option<String>,
}

/// A secret as it holds in one environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedSecret {
    /// Which.
    pub name: Group,
    /// Key → digest of its value.
    pub values: BTreeMap<String, Sealed>,
    /// Files there instead of variables.
    pub mount_path: Option<String>,
}

/// The place of a problem in words: nearest names, for "there is: …".
pub(crate) fn list<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let names: Vec<&str> = names.into_iter().collect();
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

pub(crate) fn problem(file: &str, position: yaml::Position, field: String, message: String) -> Problem {
    Problem { file: file.to_owned(), line: position.line, column: position.column, field, message }
}
