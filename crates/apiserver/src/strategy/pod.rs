//! Pods and what makes them.

use super::defaults::{each, fill, fill_in, protocol};
use object::quantity::Quantity;
use serde_json::{Map, Value, json};

const FILE_MODE: i64 = 0o644;

/// Defaults of a Pod.
pub fn default_pod(pod: &mut Value) {
    let Some(spec) = pod.get_mut("spec") else { return };
    default_spec(spec);
    fill(spec, &json!({"enableServiceLinks": true}));
    for list in ["initContainers", "containers"] {
        each(spec.get_mut(list), requests_from_limits);
    }
}

/// Defaults of a template of Pods.
pub fn default_template(template: Option<&mut Value>) {
    if let Some(spec) = template.and_then(|template| template.get_mut("spec")) {
        default_spec(spec);
    }
}

/// What Kubernetes' admission adds to a new Pod, and its first status.
pub fn prepare(pod: &mut Value) {
    let qos = qos_class(pod);
    pod["status"] = json!({"phase": "Pending", "qosClass": qos});
    let Some(spec) = pod.get_mut("spec") else { return };
    fill(spec, &json!({"priority": 0, "preemptionPolicy": "PreemptLowerPriority", "tolerations": []}));
    let Some(tolerations) = spec.get_mut("tolerations").and_then(Value::as_array_mut) else { return };
    for key in ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"] {
        if !tolerations.iter().any(|known| known["key"] == key || known["key"].is_null()) {
            let toleration = json!({"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300});
            tolerations.push(toleration);
        }
    }
}

fn default_spec(spec: &mut Value) {
    fill(
        spec,
        &json!({
            "restartPolicy": "Always", "terminationGracePeriodSeconds": 30, "dnsPolicy": "ClusterFirst",
            "securityContext": {}, "schedulerName": "default-scheduler",
        }),
    );
    service_account(spec);
    let host_network = spec["hostNetwork"] == true;
    for list in ["initContainers", "containers", "ephemeralContainers"] {
        each(spec.get_mut(list), |container| default_container(container, host_network));
    }
    each(spec.get_mut("volumes"), default_volume);
}

/// The old name of the field says the same as the new one.
fn service_account(spec: &mut Value) {
    let named =
        [&spec["serviceAccountName"], &spec["serviceAccount"]].into_iter().find(|name| name.is_string()).cloned();
    if let (Some(name), Some(map)) = (named, spec.as_object_mut()) {
        map.insert("serviceAccountName".into(), name.clone());
        map.insert("serviceAccount".into(), name);
    }
}

fn default_container(container: &mut Value, host_network: bool) {
    let policy = pull_policy(container["image"].as_str().unwrap_or_default());
    fill(
        container,
        &json!({
            "resources": {}, "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File",
            "imagePullPolicy": policy,
        }),
    );
    each(container.get_mut("ports"), |port| {
        protocol(port);
        if host_network {
            let number = port["containerPort"].clone();
            fill(port, &json!({"hostPort": number}));
        }
    });
    each(container.get_mut("env"), |variable| {
        if let Some(source) = variable.get_mut("valueFrom") {
            fill_in(source, "fieldRef", &json!({"apiVersion": "v1"}));
        }
    });
    for probe in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if let Some(probe) = container.get_mut(probe) {
            default_probe(probe);
        }
    }
    for hook in ["/lifecycle/postStart", "/lifecycle/preStop"] {
        if let Some(hook) = container.pointer_mut(hook) {
            fill_in(hook, "httpGet", &json!({"path": "/", "scheme": "HTTP"}));
        }
    }
}

fn default_probe(probe: &mut Value) {
    fill(probe, &json!({"timeoutSeconds": 1, "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3}));
    fill_in(probe, "httpGet", &json!({"path": "/", "scheme": "HTTP"}));
    fill_in(probe, "grpc", &json!({"service": ""}));
}

/// An image without tag or digest, or tagged `latest`, may change behind its name.
fn pull_policy(image: &str) -> &'static str {
    let last = image.rsplit('/').next().unwrap_or_default();
    match (image.contains('@'), last.split_once(':')) {
        (true, _) => "IfNotPresent",
        (false, None | Some((_, "latest"))) => "Always",
        (false, Some(_)) => "IfNotPresent",
    }
}

fn default_volume(volume: &mut Value) {
    const SOURCES: [&str; 4] = ["secret", "configMap", "downwardAPI", "projected"];
    let Some(map) = volume.as_object_mut() else { return };
    if map.keys().all(|key| key == "name") {
        map.insert("emptyDir".into(), json!({}));
    }
    for source in SOURCES {
        fill_in(volume, source, &json!({"defaultMode": FILE_MODE}));
    }
    fill_in(volume, "hostPath", &json!({"type": ""}));
    each(volume.pointer_mut("/projected/sources"), |source| {
        fill_in(source, "serviceAccountToken", &json!({"expirationSeconds": 3600}));
    });
    each(volume.pointer_mut("/downwardAPI/items"), |item| fill_in(item, "fieldRef", &json!({"apiVersion": "v1"})));
}

/// What is limited is asked for, unless less is asked for.
fn requests_from_limits(container: &mut Value) {
    let Some(limits) = container.pointer("/resources/limits").and_then(Value::as_object).cloned() else { return };
    fill_in(container, "resources", &json!({"requests": {}}));
    fill_in_resources(container, &limits);
}

fn fill_in_resources(container: &mut Value, limits: &Map<String, Value>) {
    if let Some(requests) = container.pointer_mut("/resources/requests") {
        fill(requests, &Value::Object(limits.clone()));
    }
}

/// How much a Pod is promised: all it may use, something, or nothing.
pub fn qos_class(pod: &Value) -> &'static str {
    let lists = ["initContainers", "containers"].iter().filter_map(|list| pod["spec"][*list].as_array());
    let (mut any, mut guaranteed) = (false, true);
    for container in lists.flatten() {
        for resource in ["cpu", "memory"] {
            let amount = |sort: &str| {
                let text = match &container["resources"][sort][resource] {
                    Value::String(text) => text.clone(),
                    Value::Null => return None,
                    other => other.to_string(),
                };
                Quantity::parse(&text).ok().map(Quantity::millis).filter(|amount| *amount != 0)
            };
            let (request, limit) = (amount("requests"), amount("limits"));
            any |= request.is_some() || limit.is_some();
            guaranteed &= limit.is_some() && request == limit;
        }
    }
    match (any, guaranteed) {
        (false, _) => "BestEffort",
        (true, true) => "Guaranteed",
        (true, false) => "Burstable",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pull_policies() {
        for (image, policy) in [
            ("nginx", "Always"),
            ("nginx:latest", "Always"),
            ("nginx:1.25", "IfNotPresent"),
            ("localhost:5000/nginx", "Always"),
            ("localhost:5000/nginx@sha256:00", "IfNotPresent"),
        ] {
            assert_eq!(pull_policy(image), policy, "{image}");
        }
    }
}
