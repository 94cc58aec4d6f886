//! Parts of objects with endpoints of their own: scale, binding, log.

use crate::body;
use crate::call::Call;
use crate::reply::{self, Body, Reply};
use crate::request::Verb;
use crate::server::Kubelet;
use crate::status::{Refusal, Result};
use crate::strategy::rules::invalid;
use crate::write::{Changed, Owners};
use http::{Request, Response};
use object::selector::LabelSelector;
use object::{Gvk, meta};
use serde_json::{Value, json};
use tower::ServiceExt;

/// Query parameters of `log` that are passed on.
const LOG_PARAMETERS: [&str; 7] =
    ["follow", "previous", "sinceSeconds", "sinceTime", "timestamps", "tailLines", "limitBytes"];

impl Call {
    /// `GET` of `scale`.
    pub fn get_scale(&self) -> Result<Reply> {
        Ok(Reply::Value(200, self.scale_of(&self.stored()?.value())))
    }

    /// `PUT` or `PATCH` of `scale`: changes how many are wanted.
    pub async fn change_scale(&mut self) -> Result<Reply> {
        let sent = match self.verb {
            Verb::Patch => self.decode_patch()?,
            _ => body::decode(&self.body, self.media.ends_with("yaml")).map_err(Refusal::bad_request)?.value,
        };
        let patch = self.verb == Verb::Patch;
        let media = self.media.clone();
        let wanted_at = self.scale_paths().0;
        let resource = self.resource.clone();
        let scale = |object: &Value| scale_of(&resource, object);
        let reply = self
            .modify(|old| {
                let before = scale(old);
                let after = if patch { patched(&media, &before, &sent)? } else { sent.clone() };
                let version = meta(&after).resource_version();
                if !version.is_empty() && version != meta(old).resource_version() {
                    return Err(Refusal::modified(&resource.names, meta(old).name()));
                }
                let wanted = after["spec"]["replicas"].as_i64().unwrap_or_default();
                if wanted < 0 {
                    let error = invalid("spec.replicas", &wanted.into(), "must be greater than or equal to 0");
                    let gvk = Gvk::new("autoscaling", "v1", "Scale");
                    return Err(Refusal::invalid(&gvk, meta(old).name(), &[error]));
                }
                let mut object = old.clone();
                set(&mut object, &wanted_at, wanted.into());
                Ok(Changed { object, owners: Owners::Update })
            })
            .await?;
        let object = match &reply {
            Reply::Stored(_, stored) => stored.value(),
            Reply::Value(_, value) => value.clone(),
            Reply::List { .. } => Value::Null,
        };
        Ok(Reply::Value(200, self.scale_of(&object)))
    }

    fn scale_of(&self, object: &Value) -> Value {
        scale_of(&self.resource, object)
    }

    fn scale_paths(&self) -> (String, String) {
        scale_paths(&self.resource)
    }

    /// `POST` to `binding`: puts a Pod on a node.
    pub async fn bind(&mut self) -> Result<Reply> {
        let sent = body::decode(&self.body, self.media.ends_with("yaml")).map_err(Refusal::bad_request)?.value;
        let node = sent.pointer("/target/name").and_then(Value::as_str).unwrap_or_default().to_owned();
        if node.is_empty() {
            return Err(Refusal::new(422, "Invalid", "Binding is invalid: target.name: Required value"));
        }
        let names = self.resource.names.clone();
        self.modify(|old| {
            if let Some(bound) = old.pointer("/spec/nodeName").and_then(Value::as_str).filter(|name| !name.is_empty()) {
                let why = format!("pod {} is already assigned to node {bound:?}", meta(old).name());
                return Err(Refusal::conflict(&names, meta(old).name(), why));
            }
            let mut object = old.clone();
            object["spec"]["nodeName"] = node.clone().into();
            let conditions = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
            let mut conditions: Vec<Value> =
                conditions.into_iter().filter(|condition| condition["type"] != "PodScheduled").collect();
            conditions.push(json!({
                "type": "PodScheduled", "status": "True", "lastProbeTime": null,
                "lastTransitionTime": crate::clock::now(),
            }));
            object["status"]["conditions"] = conditions.into();
            // Kubernetes tells nobody's fields from a binding.
            Ok(Changed { object, owners: Owners::Known })
        })
        .await?;
        Ok(Reply::Value(
            201,
            json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}),
        ))
    }

    /// `GET` of `log`: asks the node.
    pub async fn log(&self) -> Result<Response<Body>> {
        let pod = self.stored()?.value();
        let container = self.log_container(&pod)?;
        if pod["spec"]["nodeName"].as_str().unwrap_or_default().is_empty() {
            let why = format!("pod {} does not have a host assigned", meta(&pod).name());
            return Err(Refusal::bad_request(why));
        }
        let kubelet = self.server.kubelet().ok_or_else(|| Refusal::unavailable("the node is not running"))?;
        let query: Vec<String> = self
            .query
            .pairs()
            .filter(|(key, _)| LOG_PARAMETERS.contains(key))
            .map(|(key, value)| format!("{key}={}", value.replace('+', "%2B").replace(':', "%3A")))
            .collect();
        let path = format!("/containerLogs/{}/{}/{container}?{}", self.path.namespace, self.path.name, query.join("&"));
        let request = Request::get(path)
            .body(reply::full(Default::default()))
            .map_err(|error| Refusal::bad_request(format!("the log cannot be asked for so: {error}")))?;
        ask(kubelet, request).await
    }

    /// The container that is asked for, or the only one.
    fn log_container(&self, pod: &Value) -> Result<String> {
        let lists = ["containers", "initContainers"].map(|list| {
            let containers = pod["spec"][list].as_array().into_iter().flatten();
            containers.filter_map(|container| container["name"].as_str()).collect::<Vec<_>>()
        });
        let [containers, inits] = lists;
        match (self.query.get("container"), containers.as_slice()) {
            ("", [only]) => Ok((*only).to_owned()),
            ("", many) => Err(Refusal::bad_request(format!(
                "a container name must be specified for pod {}, choose one of: [{}]",
                self.path.name,
                many.join(" ")
            ))),
            (name, known) if known.contains(&name) || inits.contains(&name) => Ok(name.to_owned()),
            (name, _) => Err(Refusal::bad_request(format!("container {name} is not valid for pod {}", self.path.name))),
        }
    }
}

/// The node's answer; what it refuses, it says in plain text.
async fn ask(kubelet: Kubelet, request: Request<Body>) -> Result<Response<Body>> {
    let response = kubelet.oneshot(request).await.unwrap_or_else(|never| match never {});
    if response.status().is_success() {
        return Ok(response);
    }
    let code = response.status().as_u16();
    let text = body::read(response.into_body(), &http::HeaderMap::new()).await?;
    let text = String::from_utf8_lossy(&text).trim().to_owned();
    Err(Refusal::new(code, if code == 404 { "NotFound" } else { "BadRequest" }, text))
}

fn patched(media: &str, before: &Value, patch: &Value) -> Result<Value> {
    match media {
        "application/json-patch+json" => object::patch::json_patch(before.clone(), patch)
            .map_err(|error| Refusal::new(422, "Invalid", error.to_string())),
        // A Scale has no lists, so that all ways to merge are one.
        _ => Ok(object::patch::merge_patch(before.clone(), patch)),
    }
}

/// JSON pointers to the wanted and the actual number.
fn scale_paths(resource: &crate::resource::Resource) -> (String, String) {
    match resource.custom.as_ref().and_then(|custom| custom.scale.as_ref()) {
        Some(scale) => (scale.wanted.clone(), scale.actual.clone()),
        None => ("/spec/replicas".into(), "/status/replicas".into()),
    }
}

fn scale_of(resource: &crate::resource::Resource, object: &Value) -> Value {
    let (wanted, actual) = scale_paths(resource);
    let number = |path: &str| object.pointer(path).and_then(Value::as_i64).unwrap_or_default();
    let metadata = meta(object);
    let selector = match resource.custom.as_ref().and_then(|custom| custom.scale.as_ref()) {
        Some(scale) => scale.selector.as_ref().and_then(|path| object.pointer(path)?.as_str().map(str::to_owned)),
        None => LabelSelector::from_value(&object["spec"]["selector"]).ok().map(|selector| selector.to_string()),
    };
    let mut status = json!({"replicas": number(&actual)});
    if let Some(selector) = selector.filter(|text| !text.is_empty()) {
        status["selector"] = selector.into();
    }
    json!({
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": {
            "name": metadata.name(),
            "namespace": metadata.namespace(),
            "uid": metadata.uid(),
            "resourceVersion": metadata.resource_version(),
            "creationTimestamp": metadata.creation_timestamp(),
        },
        "spec": {"replicas": number(&wanted)},
        "status": status,
    })
}

/// Sets the value at a JSON pointer, making maps on the way.
fn set(object: &mut Value, pointer: &str, value: Value) {
    let mut place = object;
    for key in pointer.trim_start_matches('/').split('/') {
        place = &mut place[key];
    }
    *place = value;
}
