//! Typed reading: what it takes, and what its errors say.

use serde::Deserialize;
use std::collections::BTreeMap;

#[derive(Debug, Deserialize, PartialEq, Default)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct File {
    name: String,
    replicas: Option<u32>,
    strategy: Strategy,
    env: BTreeMap<String, String>,
    args: Vec<String>,
    endpoints: BTreeMap<String, Endpoint>,
    production: bool,
}

#[derive(Debug, Deserialize, PartialEq, Default)]
enum Strategy {
    Auto,
    #[default]
    Manual,
}

#[derive(Debug, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Endpoint {
    port: u16,
    #[serde(default)]
    host: Host,
}

#[derive(Debug, Deserialize, PartialEq, Default)]
#[serde(try_from = "String")]
struct Host(String);

impl TryFrom<String> for Host {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        if text.contains(' ') { Err(format!("{text:?} is no host: it has a space")) } else { Ok(Host(text)) }
    }
}

#[test]
fn reads_files() {
    let file: File = yaml::from_str(
        "name: 1.10\nreplicas: 3\nstrategy: Auto\nenv: {A: 1, B: yes, C: '', D: 2026-11-21}\nargs: [0x10, \"q\"]\n\
         endpoints:\n  http: {port: 80, host: a.b}\nproduction: true\n",
        "f",
    )
    .expect("a good file");
    assert_eq!(file.name, "1.10");
    assert_eq!(file.replicas, Some(3));
    assert_eq!(file.strategy, Strategy::Auto);
    let env: Vec<(&str, &str)> = file.env.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    assert_eq!(env, [("A", "1"), ("B", "yes"), ("C", ""), ("D", "2026-11-21")]);
    assert_eq!(file.args, ["0x10", "q"]);
    assert_eq!(file.endpoints["http"], Endpoint { port: 80, host: Host("a.b".into()) });
    assert!(file.production);
    for empty in ["", "\n# nothing\n", "---\n", "env:\nargs:\nendpoints:\nreplicas:\n"] {
        assert_eq!(yaml::from_str::<File>(empty, "f").expect(empty), File::default(), "{empty:?}");
    }
}

#[test]
fn errors_tell_where_and_what() {
    let cases = [
        (
            "endpoints:\n  http:\n    port: x\n",
            "f:3:11: endpoints.http.port: expected a whole number from 0 to 65535, found \"x\"",
        ),
        (
            "endpoints:\n  http:\n    port: 70000\n",
            "f:3:11: endpoints.http.port: expected a whole number from 0 to 65535, found 70000",
        ),
        ("endpoints:\n  http: {}\n", "f:2:9: endpoints.http: the field `port` is missing"),
        ("endpoints:\n  http:\n", "f:2:7: endpoints.http: the field `port` is missing"),
        (
            "endpoints:\n  http: {port: 1, host: a b}\n",
            "f:2:25: endpoints.http.host: \"a b\" is no host: it has a space",
        ),
        (
            "repicas: 1\n",
            "f:1:1: repicas: unknown field `repicas`, did you mean `replicas`? Known: `name`, `replicas`, `strategy`, `env`, `args`, `endpoints`, `production`",
        ),
        (
            "endpoints: {http: {port: 1, zzz: 2}}\n",
            "f:1:29: endpoints.http.zzz: unknown field `zzz`, known: `port`, `host`",
        ),
        ("strategy: auto\n", "f:1:11: strategy: unknown value `auto`, did you mean `Auto`? Known: `Auto`, `Manual`"),
        ("strategy: [Auto]\n", "f:1:11: strategy: expected one of Auto, Manual"),
        ("args: [a, {b: c}]\n", "f:1:11: args[1]: expected a text, found a map"),
        ("args: a\n", "f:1:7: args: expected a list, found \"a\""),
        ("env: {A: null}\n", "f:1:10: env.A: expected a text, found nothing"),
        ("env: [A]\n", "f:1:6: env: expected a map, found a list"),
        ("production: yes\n", "f:1:13: production: expected true or false, found \"yes\""),
        ("name: a\nenv: {}\nname: b\n", "f:3:1: name: this key stands in line 1 already"),
        ("env:\n  A: 1\n  A: 2\n", "f:3:3: env.A: this key stands in line 2 already"),
        ("- a\n", "f:1:1: expected a map, found a list"),
        ("a: b\n---\nc: d\n", "f:3:1: only one document is expected here"),
        ("replicas: -1\n", "f:1:11: replicas: expected a whole number from 0 to 4294967295, found -1"),
        ("replicas: 1.5\n", "f:1:11: replicas: expected a whole number from 0 to 4294967295, found 1.5"),
        ("? [a]\n: b\n", "f:1:3: a key must be a text"),
    ];
    for (text, expected) in cases {
        let error = yaml::from_str::<File>(text, "f").expect_err(text);
        assert_eq!(error.to_string(), expected, "{text}");
    }
    for (text, line) in [("a: [\n", 2), ("a: b: c\n", 1), ("a: 'x\n", 2), ("a:\n\t- b\n", 2), ("a: *x\n", 1)] {
        let error = yaml::from_str::<File>(text, "f").expect_err(text);
        assert_eq!((error.file.as_str(), error.field.as_str()), ("f", ""), "{error}");
        assert!(error.line.abs_diff(line) <= 1 && error.column > 0, "{error}");
    }
}

#[test]
fn reading_is_bounded() {
    let mut laughs = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..12 {
        let list = vec![format!("*a{}", level - 1); 10].join(", ");
        laughs.push_str(&format!("a{level}: &a{level} [{list}]\n"));
    }
    let error = yaml::parse(&laughs, "f").expect_err("a thousand million laughs");
    assert!(error.message.contains("aliases"), "{error}");
    let error = yaml::parse(&"[".repeat(150), "f").expect_err("deep");
    assert!(error.message.contains("nested deeper"), "{error}");
    let error = yaml::parse("a: &a [*a]", "f").expect_err("itself");
    assert!(error.message.contains("alias"), "{error}");
}
