//! The judge: answers of a real kube-apiserver, recorded by crate `object`.
//!
//! Each script runs against a server of its own. What differs must stand in `golden.ratchet`
//! with the reason; what stands there and no longer differs must be taken out, unless it only
//! differs `sometimes`.

use crate::support::{Answer, ask, server};
use apiserver::ApiServer;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::path::Path;

const SCRIPTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../object/tests/golden/http");
const RATCHET: &str = include_str!("golden.ratchet");

#[tokio::test]
async fn answers_are_those_of_kubernetes() {
    let mut known = ratchet();
    let mut scripts: Vec<_> =
        std::fs::read_dir(SCRIPTS).expect("the scripts").map(|entry| entry.expect("an entry").path()).collect();
    scripts.sort();
    let (mut same, mut failures) = (0, Vec::new());
    for script in scripts {
        let name = script.file_stem().and_then(|name| name.to_str()).expect("a name").to_owned();
        for (at, differences) in replay(&script).await.into_iter().enumerate() {
            let step = format!("{name} {}", at + 1);
            match (differences.is_empty(), known.remove(&step)) {
                (true, None) => same += 1,
                (true, Some(reason)) if reason.starts_with("sometimes") => same += 1,
                (true, Some(_)) => failures.push(format!("{step} no longer differs: take it out of golden.ratchet")),
                (false, Some(_)) => {}
                (false, None) => failures.push(format!("{step}\n    {}", differences.join("\n    "))),
            }
        }
    }
    failures.extend(known.into_keys().map(|step| format!("{step} stands in golden.ratchet and does not exist")));
    println!("{same} answers are the same, {} differ", ratchet().len());
    assert!(failures.is_empty(), "{same} answers are the same; these are not as expected:\n{}", failures.join("\n"));
}

/// `script step: reason` a line.
fn ratchet() -> BTreeMap<String, String> {
    let lines = RATCHET.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(|line| line.split_once(": ").expect("step: reason")).map(|(s, r)| (s.to_owned(), r.to_owned())).collect()
}

/// What differs, per step.
async fn replay(script: &Path) -> Vec<Vec<String>> {
    let steps: Vec<Value> = serde_json::from_slice(&std::fs::read(script).expect("readable")).expect("a script");
    let server = server().await;
    let mut all = Vec::new();
    for step in &steps {
        let found = settled(&server.api, &step["request"]).await;
        let mut differences = Vec::new();
        compare("", &normal(&step["response"]), &normal(&found), &mut differences);
        if !differences.is_empty() {
            let note = step["note"].as_str().unwrap_or_default();
            let request = &step["request"];
            differences.insert(
                0,
                format!(
                    "{} {} {note}",
                    request["method"].as_str().unwrap_or_default(),
                    request["path"].as_str().unwrap_or_default()
                ),
            );
        }
        all.push(differences);
    }
    all
}

async fn settled(api: &ApiServer, request: &Value) -> Value {
    let mut answer = answered(api, request).await;
    for _ in 0..1000 {
        if request.get("retry").is_none_or(|wanted| answer["code"] == *wanted) {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        answer = answered(api, request).await;
    }
    answer
}

async fn answered(api: &ApiServer, request: &Value) -> Value {
    let text = |key: &str| request.get(key).and_then(Value::as_str);
    let body = text("text").map(str::to_owned).or_else(|| request.get("body").map(Value::to_string));
    let path = text("path").expect("a path");
    let mut builder = http::Request::builder().method(text("method").expect("a method")).uri(path);
    builder = builder.header("accept", text("accept").unwrap_or("application/json")).header("user-agent", "golden");
    if body.is_some() {
        builder = builder.header("content-type", text("contentType").unwrap_or("application/json"));
    }
    let Answer { code, warnings, body } = ask(api, builder, body.unwrap_or_default()).await;
    let mut response = Map::from_iter([("code".to_owned(), json!(code))]);
    if !warnings.is_empty() {
        response.insert("warnings".into(), json!(warnings));
    }
    let parsed: Result<Vec<Value>, _> = serde_json::Deserializer::from_slice(&body).into_iter().collect();
    match parsed {
        Ok(events) if path.contains("watch=") && code == 200 => _ = response.insert("events".into(), events.into()),
        Ok(mut values) if values.len() == 1 => _ = response.insert("body".into(), values.remove(0)),
        _ => _ = response.insert("text".into(), String::from_utf8_lossy(&body).into()),
    }
    Value::Object(response)
}

/// Without what two runs never share.
fn normal(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let mut map: Map<String, Value> = map
                .iter()
                // A hash of how the original stores things.
                .filter(|(key, value)| *key != "storageVersionHash" && !is_zero_time(key, value))
                .map(|(key, value)| (key.clone(), normal_field(key, value)))
                .collect();
            // Several broken rules have no order: the original walks hash tables.
            if map
                .get("details")
                .and_then(|details| details["causes"].as_array())
                .is_some_and(|causes| causes.len() > 1)
            {
                map.insert("message".into(), "<causes>".into());
            }
            map.into()
        }
        Value::Array(items) => items.iter().map(normal).collect(),
        Value::String(text) => normal_text(text).into(),
        other => other.clone(),
    }
}

fn normal_field(key: &str, value: &Value) -> Value {
    match (key, value) {
        ("resourceVersion", Value::String(text)) if !text.is_empty() => "<rv>".into(),
        ("uid", Value::String(text)) if !text.is_empty() => "<uid>".into(),
        // In the order of their times, which have whole seconds.
        ("managedFields", Value::Array(entries)) => {
            let mut entries: Vec<Value> = entries.iter().map(normal).collect();
            entries.sort_by_key(|entry| ["operation", "manager", "subresource"].map(|key| entry[key].to_string()));
            entries.into()
        }
        ("causes", Value::Array(causes)) => {
            let mut causes: Vec<Value> = causes.iter().map(normal).collect();
            causes.sort_by_key(Value::to_string);
            causes.into()
        }
        // Prose of OpenAPI, which this server does not carry.
        ("description", Value::String(_)) => "<description>".into(),
        // Cells of a table: ages depend on the speed of the machine.
        ("cells", Value::Array(cells)) => {
            cells.iter().map(|cell| if is_age(cell) { "<age>".into() } else { normal(cell) }).collect()
        }
        // The recorder says so of `["None"]` too.
        ("clusterIPs", Value::Array(_)) => json!(["<ip>"]),
        ("continue", Value::String(text)) if !text.is_empty() => "<continue>".into(),
        _ => normal(value),
    }
}

/// Go writes the times of a condition that nobody has set as null, and lets their sender own them.
fn is_zero_time(key: &str, value: &Value) -> bool {
    match key.strip_prefix("f:") {
        Some(name) => TIMES.contains(&name),
        None => TIMES.contains(&key) && value.is_null(),
    }
}

const TIMES: [&str; 3] = ["lastUpdateTime", "lastTransitionTime", "lastProbeTime"];

fn is_age(cell: &Value) -> bool {
    cell.as_str().and_then(|text| text.strip_suffix('s')).is_some_and(|number| number.parse::<u16>().is_ok())
}

/// Replaces uids and times.
fn normal_text(text: &str) -> String {
    let is = |word: &str, shape: &str| {
        word.len() == shape.len()
            && word.bytes().zip(shape.bytes()).all(|(byte, shape)| match shape {
                b'x' => byte.is_ascii_hexdigit(),
                b'9' => byte.is_ascii_digit(),
                shape => byte == shape,
            })
    };
    let mut result = String::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let uid = rest.get(..36).is_some_and(|word| is(word, "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx"));
        let time = rest.get(..20).is_some_and(|word| is(word, "9999-99-99T99:99:99Z"));
        let (word, length) = match (uid, time) {
            (true, _) => ("<uid>".to_owned(), 36),
            (_, true) => ("<time>".to_owned(), 20),
            _ => (first.to_string(), first.len_utf8()),
        };
        result.push_str(&word);
        rest = &rest[length..];
    }
    result
}

fn compare(path: &str, expected: &Value, found: &Value, differences: &mut Vec<String>) {
    match (expected, found) {
        (Value::Object(a), Value::Object(b)) => {
            for (key, expected) in a {
                match b.get(key) {
                    Some(found) => compare(&format!("{path}.{key}"), expected, found, differences),
                    None => differences.push(format!("{path}.{key} is missing: {expected}")),
                }
            }
            for (key, found) in b.iter().filter(|(key, _)| !a.contains_key(*key)) {
                differences.push(format!("{path}.{key} is too much: {found}"));
            }
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            for (at, (expected, found)) in a.iter().zip(b).enumerate() {
                compare(&format!("{path}[{at}]"), expected, found, differences);
            }
        }
        (a, b) if a == b => {}
        (a, b) => differences.push(format!("{path}\n      is  {b}\n      not {a}")),
    }
}
