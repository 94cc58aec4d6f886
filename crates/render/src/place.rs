//! What is different on another cluster: it reaches the registry under another name, with a credential, and others may
//! use it too.

use crate::workload::{ANNOTATION_TEMPLATE, template_digest};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use model::names::workload_namespace;
use model::ports::Registry;
use model::{Environment, LABEL_CLAIM, LABEL_ENVIRONMENT, LABEL_PROJECT, Project, REGISTRY};
use serde_json::{Value, json};

/// Name of the Secret in an environment's namespace that images are pulled with.
pub const PULL_SECRET: &str = "trimtab-registry";

/// Where Pods are described, by kind. In fields of other kinds nothing is mapped.
const POD_SPECS: &[(&str, &str, &str)] = &[
    ("", "Pod", "/spec"),
    ("", "ReplicationController", "/spec/template/spec"),
    ("apps", "Deployment", "/spec/template/spec"),
    ("apps", "ReplicaSet", "/spec/template/spec"),
    ("apps", "StatefulSet", "/spec/template/spec"),
    ("apps", "DaemonSet", "/spec/template/spec"),
    ("batch", "Job", "/spec/template/spec"),
    ("batch", "CronJob", "/spec/jobTemplate/spec/template/spec"),
];

/// An object as it stands on a cluster that reaches the registry so: its Pods' images of ours under that name, and the
/// Secret to pull them with. What names no image of ours stays as it is.
pub fn place(object: &mut Value, registry: &Registry) {
    let id = model::ObjectId::of(object);
    let Some((_, _, path)) = POD_SPECS.iter().find(|(group, kind, _)| *group == id.group && *kind == id.kind) else {
        return;
    };
    let Some(spec) = object.pointer_mut(path) else { return };
    let mut mapped = false;
    for list in ["containers", "initContainers"] {
        let containers = spec.get_mut(list).and_then(Value::as_array_mut);
        for image in containers.into_iter().flatten().filter_map(|container| container.get_mut("image")) {
            let rest = image.as_str().and_then(|name| name.strip_prefix(REGISTRY)?.strip_prefix('/'));
            if let Some(rest) = rest {
                *image = format!("{}/{rest}", registry.host).into();
                mapped = true;
            }
        }
    }
    if !mapped {
        return;
    }
    let secret = json!({ "name": PULL_SECRET });
    match spec.get_mut("imagePullSecrets").and_then(Value::as_array_mut) {
        Some(secrets) if secrets.contains(&secret) => {}
        Some(secrets) => secrets.push(secret),
        None => spec["imagePullSecrets"] = json!([secret]),
    }
    let digest = template_digest(spec);
    let annotation = path.strip_suffix("/spec").map(|template| format!("{template}/metadata/annotations"));
    let annotations = annotation.and_then(|path| object.pointer_mut(&path)).and_then(Value::as_object_mut);
    if let Some(annotation) = annotations.and_then(|annotations| annotations.get_mut(ANNOTATION_TEMPLATE)) {
        *annotation = digest.into();
    }
}

/// The Secret that images are pulled with.
pub fn pull_secret(project: &Project, environment: &Environment, registry: &Registry) -> Value {
    let auth = BASE64_STANDARD.encode(format!("{}:{}", registry.user, registry.password));
    let entry = json!({ "username": registry.user, "password": registry.password, "auth": auth });
    let config = json!({ "auths": { registry.host.as_str(): entry } });
    json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": PULL_SECRET,
            "namespace": workload_namespace(project, environment),
            "labels": {
                "app.kubernetes.io/managed-by": "trimtab",
                LABEL_PROJECT: project,
                LABEL_ENVIRONMENT: environment,
            },
        },
        "type": "kubernetes.io/dockerconfigjson",
        "data": { ".dockerconfigjson": BASE64_STANDARD.encode(config.to_string()) },
    })
}

/// The environment's namespace on a cluster that others may use too: `uid` tells this project from others of its name.
pub fn claimed_namespace(project: &Project, environment: &Environment, uid: &str) -> Value {
    let mut namespace = crate::namespace(project, environment);
    namespace["metadata"]["labels"][LABEL_CLAIM] = uid.into();
    namespace
}

#[cfg(test)]
mod tests {
    use super::*;

    fn registry() -> Registry {
        Registry { host: "10.0.0.1:7181".into(), user: "shop.edge".into(), password: "s3cret".into() }
    }

    #[test]
    fn images_of_ours_are_mapped_in_declared_fields_only() {
        let ours = "registry.trimtab.internal/shop/web@sha256:00";
        let pods = json!({
            "containers": [{"name": "web", "image": ours}, {"name": "proxy", "image": "docker.io/library/nginx:1"}],
            "initContainers": [{"name": "init", "image": ours}],
            "imagePullSecrets": [{"name": "theirs"}],
        });
        let wrap = |path: &str, spec: &Value| {
            let fields: Vec<&str> = path.split('/').skip(1).collect();
            fields.iter().rev().fold(spec.clone(), |inner, field| json!({ *field: inner }))
        };
        for (group, kind, path) in POD_SPECS {
            let version = if group.is_empty() { "v1".to_owned() } else { format!("{group}/v1") };
            let mut object = wrap(path, &pods);
            object["apiVersion"] = version.into();
            object["kind"] = (*kind).into();
            place(&mut object, &registry());
            let spec = object.pointer(path).unwrap();
            assert_eq!(spec["containers"][0]["image"], "10.0.0.1:7181/shop/web@sha256:00", "{kind}");
            assert_eq!(spec["containers"][1]["image"], "docker.io/library/nginx:1");
            assert_eq!(spec["initContainers"][0]["image"], "10.0.0.1:7181/shop/web@sha256:00");
            assert_eq!(spec["imagePullSecrets"], json!([{"name": "theirs"}, {"name": PULL_SECRET}]));
            let once = object.clone();
            place(&mut object, &registry());
            assert_eq!(object, once, "placing twice is placing once");
        }
        let others = [
            json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"image": ours}}),
            json!({"apiVersion": "example.com/v1", "kind": "Deployment", "spec": {"template": {"spec": pods}}}),
            json!({"apiVersion": "v1", "kind": "Pod", "spec": {"containers": [{"image": "registry.trimtab.internal.evil/x"}]}}),
        ];
        for other in others {
            let mut placed = other.clone();
            place(&mut placed, &registry());
            assert_eq!(placed, other);
        }
    }

    #[test]
    fn the_pull_secret_is_what_docker_reads() {
        let secret = pull_secret(&"shop".parse().unwrap(), &"dev".parse().unwrap(), &registry());
        let text = BASE64_STANDARD.decode(secret["data"][".dockerconfigjson"].as_str().unwrap()).unwrap();
        let config: Value = serde_json::from_slice(&text).unwrap();
        assert_eq!(config["auths"]["10.0.0.1:7181"]["auth"], BASE64_STANDARD.encode("shop.edge:s3cret"));
        assert_eq!(secret["metadata"]["namespace"], "shop-dev");
        assert!(!format!("{:?}", registry()).contains("s3cret"));
    }
}
