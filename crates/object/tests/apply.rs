//! Replays the recorded answers of a real kube-apiserver through [`object::apply`]: every apply must give the
//! same object, owners and conflicts, every other write the same owners.

use object::apply::{ApplyError, FieldSet, Request, apply, restore, update};
use object::patch::{json_patch, merge_patch, strategic_merge_patch};
use object::{Gvk, Schema, schema};
use serde_json::{Value, json};
use std::collections::HashMap;

const SCRIPTS: &[(&str, &str)] = &[
    ("apply-configmap", include_str!("golden/http/apply-configmap.json")),
    ("apply-deployment", include_str!("golden/http/apply-deployment.json")),
    ("apply-service", include_str!("golden/http/apply-service.json")),
    ("configmap", include_str!("golden/http/configmap.json")),
    ("crd-apply", include_str!("golden/http/crd-apply.json")),
    ("crd-widget", include_str!("golden/http/crd-widget.json")),
    ("deployment", include_str!("golden/http/deployment.json")),
    ("namespace", include_str!("golden/http/namespace.json")),
    ("pod", include_str!("golden/http/pod.json")),
    ("secret", include_str!("golden/http/secret.json")),
];

const SET_BY_SERVER: &[&str] = &["uid", "resourceVersion", "creationTimestamp", "namespace", "generation"];

#[test]
fn owners_are_those_of_a_real_server() {
    let mut wrong = Vec::new();
    let mut checked = 0;
    for (name, text) in SCRIPTS {
        let steps: Vec<Value> = serde_json::from_str(text).expect("a script is JSON");
        let mut replay = Replay::default();
        for (index, step) in steps.iter().enumerate() {
            match replay.step(step) {
                Ok(count) => checked += count,
                Err(problem) => wrong.push(format!("{name} step {index} ({}): {problem}", step["note"])),
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {checked} differ:\n{}", wrong.len(), wrong.join("\n\n"));
    assert!(checked > 135, "only {checked} steps were checked");
}

#[derive(Default)]
struct Replay {
    live: HashMap<String, Value>,
    custom: HashMap<Gvk, Schema>,
}

struct Target {
    key: String,
    subresource: String,
    manager: String,
    force: bool,
    dry_run: bool,
}

fn target(method: &str, request: &Value, response: &Value) -> Option<Target> {
    let (path, query) = request["path"].as_str()?.split_once('?').unwrap_or((request["path"].as_str()?, ""));
    let mut words: Vec<&str> = path.trim_matches('/').split('/').collect();
    let subresource = match words.last() {
        Some(last @ (&"status" | &"scale" | &"binding")) => (*last).to_owned(),
        _ => String::new(),
    };
    if !subresource.is_empty() {
        words.pop();
    } else if method == "POST" {
        words.push(response["body"]["metadata"]["name"].as_str()?);
    }
    let parameter = |name: &str| {
        query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('=')).unwrap_or_default().to_owned()
    };
    let manager = parameter("fieldManager");
    Some(Target {
        key: words.join("/"),
        subresource,
        // Without a name it is the client's.
        manager: if manager.is_empty() { "golden".into() } else { manager },
        force: parameter("force") == "true",
        dry_run: parameter("dryRun") == "All",
    })
}

impl Replay {
    /// How many answers were compared.
    fn step(&mut self, step: &Value) -> Result<usize, String> {
        let (request, response) = (&step["request"], &step["response"]);
        let method = request["method"].as_str().unwrap_or_default();
        let code = response["code"].as_u64().unwrap_or_default();
        let Some(target) = target(method, request, response) else { return Ok(0) };
        if method == "GET" && code == 200 && target.subresource.is_empty() {
            self.live.insert(target.key, response["body"].clone());
            return Ok(0);
        }
        if method == "POST" && request["body"]["kind"] == "CustomResourceDefinition" && code == 201 {
            self.define(&request["body"]);
        }
        if method == "DELETE" && response["body"]["metadata"]["deletionTimestamp"].is_string() {
            self.live.insert(target.key, response["body"].clone());
            return Ok(0);
        }
        if method == "DELETE" || target.subresource == "binding" {
            self.live.remove(&target.key);
            return Ok(0);
        }
        let is_apply = request["contentType"] == "application/apply-patch+yaml";
        match (is_apply, code) {
            (true, 200 | 201 | 409 | 500) => self.apply(&target, request, response),
            (false, 200 | 201) if method != "GET" => self.write(&target, method, request, response),
            _ => Ok(0),
        }
    }

    fn define(&mut self, definition: &Value) {
        let spec = &definition["spec"];
        let text = |value: &Value| value.as_str().expect("a text").to_owned();
        let gvk = Gvk::new(text(&spec["group"]), text(&spec["versions"][0]["name"]), text(&spec["names"]["kind"]));
        let schema = Schema::from_crd(&spec["versions"][0]["schema"]["openAPIV3Schema"]).expect("a good schema");
        self.custom.insert(gvk, schema);
    }

    fn schema(&self, object: &Value) -> Option<(Schema, bool)> {
        let gvk = Gvk::of(object)?;
        let custom = self.custom.get(&gvk).cloned().map(|schema| (schema, true));
        custom.or_else(|| schema::schema_for(&gvk).map(|schema| (schema, false)))
    }

    fn apply(&mut self, target: &Target, request: &Value, response: &Value) -> Result<usize, String> {
        let config = match request["text"].as_str() {
            Some(text) => match yaml::documents(text, "body", yaml::Dialect::V2) {
                Ok(documents) => documents[0].0.clone(),
                Err(_) => return Ok(0),
            },
            None => request["body"].clone(),
        };
        let Some((schema, is_custom)) = self.schema(&config) else { return Ok(0) };
        let live = self.live.get(&target.key);
        let reset = reset(target, is_custom, &config);
        let result = apply(live, &config, &request_of(target, &schema, &reset));
        let body = &response["body"];
        match (result, response["code"].as_u64()) {
            (Err(ApplyError::Conflicts(conflicts)), Some(409)) => {
                same("message", &json!(conflicts.to_string()), &body["message"])?;
                same("causes", &json!(conflicts.causes()), &body["details"]["causes"])?;
                Ok(1)
            }
            // The version and the uid are not for apply to check.
            (_, Some(409)) if body["details"]["causes"].is_null() => Ok(0),
            (Err(error), Some(500)) => same("message", &json!(error.to_string()), &body["message"]).map(|()| 1),
            (Ok(mut object), Some(200 | 201)) => {
                restore(&mut object, live, &reset);
                schema.default(&mut object);
                if !target.dry_run {
                    self.live.insert(target.key.clone(), body.clone());
                }
                same_owners(&object, body)?;
                contained(&object, body, "")?;
                if is_custom || body["kind"] == "ConfigMap" {
                    contained(body, &object, "")?;
                }
                Ok(1)
            }
            (result, code) => Err(format!("expected {code:?} {}, got {result:?}", body["message"])),
        }
    }

    /// What the server stored is taken as it is; its owners must follow from it.
    fn write(&mut self, target: &Target, method: &str, request: &Value, response: &Value) -> Result<usize, String> {
        let live = self.live.get(&target.key).cloned();
        let mut new = response["body"].clone();
        if target.subresource == "scale" {
            let Some(parent) = live.clone() else { return Ok(0) };
            new = parent;
            let replicas = if self.custom.is_empty() { "replicas" } else { "size" };
            new["spec"][replicas] = response["body"]["spec"]["replicas"].clone();
        }
        let Some((schema, is_custom)) = self.schema(&new) else { return Ok(0) };
        let patched = match (&live, request["contentType"].as_str().unwrap_or_default()) {
            (Some(live), "application/merge-patch+json") => Some(merge_patch(live.clone(), &request["body"])),
            (Some(live), "application/json-patch+json") => json_patch(live.clone(), &request["body"]).ok(),
            (Some(live), "application/strategic-merge-patch+json") => {
                strategic_merge_patch(live.clone(), &request["body"], &schema).ok()
            }
            _ => None,
        };
        let sent = if method == "PATCH" {
            patched.as_ref().map(|patched| patched["metadata"]["managedFields"].clone())
        } else {
            request["body"]["metadata"].get("managedFields").cloned()
        };
        let mut problem = Ok(());
        if let Some(mut patched) = patched.filter(|_| target.subresource.is_empty() && !is_custom) {
            ignore_what_the_server_owns(&mut patched);
            problem = contained(&patched, &response["body"], "");
        }
        if let Some(metadata) = new["metadata"].as_object_mut() {
            match sent {
                Some(fields) if !fields.is_null() => _ = metadata.insert("managedFields".into(), fields),
                _ => _ = metadata.shift_remove("managedFields"),
            }
        }
        // Set after ownership is decided.
        if let (None, Some(Value::Object(spec))) = (&live, new.get_mut("spec")) {
            spec.retain(|key, _| {
                !["finalizers", "tolerations", "priority", "preemptionPolicy"].contains(&key.as_str())
            });
        }
        let reset = reset(target, is_custom, &new);
        let object = update(live.as_ref(), new, &request_of(target, &schema, &reset));
        if target.subresource == "scale" {
            self.live.insert(target.key.clone(), object);
            return Ok(0);
        }
        if !target.dry_run {
            self.live.insert(target.key.clone(), response["body"].clone());
        }
        same_owners(&object, &response["body"])?;
        problem.map(|()| 1)
    }
}

fn request_of<'a>(target: &'a Target, schema: &'a Schema, reset: &'a FieldSet) -> Request<'a> {
    let Target { manager, force, subresource, .. } = target;
    Request { manager, force: *force, subresource, reset, schema, now: "<time>" }
}

/// Which fields the endpoint leaves alone.
fn reset(target: &Target, is_custom: bool, object: &Value) -> FieldSet {
    match (target.subresource.as_str(), object["kind"].as_str().unwrap_or_default()) {
        ("", "ConfigMap" | "Secret") => FieldSet::default(),
        ("status", _) if is_custom => FieldSet::of([&["spec"][..]]),
        ("status", "Pod") => {
            FieldSet::of([&["spec"][..], &["metadata", "deletionTimestamp"], &["metadata", "ownerReferences"]])
        }
        ("status", _) => FieldSet::of([&["spec"][..], &["metadata", "labels"]]),
        ("", _) => FieldSet::of([&["status"][..]]),
        _ => FieldSet::default(),
    }
}

fn ignore_what_the_server_owns(object: &mut Value) {
    if let Some(metadata) = object["metadata"].as_object_mut() {
        metadata.shift_remove("managedFields");
        metadata.shift_remove("generation");
        metadata.shift_remove("resourceVersion");
    }
    if let Some(map) = object.as_object_mut() {
        map.shift_remove("stringData");
        map.retain(|key, _| key != "status");
    }
}

fn same(what: &str, ours: &Value, theirs: &Value) -> Result<(), String> {
    if ours == theirs { Ok(()) } else { Err(format!("{what}\n  ours:   {ours}\n  theirs: {theirs}")) }
}

fn same_owners(ours: &Value, theirs: &Value) -> Result<(), String> {
    let entries = |object: &Value| -> Vec<Value> {
        let mut list: Vec<Value> = object["metadata"]["managedFields"].as_array().cloned().unwrap_or_default();
        list.sort_by_key(|entry| {
            format!("{}{}{}{}", entry["manager"], entry["operation"], entry["subresource"], entry["apiVersion"])
        });
        list
    };
    let (ours, theirs) = (entries(ours), entries(theirs));
    if ours == theirs {
        return Ok(());
    }
    let lines = |list: &[Value]| list.iter().map(|entry| format!("    {entry}")).collect::<Vec<_>>().join("\n");
    Err(format!("managedFields\n  ours:\n{}\n  theirs:\n{}", lines(&ours), lines(&theirs)))
}

/// What one object says the other says too; it may say more where the server fills in.
fn contained(part: &Value, whole: &Value, path: &str) -> Result<(), String> {
    // The server makes data of a Secret's stringData.
    if path == "/metadata/managedFields" || path == "/metadata/generation" || whole["kind"] == "Secret" {
        return Ok(());
    }
    match (part, whole) {
        (Value::Object(part), Value::Object(whole)) => {
            for (key, value) in part {
                match whole.get(key) {
                    Some(other) => contained(value, other, &format!("{path}/{key}"))?,
                    // Go leaves empty parts out, and what the server sets is not ours to know.
                    None if value.is_null() || value == &json!({}) || value == &json!([]) => {}
                    None if SET_BY_SERVER.contains(&key.as_str()) => {}
                    None => return Err(format!("{path}/{key} is {value} on one side and absent on the other")),
                }
            }
            Ok(())
        }
        (Value::Array(part), Value::Array(whole)) if part.len() == whole.len() => {
            part.iter().zip(whole).enumerate().try_for_each(|(i, (a, b))| contained(a, b, &format!("{path}/{i}")))
        }
        _ if part == whole => Ok(()),
        _ => Err(format!("{path} is {part} on one side and {whole} on the other")),
    }
}
