//! Makes `data/schema.json.gz`: the OpenAPI v3 schemas of the served groups of Kubernetes, merged, without descriptions, and without
//! what the table of facts says (`cargo xtask schema` writes that, from the second file).
//!
//! `cargo run -p object --example extract -- DIRECTORY-WITH-OPENAPI-V3-DOCUMENTS FILE-FOR-ALL-THAT-THEY-SAY`

use flate2::{Compression, write::GzEncoder};
use serde_json::{Map, Value};
use std::collections::BTreeSet;
use std::io::Write;

/// Group and version of the documents that are read; their transitive references come along.
const SERVED: &[(&str, &str)] = &[
    ("", "v1"),
    ("admissionregistration.k8s.io", "v1"),
    ("apiextensions.k8s.io", "v1"),
    ("apiregistration.k8s.io", "v1"),
    ("apps", "v1"),
    ("authentication.k8s.io", "v1"),
    ("authorization.k8s.io", "v1"),
    ("autoscaling", "v1"),
    ("autoscaling", "v2"),
    ("batch", "v1"),
    ("coordination.k8s.io", "v1"),
    ("discovery.k8s.io", "v1"),
    ("events.k8s.io", "v1"),
    ("networking.k8s.io", "v1"),
    ("policy", "v1"),
    ("rbac.authorization.k8s.io", "v1"),
    ("scheduling.k8s.io", "v1"),
    ("storage.k8s.io", "v1"),
];

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [directory, whole] = arguments.as_slice() else { panic!("usage: extract DIRECTORY FILE") };
    let mut schemas = Map::new();
    for (group, version) in SERVED {
        let name = match *group {
            "" => format!("api__{version}_openapi.json"),
            group => format!("apis__{group}__{version}_openapi.json"),
        };
        let text = std::fs::read_to_string(format!("{directory}/{name}")).unwrap_or_else(|e| panic!("{name}: {e}"));
        let document: Value = serde_json::from_str(&text).expect("an OpenAPI document is JSON");
        for (name, schema) in document["components"]["schemas"].as_object().expect("components.schemas") {
            schemas.entry(name.clone()).or_insert_with(|| stripped(schema));
        }
    }
    schemas.sort_keys();
    let count = schemas.len();
    let text = serde_json::to_vec(&schemas).expect("JSON serialises");
    std::fs::write(whole, text).unwrap_or_else(|e| panic!("{whole}: {e}"));
    schemas.values_mut().for_each(without_facts);
    let text = serde_json::to_vec(&Value::Object(schemas)).expect("JSON serialises");
    let out = concat!(env!("CARGO_MANIFEST_DIR"), "/data/schema.json.gz");
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(&text).expect("memory takes everything");
    let packed = encoder.finish().expect("memory takes everything");
    std::fs::write(out, &packed).expect("data/ is writable");
    println!("{count} schemas, {} bytes, {} packed: {out}", text.len(), packed.len());
}

/// Of a type and its fields; properties may have such names too.
fn without_facts(schema: &mut Value) {
    const FACTS: [&str; 5] = ["list-type", "list-map-keys", "map-type", "patch-strategy", "patch-merge-key"];
    let forget = |schema: &mut Value| {
        let fields = schema.as_object_mut().expect("a schema is an object");
        fields.retain(|key, _| !FACTS.iter().any(|fact| key.strip_prefix("x-kubernetes-") == Some(fact)));
    };
    forget(schema);
    schema
        .get_mut("properties")
        .and_then(Value::as_object_mut)
        .into_iter()
        .flatten()
        .for_each(|(_, field)| forget(field));
}

/// The schema without prose, and with only the kinds of served groups.
fn stripped(schema: &Value) -> Value {
    match schema {
        Value::Object(map) => Value::Object(
            map.iter()
                .filter(|(key, value)| !(*key == "description" && value.is_string()))
                .map(|(key, value)| {
                    let value = match key.as_str() {
                        "x-kubernetes-group-version-kind" => served_only(value),
                        _ => stripped(value),
                    };
                    (key.clone(), value)
                })
                .collect(),
        ),
        Value::Array(items) => items.iter().map(stripped).collect(),
        other => other.clone(),
    }
}

fn served_only(kinds: &Value) -> Value {
    let served: BTreeSet<(&str, &str)> = SERVED.iter().copied().collect();
    let text = |kind: &Value, key: &str| kind[key].as_str().unwrap_or_default().to_owned();
    kinds
        .as_array()
        .expect("a list of kinds")
        .iter()
        .filter(|kind| served.contains(&(text(kind, "group").as_str(), text(kind, "version").as_str())))
        .cloned()
        .collect()
}
