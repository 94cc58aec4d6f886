//! Services: their addresses as far as one Service alone says, and what is not done for them.

use super::rules::{duplicate, forbidden, invalid, required, unsupported};
use super::validate::{Errors, protocol};
use serde_json::{Map, Value, json};
use std::collections::HashSet;
use std::net::IpAddr;

/// What a Service of type `ExternalName` has none of.
const OF_ADDRESSES: [&str; 5] = ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy", "internalTrafficPolicy"];

/// Makes `clusterIP` and `clusterIPs` say the same, and keeps an address that an update leaves out.
pub fn normalise(service: &mut Value, old: Option<&Value>) {
    let Some(spec) = service.get_mut("spec").and_then(Value::as_object_mut) else { return };
    let none = Map::new();
    let before = old.and_then(|old| old["spec"].as_object()).unwrap_or(&none);
    let external = |spec: &Map<String, Value>| spec.get("type").is_some_and(|type_| type_ == "ExternalName");
    let filled = |value: Option<&Value>| value.filter(|v| !v.is_null() && *v != "" && *v != &json!([])).cloned();
    let mut address = filled(spec.get("clusterIP"));
    let mut list = filled(spec.get("clusterIPs"));
    let mut was = (filled(before.get("clusterIP")), filled(before.get("clusterIPs")));
    if old.is_some() && external(spec) && !external(before) {
        // What the other type had goes; what is asked for stands, and is refused.
        for field in OF_ADDRESSES {
            if spec.get(field).is_some_and(|value| before.get(field) == Some(value)) {
                spec.shift_remove(field);
            }
        }
        (address, list) = (filled(spec.get("clusterIP")), filled(spec.get("clusterIPs")));
        was = (None, None);
    }
    if was.1.is_some() && list == was.1 && address != was.0 {
        list = None;
    }
    if address.is_none() && list.is_none() {
        (address, list) = was;
    }
    if let (Some(address), None) = (&address, &list) {
        list = Some(json!([address]));
    }
    for (field, value) in [("clusterIP", address), ("clusterIPs", list)] {
        match value {
            Some(value) => drop(spec.insert(field.into(), value)),
            None => drop(spec.shift_remove(field)),
        }
    }
}

/// What is asked for and not done.
pub fn warnings(service: &Value) -> Vec<String> {
    let spec = &service["spec"];
    let mut warnings = Vec::new();
    if let Some(type_) = spec["type"].as_str().filter(|type_| matches!(*type_, "NodePort" | "LoadBalancer")) {
        warnings.push(format!("spec.type: {type_}: nothing listens on the node for it; it is reached as a ClusterIP"));
    }
    if spec["sessionAffinity"] == "ClientIP" {
        warnings.push("spec.sessionAffinity: ClientIP holds for as long as the set of ready endpoints does".into());
    }
    if spec["externalIPs"].as_array().is_some_and(|list| !list.is_empty()) {
        warnings.push("spec.externalIPs: nothing listens on them".into());
    }
    if spec["ports"].as_array().into_iter().flatten().any(|port| port["protocol"] == "SCTP") {
        warnings.push("spec.ports: SCTP is not forwarded".into());
    }
    warnings
}

/// The rules of a Service beyond the schema.
pub(super) fn validate(object: &Value, old: Option<&Value>, errors: &mut Errors) {
    let spec = &object["spec"];
    let ports = spec["ports"].as_array().map(Vec::as_slice).unwrap_or_default();
    let headless = spec["clusterIP"] == "None";
    if ports.is_empty() && !headless && spec["type"] != "ExternalName" {
        errors.push(required("spec.ports", ""));
    }
    let types = ["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];
    if spec["type"].as_str().is_some_and(|type_| !types.contains(&type_)) {
        errors.push(unsupported("spec.type", &spec["type"], &types));
    }
    let mut names = HashSet::new();
    for (at, port) in ports.iter().enumerate() {
        let path = format!("spec.ports[{at}]");
        match port["port"].as_i64() {
            Some(1..=65535) => {}
            _ => errors.push(invalid(
                format!("{path}.port"),
                port.get("port").unwrap_or(&0.into()),
                "must be between 1 and 65535, inclusive",
            )),
        }
        protocol(port, &path, errors);
        match port["name"].as_str() {
            None | Some("") if ports.len() > 1 => errors.push(required(format!("{path}.name"), "")),
            Some(name) if !name.is_empty() && !names.insert(name) => {
                errors.push(duplicate(format!("{path}.name"), &port["name"]));
            }
            _ => {}
        }
    }
    addresses(spec, old.map(|old| &old["spec"]), errors);
}

fn addresses(spec: &Value, old: Option<&Value>, errors: &mut Errors) {
    let list = &spec["clusterIPs"];
    let addresses: Vec<&str> = list.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let Some(first) = addresses.first() else { return };
    if spec["type"] == "ExternalName" {
        return errors.push(forbidden("spec.clusterIPs", "may not be set for ExternalName services"));
    }
    let single = spec["clusterIP"].as_str().unwrap_or_default();
    if single.is_empty() {
        errors.push(invalid("spec.clusterIPs", list, "must be empty when `clusterIP` is not specified"));
    } else if single != *first {
        errors.push(invalid("spec.clusterIPs", list, "first value must match `clusterIP`"));
    }
    if addresses.len() > 1 {
        errors.push(invalid("spec.clusterIPs", list, "may only hold one address: this cluster is not dual-stack"));
    }
    match first.parse::<IpAddr>() {
        Err(_) if *first != "None" => {
            let why = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
            errors.push(invalid("spec.clusterIPs[0]", &(*first).into(), why));
        }
        Ok(IpAddr::V6(_)) => {
            errors.push(invalid("spec.clusterIPs[0]", list, "IPv6 is not configured on this cluster"));
        }
        _ => {}
    }
    let Some(old) = old.filter(|old| old["type"] != "ExternalName") else { return };
    let had = old["clusterIPs"][0].as_str().unwrap_or_default();
    if !had.is_empty() && had != *first {
        errors.push(invalid("spec.clusterIPs[0]", list, "may not change once set"));
    }
}
