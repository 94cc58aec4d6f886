//! An image's configuration, as OCI and Docker write it.

use crate::dockerfile::Healthcheck;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Every image has the same: equal input gives an equal digest.
const CREATED: &str = "1970-01-01T00:00:00Z";

const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The configuration of an image; its digest is the image's identity for Docker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Image {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub author: String,
    pub architecture: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub variant: String,
    pub os: String,
    #[serde(default)]
    pub config: Config,
    pub rootfs: Rootfs,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<History>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Rootfs {
    #[serde(rename = "type")]
    pub kind: String,
    /// Digests of the layers without compression, the base first.
    pub diff_ids: Vec<String>,
}

/// One line of `docker history`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct History {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub created_by: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub comment: String,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub empty_layer: bool,
}

/// How containers of the image run.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct Config {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub user: String,
    #[serde(skip_serializing_if = "is_empty")]
    pub exposed_ports: Option<BTreeMap<String, Empty>>,
    #[serde(skip_serializing_if = "is_none_or_empty")]
    pub env: Option<Vec<String>>,
    #[serde(skip_serializing_if = "is_none_or_empty")]
    pub entrypoint: Option<Vec<String>>,
    #[serde(skip_serializing_if = "is_none_or_empty")]
    pub cmd: Option<Vec<String>>,
    #[serde(skip_serializing_if = "is_empty")]
    pub volumes: Option<BTreeMap<String, Empty>>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub working_dir: String,
    #[serde(skip_serializing_if = "is_empty")]
    pub labels: Option<BTreeMap<String, String>>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub stop_signal: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub healthcheck: Option<Health>,
    #[serde(skip_serializing_if = "is_none_or_empty")]
    pub shell: Option<Vec<String>>,
    #[serde(skip_serializing_if = "is_none_or_empty")]
    pub on_build: Option<Vec<String>>,
}

fn is_empty<V>(map: &Option<BTreeMap<String, V>>) -> bool {
    map.as_ref().is_none_or(BTreeMap::is_empty)
}
fn is_none_or_empty(list: &Option<Vec<String>>) -> bool {
    list.as_ref().is_none_or(Vec::is_empty)
}

/// `{}`: the sets of ports and volumes are written as tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Empty {}

/// Docker's health check; times in nanoseconds.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct Health {
    pub test: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_period: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_interval: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retries: Option<u64>,
}

impl From<&Healthcheck> for Health {
    fn from(check: &Healthcheck) -> Self {
        Self {
            test: check.test.clone(),
            interval: check.interval,
            timeout: check.timeout,
            start_period: check.start_period,
            start_interval: check.start_interval,
            retries: check.retries,
        }
    }
}

/// `amd64`, `arm64`: what images call this machine.
pub(crate) fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        other => other,
    }
}

impl Image {
    /// An image without layers: `FROM scratch`. Docker gives it a search path, so that later shells find programs.
    pub fn scratch() -> Self {
        Self {
            created: Some(CREATED.into()),
            author: String::new(),
            architecture: architecture().into(),
            variant: String::new(),
            os: "linux".into(),
            config: Config { env: Some(vec![PATH.into()]), ..Config::default() },
            rootfs: Rootfs { kind: "layers".into(), diff_ids: Vec::new() },
            history: Vec::new(),
        }
    }

    /// Notes an instruction; `layer` is the one that it made.
    pub fn record(&mut self, instruction: &str, layer: Option<&str>) {
        self.created = Some(CREATED.into());
        self.rootfs.diff_ids.extend(layer.map(str::to_owned));
        self.history.push(History {
            created: Some(CREATED.into()),
            created_by: instruction.to_owned(),
            comment: String::new(),
            empty_layer: layer.is_none(),
        });
    }
}

impl Config {
    /// The value of an environment variable.
    pub fn variable(&self, name: &str) -> Option<&str> {
        let env = self.env.iter().flatten();
        env.filter_map(|entry| entry.split_once('=')).find(|(n, _)| *n == name).map(|(_, value)| value)
    }

    /// Sets an environment variable where it stands, or behind the others.
    pub fn set_variable(&mut self, name: &str, value: &str) {
        let entry = format!("{name}={value}");
        let env = self.env.get_or_insert_default();
        match env.iter_mut().find(|e| e.split_once('=').is_some_and(|(n, _)| n == name)) {
            Some(present) => *present = entry,
            None => env.push(entry),
        }
    }

    /// What shell forms are run by.
    pub fn shell(&self) -> Vec<String> {
        self.shell.clone().filter(|s| !s.is_empty()).unwrap_or_else(|| vec!["/bin/sh".into(), "-c".into()])
    }
}
