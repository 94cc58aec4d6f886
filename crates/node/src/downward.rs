//! What a Pod may know of itself: `fieldRef` and `resourceFieldRef`.

use crate::pod::{PodExt, quantity};
use k8s_openapi::api::core::v1::{ObjectFieldSelector, Pod, ResourceFieldSelector};
use kube::ResourceExt;
use std::collections::BTreeMap;

/// What is not in the Pod's object.
#[derive(Debug, Clone, Default)]
pub(crate) struct Facts {
    pub pod_ip: String,
    pub host_ip: String,
    /// Of the node; what a container without limits may use.
    pub cpu_milli: u64,
    pub memory_bytes: u64,
}

/// Value of a field; the error says what is wrong with the path.
pub(crate) fn field(pod: &Pod, facts: &Facts, selector: &ObjectFieldSelector) -> Result<String, String> {
    let path = selector.field_path.as_str();
    if let Some((map, key)) = path.strip_suffix("']").and_then(|p| p.split_once("['")) {
        let values = match map {
            "metadata.labels" => pod.labels(),
            "metadata.annotations" => pod.annotations(),
            _ => return Err(unsupported(path)),
        };
        return Ok(values.get(key).cloned().unwrap_or_default());
    }
    let spec = pod.spec_ref();
    Ok(match path {
        "metadata.name" => pod.name_any(),
        "metadata.namespace" => pod.namespace_str().to_owned(),
        "metadata.uid" => pod.uid_str().to_owned(),
        "metadata.labels" => lines(pod.labels()),
        "metadata.annotations" => lines(pod.annotations()),
        "spec.nodeName" => spec.node_name.clone().unwrap_or_default(),
        "spec.serviceAccountName" => spec.service_account_name.clone().unwrap_or_default(),
        "status.hostIP" | "status.hostIPs" => facts.host_ip.clone(),
        "status.podIP" | "status.podIPs" => facts.pod_ip.clone(),
        _ => return Err(unsupported(path)),
    })
}

fn unsupported(path: &str) -> String {
    format!("unsupported fieldPath: {path}")
}

fn lines(map: &BTreeMap<String, String>) -> String {
    map.iter().map(|(key, value)| format!("{key}={value:?}")).collect::<Vec<_>>().join("\n")
}

/// Amount of a resource that a container of the Pod requests or is limited to, in multiples of the divisor.
pub(crate) fn resource(
    pod: &Pod,
    own: &str,
    facts: &Facts,
    selector: &ResourceFieldSelector,
) -> Result<String, String> {
    let name = selector.container_name.as_deref().filter(|n| !n.is_empty()).unwrap_or(own);
    let container =
        pod.all_containers().find(|c| c.name == name).ok_or_else(|| format!("container {name} not found"))?;
    let resources = container.resources.as_ref();
    let (list, name) = match selector.resource.split_once('.') {
        Some(("limits", name)) => (resources.and_then(|r| r.limits.as_ref()), name),
        Some(("requests", name)) => (resources.and_then(|r| r.requests.as_ref()), name),
        _ => return Err(format!("unsupported container resource : {}", selector.resource)),
    };
    let named = list.and_then(|l| l.get(name)).and_then(|q| quantity::milli(&q.0));
    let milli = match (named, name) {
        (Some(milli), _) => milli,
        (None, _) if selector.resource.starts_with("requests") => 0,
        (None, "cpu") => facts.cpu_milli,
        (None, "memory") => facts.memory_bytes.saturating_mul(1000),
        (None, _) => 0,
    };
    let divisor = selector.divisor.as_ref().and_then(|d| quantity::milli(&d.0)).filter(|d| *d > 0).unwrap_or(1000);
    Ok(milli.div_ceil(divisor).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod() -> Pod {
        serde_json::from_value(json!({
            "metadata": {"name": "web", "namespace": "shop", "uid": "u1", "labels": {"app": "web", "a/b": "c\"d"}},
            "spec": {"nodeName": "local", "containers": [{"name": "main", "resources": {"limits": {"cpu": "1500m", "memory": "64Mi"}}}]}
        }))
        .unwrap()
    }

    #[test]
    fn fields() {
        let facts = Facts { pod_ip: "10.1.2.3".into(), ..Facts::default() };
        for (path, expected) in [
            ("metadata.name", Ok("web")),
            ("metadata.labels['a/b']", Ok("c\"d")),
            ("metadata.labels['none']", Ok("")),
            ("metadata.labels", Ok("a/b=\"c\\\"d\"\napp=\"web\"")),
            ("status.podIP", Ok("10.1.2.3")),
            ("spec.nodeName", Ok("local")),
            ("spec.containers", Err("unsupported fieldPath: spec.containers")),
        ] {
            let selector = ObjectFieldSelector { field_path: path.into(), api_version: None };
            assert_eq!(field(&pod(), &facts, &selector), expected.map(str::to_owned).map_err(str::to_owned), "{path}");
        }
    }

    #[test]
    fn resources() {
        let facts = Facts { cpu_milli: 4000, memory_bytes: 1 << 30, ..Facts::default() };
        for (resource_name, divisor, expected) in [
            ("limits.cpu", None, "2"),
            ("limits.cpu", Some("1m"), "1500"),
            ("limits.memory", Some("1Mi"), "64"),
            ("requests.cpu", None, "0"),
            ("limits.ephemeral-storage", None, "0"),
        ] {
            let selector = ResourceFieldSelector {
                resource: resource_name.into(),
                divisor: divisor.map(|d| k8s_openapi::apimachinery::pkg::api::resource::Quantity(d.into())),
                container_name: None,
            };
            assert_eq!(
                resource(&pod(), "main", &facts, &selector).as_deref(),
                Ok(expected),
                "{resource_name} {divisor:?}"
            );
        }
    }
}
