//! Defaults that Kubernetes keeps in code, not in its schemas.

use super::pod;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

/// Fills in the defaults of a built-in kind.
pub fn of(resource: &str, object: &mut Value) {
    match resource {
        "pods" => pod::default_pod(object),
        "deployments.apps" => deployment(object),
        "replicasets.apps" => with_template(object, &json!({"replicas": 1})),
        "replicationcontrollers" => with_template(object, &json!({"replicas": 1})),
        "statefulsets.apps" => stateful_set(object),
        "daemonsets.apps" => daemon_set(object),
        "jobs.batch" => job(object.get_mut("spec")),
        "cronjobs.batch" => cron_job(object),
        "podtemplates" => pod::default_template(object.get_mut("template")),
        "services" => service(object),
        "secrets" => secret(object),
        "endpoints" => each(object.pointer_mut("/subsets"), |subset| each(subset.get_mut("ports"), protocol)),
        "endpointslices.discovery.k8s.io" => each(object.get_mut("ports"), endpoint_port),
        "events" => fill(object, &json!({"type": "", "reportingComponent": "", "reportingInstance": "", "source": {}})),
        "rolebindings.rbac.authorization.k8s.io" | "clusterrolebindings.rbac.authorization.k8s.io" => binding(object),
        "persistentvolumeclaims" => fill_in(object, "spec", &json!({"volumeMode": "Filesystem"})),
        "persistentvolumes" => {
            fill_in(object, "spec", &json!({"volumeMode": "Filesystem", "persistentVolumeReclaimPolicy": "Retain"}));
        }
        "storageclasses.storage.k8s.io" => {
            fill(object, &json!({"reclaimPolicy": "Delete", "volumeBindingMode": "Immediate"}));
        }
        "priorityclasses.scheduling.k8s.io" => fill(object, &json!({"preemptionPolicy": "PreemptLowerPriority"})),
        "networkpolicies.networking.k8s.io" => network_policy(object),
        "horizontalpodautoscalers.autoscaling" => fill_in(object, "spec", &json!({"minReplicas": 1})),
        "customresourcedefinitions.apiextensions.k8s.io" => definition(object),
        _ => {}
    }
}

/// Sets each of the given fields that is absent.
pub fn fill(object: &mut Value, defaults: &Value) {
    if let (Value::Object(map), Value::Object(defaults)) = (object, defaults) {
        for (key, value) in defaults {
            if map.get(key).is_none_or(Value::is_null) {
                map.insert(key.clone(), value.clone());
            }
        }
    }
}

/// As [`fill`], in a field that is a map; absent fields stay absent.
pub fn fill_in(object: &mut Value, field: &str, defaults: &Value) {
    if let Some(value) = object.get_mut(field) {
        fill(value, defaults);
    }
}

/// Every item of a list, if it is one.
pub fn each(list: Option<&mut Value>, change: impl FnMut(&mut Value)) {
    list.and_then(Value::as_array_mut).into_iter().flatten().for_each(change);
}

/// Ports are TCP unless they say otherwise.
pub fn protocol(port: &mut Value) {
    fill(port, &json!({"protocol": "TCP"}));
}

fn endpoint_port(port: &mut Value) {
    fill(port, &json!({"name": "", "protocol": "TCP"}));
}

fn with_template(object: &mut Value, defaults: &Value) {
    let Some(spec) = object.get_mut("spec") else { return };
    fill(spec, defaults);
    pod::default_template(spec.get_mut("template"));
}

fn deployment(object: &mut Value) {
    let rolling = json!({"maxUnavailable": "25%", "maxSurge": "25%"});
    with_template(
        object,
        &json!({"replicas": 1, "strategy": {}, "revisionHistoryLimit": 10, "progressDeadlineSeconds": 600}),
    );
    let Some(strategy) = object.pointer_mut("/spec/strategy") else { return };
    fill(strategy, &json!({"type": "RollingUpdate"}));
    if strategy["type"] == "RollingUpdate" {
        fill(strategy, &json!({"rollingUpdate": {}}));
        fill_in(strategy, "rollingUpdate", &rolling);
    }
}

fn stateful_set(object: &mut Value) {
    with_template(
        object,
        &json!({
            "replicas": 1, "podManagementPolicy": "OrderedReady", "revisionHistoryLimit": 10, "updateStrategy": {},
            "persistentVolumeClaimRetentionPolicy": {},
        }),
    );
    let Some(spec) = object.get_mut("spec") else { return };
    fill_in(spec, "persistentVolumeClaimRetentionPolicy", &json!({"whenDeleted": "Retain", "whenScaled": "Retain"}));
    fill_in(spec, "updateStrategy", &json!({"type": "RollingUpdate"}));
    if spec["updateStrategy"]["type"] == "RollingUpdate" {
        fill_in(spec, "updateStrategy", &json!({"rollingUpdate": {"partition": 0}}));
    }
    each(spec.get_mut("volumeClaimTemplates"), |claim| of("persistentvolumeclaims", claim));
}

fn daemon_set(object: &mut Value) {
    with_template(object, &json!({"revisionHistoryLimit": 10, "updateStrategy": {}}));
    let Some(strategy) = object.pointer_mut("/spec/updateStrategy") else { return };
    fill(strategy, &json!({"type": "RollingUpdate"}));
    if strategy["type"] == "RollingUpdate" {
        fill(strategy, &json!({"rollingUpdate": {}}));
        fill_in(strategy, "rollingUpdate", &json!({"maxUnavailable": 1, "maxSurge": 0}));
    }
}

fn job(spec: Option<&mut Value>) {
    let Some(spec) = spec else { return };
    if spec["completions"].is_null() && spec["parallelism"].is_null() {
        fill(spec, &json!({"completions": 1}));
    }
    fill(
        spec,
        &json!({
            "parallelism": 1, "backoffLimit": 6, "completionMode": "NonIndexed", "suspend": false,
            "manualSelector": false, "podReplacementPolicy": "TerminatingOrFailed",
        }),
    );
    pod::default_template(spec.get_mut("template"));
}

fn cron_job(object: &mut Value) {
    let defaults = json!({
        "concurrencyPolicy": "Allow", "suspend": false, "successfulJobsHistoryLimit": 3, "failedJobsHistoryLimit": 1,
    });
    fill_in(object, "spec", &defaults);
    pod::default_template(object.pointer_mut("/spec/jobTemplate/spec/template"));
}

fn service(object: &mut Value) {
    let Some(spec) = object.get_mut("spec") else { return };
    fill(spec, &json!({"type": "ClusterIP", "sessionAffinity": "None"}));
    if spec["sessionAffinity"] == "ClientIP" {
        fill(spec, &json!({"sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 10800}}}));
    }
    each(spec.get_mut("ports"), |port| {
        protocol(port);
        let number = port["port"].clone();
        if port["targetPort"].is_null() || port["targetPort"] == 0 || port["targetPort"] == "" {
            port["targetPort"] = number;
        }
    });
    let type_ = spec["type"].as_str().unwrap_or_default().to_owned();
    if type_ != "ExternalName" {
        let families =
            json!({"internalTrafficPolicy": "Cluster", "ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack"});
        fill(spec, &families);
    }
    if type_ == "NodePort" || type_ == "LoadBalancer" {
        fill(spec, &json!({"externalTrafficPolicy": "Cluster"}));
    }
    if spec["clusterIP"] == "None" {
        fill(spec, &json!({"clusterIPs": ["None"]}));
    }
}

/// `stringData` is only a way to write; `data` is what is kept.
fn secret(object: &mut Value) {
    fill(object, &json!({"type": "Opaque"}));
    let Some(map) = object.as_object_mut() else { return };
    let Some(Value::Object(plain)) = map.shift_remove("stringData") else { return };
    let data = map.entry("data").or_insert_with(|| Value::Object(Map::new()));
    if data.is_null() {
        *data = Value::Object(Map::new());
    }
    for (key, value) in plain {
        if let (Some(data), Some(text)) = (data.as_object_mut(), value.as_str()) {
            data.insert(key, STANDARD.encode(text).into());
        }
    }
}

fn binding(object: &mut Value) {
    const RBAC: &str = "rbac.authorization.k8s.io";
    fill_in(object, "roleRef", &json!({"apiGroup": RBAC}));
    each(object.get_mut("subjects"), |subject| {
        if subject["kind"] == "User" || subject["kind"] == "Group" {
            fill(subject, &json!({"apiGroup": RBAC}));
        }
    });
}

fn network_policy(object: &mut Value) {
    let Some(spec) = object.get_mut("spec") else { return };
    let egress = spec["egress"].as_array().is_some_and(|list| !list.is_empty());
    fill(spec, &json!({"policyTypes": if egress { json!(["Ingress", "Egress"]) } else { json!(["Ingress"]) }}));
    for direction in ["ingress", "egress"] {
        each(spec.get_mut(direction), |rule| each(rule.get_mut("ports"), protocol));
    }
}

fn definition(object: &mut Value) {
    let Some(spec) = object.get_mut("spec") else { return };
    fill(spec, &json!({"conversion": {"strategy": "None"}}));
    let kind = spec["names"]["kind"].as_str().unwrap_or_default().to_owned();
    fill_in(spec, "names", &json!({"singular": kind.to_lowercase(), "listKind": format!("{kind}List")}));
}
