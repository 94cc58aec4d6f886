//! Releases: a set of pins under a version, held by a tag.

use crate::config::Pin;
use crate::names::{CommitId, Component, NameError};
use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

/// `1.4.0`, `2.0.0-rc.1`: SemVer without build metadata, ordered by precedence.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(semver::Version);

impl Version {
    /// `v1.4.0`, the tag's name.
    pub fn tag(&self) -> String {
        format!("v{self}")
    }
    /// `releases/1.4.0.yaml`.
    pub fn path(&self) -> String {
        format!("releases/{self}.yaml")
    }
    /// The version whose file this path is, if it is one.
    pub fn of_path(path: &str) -> Option<Result<Self, NameError>> {
        let name = path.strip_prefix("releases/")?.strip_suffix(".yaml")?;
        Some(name.parse())
    }
}
impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
impl FromStr for Version {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        let bad = |why: &str| {
            NameError(format!("{text:?} is not a release version: SemVer such as 1.4.0 or 2.0.0-rc.1 ({why})"))
        };
        let version = semver::Version::parse(text).map_err(|error| bad(&error.to_string()))?;
        if !version.build.is_empty() {
            return Err(bad("without build metadata"));
        }
        Ok(Self(version))
    }
}
impl Serialize for Version {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}
impl<'de> Deserialize<'de> for Version {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

/// `releases/<version>.yaml`. Never changes once its tag stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ReleaseFile {
    /// What runs.
    pub pins: BTreeMap<Component, Pin>,
    /// What is new in it.
    #[serde(default)]
    pub notes: Notes,
}

/// What is new in a release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Notes {
    /// The release before it, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<Version>,
    /// `web 1234abcd Ada: faster checkout`, newest first by component.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub commits: Vec<String>,
    /// `#12`, as the commits name them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub issues: Vec<String>,
}

/// A release: what its tag holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Release {
    /// Commit of the config repository under the tag.
    pub commit: CommitId,
    /// Who wrote that commit.
    pub author: String,
    /// And when.
    pub at: Timestamp,
    /// The file at that commit.
    pub file: ReleaseFile,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_semver_and_ordered_by_precedence() {
        let versions = ["1.4.0-rc.1", "1.4.0", "1.10.0"].map(|text| text.parse::<Version>().unwrap());
        assert!(versions.is_sorted());
        for bad in ["", "1", "1.4", "v1.4.0", "1.4.0+5", "web-42", "1.4.0/x", "01.4.0"] {
            assert!(bad.parse::<Version>().is_err(), "{bad:?} was accepted");
        }
        assert_eq!(Version::of_path("releases/1.4.0.yaml").unwrap().unwrap(), versions[1]);
        assert!(Version::of_path("releases/latest.yaml").unwrap().is_err());
        assert!(Version::of_path("environments/dev.yaml").is_none());
    }
}
