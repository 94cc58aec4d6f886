//! Volumes of a Pod: what is in them, decided from the spec and the objects it names.

use crate::downward::{self, Facts};
use crate::objects::{Data, Kind, Lookup, Missing, Reference, required};
use crate::pod::{PodExt, quantity};
use k8s_openapi::api::core::v1::{DownwardAPIVolumeFile, KeyToPath, Pod, Volume as Source, VolumeProjection};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path};

/// Mode of a file that names none.
const DEFAULT_MODE: i32 = 0o644;

/// One volume.
#[derive(Clone)]
pub(crate) enum Volume {
    /// `emptyDir`.
    Empty { memory: bool, size_bytes: Option<u64> },
    /// `configMap`, `secret`, `downwardAPI`, `projected`: these files, as they are when the Pod starts.
    Files { files: Vec<File>, secret: bool },
    /// `hostPath` with its type.
    Host { path: String, kind: String },
}

/// A file below the volume's directory.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct File {
    /// Relative, without `..`.
    pub path: String,
    pub mode: u32,
    pub content: Vec<u8>,
}

// The content may be secret.
impl std::fmt::Debug for File {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {:o} {} bytes", self.path, self.mode, self.content.len())
    }
}

/// Objects that the volumes refer to.
pub(crate) fn needs(pod: &Pod) -> BTreeSet<Reference> {
    let mut needs = BTreeSet::new();
    for volume in pod.spec_ref().volumes.iter().flatten() {
        needs.extend(volume.config_map.iter().map(|v| (Kind::ConfigMap, v.name.clone())));
        needs.extend(volume.secret.iter().filter_map(|v| Some((Kind::Secret, v.secret_name.clone()?))));
        for source in volume.projected.iter().flat_map(|p| p.sources.iter().flatten()) {
            needs.extend(source.config_map.iter().map(|v| (Kind::ConfigMap, v.name.clone())));
            needs.extend(source.secret.iter().map(|v| (Kind::Secret, v.name.clone())));
        }
    }
    needs
}

/// Contents of all volumes. The error names the volume.
pub(crate) fn resolve(pod: &Pod, facts: &Facts, lookup: &Lookup) -> Result<BTreeMap<String, Volume>, Missing> {
    let sources = pod.spec_ref().volumes.iter().flatten();
    sources
        .map(|source| match one(pod, source, facts, lookup) {
            Ok(volume) => Ok((source.name.clone(), volume)),
            Err(missing) => {
                let message = format!("MountVolume.SetUp failed for volume {:?} : {}", source.name, missing.message);
                Err(Missing { message, ..missing })
            }
        })
        .collect()
}

fn one(pod: &Pod, source: &Source, facts: &Facts, lookup: &Lookup) -> Result<Volume, Missing> {
    if let Some(empty) = &source.empty_dir {
        let memory = empty.medium.as_deref() == Some("Memory");
        let size_bytes = empty.size_limit.as_ref().and_then(|q| quantity::whole(&q.0));
        return Ok(Volume::Empty { memory, size_bytes });
    }
    if let Some(host) = &source.host_path {
        return Ok(Volume::Host { path: host.path.clone(), kind: host.type_.clone().unwrap_or_default() });
    }
    if let Some(v) = &source.config_map {
        let data = required(lookup, (Kind::ConfigMap, v.name.clone()), v.optional.unwrap_or(false))?;
        let pick = Pick { items: v.items.as_deref(), mode: v.default_mode, optional: v.optional };
        return Ok(Volume::Files { files: pick.files(data, (Kind::ConfigMap, &v.name))?, secret: false });
    }
    if let Some(v) = &source.secret {
        let name = v.secret_name.clone().unwrap_or_default();
        let data = required(lookup, (Kind::Secret, name.clone()), v.optional.unwrap_or(false))?;
        let pick = Pick { items: v.items.as_deref(), mode: v.default_mode, optional: v.optional };
        return Ok(Volume::Files { files: pick.files(data, (Kind::Secret, &name))?, secret: true });
    }
    if let Some(v) = &source.downward_api {
        let items = v.items.as_deref().unwrap_or_default();
        return Ok(Volume::Files { files: downward_files(pod, items, v.default_mode, facts)?, secret: false });
    }
    if let Some(v) = &source.projected {
        let mut files = Vec::new();
        for source in v.sources.iter().flatten() {
            files.extend(projection(pod, source, v.default_mode, facts, lookup)?);
        }
        let secret = v.sources.iter().flatten().any(|s| s.secret.is_some());
        return Ok(Volume::Files { files, secret });
    }
    // The API defaults a volume without a source to emptyDir; other sources were refused before.
    Ok(Volume::Empty { memory: false, size_bytes: None })
}

fn projection(
    pod: &Pod,
    source: &VolumeProjection,
    mode: Option<i32>,
    facts: &Facts,
    lookup: &Lookup,
) -> Result<Vec<File>, Missing> {
    if let Some(v) = &source.config_map {
        let data = required(lookup, (Kind::ConfigMap, v.name.clone()), v.optional.unwrap_or(false))?;
        let pick = Pick { items: v.items.as_deref(), mode, optional: v.optional };
        return pick.files(data, (Kind::ConfigMap, &v.name));
    }
    if let Some(v) = &source.secret {
        let data = required(lookup, (Kind::Secret, v.name.clone()), v.optional.unwrap_or(false))?;
        let pick = Pick { items: v.items.as_deref(), mode, optional: v.optional };
        return pick.files(data, (Kind::Secret, &v.name));
    }
    let items = source.downward_api.as_ref().and_then(|v| v.items.as_deref()).unwrap_or_default();
    downward_files(pod, items, mode, facts)
}

/// Which keys of an object become files, and how.
struct Pick<'a> {
    items: Option<&'a [KeyToPath]>,
    mode: Option<i32>,
    optional: Option<bool>,
}

impl Pick<'_> {
    fn files(&self, data: Option<&Data>, (kind, name): (Kind, &str)) -> Result<Vec<File>, Missing> {
        let Some(data) = data else { return Ok(Vec::new()) };
        let Some(items) = self.items.filter(|items| !items.is_empty()) else {
            return data.entries.iter().map(|(key, content)| file(key, self.mode, None, content.clone())).collect();
        };
        let mut files = Vec::new();
        for item in items {
            match data.entries.get(&item.key) {
                Some(content) => files.push(file(&item.path, self.mode, item.mode, content.clone())?),
                None if self.optional.unwrap_or(false) => {}
                None => {
                    let message = match kind {
                        Kind::ConfigMap => format!("configmap references non-existent config key: {}", item.key),
                        Kind::Secret => format!("references non-existent secret key: {}", item.key),
                    };
                    return Err(Missing { message, of: Some((kind, name.to_owned())) });
                }
            }
        }
        Ok(files)
    }
}

fn downward_files(
    pod: &Pod,
    items: &[DownwardAPIVolumeFile],
    mode: Option<i32>,
    facts: &Facts,
) -> Result<Vec<File>, Missing> {
    let content = |item: &DownwardAPIVolumeFile| match (&item.field_ref, &item.resource_field_ref) {
        (Some(selector), _) => downward::field(pod, facts, selector),
        (None, Some(selector)) => downward::resource(pod, "", facts, selector),
        (None, None) => Ok(String::new()),
    };
    let make = |item: &DownwardAPIVolumeFile| {
        file(&item.path, mode, item.mode, content(item).map_err(Missing::hopeless)?.into_bytes())
    };
    items.iter().map(make).collect::<Result<_, _>>()
}

fn file(path: &str, default_mode: Option<i32>, mode: Option<i32>, content: Vec<u8>) -> Result<File, Missing> {
    let inside = Path::new(path).components().all(|c| matches!(c, Component::Normal(_)));
    if path.is_empty() || !inside {
        return Err(Missing::hopeless(format!("invalid path {path:?}: must be relative and stay inside the volume")));
    }
    let mode = mode.or(default_mode).unwrap_or(DEFAULT_MODE);
    Ok(File { path: path.to_owned(), mode: u32::try_from(mode).unwrap_or(0) & 0o777, content })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(volume: serde_json::Value) -> Pod {
        serde_json::from_value(json!({
            "metadata": {"name": "web", "labels": {"app": "web"}},
            "spec": {"containers": [], "volumes": [volume]}
        }))
        .unwrap()
    }

    fn lookup() -> Lookup {
        let entries = BTreeMap::from([("a".to_owned(), b"1".to_vec()), ("b".to_owned(), b"2".to_vec())]);
        let data = Data { entries, ..Data::default() };
        Lookup::from([((Kind::ConfigMap, "c".into()), Some(data.clone())), ((Kind::Secret, "s".into()), Some(data))])
    }

    #[test]
    fn files_by_source() {
        for (volume, expected) in [
            (json!({"name": "v", "configMap": {"name": "c"}}), vec!["a 644 1 bytes", "b 644 1 bytes"]),
            (
                json!({"name": "v", "secret": {"secretName": "s", "defaultMode": 256, "items": [{"key": "b", "path": "x/y"}, {"key": "a", "path": "a", "mode": 438}]}}),
                vec!["x/y 400 1 bytes", "a 666 1 bytes"],
            ),
            (json!({"name": "v", "configMap": {"name": "none", "optional": true}}), vec![]),
            (
                json!({"name": "v", "downwardAPI": {"items": [{"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}]}}),
                vec!["labels 644 9 bytes"],
            ),
            (
                json!({"name": "v", "projected": {"sources": [{"configMap": {"name": "c", "items": [{"key": "a", "path": "one"}]}}, {"secret": {"name": "s", "items": [{"key": "b", "path": "two"}]}}]}}),
                vec!["one 644 1 bytes", "two 644 1 bytes"],
            ),
        ] {
            let resolved = resolve(&pod(volume.clone()), &Facts::default(), &lookup()).unwrap();
            let Volume::Files { files, .. } = &resolved["v"] else { panic!("{volume}") };
            assert_eq!(files.iter().map(|f| format!("{f:?}")).collect::<Vec<_>>(), expected, "{volume}");
        }
    }

    #[test]
    fn what_is_missing_is_named() {
        for (volume, message) in [
            (json!({"name": "v", "configMap": {"name": "none"}}), "configmap \"none\" not found"),
            (
                json!({"name": "v", "configMap": {"name": "c", "items": [{"key": "z", "path": "z"}]}}),
                "configmap references non-existent config key: z",
            ),
            (
                json!({"name": "v", "configMap": {"name": "c", "items": [{"key": "a", "path": "../z"}]}}),
                "invalid path \"../z\": must be relative and stay inside the volume",
            ),
        ] {
            let missing = resolve(&pod(volume), &Facts::default(), &lookup()).err().unwrap();
            assert_eq!(missing.message, format!("MountVolume.SetUp failed for volume \"v\" : {message}"));
        }
    }
}
