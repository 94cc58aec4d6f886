//! ConfigMaps and Secrets of a component, and how its Pods get at them.

use super::{Resolved, SealedSecret, Settings};
use model::{Component, Digest, Group};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// Mode of a secret's files: for their owner to read, 0400.
const SECRET_MODE: u32 = 0o400;
/// Hexadecimal digits of the content in the name of a ConfigMap.
const DIGITS: usize = 10;

/// What a container and its Pod get, and the objects behind it.
#[derive(Debug, Default)]
pub(crate) struct Wiring {
    pub objects: Vec<(&'static str, Value)>,
    pub env_from: Vec<Value>,
    pub mounts: Vec<Value>,
    pub volumes: Vec<Value>,
    /// `common=sealed…` for the Pod template: another value rolls the Pods.
    pub sealed: String,
}

/// Name of the ConfigMap that holds a group's values for a component. Its content is in the name: a change makes a new
/// one beside the old, which Pods of the old template go on using, and an equal result changes nothing.
pub fn config_map_name(component: &Component, group: &Group, part: &str, content: &Value) -> String {
    let digest = Digest::of(content.to_string().as_bytes());
    let part = if part.is_empty() { String::new() } else { format!("{part}-") };
    format!("{component}-{group}-{part}{}", &digest.hex()[..DIGITS])
}

/// Name of the Secret that holds a secret's values for a component. It does not change with them: a value that was
/// rotated is gone everywhere.
pub fn secret_name(component: &Component, secret: &Group) -> String {
    format!("{component}-{secret}")
}

/// What a component is given becomes objects and references to them.
pub(crate) fn wiring(component: &Component, settings: &Settings) -> Wiring {
    let mut wiring = Wiring::default();
    for group in &settings.groups {
        wiring.group(component, group);
    }
    for secret in &settings.secrets {
        wiring.secret(component, secret);
    }
    let sealed: Vec<String> = settings.secrets.iter().map(told).collect();
    wiring.sealed = sealed.join(",");
    wiring
}

/// A secret's name with one digest over its keyed digests.
fn told(secret: &SealedSecret) -> String {
    let all = serde_json::to_string(&secret.values).expect("digests serialise");
    format!("{}={}", secret.name, &Digest::of(all.as_bytes()).hex()[..16])
}

impl Wiring {
    fn group(&mut self, component: &Component, group: &Resolved) {
        if !group.data.is_empty() {
            let content = json!(group.data);
            let name = config_map_name(component, &group.name, "", &content);
            self.env_from.push(json!({"configMapRef": {"name": name}}));
            self.objects.push(("ConfigMap", json!({"metadata": {"name": name}, "immutable": true, "data": content})));
        }
        let (Some(path), false) = (&group.mount_path, group.files.is_empty()) else { return };
        let content = json!(group.files.iter().map(|(path, text)| (key_of(path), text)).collect::<BTreeMap<_, _>>());
        let name = config_map_name(component, &group.name, "files", &content);
        let items: Vec<Value> = group.files.keys().map(|path| json!({"key": key_of(path), "path": path})).collect();
        let volume = format!("config-{}", group.name);
        self.mounts.push(json!({"name": volume, "mountPath": path, "readOnly": true}));
        self.volumes.push(json!({"name": volume, "configMap": {"name": name, "items": items}}));
        self.objects.push(("ConfigMap", json!({"metadata": {"name": name}, "immutable": true, "data": content})));
    }

    fn secret(&mut self, component: &Component, secret: &SealedSecret) {
        let name = secret_name(component, &secret.name);
        let masks: Map<String, Value> =
            secret.values.iter().map(|(key, sealed)| (key.clone(), json!(sealed.mask()))).collect();
        match &secret.mount_path {
            None => self.env_from.push(json!({"secretRef": {"name": name}})),
            Some(path) => {
                let volume = format!("secret-{}", secret.name);
                self.mounts.push(json!({"name": volume, "mountPath": path, "readOnly": true}));
                self.volumes.push(json!({"name": volume, "secret": {"secretName": name, "defaultMode": SECRET_MODE}}));
            }
        }
        self.objects.push(("Secret", json!({"metadata": {"name": name}, "type": "Opaque", "data": masks})));
    }
}

/// A key of a ConfigMap has no '/'. Names of files hold no "..", so that no two paths meet.
fn key_of(path: &str) -> String {
    path.replace('/', "..")
}
