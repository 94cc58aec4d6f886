//! Whether a Pod may run on a node, and if not, why, in the scheduler's words.

use crate::objects::name;
use k8s_openapi::api::core::v1::{
    Container, Node, NodeSelectorRequirement, NodeSelectorTerm, PodSpec, Taint, Toleration,
};
use k8s_openapi::apimachinery::pkg::api::resource;
use object::quantity::Quantity;
use std::collections::{BTreeMap, BTreeSet};

/// What a Pod asks for, in thousandths, by resource; only what is not zero.
#[derive(Debug, Default)]
pub(crate) struct Requests(Box<[(Box<str>, i128)]>);

impl Requests {
    pub(crate) fn of(pod: &PodSpec) -> Self {
        let containers = pod.containers.iter().chain(pod.init_containers.iter().flatten());
        let requested = containers.filter_map(|container| container.resources.as_ref()?.requests.as_ref());
        let resources: BTreeSet<&str> = requested.flat_map(BTreeMap::keys).map(String::as_str).collect();
        let requests = resources.into_iter().map(|resource| (resource.into(), request(pod, resource)));
        Self(requests.filter(|(_, amount)| *amount != 0).collect())
    }
}

/// What the Pods that are on the node already take of it.
#[derive(Debug, Default)]
pub(super) struct Used {
    pods: usize,
    requests: BTreeMap<Box<str>, i128>,
}

impl Used {
    /// One more Pod.
    pub(super) fn add(&mut self, pod: &Requests) {
        self.pods += 1;
        for (resource, amount) in &pod.0 {
            match self.requests.get_mut(resource) {
                Some(used) => *used += amount,
                None => drop(self.requests.insert(resource.clone(), *amount)),
            }
        }
    }
}

/// The reasons against it; empty if the Pod fits beside those that are on the node already.
pub(super) fn misfits(pod: &PodSpec, node: &Node, used: &Used) -> Vec<String> {
    let node_spec = node.spec.as_ref();
    if node_spec.and_then(|spec| spec.unschedulable).unwrap_or_default() {
        return vec!["1 node(s) were unschedulable".into()];
    }
    let taints = node_spec.and_then(|spec| spec.taints.as_deref()).unwrap_or_default();
    let untolerated =
        taints.iter().filter(|taint| taint.effect != "PreferNoSchedule").find(|taint| !is_tolerated(pod, taint));
    if let Some(taint) = untolerated {
        let value = taint.value.as_deref().unwrap_or_default();
        return vec![format!("1 node(s) had untolerated taint {{{}: {value}}}", taint.key)];
    }
    if !matches_selector(pod, node) {
        return vec!["1 node(s) didn't match Pod's node affinity/selector".into()];
    }
    lacking(pod, node, used)
}

fn is_tolerated(pod: &PodSpec, taint: &Taint) -> bool {
    pod.tolerations.iter().flatten().any(|toleration| tolerates(toleration, taint))
}

fn tolerates(toleration: &Toleration, taint: &Taint) -> bool {
    let given = |text: &Option<String>| text.clone().unwrap_or_default();
    let (effect, key) = (given(&toleration.effect), given(&toleration.key));
    let same_value = given(&toleration.value) == given(&taint.value);
    (effect.is_empty() || effect == taint.effect)
        && (key.is_empty() || key == taint.key)
        && match toleration.operator.as_deref() {
            Some("Exists") => true,
            None | Some("" | "Equal") => !key.is_empty() && same_value,
            Some(_) => false,
        }
}

fn matches_selector(pod: &PodSpec, node: &Node) -> bool {
    let labels = node.metadata.labels.clone().unwrap_or_default();
    let mut simple = pod.node_selector.iter().flatten();
    let affinity = pod.affinity.as_ref().and_then(|affinity| affinity.node_affinity.as_ref());
    let required = affinity.and_then(|node| node.required_during_scheduling_ignored_during_execution.as_ref());
    simple.all(|(key, value)| labels.get(key) == Some(value))
        && required
            .is_none_or(|required| required.node_selector_terms.iter().any(|term| matches_term(term, node, &labels)))
}

/// A term that asks for nothing matches nothing.
fn matches_term(term: &NodeSelectorTerm, node: &Node, labels: &BTreeMap<String, String>) -> bool {
    let expressions = term.match_expressions.as_deref().unwrap_or_default();
    let fields = term.match_fields.as_deref().unwrap_or_default();
    let is_name = |field: &NodeSelectorRequirement| field.key == "metadata.name" && matches(field, Some(name(node)));
    (!expressions.is_empty() || !fields.is_empty())
        && expressions.iter().all(|requirement| matches(requirement, labels.get(&requirement.key).map(String::as_str)))
        && fields.iter().all(is_name)
}

fn matches(requirement: &NodeSelectorRequirement, value: Option<&str>) -> bool {
    let values = requirement.values.as_deref().unwrap_or_default();
    let listed = value.is_some_and(|value| values.iter().any(|one| one == value));
    let numbers = || Some((value?.parse::<i64>().ok()?, values.first()?.parse::<i64>().ok()?));
    match requirement.operator.as_str() {
        "In" => listed,
        "NotIn" => !listed,
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        "Gt" => numbers().is_some_and(|(value, than)| value > than),
        "Lt" => numbers().is_some_and(|(value, than)| value < than),
        _ => false,
    }
}

/// What the node has too little of.
fn lacking(pod: &PodSpec, node: &Node, used: &Used) -> Vec<String> {
    let Some(allocatable) = node.status.as_ref().and_then(|status| status.allocatable.as_ref()) else {
        return Vec::new();
    };
    let mut lacks = Vec::new();
    for (resource, available) in allocatable {
        let Some(available) = thousandths(available) else { continue };
        if resource == "pods" {
            if (used.pods as i128 + 1) * 1000 > available {
                lacks.push("1 Too many pods".to_owned());
            }
            continue;
        }
        let wanted = request(pod, resource);
        let used = used.requests.get(resource.as_str()).copied().unwrap_or(0);
        if wanted > 0 && used + wanted > available {
            lacks.push(format!("1 Insufficient {resource}"));
        }
    }
    lacks
}

/// What cannot be read counts as nothing; the server refuses it.
fn thousandths(quantity: &resource::Quantity) -> Option<i128> {
    Quantity::parse(&quantity.0).ok().map(Quantity::millis)
}

/// What a Pod asks for, in thousandths: its containers together, or its largest init container if that is more.
fn request(pod: &PodSpec, resource: &str) -> i128 {
    let of = |container: &Container| {
        let requests = container.resources.as_ref().and_then(|resources| resources.requests.as_ref());
        requests.and_then(|requests| requests.get(resource)).and_then(thousandths).unwrap_or(0)
    };
    let is_sidecar = |container: &&Container| container.restart_policy.as_deref() == Some("Always");
    let init = pod.init_containers.as_deref().unwrap_or_default();
    let sidecars: i128 = init.iter().filter(is_sidecar).map(of).sum();
    let together: i128 = pod.containers.iter().map(of).sum::<i128>() + sidecars;
    let largest = init.iter().filter(|container| !is_sidecar(container)).map(of).max().unwrap_or(0);
    together.max(largest + sidecars)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, from_value, json};

    fn check(pod: Value, node: Value, expect: &[&str]) {
        let mut spec = json!({"containers": [{"name": "c"}]});
        spec.as_object_mut().unwrap().extend(pod.as_object().unwrap().clone());
        let running = json!({"containers": [{"name": "c", "resources": {"requests": {"cpu": "500m", "memory": "0"}}}]});
        let mut used = Used::default();
        used.add(&Requests::of(&from_value(running).unwrap()));
        let found = misfits(&from_value(spec).unwrap(), &from_value(node.clone()).unwrap(), &used);
        assert_eq!(found, expect, "{pod} on {node}");
    }

    #[test]
    fn a_pod_goes_where_taints_selectors_and_resources_let_it() {
        let asks = |cpu: &str| json!({"containers": [{"name": "c", "resources": {"requests": {"cpu": cpu}}}]});
        let with_pool = |pool: &str| json!({"metadata": {"labels": {"pool": pool}}});
        let tainted = |effect: &str| json!({"spec": {"taints": [{"key": "k", "value": "v", "effect": effect}]}});
        let affinity = |operator: &str, values: Value| {
            let term = json!({"matchExpressions": [{"key": "pool", "operator": operator, "values": values}]});
            json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}}})
        };
        let unmatched = ["1 node(s) didn't match Pod's node affinity/selector"];
        let untolerated = ["1 node(s) had untolerated taint {k: v}"];
        check(json!({}), json!({}), &[]);
        check(json!({}), json!({"spec": {"unschedulable": true}}), &["1 node(s) were unschedulable"]);
        check(json!({}), tainted("NoSchedule"), &untolerated);
        check(json!({}), tainted("PreferNoSchedule"), &[]);
        check(json!({"tolerations": [{"key": "k", "value": "v"}]}), tainted("NoExecute"), &[]);
        check(json!({"tolerations": [{"key": "k", "value": "w"}]}), tainted("NoExecute"), &untolerated);
        check(json!({"tolerations": [{"operator": "Exists"}]}), tainted("NoExecute"), &[]);
        check(json!({"nodeSelector": {"pool": "a"}}), with_pool("a"), &[]);
        check(json!({"nodeSelector": {"pool": "a"}}), with_pool("b"), &unmatched);
        check(affinity("In", json!(["a", "b"])), with_pool("b"), &[]);
        check(affinity("NotIn", json!(["b"])), with_pool("b"), &unmatched);
        check(affinity("Gt", json!(["3"])), with_pool("4"), &[]);
        check(asks("500m"), json!({"status": {"allocatable": {"cpu": "1"}}}), &[]);
        check(asks("501m"), json!({"status": {"allocatable": {"cpu": "1"}}}), &["1 Insufficient cpu"]);
        check(json!({}), json!({"status": {"allocatable": {"pods": "1"}}}), &["1 Too many pods"]);
    }
}
