//! The rules that matter beyond the schema. What is missing here is accepted, not refused: the list
//! grows with the answers of a real server that tests compare.

use super::Scope;
use super::rules::{Shape, duplicate, forbidden, invalid, name_error, not_found, required, too_long, unsupported};
use crate::delete::{FOREGROUND, ORPHAN};
use crate::resource::Resource;
use object::schema::ErrorKind;
use object::selector::{self, LabelSelector};
use object::{FieldError, meta};
use serde_json::Value;
use std::collections::HashSet;

const ANNOTATION_BYTES_MAX: usize = 256 << 10;
const CONFIG_BYTES_MAX: usize = 1 << 20;
pub(super) const UNMATCHED: &str = "`selector` does not match template `labels`";
pub(super) const IMMUTABLE: &str = "field is immutable";

/// Every rule that the new state breaks.
pub fn validate(resource: &Resource, scope: Scope, object: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut errors = Errors(Vec::new());
    metadata(resource, object, &mut errors);
    finalizers(object, old, &mut errors);
    if resource.custom.is_some() || scope != Scope::Status {
        let found = resource.schema.validate(object).into_iter();
        // Keyed lists of built-in kinds may hold a key twice, unless a rule below says otherwise.
        errors.0.extend(found.filter(|error| resource.custom.is_some() || error.kind != ErrorKind::Duplicate));
    }
    match &resource.custom {
        Some(custom) => errors.0.extend(crate::crd::scale_error(custom, object)),
        None if scope == Scope::Main => of_kind(&resource.id, object, old, &mut errors),
        None => {}
    }
    errors.distinct()
}

pub(super) struct Errors(Vec<FieldError>);

impl Errors {
    pub(super) fn push(&mut self, error: FieldError) {
        self.0.push(error);
    }

    /// The first of those that say the same of the same field.
    fn distinct(self) -> Vec<FieldError> {
        let mut seen = HashSet::new();
        self.0.into_iter().filter(|error| seen.insert((error.path.clone(), error.kind as u8))).collect()
    }
}

fn metadata(resource: &Resource, object: &Value, errors: &mut Errors) {
    let metadata = meta(object);
    match metadata.name() {
        "" => errors.push(required("metadata.name", "name or generateName is required")),
        name => {
            if let Some(why) = name_error(shape(&resource.id), name) {
                errors.push(invalid("metadata.name", &name.into(), why));
            }
        }
    }
    for (key, value) in metadata.labels() {
        if let Err(why) = selector::check_key(key) {
            errors.push(invalid("metadata.labels", &key.into(), rule(&why, key)));
        }
        if let Err(why) = selector::check_value(key, value) {
            errors.push(invalid("metadata.labels", &value.into(), rule(&why, value)));
        }
    }
    let mut size = 0;
    for (key, value) in metadata.annotations() {
        size += key.len() + value.len();
        if let Err(why) = selector::check_key(&key.to_lowercase()) {
            errors.push(invalid("metadata.annotations", &key.into(), rule(&why, &key.to_lowercase())));
        }
    }
    if size > ANNOTATION_BYTES_MAX {
        errors.push(too_long("metadata.annotations", ANNOTATION_BYTES_MAX));
    }
    for owner in metadata.owner_references() {
        let gvk = owner.gvk();
        let parts =
            [("apiVersion", gvk.version.as_str()), ("kind", &gvk.kind), ("name", owner.name()), ("uid", owner.uid())];
        for (field, text) in parts.into_iter().filter(|(_, text)| text.is_empty()) {
            let path = format!("metadata.ownerReferences.{field}");
            errors.push(invalid(path, &text.into(), "must not be empty"));
        }
    }
}

/// The rule itself, out of a selector's complaint about a key or value.
fn rule<'a>(why: &'a str, text: &str) -> &'a str {
    why.split_once(&format!("{text:?}: ")).map_or(why, |(_, rule)| rule)
}

fn finalizers(object: &Value, old: Option<&Value>, errors: &mut Errors) {
    const STANDARD: [&str; 3] = ["kubernetes", FOREGROUND, ORPHAN];
    for (at, name) in meta(object).finalizers().enumerate() {
        if !name.contains('/') && !STANDARD.contains(&name) && !name.contains('.') {
            let why = "name is neither a standard finalizer name nor is it fully qualified";
            errors.push(invalid(format!("metadata.finalizers[{at}]"), &name.into(), why));
        }
    }
    let Some(old) = old.filter(|old| meta(old).deletion_timestamp().is_some()) else { return };
    let known: Vec<&str> = meta(old).finalizers().collect();
    let new: Vec<&str> =
        meta(object).finalizers().filter(|name| !known.contains(name) && *name != FOREGROUND).collect();
    if !new.is_empty() {
        let list: Vec<String> = new.iter().map(|name| format!("{name:?}")).collect();
        let why = format!(
            "no new finalizers can be added if the object is being deleted, found new finalizers []string{{{}}}",
            list.join(", ")
        );
        errors.push(forbidden("metadata.finalizers", &why));
    }
}

fn shape(resource: &str) -> Shape {
    match resource {
        "namespaces" => Shape::Label,
        "services" => Shape::ServiceLabel,
        _ if resource.ends_with(".rbac.authorization.k8s.io") => Shape::PathSegment,
        _ => Shape::Subdomain,
    }
}

fn of_kind(resource: &str, object: &Value, old: Option<&Value>, errors: &mut Errors) {
    match resource {
        "pods" => pod(object, old, errors),
        "deployments.apps" | "replicasets.apps" | "statefulsets.apps" | "daemonsets.apps" => {
            workload(resource, object, old, errors);
        }
        "services" => super::service::validate(object, old, errors),
        "configmaps" | "secrets" => config(resource, object, old, errors),
        "jobs.batch" => super::job::validate(object, old, errors),
        "rolebindings.rbac.authorization.k8s.io" | "clusterrolebindings.rbac.authorization.k8s.io" => {
            unchanged(object, old, "/roleRef", "roleRef", "cannot change roleRef", errors);
        }
        "customresourcedefinitions.apiextensions.k8s.io" => {
            crate::crd::validate(object, old).into_iter().for_each(|error| errors.push(error))
        }
        _ => {}
    }
}

pub(super) fn unchanged(new: &Value, old: Option<&Value>, pointer: &str, path: &str, why: &str, errors: &mut Errors) {
    if let Some(old) = old
        && new.pointer(pointer) != old.pointer(pointer)
    {
        errors.push(invalid(path, new.pointer(pointer).unwrap_or(&Value::Null), why));
    }
}

fn workload(resource: &str, object: &Value, old: Option<&Value>, errors: &mut Errors) {
    let spec = &object["spec"];
    if let Some(replicas) = spec["replicas"].as_i64().filter(|replicas| *replicas < 0) {
        errors.push(invalid("spec.replicas", &replicas.into(), "must be greater than or equal to 0"));
    }
    let (selector, labels) = (&spec["selector"], &spec["template"]["metadata"]["labels"]);
    match LabelSelector::from_value(selector) {
        Err(error) => errors.push(invalid("spec.selector", selector, error.to_string())),
        Ok(_) if selector.is_null() => {
            errors.push(required("spec.selector", ""));
            if labels.is_null() {
                errors.push(invalid("spec.template.metadata.labels", labels, UNMATCHED));
            }
        }
        Ok(parsed) if parsed.is_empty() => {
            errors.push(invalid("spec.selector", selector, "empty selector is invalid for deployment"));
        }
        Ok(parsed) if !parsed.matches_labels(labels) => {
            errors.push(invalid("spec.template.metadata.labels", labels, UNMATCHED));
        }
        Ok(_) => {}
    }
    unchanged(object, old, "/spec/selector", "spec.selector", IMMUTABLE, errors);
    let template = &spec["template"];
    pod_spec(&template["spec"], "spec.template.spec", errors);
    restart_policy(template, &["Always"], errors);
    if resource == "deployments.apps" {
        strategy(&spec["strategy"], errors);
    }
}

fn strategy(strategy: &Value, errors: &mut Errors) {
    match strategy["type"].as_str() {
        Some("Recreate") if !strategy["rollingUpdate"].is_null() => {
            let why = "may not be specified when strategy `type` is 'Recreate'";
            errors.push(forbidden("spec.strategy.rollingUpdate", why));
        }
        Some("Recreate" | "RollingUpdate") | None => {}
        Some(_) => errors.push(unsupported("spec.strategy.type", &strategy["type"], &["Recreate", "RollingUpdate"])),
    }
    let rolling = &strategy["rollingUpdate"];
    let zero = |value: &Value| value.as_i64() == Some(0) || value.as_str() == Some("0%");
    if zero(&rolling["maxUnavailable"]) && zero(&rolling["maxSurge"]) {
        let why = "may not be 0 when `maxSurge` is 0";
        errors.push(invalid("spec.strategy.rollingUpdate.maxUnavailable", &rolling["maxUnavailable"], why));
    }
}

fn restart_policy(template: &Value, choices: &[&str], errors: &mut Errors) {
    let policy = &template["spec"]["restartPolicy"];
    if policy.as_str().is_some_and(|policy| !choices.contains(&policy)) {
        errors.push(unsupported("spec.template.spec.restartPolicy", policy, choices));
    }
}

fn pod(object: &Value, old: Option<&Value>, errors: &mut Errors) {
    pod_spec(&object["spec"], "spec", errors);
    let policy = &object["spec"]["restartPolicy"];
    if policy.as_str().is_some_and(|policy| !["Always", "OnFailure", "Never"].contains(&policy)) {
        errors.push(unsupported("spec.restartPolicy", policy, &["Always", "OnFailure", "Never"]));
    }
    if let Some(old) = old
        && comparable(&object["spec"]) != comparable(&old["spec"])
    {
        let why = "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";
        errors.push(forbidden("spec", why));
    }
}

/// A Pod's spec without the few things that may change.
fn comparable(spec: &Value) -> Value {
    let mut spec = spec.clone();
    if let Some(map) = spec.as_object_mut() {
        for key in ["activeDeadlineSeconds", "tolerations", "terminationGracePeriodSeconds", "nodeName"] {
            map.shift_remove(key);
        }
    }
    for list in ["containers", "initContainers"] {
        super::defaults::each(spec.get_mut(list), |container| {
            if let Some(map) = container.as_object_mut() {
                map.shift_remove("image");
            }
        });
    }
    spec
}

pub(super) fn pod_spec(spec: &Value, path: &str, errors: &mut Errors) {
    let containers = spec["containers"].as_array().map(Vec::as_slice).unwrap_or_default();
    if containers.is_empty() {
        errors.push(required(format!("{path}.containers"), ""));
    }
    let volumes = volumes(spec, path, errors);
    let mut names = HashSet::new();
    for list in ["initContainers", "containers"] {
        for (at, container) in spec[list].as_array().into_iter().flatten().enumerate() {
            let path = format!("{path}.{list}[{at}]");
            named(container, &path, &mut names, errors);
            check_container(container, &path, &volumes, errors);
        }
    }
}

/// A name that must be there, be a label, and be the only one of its sort.
fn named(item: &Value, path: &str, names: &mut HashSet<String>, errors: &mut Errors) {
    let path = format!("{path}.name");
    let Some(name) = item["name"].as_str().filter(|name| !name.is_empty()) else {
        return errors.push(required(path, ""));
    };
    if let Some(why) = name_error(Shape::Label, name) {
        errors.push(invalid(path.clone(), &name.into(), why));
    }
    if !names.insert(name.to_owned()) {
        errors.push(duplicate(path, &name.into()));
    }
}

fn volumes(spec: &Value, path: &str, errors: &mut Errors) -> HashSet<String> {
    let mut names = HashSet::new();
    for (at, volume) in spec["volumes"].as_array().into_iter().flatten().enumerate() {
        named(volume, &format!("{path}.volumes[{at}]"), &mut names, errors);
    }
    names
}

fn check_container(container: &Value, path: &str, volumes: &HashSet<String>, errors: &mut Errors) {
    let image = container["image"].as_str().unwrap_or_default();
    if image.is_empty() {
        errors.push(required(format!("{path}.image"), ""));
    } else if image.trim() != image {
        errors.push(invalid(format!("{path}.image"), &image.into(), "must not have leading or trailing whitespace"));
    }
    for (at, port) in container["ports"].as_array().into_iter().flatten().enumerate() {
        port_number(&port["containerPort"], &format!("{path}.ports[{at}].containerPort"), errors);
        protocol(port, &format!("{path}.ports[{at}]"), errors);
    }
    for (at, variable) in container["env"].as_array().into_iter().flatten().enumerate() {
        if variable["name"].as_str().unwrap_or_default().is_empty() {
            errors.push(required(format!("{path}.env[{at}].name"), ""));
        }
    }
    for (at, mount) in container["volumeMounts"].as_array().into_iter().flatten().enumerate() {
        let path = format!("{path}.volumeMounts[{at}]");
        if !mount["name"].as_str().is_some_and(|name| volumes.contains(name)) {
            errors.push(not_found(format!("{path}.name"), &mount["name"]));
        }
        if mount["mountPath"].as_str().unwrap_or_default().is_empty() {
            errors.push(required(format!("{path}.mountPath"), ""));
        }
    }
    let policy = &container["imagePullPolicy"];
    let policies = ["Always", "IfNotPresent", "Never"];
    if policy.as_str().is_some_and(|policy| !policies.contains(&policy)) {
        errors.push(unsupported(format!("{path}.imagePullPolicy"), policy, &policies));
    }
}

pub(super) fn port_number(value: &Value, path: &str, errors: &mut Errors) {
    match value.as_i64() {
        None | Some(0) => errors.push(required(path, "")),
        Some(1..=65535) => {}
        Some(_) => errors.push(invalid(path, value, "must be between 1 and 65535, inclusive")),
    }
}

pub(super) fn protocol(port: &Value, path: &str, errors: &mut Errors) {
    let choices = ["SCTP", "TCP", "UDP"];
    if port["protocol"].as_str().is_some_and(|protocol| !choices.contains(&protocol)) {
        errors.push(unsupported(format!("{path}.protocol"), &port["protocol"], &choices));
    }
}

fn config(resource: &str, object: &Value, old: Option<&Value>, errors: &mut Errors) {
    let mut size = 0;
    for field in ["data", "binaryData"] {
        for (key, value) in object[field].as_object().into_iter().flatten() {
            size += key.len() + value.as_str().map_or(0, str::len);
            let good = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
            if key.is_empty() || key.len() > 253 || !key.chars().all(good) || key == "." || key == ".." {
                let why = "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')";
                errors.push(invalid(format!("{field}[{key}]"), &key.as_str().into(), why));
            }
        }
    }
    if size > CONFIG_BYTES_MAX {
        errors.push(too_long(if resource == "secrets" { "data" } else { "" }, CONFIG_BYTES_MAX));
    }
    if resource == "secrets" {
        secret_keys(object, errors);
    }
    let Some(old) = old else { return };
    if resource == "secrets" {
        unchanged(object, Some(old), "/type", "type", IMMUTABLE, errors);
    }
    if old["immutable"] == true {
        if object["immutable"] != true {
            errors.push(forbidden("immutable", "field is immutable when `immutable` is set"));
        }
        for field in ["data", "binaryData"] {
            if object[field] != old[field] {
                errors.push(forbidden(field, "field is immutable when `immutable` is set"));
            }
        }
    }
}

/// The keys that a type of Secret promises.
fn secret_keys(secret: &Value, errors: &mut Errors) {
    let wanted: &[&str] = match secret["type"].as_str().unwrap_or_default() {
        "kubernetes.io/tls" => &["tls.crt", "tls.key"],
        "kubernetes.io/dockerconfigjson" => &[".dockerconfigjson"],
        "kubernetes.io/dockercfg" => &[".dockercfg"],
        "kubernetes.io/ssh-auth" => &["ssh-privatekey"],
        _ => &[],
    };
    for key in wanted.iter().filter(|key| secret["data"][**key].is_null()) {
        errors.push(required(format!("data[{key}]"), ""));
    }
}
