//! Which addresses a Service has.

use crate::claims::controller_reference;
use crate::hash::Hash;
use crate::objects::{is_deleting, is_ready, is_terminal, label, name, namespace, uid};
use k8s_openapi::api::core::v1::{Node, ObjectReference, Pod, Service, ServicePort};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointPort, EndpointSlice};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::api::ObjectMeta;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

pub(crate) const SERVICE_NAME: &str = "kubernetes.io/service-name";
pub(crate) const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
pub(crate) const MANAGER: &str = "endpointslice-controller.k8s.io";
const HEADLESS: &str = "service.kubernetes.io/headless";
/// Most endpoints that the API takes in one slice.
const ENDPOINTS_MAX: usize = 1000;

/// The slices that should exist for a Service with these Pods. They are named by their place in the order, so that one
/// which the cache does not show yet is not made twice, and the first Pod or the last one changes a slice in place.
/// A Service without any endpoint has one empty slice.
pub(crate) fn slices(
    service: &Service,
    pods: &[Arc<Pod>],
    node: impl Fn(&str) -> Option<Arc<Node>>,
) -> Vec<EndpointSlice> {
    families(service).into_iter().flat_map(|family| slices_of(service, family, pods, &node)).collect()
}

type NodeByName<'a> = &'a dyn Fn(&str) -> Option<Arc<Node>>;

fn slices_of(service: &Service, family: &str, pods: &[Arc<Pod>], node: NodeByName<'_>) -> Vec<EndpointSlice> {
    let mut by_ports: BTreeMap<String, (Vec<EndpointPort>, Vec<Endpoint>)> = BTreeMap::new();
    for pod in pods.iter().filter(|pod| !is_terminal(pod)) {
        let addresses = addresses(pod, family);
        if addresses.is_empty() {
            continue;
        }
        let ports = ports(service, pod);
        let entry = by_ports.entry(serde_json::to_string(&ports).expect("ports are JSON"));
        let (_, endpoints) = entry.or_insert_with(|| (ports, Vec::new()));
        endpoints.push(endpoint(service, pod, addresses, node));
    }
    let mut contents = Vec::new();
    for (ports, mut endpoints) in by_ports.into_values() {
        endpoints.sort_by(|one, other| target(one).cmp(&target(other)));
        contents.extend(endpoints.chunks(ENDPOINTS_MAX).map(|chunk| (ports.clone(), chunk.to_vec())));
    }
    if contents.is_empty() {
        contents.push((Vec::new(), Vec::new()));
    }
    let slices = contents.into_iter().enumerate().map(|(place, (ports, endpoints))| {
        let hash = Hash::default().write(format!("{family}/{place}").as_bytes()).text();
        slice(service, family, &hash, ports, endpoints)
    });
    slices.collect()
}

fn families(service: &Service) -> Vec<&'static str> {
    let spec = service.spec.as_ref();
    let families = spec.and_then(|spec| spec.ip_families.as_deref()).unwrap_or_default();
    let mut known: Vec<_> =
        ["IPv4", "IPv6"].into_iter().filter(|family| families.iter().any(|f| f == family)).collect();
    if known.is_empty() {
        known.push("IPv4");
    }
    known
}

fn addresses(pod: &Pod, family: &str) -> Vec<String> {
    let Some(status) = &pod.status else { return Vec::new() };
    let listed = status.pod_ips.iter().flatten().map(|address| &address.ip);
    let all: Vec<&String> = if status.pod_ips.is_some() { listed.collect() } else { status.pod_ip.iter().collect() };
    let parsed = all.into_iter().filter_map(|address| address.parse::<IpAddr>().ok());
    parsed.filter(|address| address.is_ipv4() == (family == "IPv4")).map(|address| address.to_string()).collect()
}

/// Those ports of the Service that this Pod has.
fn ports(service: &Service, pod: &Pod) -> Vec<EndpointPort> {
    let ports = service.spec.iter().flat_map(|spec| spec.ports.iter().flatten());
    let resolved = ports.filter_map(|port| Some((port, container_port(pod, port)?)));
    let resolved = resolved.map(|(port, number)| EndpointPort {
        name: Some(port.name.clone().unwrap_or_default()),
        port: Some(number),
        protocol: Some(protocol(port.protocol.as_deref()).to_owned()),
        app_protocol: port.app_protocol.clone(),
    });
    resolved.collect()
}

fn protocol(protocol: Option<&str>) -> &str {
    protocol.unwrap_or("TCP")
}

fn container_port(pod: &Pod, port: &ServicePort) -> Option<i32> {
    let wanted = match &port.target_port {
        None => return Some(port.port),
        Some(IntOrString::Int(number)) => return Some(*number),
        Some(IntOrString::String(name)) => name,
    };
    let spec = pod.spec.as_ref()?;
    let sidecars = spec.init_containers.iter().flatten().filter(|c| c.restart_policy.as_deref() == Some("Always"));
    let mut ports = spec.containers.iter().chain(sidecars).flat_map(|container| container.ports.iter().flatten());
    let is_wanted = |name: Option<&str>, by: Option<&str>| {
        name == Some(wanted) && protocol(by) == protocol(port.protocol.as_deref())
    };
    ports.find(|p| is_wanted(p.name.as_deref(), p.protocol.as_deref())).map(|p| p.container_port)
}

fn endpoint(service: &Service, pod: &Pod, addresses: Vec<String>, node: NodeByName<'_>) -> Endpoint {
    let publish_all = service.spec.as_ref().and_then(|spec| spec.publish_not_ready_addresses) == Some(true);
    let spec = pod.spec.as_ref();
    let node_name = spec.and_then(|spec| spec.node_name.clone()).filter(|name| !name.is_empty());
    let zone = node_name
        .as_deref()
        .and_then(node)
        .and_then(|node| label(&*node, "topology.kubernetes.io/zone").map(str::to_owned));
    let is_member =
        spec.and_then(|spec| spec.subdomain.as_deref()) == Some(name(service)) && namespace(service) == namespace(pod);
    Endpoint {
        addresses,
        conditions: Some(EndpointConditions {
            // A Pod on its way out gets no new requests, whatever its probe says.
            ready: Some(publish_all || is_ready(pod) && !is_deleting(pod)),
            serving: Some(is_ready(pod)),
            terminating: Some(is_deleting(pod)),
        }),
        target_ref: Some(ObjectReference {
            kind: Some("Pod".into()),
            namespace: pod.metadata.namespace.clone(),
            name: pod.metadata.name.clone(),
            uid: pod.metadata.uid.clone(),
            ..ObjectReference::default()
        }),
        hostname: spec.and_then(|spec| spec.hostname.clone()).filter(|hostname| is_member && !hostname.is_empty()),
        node_name,
        zone,
        ..Endpoint::default()
    }
}

fn target(endpoint: &Endpoint) -> (Option<&str>, Option<&str>) {
    let target = endpoint.target_ref.as_ref();
    (target.and_then(|target| target.name.as_deref()), target.and_then(|target| target.uid.as_deref()))
}

fn slice(
    service: &Service,
    family: &str,
    hash: &str,
    ports: Vec<EndpointPort>,
    endpoints: Vec<Endpoint>,
) -> EndpointSlice {
    EndpointSlice {
        metadata: ObjectMeta {
            name: Some(format!("{}-{hash}", name(service))),
            namespace: service.metadata.namespace.clone(),
            labels: Some(labels(service)),
            owner_references: controller_reference(service).map(|owner| vec![owner]),
            ..ObjectMeta::default()
        },
        address_type: family.into(),
        ports: Some(ports).filter(|ports| !ports.is_empty()),
        endpoints,
    }
}

/// The Service's own, and those by which slices are found.
fn labels(service: &Service) -> BTreeMap<String, String> {
    let mut labels = service.metadata.labels.clone().unwrap_or_default();
    labels.remove(HEADLESS);
    let address = service.spec.as_ref().and_then(|spec| spec.cluster_ip.as_deref());
    if matches!(address, None | Some("" | "None")) {
        labels.insert(HEADLESS.into(), String::new());
    }
    labels.insert(SERVICE_NAME.into(), name(service).into());
    labels.insert(MANAGED_BY.into(), MANAGER.into());
    labels
}

/// True if a slice already is what it should be.
pub(crate) fn is_same(live: &EndpointSlice, wanted: &EndpointSlice) -> bool {
    let ports = |slice: &EndpointSlice| slice.ports.clone().unwrap_or_default();
    live.metadata.labels == wanted.metadata.labels
        && live.address_type == wanted.address_type
        && live.endpoints == wanted.endpoints
        && ports(live) == ports(wanted)
}

/// True if the slice was made for this very Service, not for a namesake before it.
pub(crate) fn is_of(slice: &EndpointSlice, service: &Service) -> bool {
    slice.metadata.owner_references.iter().flatten().any(|owner| owner.uid == uid(service))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, from_value, json};

    fn service(spec: Value) -> Service {
        from_value(json!({"metadata": {"name": "web", "namespace": "n", "uid": "s"}, "spec": spec})).unwrap()
    }

    fn pod(name: &str, ips: &[&str], ready: bool, more: Value) -> Arc<Pod> {
        let ready = if ready { "True" } else { "False" };
        let ips: Vec<Value> = ips.iter().map(|ip| json!({"ip": ip})).collect();
        let ports =
            json!([{"name": "http", "containerPort": 8080}, {"name": "dns", "protocol": "UDP", "containerPort": 53}]);
        let mut pod = json!({
            "metadata": {"name": name, "namespace": "n", "uid": name},
            "spec": {"nodeName": "node", "containers": [{"name": "c", "ports": ports}]},
            "status": {"phase": "Running", "podIPs": ips, "conditions": [{"type": "Ready", "status": ready}]},
        });
        for (pointer, value) in more.as_object().unwrap() {
            let (parent, key) = pointer.rsplit_once('/').unwrap();
            pod.pointer_mut(parent).unwrap()[key] = value.clone();
        }
        Arc::new(from_value(pod).unwrap())
    }

    /// `address ready/serving/terminating` of every endpoint, per slice, and its ports.
    fn check(service: Value, pods: &[Arc<Pod>], expect: &[&str]) {
        let told = |is: Option<bool>| if is == Some(true) { "y" } else { "n" };
        let shown: Vec<String> = slices(&self::service(service.clone()), pods, |_| None)
            .iter()
            .map(|slice| {
                let endpoints: Vec<String> = slice
                    .endpoints
                    .iter()
                    .map(|endpoint| {
                        let is = endpoint.conditions.clone().unwrap();
                        format!(
                            "{} {}{}{}",
                            endpoint.addresses[0],
                            told(is.ready),
                            told(is.serving),
                            told(is.terminating)
                        )
                    })
                    .collect();
                let ports: Vec<String> = slice
                    .ports
                    .iter()
                    .flatten()
                    .map(|p| format!("{}:{}", p.name.as_deref().unwrap(), p.port.unwrap()))
                    .collect();
                format!("{} [{}] {}", slice.address_type, ports.join(" "), endpoints.join(", "))
            })
            .collect();
        assert_eq!(shown, expect, "{service}");
    }

    #[test]
    fn endpoints_follow_the_pods() {
        let web = json!({"ports": [{"name": "web", "port": 80, "targetPort": "http"}]});
        let with = |key: &str, value: Value| {
            let mut spec = web.clone();
            spec[key] = value;
            spec
        };
        let none = json!({});
        let terminating = json!({"/metadata/deletionTimestamp": "2026-01-01T00:00:00Z"});
        let ready = pod("a", &["10.0.0.1"], true, none.clone());
        check(web.clone(), &[], &["IPv4 [] "]);
        check(web.clone(), std::slice::from_ref(&ready), &["IPv4 [web:8080] 10.0.0.1 yyn"]);
        check(web.clone(), &[pod("a", &["10.0.0.1"], false, none.clone())], &["IPv4 [web:8080] 10.0.0.1 nnn"]);
        check(web.clone(), &[pod("a", &["10.0.0.1"], true, terminating.clone())], &["IPv4 [web:8080] 10.0.0.1 nyy"]);
        check(web.clone(), &[pod("a", &[], true, none.clone())], &["IPv4 [] "]);
        check(web.clone(), &[pod("a", &["10.0.0.1"], true, json!({"/status/phase": "Failed"}))], &["IPv4 [] "]);
        check(
            with("publishNotReadyAddresses", json!(true)),
            &[pod("a", &["10.0.0.1"], false, terminating)],
            &["IPv4 [web:8080] 10.0.0.1 yny"],
        );
        let dual = pod("a", &["10.0.0.1", "fd00::1"], true, none.clone());
        let expect = ["IPv4 [web:8080] 10.0.0.1 yyn", "IPv6 [web:8080] fd00::1 yyn"];
        check(with("ipFamilies", json!(["IPv6", "IPv4"])), &[dual], &expect);
        // A number needs no container port, a name is looked up by protocol too, no target is the port itself.
        let ports = json!([{"name": "a", "port": 1, "targetPort": 9}, {"name": "b", "port": 2}, {"name": "c", "port": 3, "targetPort": "dns"}, {"name": "d", "port": 53, "protocol": "UDP", "targetPort": "dns"}]);
        check(with("ports", ports), std::slice::from_ref(&ready), &["IPv4 [a:9 b:2 d:53] 10.0.0.1 yyn"]);
        // Pods with other ports are in a slice of their own; the order of the Pods does not matter.
        let other = pod(
            "b",
            &["10.0.0.2"],
            true,
            json!({"/spec/containers/0/ports": [{"name": "http", "containerPort": 9090}]}),
        );
        let expect = ["IPv4 [web:8080] 10.0.0.1 yyn", "IPv4 [web:9090] 10.0.0.2 yyn"];
        check(web.clone(), &[ready.clone(), other.clone()], &expect);
        check(web, &[other, ready], &expect);
    }

    #[test]
    fn a_pod_of_the_services_subdomain_has_its_hostname() {
        let hostname = |subdomain: &str| {
            let pod = pod("a", &["10.0.0.1"], true, json!({"/spec/hostname": "db-0", "/spec/subdomain": subdomain}));
            slices(&service(json!({})), &[pod], |_| None)[0].endpoints[0].hostname.clone()
        };
        assert_eq!((hostname("web").as_deref(), hostname("other")), (Some("db-0"), None));
    }
}
