//! The columns of built-in kinds, as data.

use super::{Column, age, ago, column, name, number, wide};
use crate::expiry::last_seen;
use object::meta;
use serde_json::Value;

const GENERIC: &[Column] = &[column("Name", name), column("Age", age)];

const PODS: &[Column] = &[
    column("Name", name),
    column("Ready", pod_ready),
    column("Status", pod_status),
    column("Restarts", pod_restarts),
    column("Age", age),
    wide("IP", |pod| or(text(pod, "/status/podIP"), "<none>")),
    wide("Node", |pod| or(text(pod, "/spec/nodeName"), "<none>")),
    wide("Nominated Node", |pod| or(text(pod, "/status/nominatedNodeName"), "<none>")),
    wide("Readiness Gates", |_| "<none>".into()),
];

const DEPLOYMENTS: &[Column] = &[
    column("Name", name),
    column("Ready", |object| {
        format!("{}/{}", count(object, "/status/readyReplicas"), count(object, "/spec/replicas")).into()
    }),
    column("Up-to-date", |object| count(object, "/status/updatedReplicas").into()),
    column("Available", |object| count(object, "/status/availableReplicas").into()),
    column("Age", age),
    wide("Containers", container_names),
    wide("Images", container_images),
    wide("Selector", selector),
];

const REPLICA_SETS: &[Column] = &[
    column("Name", name),
    number("Desired", |object| count(object, "/spec/replicas").into()),
    number("Current", |object| count(object, "/status/replicas").into()),
    number("Ready", |object| count(object, "/status/readyReplicas").into()),
    column("Age", age),
    wide("Containers", container_names),
    wide("Images", container_images),
    wide("Selector", selector),
];

const STATEFUL_SETS: &[Column] = &[
    column("Name", name),
    column("Ready", |object| {
        format!("{}/{}", count(object, "/status/readyReplicas"), count(object, "/spec/replicas")).into()
    }),
    column("Age", age),
    wide("Containers", container_names),
    wide("Images", container_images),
];

const SERVICES: &[Column] = &[
    column("Name", name),
    column("Type", |object| text(object, "/spec/type").into()),
    column("Cluster-IP", |object| or(text(object, "/spec/clusterIP"), "<none>")),
    column("External-IP", |object| or(text(object, "/spec/externalName"), "<none>")),
    column("Port(s)", service_ports),
    column("Age", age),
    wide("Selector", |object| or(&labels(&object["spec"]["selector"]), "<none>")),
];

const NAMESPACES: &[Column] =
    &[column("Name", name), column("Status", |object| text(object, "/status/phase").into()), column("Age", age)];

const CONFIG_MAPS: &[Column] = &[
    column("Name", name),
    column("Data", |object| (keys(object, "data") + keys(object, "binaryData")).into()),
    column("Age", age),
];

const SECRETS: &[Column] = &[
    column("Name", name),
    column("Type", |object| text(object, "/type").into()),
    column("Data", |object| keys(object, "data").into()),
    column("Age", age),
];

const EVENTS: &[Column] = &[
    column("Last Seen", |event| ago(last_seen(event)).into()),
    column("Type", |event| text(event, "/type").into()),
    column("Reason", |event| text(event, "/reason").into()),
    column("Object", |event| {
        let kind = text(event, "/involvedObject/kind").to_lowercase();
        format!("{kind}/{}", text(event, "/involvedObject/name")).into()
    }),
    wide("Subobject", |event| text(event, "/involvedObject/fieldPath").into()),
    wide("Source", |event| or(text(event, "/source/component"), text(event, "/reportingComponent"))),
    column("Message", |event| text(event, "/message").trim().into()),
    wide("First Seen", |event| ago(or_str(text(event, "/firstTimestamp"), last_seen(event))).into()),
    wide("Count", |event| count(event, "/count").max(1).into()),
    wide("Name", name),
];

const ENDPOINT_SLICES: &[Column] = &[
    column("Name", name),
    column("AddressType", |slice| text(slice, "/addressType").into()),
    column("Ports", |slice| or(&joined(slice, "ports", |port| shown(&port["port"])), "<unset>")),
    column("Endpoints", |slice| {
        or(&joined(slice, "endpoints", |endpoint| shown(&endpoint["addresses"][0])), "<unset>")
    }),
    column("Age", age),
];

const NODES: &[Column] = &[
    column("Name", name),
    column("Status", node_status),
    column("Roles", node_roles),
    column("Age", age),
    column("Version", |node| text(node, "/status/nodeInfo/kubeletVersion").into()),
    wide("Internal-IP", |node| or(node_address(node), "<none>")),
    wide("External-IP", |_| "<none>".into()),
    wide("OS-Image", |node| or(text(node, "/status/nodeInfo/osImage"), "<unknown>")),
    wide("Kernel-Version", |node| or(text(node, "/status/nodeInfo/kernelVersion"), "<unknown>")),
    wide("Container-Runtime", |node| or(text(node, "/status/nodeInfo/containerRuntimeVersion"), "<unknown>")),
];

const JOBS: &[Column] = &[
    column("Name", name),
    column("Status", |job| {
        let is = |type_: &str| condition(job, type_) == Some("True");
        let state = ["Complete", "Failed", "Suspended"].into_iter().find(|type_| is(type_));
        state.unwrap_or("Running").into()
    }),
    column("Completions", |job| {
        format!("{}/{}", count(job, "/status/succeeded"), count(job, "/spec/completions").max(1)).into()
    }),
    column("Age", age),
];

const DEFINITIONS: &[Column] =
    &[column("Name", name), column("Created At", |object| meta(object).creation_timestamp().into())];

const ROLE_BINDINGS: &[Column] = &[
    column("Name", name),
    column("Role", |object| format!("{}/{}", text(object, "/roleRef/kind"), text(object, "/roleRef/name")).into()),
    column("Age", age),
];

/// The columns of a resource.
pub fn columns(resource: &str) -> &'static [Column] {
    match resource {
        "pods" => PODS,
        "deployments.apps" => DEPLOYMENTS,
        "replicasets.apps" => REPLICA_SETS,
        "statefulsets.apps" => STATEFUL_SETS,
        "services" => SERVICES,
        "namespaces" => NAMESPACES,
        "configmaps" => CONFIG_MAPS,
        "secrets" => SECRETS,
        "events" => EVENTS,
        "endpointslices.discovery.k8s.io" => ENDPOINT_SLICES,
        "nodes" => NODES,
        "jobs.batch" => JOBS,
        "customresourcedefinitions.apiextensions.k8s.io" => DEFINITIONS,
        "rolebindings.rbac.authorization.k8s.io" | "clusterrolebindings.rbac.authorization.k8s.io" => ROLE_BINDINGS,
        _ => GENERIC,
    }
}

fn text<'v>(object: &'v Value, path: &str) -> &'v str {
    object.pointer(path).and_then(Value::as_str).unwrap_or_default()
}

fn or_str<'v>(text: &'v str, otherwise: &'v str) -> &'v str {
    if text.is_empty() { otherwise } else { text }
}

fn or(text: &str, otherwise: &str) -> Value {
    or_str(text, otherwise).into()
}

fn count(object: &Value, path: &str) -> i64 {
    object.pointer(path).and_then(Value::as_i64).unwrap_or_default()
}

fn keys(object: &Value, field: &str) -> usize {
    object[field].as_object().map_or(0, |map| map.len())
}

fn shown(value: &Value) -> String {
    value.as_str().map_or_else(|| if value.is_null() { String::new() } else { value.to_string() }, str::to_owned)
}

/// At most three, and how many more.
fn joined(object: &Value, field: &str, show: impl Fn(&Value) -> String) -> String {
    const SHOWN_MAX: usize = 3;
    let items = object[field].as_array().map(Vec::as_slice).unwrap_or_default();
    let texts: Vec<String> = items.iter().take(SHOWN_MAX).map(show).collect();
    let more = items.len().saturating_sub(SHOWN_MAX);
    if more > 0 { format!("{} + {more} more...", texts.join(",")) } else { texts.join(",") }
}

fn labels(map: &Value) -> String {
    let pairs = map.as_object().into_iter().flatten();
    pairs.map(|(key, value)| format!("{key}={}", shown(value))).collect::<Vec<_>>().join(",")
}

fn selector(object: &Value) -> Value {
    or(&labels(&object["spec"]["selector"]["matchLabels"]), "<none>")
}

fn containers(object: &Value) -> impl Iterator<Item = &Value> {
    object.pointer("/spec/template/spec/containers").and_then(Value::as_array).into_iter().flatten()
}

fn container_names(object: &Value) -> Value {
    containers(object).map(|container| text(container, "/name")).collect::<Vec<_>>().join(",").into()
}

fn container_images(object: &Value) -> Value {
    containers(object).map(|container| text(container, "/image")).collect::<Vec<_>>().join(",").into()
}

fn condition<'v>(object: &'v Value, type_: &str) -> Option<&'v str> {
    let list = object.pointer("/status/conditions")?.as_array()?;
    list.iter().find(|condition| condition["type"] == type_)?["status"].as_str()
}

fn statuses<'v>(pod: &'v Value, field: &str) -> impl Iterator<Item = &'v Value> + use<'v> {
    pod["status"][field].as_array().into_iter().flatten()
}

fn pod_ready(pod: &Value) -> Value {
    let all = pod["spec"]["containers"].as_array().map_or(0, Vec::len);
    let ready = statuses(pod, "containerStatuses").filter(|status| status["ready"] == true).count();
    format!("{ready}/{all}").into()
}

fn pod_restarts(pod: &Value) -> Value {
    let all: i64 = statuses(pod, "containerStatuses").map(|status| count(status, "/restartCount")).sum();
    let last = statuses(pod, "containerStatuses").map(|s| text(s, "/lastState/terminated/finishedAt")).max();
    match last.filter(|time| all > 0 && !time.is_empty()) {
        Some(time) => format!("{all} ({} ago)", ago(time)).into(),
        None => all.to_string().into(),
    }
}

/// Why a container is not running, if it is not.
fn container_reason(status: &Value) -> Option<String> {
    let state = &status["state"];
    let waiting = text(state, "/waiting/reason");
    if !waiting.is_empty() {
        return Some(waiting.to_owned());
    }
    let terminated = state.get("terminated")?;
    Some(match (text(terminated, "/reason"), count(terminated, "/signal")) {
        ("", 0) => format!("ExitCode:{}", count(terminated, "/exitCode")),
        ("", signal) => format!("Signal:{signal}"),
        (reason, _) => reason.to_owned(),
    })
}

/// The one word that says most about a Pod, as kubectl picks it.
fn pod_status(pod: &Value) -> Value {
    let mut status = or_str(text(pod, "/status/reason"), text(pod, "/status/phase")).to_owned();
    let inits = pod["spec"]["initContainers"].as_array().map_or(0, Vec::len);
    let pending_init = statuses(pod, "initContainerStatuses")
        .enumerate()
        .find(|(_, init)| init.pointer("/state/terminated/exitCode").and_then(Value::as_i64) != Some(0));
    if let Some((at, init)) = pending_init {
        status = match container_reason(init).filter(|reason| reason != "PodInitializing") {
            Some(reason) => format!("Init:{reason}"),
            None => format!("Init:{at}/{inits}"),
        };
    } else {
        let running =
            statuses(pod, "containerStatuses").any(|s| s["ready"] == true && s["state"].get("running").is_some());
        if let Some(reason) = statuses(pod, "containerStatuses").filter_map(container_reason).last() {
            let completed = reason == "Completed" && running;
            status = if completed { "Running".into() } else { reason };
        }
    }
    if meta(pod).deletion_timestamp().is_some() {
        status = "Terminating".into();
    }
    status.into()
}

fn service_ports(service: &Value) -> Value {
    let ports = service["spec"]["ports"].as_array().into_iter().flatten();
    let shown: Vec<String> =
        ports.map(|port| format!("{}/{}", shown(&port["port"]), text(port, "/protocol"))).collect();
    or(&shown.join(","), "<none>")
}

fn node_status(node: &Value) -> Value {
    let ready = if condition(node, "Ready") == Some("True") { "Ready" } else { "NotReady" };
    if node["spec"]["unschedulable"] == true { format!("{ready},SchedulingDisabled").into() } else { ready.into() }
}

fn node_roles(node: &Value) -> Value {
    let roles: Vec<&str> =
        meta(node).labels().filter_map(|(key, _)| key.strip_prefix("node-role.kubernetes.io/")).collect();
    or(&roles.join(","), "<none>")
}

fn node_address(node: &Value) -> &str {
    let addresses = node["status"]["addresses"].as_array().into_iter().flatten();
    addresses.filter(|a| a["type"] == "InternalIP").map(|a| text(a, "/address")).next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn words_for_pods() {
        let cases = [
            (json!({"status": {"phase": "Pending"}}), "Pending"),
            (
                json!({"status": {"phase": "Running", "containerStatuses": [{"state": {"waiting": {"reason": "CrashLoopBackOff"}}}]}}),
                "CrashLoopBackOff",
            ),
            (
                json!({"status": {"phase": "Failed", "containerStatuses": [{"state": {"terminated": {"exitCode": 3}}}]}}),
                "ExitCode:3",
            ),
            (
                json!({"spec": {"initContainers": [{}, {}]}, "status": {"phase": "Pending", "initContainerStatuses": [
                    {"state": {"terminated": {"exitCode": 0}}}, {"state": {"running": {}}}]}}),
                "Init:1/2",
            ),
            (json!({"metadata": {"deletionTimestamp": "x"}, "status": {"phase": "Running"}}), "Terminating"),
        ];
        for (pod, expected) in cases {
            assert_eq!(pod_status(&pod), expected, "{pod}");
        }
    }
}
