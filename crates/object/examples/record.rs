//! Records what a real kube-apiserver answers to the scripts in `tests/golden/http/*.json`.
//!
//! `cargo run -p object --example record -- https://127.0.0.1:6443 TOKEN [NAME…]`, against an empty server without
//! controllers (admission plugin ServiceAccount off). Each file is a list of steps in order:
//! `{"note"?, "request": {"method", "path", "contentType"?, "accept"?, "body"? | "text"?, "retry"?}, "response":
//! {"code", "body", "warnings"?}}`; a request with `retry` is repeated until it has that code; the answer to a watch has `"events"` in place of `"body"`. Uids, times,
//! resource versions and addresses are replaced by `<uid>`, `<time>`, `<rv>`, `<ip>`.

use regex::Regex;
use serde_json::{Map, Value, json};
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

fn main() {
    let mut arguments = std::env::args().skip(1);
    let (Some(server), Some(token)) = (arguments.next(), arguments.next()) else {
        panic!("usage: record SERVER TOKEN [NAME…]")
    };
    let only: Vec<String> = arguments.collect();
    let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/http"));
    let mut files: Vec<_> =
        std::fs::read_dir(folder).expect("golden folder").map(|e| e.expect("entry").path()).collect();
    files.sort();
    for file in files {
        let name = file.file_stem().and_then(|name| name.to_str()).expect("a name").to_owned();
        if !only.is_empty() && !only.contains(&name) {
            continue;
        }
        let text = std::fs::read_to_string(&file).expect("readable");
        let mut steps: Vec<Value> = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{name}: {e}"));
        for step in &mut steps {
            step["response"] = settled(&server, &token, &step["request"]);
        }
        let lines: Vec<String> = steps.iter().map(|step| format!("  {step}")).collect();
        std::fs::write(&file, format!("[\n{}\n]\n", lines.join(",\n"))).expect("writable");
        println!("{name}: {} steps", steps.len());
    }
}

/// The answer, once it has the code that a request with `retry` waits for.
fn settled(server: &str, token: &str, request: &Value) -> Value {
    let wanted = request.get("retry");
    for _ in 0..200 {
        let answer = ask(server, token, request);
        if wanted.is_none_or(|wanted| answer["code"] == *wanted) {
            return answer;
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    panic!("{request} never had {wanted:?}")
}

fn ask(server: &str, token: &str, request: &Value) -> Value {
    let text = |key: &str| request.get(key).and_then(Value::as_str);
    let body = text("text").map(str::to_owned).or_else(|| request.get("body").map(Value::to_string));
    let mut command = Command::new("curl");
    command.args(["-sk", "-i", "--max-time", "20", "-X", text("method").expect("method")]);
    command.args(["-H", &format!("Authorization: Bearer {token}")]);
    command.args(["-H", &format!("Accept: {}", text("accept").unwrap_or("application/json"))]);
    if body.is_some() {
        let content_type = text("contentType").unwrap_or("application/json");
        command.args(["-H", &format!("Content-Type: {content_type}"), "--data-binary", "@-"]);
    }
    command.args(["-H", "User-Agent: golden", "--http1.1"]);
    command.arg(format!("{server}{}", text("path").expect("path")));
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("curl runs");
    child.stdin.take().expect("piped").write_all(body.unwrap_or_default().as_bytes()).expect("curl reads");
    let output = child.wait_with_output().expect("curl ends");
    let output = String::from_utf8(output.stdout).expect("UTF-8");
    let (head, body) = output.split_once("\r\n\r\n").expect("an HTTP answer");
    let code: u16 = head.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status line");
    let mut response = Map::from_iter([("code".to_owned(), json!(code))]);
    let warnings: Vec<&str> = head.lines().filter_map(|line| line.strip_prefix("Warning: ")).collect();
    if !warnings.is_empty() {
        response.insert("warnings".into(), json!(warnings));
    }
    let stream = text("path").is_some_and(|path| path.contains("watch="));
    let parsed: Result<Vec<Value>, _> = serde_json::Deserializer::from_str(body).into_iter().collect();
    match parsed {
        Ok(events) if stream && code == 200 => {
            _ = response.insert("events".into(), events.iter().map(normal).collect())
        }
        Ok(values) if values.len() == 1 => _ = response.insert("body".into(), normal(&values[0])),
        _ => _ = response.insert("text".into(), json!(body)),
    }
    Value::Object(response)
}

fn normal(value: &Value) -> Value {
    match value {
        Value::Object(map) => map.iter().map(|(key, value)| (key.clone(), normal_field(key, value))).collect(),
        Value::Array(items) => items.iter().map(normal).collect(),
        Value::String(text) => Value::String(normal_text(text)),
        other => other.clone(),
    }
}

fn normal_field(key: &str, value: &Value) -> Value {
    let replaced = match (key, value) {
        ("resourceVersion", Value::String(text)) if !text.is_empty() => "<rv>",
        ("uid", Value::String(text)) if !text.is_empty() => "<uid>",
        ("clusterIP", Value::String(text)) if text.starts_with("10.") => "<ip>",
        ("clusterIPs", Value::Array(_)) => return json!(["<ip>"]),
        _ => return normal(value),
    };
    Value::String(replaced.into())
}

fn normal_text(text: &str) -> String {
    let uid = Regex::new("[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}").expect("a pattern");
    let time = Regex::new(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z").expect("a pattern");
    time.replace_all(&uid.replace_all(text, "<uid>"), "<time>").into_owned()
}
