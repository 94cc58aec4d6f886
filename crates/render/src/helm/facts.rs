//! What templates see of release and cluster.

use super::Error;
use super::functions::Version;
use super::record::Record;
use std::any::Any;
use std::rc::Rc;
use template::{Entries, Object, Value};

/// A release of a chart.
#[derive(Debug, Clone)]
pub struct Release {
    /// Its name.
    pub name: String,
    /// Where it goes.
    pub namespace: String,
    /// Whether it is there already.
    pub is_upgrade: bool,
    /// From 1.
    pub revision: u32,
}

impl Default for Release {
    fn default() -> Self {
        Self { name: "release-name".into(), namespace: "default".into(), is_upgrade: false, revision: 1 }
    }
}

/// Names of releases become parts of names of objects.
const NAME_MAX: usize = 53;

impl Release {
    pub(super) fn check(&self) -> Result<(), Error> {
        let is_label = |label: &str| {
            let bytes = label.as_bytes();
            let fits = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
            bytes.first().is_some_and(fits)
                && bytes.last().is_some_and(fits)
                && bytes.iter().all(|byte| fits(byte) || *byte == b'-')
        };
        if self.name.len() > NAME_MAX || !self.name.split('.').all(is_label) {
            let problem = format!(
                "release name {:?}: invalid release name, must match regex ^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$ and the length must not be longer than 53",
                self.name
            );
            return Err(Error::Values(problem));
        }
        Ok(())
    }

    pub(super) fn value(&self) -> Value {
        Value::map(Entries::from([
            ("Name".into(), self.name.as_str().into()),
            ("Namespace".into(), self.namespace.as_str().into()),
            ("IsUpgrade".into(), Value::Bool(self.is_upgrade)),
            ("IsInstall".into(), Value::Bool(!self.is_upgrade)),
            ("Revision".into(), Value::Int(i64::from(self.revision))),
            ("Service".into(), "Helm".into()),
        ]))
    }
}

/// A version of Kubernetes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct KubeVersion {
    /// `v1.37.0`.
    pub version: String,
    /// `1`.
    pub major: String,
    /// `37`.
    pub minor: String,
}

impl Default for KubeVersion {
    fn default() -> Self {
        Self { version: "v1.37.0".into(), major: "1".into(), minor: "37".into() }
    }
}

impl KubeVersion {
    /// Reads a version as `--kube-version` takes it; what stands behind the numbers is cut off.
    ///
    /// # Errors
    /// If it is no version.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let numbers = text.strip_prefix('v').unwrap_or(text);
        let end = numbers.find(|character: char| !character.is_ascii_digit() && character != '.');
        let numbers = numbers[..end.unwrap_or(numbers.len())].trim_end_matches('.');
        match Version::parse(numbers) {
            Some(version) if numbers.contains('.') => {
                let short = numbers.matches('.').count() < 2;
                let patch = if short { ".0".to_owned() } else { format!(".{}", version.patch) };
                Ok(Self {
                    version: format!("v{}.{}{patch}", version.major, version.minor),
                    major: version.major.to_string(),
                    minor: version.minor.to_string(),
                })
            }
            _ => {
                let problem = format!("invalid kube version '{text}': could not parse {text:?} as version");
                Err(Error::Values(problem))
            }
        }
    }
}

/// What the cluster can do.
#[derive(Debug, Clone)]
pub struct Capabilities {
    /// Its version.
    pub kube_version: KubeVersion,
    /// `apps/v1`, and of objects that are known one by one `apps/v1/Deployment`.
    pub api_versions: Vec<String>,
}

impl Default for Capabilities {
    fn default() -> Self {
        let known = include_str!("api_versions.txt").lines().map(str::to_owned);
        Self { kube_version: KubeVersion::default(), api_versions: known.collect() }
    }
}

impl Capabilities {
    pub(super) fn value(&self) -> Value {
        let kube = &self.kube_version;
        let version = Record::new("chartutil.KubeVersion", "struct")
            .with_always("Version", "Version", kube.version.as_str().into())
            .with_always("Major", "Major", kube.major.as_str().into())
            .with_always("Minor", "Minor", kube.minor.as_str().into())
            .shown_as(kube.version.clone())
            .with_methods(|record, name, args| match (name, args) {
                ("String" | "GitVersion", []) => record.field("Version"),
                _ => None,
            });
        let helm = Record::new("version.BuildInfo", "struct")
            .with("Version", "version", super::VERSION.into())
            .with("GitCommit", "git_commit", "".into())
            .with("GitTreeState", "git_tree_state", "".into())
            .with("GoVersion", "go_version", "go1.26.8".into());
        Record::new("*chartutil.Capabilities", "ptr")
            .with_always("KubeVersion", "KubeVersion", version.value())
            .with_always("APIVersions", "APIVersions", Value::Object(Rc::new(ApiVersions::of(&self.api_versions))))
            .with_always("HelmVersion", "HelmVersion", helm.value())
            .value()
    }
}

struct ApiVersions {
    list: Value,
}

impl ApiVersions {
    fn of(versions: &[String]) -> Self {
        Self { list: Value::texts(versions.iter().map(String::as_str)) }
    }

    fn has(&self, version: &str) -> bool {
        match &self.list {
            Value::List(list) => list.items.iter().any(|item| matches!(item, Value::Text(text) if &**text == version)),
            _ => false,
        }
    }
}

impl Object for ApiVersions {
    fn type_name(&self) -> &'static str {
        "chartutil.VersionSet"
    }

    fn kind(&self) -> &'static str {
        "slice"
    }

    fn field(&self, _name: &str) -> Option<Value> {
        None
    }

    fn call(&self, name: &str, args: &[Value]) -> Option<Result<Value, String>> {
        match (name, args) {
            ("Has", [Value::Text(version)]) => Some(Ok(Value::Bool(self.has(version)))),
            ("Has", [other]) => Some(Err(format!("wrong type for value; expected string; got {}", other.type_name()))),
            ("Has", args) => Some(Err(format!("wrong number of args for Has: want 1 got {}", args.len()))),
            _ => None,
        }
    }

    fn print(&self) -> String {
        template::print(&self.list)
    }

    fn plain(&self) -> Value {
        self.list.clone()
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
