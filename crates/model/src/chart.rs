//! Helm charts: where one comes from, which values are given to it, and what a pin says of it.

use crate::names::{Component, Digest, Group, NameError};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// `chart` of a component: a directory with a chart in the component's own repository, or a chart of a chart repository.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Written")]
pub struct ChartRule {
    /// Where it comes from.
    pub origin: ChartOrigin,
    /// Name of the release; the component's name if absent.
    pub release: Option<String>,
    /// Files of values in the component's repository, later ones winning; `{environment}` stands for the environment or
    /// one that it is like. Absent: `values.yaml` and `values-{environment}.yaml` beside what describes the component.
    pub values: Option<Vec<String>>,
    /// Values that are given the image that was built.
    pub image: Option<ImageValues>,
    /// Its file in `secrets/` with `username`, `password`, `ca` and `keyring` under `default`, as far as the repository
    /// asks for them.
    pub credentials: Option<Group>,
    /// Take only what is signed with a key of `keyring`.
    pub verify: bool,
    /// Paths of values (`auth.password`) that are given secrets of the environment.
    pub secrets: BTreeMap<String, SecretKey>,
    /// What the list of charts says of it, if it stands in one.
    pub listed: Option<Listed>,
}

/// A key of a secret: `db/password`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SecretKey {
    /// Its file in `secrets/`.
    pub name: Group,
    /// The key there.
    pub key: String,
}

impl TryFrom<String> for SecretKey {
    type Error = NameError;
    fn try_from(text: String) -> Result<Self, NameError> {
        let parts = text.split_once('/').filter(|(_, key)| !key.is_empty());
        let (name, key) = parts.ok_or_else(|| NameError(format!("{text:?} is no SECRET/KEY, as db/password")))?;
        Ok(Self { name: name.parse()?, key: key.to_owned() })
    }
}

impl From<SecretKey> for String {
    fn from(secret: SecretKey) -> Self {
        secret.to_string()
    }
}

impl fmt::Display for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.name, self.key)
    }
}

/// What a list of charts (`requirements.yaml`) says of one of them, beside where it comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Default)]
#[serde(rename_all = "camelCase")]
pub struct Listed {
    /// Its name in the list, if that is not the chart's; the values of the list hold its own under it.
    pub alias: Option<String>,
    /// Values of the list that switch it on or off, with commas; the first that is there counts.
    pub condition: String,
    /// It is on if one of these is in `tags`.
    pub tags: Vec<String>,
    /// Values of the chart that the list takes over: helm's `import-values`.
    pub import_values: Vec<serde_json::Value>,
}

/// Where a chart comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChartOrigin {
    /// Directory below the component's path. With `requirements.yaml` alone it is a list of charts.
    Path(String),
    /// A repository of charts.
    Repository(ChartSource),
}

/// A chart of a repository.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ChartSource {
    /// `https://…` with an `index.yaml`, or `oci://…` without the chart's name.
    pub repository: String,
    /// The chart's name there.
    pub name: String,
    /// A version or a range: `1.2.3`, `^1.2`, `>=1.2 <2`, `*`.
    pub version: String,
}

impl fmt::Display for ChartSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} from {}", self.name, self.version, self.repository)
    }
}

impl ChartSource {
    /// What can be wrong with it, for people.
    ///
    /// # Errors
    /// A repository of another kind or with credentials in its address; a name that is none.
    pub fn check(&self) -> Result<(), NameError> {
        let fail = |problem: String| Err(NameError(problem));
        let address = ["https://", "http://", "oci://"].iter().find_map(|scheme| self.repository.strip_prefix(scheme));
        let Some(address) = address.filter(|address| !address.is_empty() && !address.starts_with('/')) else {
            return fail(format!("repository: {:?} begins with none of https://, http:// and oci://", self.repository));
        };
        let host = address.split('/').next().unwrap_or_default();
        if host.contains('@') {
            return fail("repository: it names a user; credentials stand in secrets/, see `credentials`".into());
        }
        if self.repository.contains(|c: char| c.is_whitespace() || c.is_control()) {
            return fail("repository: an address has no blanks".into());
        }
        // It becomes a part of addresses.
        let inner = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if self.name.is_empty() || self.name.len() > 250 || !self.name.bytes().all(inner) || self.name.starts_with('.')
        {
            return fail(format!("name: {:?} is no name of a chart (letters, digits, '-', '_' and '.')", self.name));
        }
        if self.version.trim().is_empty() {
            return fail("version: it is empty; `*` takes the newest".into());
        }
        Ok(())
    }
}

/// Paths of values (`image.tag`) that are given the image of the component.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ImageValues {
    /// Gets the whole: `registry/repository@sha256:…`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Gets the host of the registry; `repository` is then without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub registry: Option<String>,
    /// Gets the name without tag and digest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repository: Option<String>,
    /// Gets the number of the build; with the digest behind it unless `digest` is given one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
    /// Gets `sha256:…`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
}

/// As it stands in files.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Written {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    path: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    repository: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    version: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    release: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    values: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    image: Option<ImageValues>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    credentials: Option<Group>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    verify: bool,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    secrets: BTreeMap<String, SecretKey>,
}

impl TryFrom<Written> for ChartRule {
    type Error = NameError;
    fn try_from(written: Written) -> Result<Self, NameError> {
        let origin = match (written.path, written.repository, written.name, written.version) {
            (Some(path), None, None, None) => ChartOrigin::Path(path),
            (None, Some(repository), Some(name), version) => {
                let version = version.unwrap_or_else(|| "*".to_owned());
                let source = ChartSource { repository, name, version };
                source.check().map_err(|NameError(problem)| NameError(format!("chart.{problem}")))?;
                ChartOrigin::Repository(source)
            }
            _ => {
                return Err(NameError(
                    "chart: it is {path} for a chart in this repository, or {repository, name, version} for one of a chart repository"
                        .into(),
                ));
            }
        };
        let Written { release, values, image, credentials, verify, secrets, .. } = written;
        if image.as_ref().is_some_and(|image| *image == ImageValues::default()) {
            return Err(NameError("chart.image: names none of name, registry, repository, tag and digest".into()));
        }
        if let Some(path) = secrets.keys().find(|path| path.split('.').any(str::is_empty)) {
            return Err(NameError(format!("chart.secrets: {path:?} is no path of a value, as auth.password")));
        }
        Ok(Self { origin, release, values, image, credentials, verify, secrets, listed: None })
    }
}

impl From<ChartRule> for Written {
    fn from(rule: ChartRule) -> Self {
        let (path, source) = match rule.origin {
            ChartOrigin::Path(path) => (Some(path), None),
            ChartOrigin::Repository(source) => (None, Some(source)),
        };
        let (repository, name, version) = match source {
            Some(ChartSource { repository, name, version }) => (Some(repository), Some(name), Some(version)),
            None => (None, None, None),
        };
        let ChartRule { release, values, image, credentials, verify, secrets, .. } = rule;
        Self { path, repository, name, version, release, values, image, credentials, verify, secrets }
    }
}

impl ChartRule {
    /// A chart of which nothing else is said.
    pub fn of(origin: ChartOrigin) -> Self {
        let (release, values, image, credentials) = (None, None, None, None);
        Self { origin, release, values, image, credentials, verify: false, secrets: BTreeMap::new(), listed: None }
    }

    /// The chart of a repository that it names, if it does.
    pub fn source(&self) -> Option<&ChartSource> {
        match &self.origin {
            ChartOrigin::Repository(source) => Some(source),
            ChartOrigin::Path(_) => None,
        }
    }

    /// Name of the release.
    pub fn release<'a>(&'a self, component: &'a Component) -> &'a str {
        self.release.as_deref().unwrap_or(component.as_str())
    }
}

/// A chart as a pin names it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ChartPin {
    /// The chart's name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Of its archive, with all charts inside.
    pub digest: Digest,
}

impl fmt::Display for ChartPin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name, self.version)
    }
}

/// The chart that a build is to take.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ChartWish {
    /// What the component's description said.
    pub source: ChartSource,
    /// The version that was asked for, or found to be the newest of the range.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: serde_json::Value) -> Result<ChartRule, String> {
        serde_json::from_value(json).map_err(|error| error.to_string())
    }

    #[test]
    fn a_chart_is_a_path_or_a_chart_of_a_repository() {
        let own = read(serde_json::json!({"path": "chart", "image": {"tag": "image.tag"}})).unwrap();
        assert_eq!(own.origin, ChartOrigin::Path("chart".into()));
        let rule =
            read(serde_json::json!({"repository": "https://charts.example.com", "name": "web", "version": "^1"}));
        let rule = rule.unwrap();
        assert_eq!(rule.source().unwrap().to_string(), "web ^1 from https://charts.example.com");
        assert_eq!(rule.release(&"shop".parse().unwrap()), "shop");
        let again: ChartRule = serde_json::from_value(serde_json::to_value(&rule).unwrap()).unwrap();
        assert_eq!(again, rule);
        let newest = read(serde_json::json!({"repository": "oci://ghcr.io/x", "name": "web"})).unwrap();
        assert_eq!(newest.source().unwrap().version, "*");
    }

    #[test]
    fn what_is_no_chart_is_refused_with_the_reason() {
        for (json, why) in [
            (serde_json::json!({}), "{path}"),
            (serde_json::json!({"path": "chart", "name": "web"}), "{path}"),
            (serde_json::json!({"path": "chart", "image": {}}), "chart.image"),
            (serde_json::json!({"path": "chart", "secrets": {"a.b": "password"}}), "SECRET/KEY"),
            (serde_json::json!({"path": "chart", "secrets": {"a..b": "db/password"}}), "chart.secrets"),
            (serde_json::json!({"repository": "ftp://x", "name": "web"}), "https://"),
            (serde_json::json!({"repository": "https://u:p@x", "name": "web"}), "credentials"),
            (serde_json::json!({"repository": "https://x", "name": "../web"}), "no name of a chart"),
            (serde_json::json!({"repository": "https://x", "name": "web", "version": " "}), "version"),
            (serde_json::json!({"repository": "https://x", "name": "web", "more": 1}), "unknown field"),
        ] {
            let error = read(json.clone()).unwrap_err();
            assert!(error.contains(why), "{json}: {error}");
        }
    }
}
