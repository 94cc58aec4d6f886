//! What stands in the cluster for a component, as the tree of who owns what.

use super::words::{Tone, sign, time};
use maud::{Markup, html};
use model::Component;
use model::views::Resources;
use serde_json::Value;

/// Owners of owners; Kubernetes' own chains have three.
const DEPTH_MAX: usize = 8;
/// Events on a page, newest first.
const EVENTS_MAX: usize = 20;

/// The tree of one component.
pub fn tree(resources: &Resources, component: &Component) -> Markup {
    let mut roots: Vec<&Value> = resources.objects.iter().filter(|object| is_root(object, component)).collect();
    roots.sort_by_key(|object| (rank(object), text(object, "/metadata/name")));
    html! {
        @if roots.is_empty() { p.quiet { "nothing stands in the cluster" } }
        @else { ul.tree { @for root in roots { (branch(resources, root, 0)) } } }
    }
}

fn is_root(object: &Value, component: &Component) -> bool {
    object["metadata"]["labels"][model::LABEL_COMPONENT] == component.as_str() && owner(object).is_none()
}

fn owner(object: &Value) -> Option<&str> {
    object.pointer("/metadata/ownerReferences/0/uid")?.as_str()
}

fn branch(resources: &Resources, object: &Value, depth: usize) -> Markup {
    let uid = object["metadata"]["uid"].as_str();
    let mut children: Vec<&Value> =
        resources.objects.iter().filter(|child| uid.is_some() && owner(child) == uid && depth < DEPTH_MAX).collect();
    children.sort_by_key(|child| std::cmp::Reverse(text(child, "/metadata/creationTimestamp")));
    let (word, tone) = state(object);
    html! {
        li {
            div.node {
                span.kind { (text(object, "/kind")) } " "
                code { (text(object, "/metadata/name")) } " "
                @if !word.is_empty() { (sign(&word, tone)) }
            }
            @if !children.is_empty() { ul { @for child in children { (branch(resources, child, depth + 1)) } } }
        }
    }
}

fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

fn number(object: &Value, pointer: &str) -> i64 {
    object.pointer(pointer).and_then(Value::as_i64).unwrap_or_default()
}

/// Workloads first.
fn rank(object: &Value) -> usize {
    let order = ["Deployment", "ReplicaSet", "Pod", "Service", "EndpointSlice"];
    order.iter().position(|kind| object["kind"] == *kind).unwrap_or(order.len())
}

/// How an object stands, in a few words.
fn state(object: &Value) -> (String, Tone) {
    match text(object, "/kind") {
        "Deployment" | "ReplicaSet" => {
            let (want, ready) = (number(object, "/spec/replicas"), number(object, "/status/readyReplicas"));
            let settled = number(object, "/status/replicas") == want;
            let tone = match (want, ready >= want && settled) {
                (0, true) => Tone::Quiet,
                (_, true) => Tone::Good,
                (_, false) => Tone::Busy,
            };
            (format!("{ready} of {want} ready{}", if settled { "" } else { ", changing" }), tone)
        }
        "Pod" => pod(object),
        "Service" => {
            let ports = object.pointer("/spec/ports").and_then(Value::as_array).into_iter().flatten();
            let ports: Vec<String> = ports.map(|port| port["port"].to_string()).collect();
            (format!("port {}", ports.join(", ")), Tone::Quiet)
        }
        "EndpointSlice" => {
            let endpoints = object["endpoints"].as_array().map(Vec::as_slice).unwrap_or_default();
            let ready: Vec<&str> = endpoints
                .iter()
                .filter(|endpoint| endpoint["conditions"]["ready"] != false)
                .flat_map(|endpoint| endpoint["addresses"].as_array().into_iter().flatten().filter_map(Value::as_str))
                .collect();
            match ready.is_empty() {
                true => ("no address".to_owned(), Tone::Warn),
                false => (ready.join(", "), Tone::Good),
            }
        }
        _ => (String::new(), Tone::Quiet),
    }
}

fn pod(object: &Value) -> (String, Tone) {
    let containers = object.pointer("/status/containerStatuses").and_then(Value::as_array);
    let containers = containers.map(Vec::as_slice).unwrap_or_default();
    let restarts: i64 = containers.iter().map(|container| number(container, "/restartCount")).sum();
    let restarts = match restarts {
        0 => String::new(),
        1 => ", 1 restart".to_owned(),
        several => format!(", {several} restarts"),
    };
    let waiting = containers.iter().map(|container| text(container, "/state/waiting/reason")).find(|r| !r.is_empty());
    let ready = !containers.is_empty() && containers.iter().all(|container| container["ready"] == true);
    let (word, tone) = match (object["metadata"]["deletionTimestamp"].is_string(), waiting, ready) {
        (true, _, _) => ("Terminating", Tone::Quiet),
        (_, Some(reason @ ("ContainerCreating" | "PodInitializing")), _) => (reason, Tone::Busy),
        (_, Some(reason), _) => (reason, Tone::Bad),
        (_, None, true) => ("Ready", Tone::Good),
        (_, None, false) => (text(object, "/status/phase"), Tone::Busy),
    };
    (format!("{word}{restarts}"), tone)
}

/// What the cluster tells about the component's objects; `None` if that is nothing.
pub fn events(resources: &Resources) -> Option<Markup> {
    let when = |event: &Value| -> String {
        ["/lastTimestamp", "/eventTime", "/metadata/creationTimestamp"]
            .iter()
            .map(|pointer| text(event, pointer))
            .find(|at| !at.is_empty())
            .unwrap_or_default()
            .to_owned()
    };
    let mut events: Vec<&Value> = resources.events.iter().collect();
    events.sort_by_key(|event| std::cmp::Reverse(when(event)));
    events.truncate(EVENTS_MAX);
    if events.is_empty() {
        return None;
    }
    Some(html! {
        table.list {
            thead { tr { th scope="col" { "What" } th scope="col" { "Object" } th scope="col" { "Message" } th scope="col" { "When" } } }
            tbody {
                @for event in events {
                    @let tone = if event["type"] == "Warning" { Tone::Warn } else { Tone::Quiet };
                    tr {
                        th scope="row" { (sign(text(event, "/reason"), tone)) }
                        td { (text(event, "/involvedObject/kind")) " " code { (text(event, "/involvedObject/name")) } }
                        td.wide { (text(event, "/message")) }
                        td { @if let Ok(at) = when(event).parse() { (time(at)) } }
                    }
                }
            }
        }
    })
}
