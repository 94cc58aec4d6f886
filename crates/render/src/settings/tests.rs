use super::*;
use crate::{Input, render};
use model::settings::{Chain, Ciphertext, DEFAULT};
use model::{ComponentFile, Digest, Environment, EnvironmentFile, ImageRef, Pin};
use serde_json::{Value as Json, json};
use std::collections::BTreeSet;

const FILE: &str = "config/common.yaml";

fn environment(name: &str) -> Environment {
    name.parse().unwrap()
}

/// dev, qa (like dev), prod; nonprod holds dev and qa.
fn chains() -> Vec<Chain> {
    let groups = BTreeMap::from([("nonprod".parse().unwrap(), vec![environment("dev"), environment("qa")])]);
    let like = BTreeMap::from([(environment("qa"), environment("dev"))]);
    ["dev", "qa", "prod"].map(|name| Chain::of(&environment(name), &like, &groups)).to_vec()
}

fn places() -> BTreeSet<String> {
    ["dev", "qa", "prod", "nonprod", DEFAULT].map(str::to_owned).into()
}

fn group(text: &str) -> Result<ConfigGroup, String> {
    let told = |problems: Vec<Problem>| problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
    let group = ConfigGroup::parse(&"common".parse().unwrap(), text, FILE).map_err(told)?;
    let problems = group.check(&places(), &chains());
    if problems.is_empty() { Ok(group) } else { Err(told(problems)) }
}

#[test]
fn values_are_taken_from_the_environment_then_what_it_is_like_then_groups_then_default() {
    let text = "data:\n  LEVEL: {default: info, prod: warn, nonprod: debug, dev: trace}\n  TITLE: 1.10\n  ONLY: {nonprod: x, prod: y}\n";
    let group = group(text).unwrap();
    let resolved: Vec<String> = chains()
        .iter()
        .map(|chain| {
            group
                .resolve(chain, None)
                .unwrap()
                .data
                .into_iter()
                .map(|(k, v)| format!("{k}={v}"))
                .collect::<Vec<_>>()
                .join(" ")
        })
        .collect();
    assert_eq!(
        resolved,
        ["LEVEL=trace ONLY=x TITLE=1.10", "LEVEL=trace ONLY=x TITLE=1.10", "LEVEL=warn ONLY=y TITLE=1.10"]
    );
}

#[test]
fn every_wrong_group_names_file_line_and_field() {
    let cases = [
        ("data: [a]\n", "config/common.yaml:1:7: data: expected keys with values"),
        (
            "data:\n  LEVEL: {dev: a}\n",
            "config/common.yaml:2:10: data.LEVEL: it has no value for prod: set one of prod, default",
        ),
        (
            "data:\n  LEVEL: {default: a, pord: b}\n",
            "config/common.yaml:2:29: data.LEVEL.pord: there is no environment or group pord; there is: default, dev, nonprod, prod, qa",
        ),
        ("data:\n  LEVEL:\n", "config/common.yaml:2:8: data.LEVEL: it has no value; write \"\" for the empty text"),
        (
            "data:\n  LEVEL: {default: [a]}\n",
            "config/common.yaml:2:20: data.LEVEL.default: expected a text, a number or true or false",
        ),
        ("data:\n  2LEVEL: a\n", "data.2LEVEL: a key is a name of a variable"),
        ("data:\n  A: 1\n  A: 2\n", "config/common.yaml:3:3: data.A: it stands there twice"),
        ("dato: {}\n", "dato: unknown field; a ConfigGroup has: data, files, schema"),
        ("files:\n  ../passwd: x\n", "files.../passwd: a path is relative"),
        ("files:\n  a.conf: {dev: x}\n", "files.a.conf: it has no value for prod"),
        (
            "data:\n  PORT: eighty\nschema:\n  PORT: {type: int}\n",
            "config/common.yaml:2:9: data.PORT.default: expected an int, found \"eighty\"",
        ),
        (
            "data:\n  PORT: {default: 80, prod: 70000}\nschema:\n  PORT: {type: int, min: 1, max: 65535}\n",
            "data.PORT.prod: 70000 is more than 65535",
        ),
        ("data: {RATE: inf}\nschema: {RATE: {type: number}}\n", "expected a number, found \"inf\""),
        ("data: {ON: yes}\nschema: {ON: {type: bool}}\n", "expected true or false, found \"yes\""),
        ("data: {LEVEL: loud}\nschema: {LEVEL: {enum: [info, warn]}}\n", "expected one of info, warn, found \"loud\""),
        ("data: {ID: ab1}\nschema: {ID: {pattern: '[a-z]+'}}\n", "\"ab1\" does not match"),
        ("schema:\n  KEY: {}\n", "config/common.yaml:2:8: data.KEY: it has no value for dev"),
        (
            "schema: {KEY: {type: text}}\n",
            "schema.KEY.type: unknown type \"text\"; there is: string, int, number, bool",
        ),
        ("schema: {KEY: {pattern: '('}}\n", "schema.KEY.pattern: it is no regular expression"),
        ("schema: {KEY: {min: 1}}\n", "schema.KEY.min: only an int or a number has bounds"),
        ("schema: {KEY: {typo: 1}}\n", "schema.KEY.typo: unknown field"),
        ("data: {A: 1\n", "config/common.yaml:"),
        ("a: 1\n---\nb: 2\n", "config/common.yaml:3:1: only one document is expected here"),
    ];
    for (text, expected) in cases {
        let said = group(text).err().unwrap_or_else(|| panic!("{text:?} was accepted"));
        assert!(said.contains(expected), "{text:?}: {said}");
    }
    assert!(group("").is_ok());
    assert!(group("schema: {KEY: {required: false}}\n").is_ok());
}

#[test]
fn groups_that_say_different_things_are_an_error_in_the_environment_that_both_hold() {
    let both = BTreeMap::from([
        ("eu".parse().unwrap(), vec![environment("dev")]),
        ("nonprod".parse().unwrap(), vec![environment("dev")]),
    ]);
    let chain = Chain::of(&environment("dev"), &BTreeMap::new(), &both);
    let group = ConfigGroup::parse(&"common".parse().unwrap(), "data: {A: {eu: 1, nonprod: 2}}\n", FILE).unwrap();
    let said = group.resolve(&chain, None).unwrap_err()[0].to_string();
    assert!(said.contains("eu and nonprod say different things for dev: set dev"), "{said}");
}

fn sealed() -> String {
    Ciphertext::new(b"age-encryption.org/v1\n-> X25519 x\n".to_vec()).unwrap().to_string()
}

#[test]
fn a_wrong_secret_file_is_said_without_its_values() {
    let good = format!("PASSWORD: {{prod: {0}, default: {0}}}\nTOKEN: {0}\n", sealed());
    let parse = |text: &str| SecretFile::parse(&"db".parse().unwrap(), text, "secrets/db.yaml");
    let file = parse(&good).unwrap();
    assert_eq!(file.keys["TOKEN"].keys().collect::<Vec<_>>(), [DEFAULT]);
    assert!(file.check(&places()).is_empty());
    for (text, expected) in [
        ("PASSWORD: hunter2\n", "secrets/db.yaml:1:11: PASSWORD: expected a value encrypted with age"),
        ("PASSWORD: {prod: hunter2}\n", "secrets/db.yaml:1:18: PASSWORD.prod: expected a value encrypted with age"),
        ("PASSWORD: [hunter2]\n", "PASSWORD: expected a text"),
        ("a b: hunter2\n", "a key is a name of a variable or of a file"),
        ("- hunter2\n", "expected keys with sealed values"),
    ] {
        let said = parse(text).unwrap_err().to_string();
        assert!(said.contains(expected) && !said.contains("hunter2"), "{text:?}: {said}");
    }
    let unknown = parse(&format!("PASSWORD: {{nowhere: {}}}\n", sealed())).unwrap().check(&places());
    assert!(unknown[0].to_string().contains("PASSWORD.nowhere: there is no environment or group nowhere"));
}

#[test]
fn a_key_that_is_missing_in_one_environment_comes_with_the_command_that_sets_it() {
    let file =
        SecretFile::parse(&"db".parse().unwrap(), &format!("PASSWORD: {{nonprod: {}}}\n", sealed()), "secrets/db.yaml")
            .unwrap();
    let told: Vec<_> = chains().iter().map(|chain| file.resolve(chain).map(|found| found.len())).collect();
    let missing = "secret db has no PASSWORD for prod: trimtab secret set db PASSWORD --env prod";
    assert_eq!(told, [Ok(1), Ok(1), Err(missing.to_owned())]);
}

fn rendered(workload: Json, settings: &Settings) -> Result<Vec<Json>, String> {
    let component: ComponentFile =
        serde_json::from_value(json!({"project": "shop", "component": "web", "type": "worker", "workload": workload}))
            .unwrap();
    let commit: model::CommitId = "91bc000000000000000000000000000000000000".parse().unwrap();
    let image = ImageRef::recorded(&component.project, &component.component, &Digest::of(b"image"));
    let pin = Pin {
        build: "web-42".parse().unwrap(),
        source: commit.clone(),
        image: Some(image),
        chart: None,
        config: commit,
    };
    let input = Input {
        component: &component,
        pin: &pin,
        environment: &environment("dev"),
        file: &EnvironmentFile::default(),
        settings,
    };
    render(&input).map(|manifests| manifests.objects).map_err(|error| error.to_string())
}

fn settings(level: &str) -> Settings {
    let pairs = |pairs: &[(&str, &str)]| pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    Settings {
        groups: vec![Resolved {
            name: "common".parse().unwrap(),
            data: pairs(&[("LEVEL", level)]),
            files: pairs(&[("app.toml", "x = 1\n"), ("tls/ca.pem", "…")]),
            mount_path: Some("/etc/app".into()),
        }],
        secrets: vec![
            SealedSecret {
                name: "db".parse().unwrap(),
                values: BTreeMap::from([("PASSWORD".into(), Sealed::new([7; 32]))]),
                mount_path: None,
            },
            SealedSecret {
                name: "tls".parse().unwrap(),
                values: BTreeMap::from([("key.pem".into(), Sealed::new([8; 32]))]),
                mount_path: Some("/run/tls".into()),
            },
        ],
    }
}

#[test]
fn a_component_gets_variables_and_files() {
    let objects = rendered(json!({"env": {"LEVEL": "own"}}), &settings("info")).unwrap();
    let names: Vec<String> = objects
        .iter()
        .map(|o| format!("{} {}", o["kind"].as_str().unwrap(), o["metadata"]["name"].as_str().unwrap()))
        .collect();
    assert_eq!(names.len(), 5, "{names:?}");
    assert!(
        names[0].starts_with("ConfigMap web-common-") && names[1].starts_with("ConfigMap web-common-files-"),
        "{names:?}"
    );
    assert_eq!(names[2..], ["Secret web-db", "Secret web-tls", "Deployment web"]);
    assert_eq!(objects[0]["data"], json!({"LEVEL": "info"}));
    assert_eq!(objects[1]["data"], json!({"app.toml": "x = 1\n", "tls..ca.pem": "…"}));
    let spec = &objects[4]["spec"]["template"]["spec"];
    let container = &spec["containers"][0];
    assert_eq!(
        container["envFrom"],
        json!([{"configMapRef": {"name": objects[0]["metadata"]["name"]}}, {"secretRef": {"name": "web-db"}}])
    );
    assert_eq!(container["env"], json!([{"name": "LEVEL", "value": "own"}]), "a variable of its own wins");
    assert_eq!(
        container["volumeMounts"],
        json!([{"name": "config-common", "mountPath": "/etc/app", "readOnly": true}, {"name": "secret-tls", "mountPath": "/run/tls", "readOnly": true}])
    );
    assert_eq!(
        spec["volumes"][1],
        json!({"name": "secret-tls", "secret": {"secretName": "web-tls", "defaultMode": 256}})
    );
    assert_eq!(spec["volumes"][0]["configMap"]["items"][1], json!({"key": "tls..ca.pem", "path": "tls/ca.pem"}));
    assert_eq!(objects[0]["metadata"]["labels"].get("app.kubernetes.io/version"), None);
}

#[test]
fn a_change_rolls_the_pods_and_an_equal_result_rolls_nothing() {
    let template =
        |settings: &Settings| rendered(json!({}), settings).unwrap().last().unwrap()["spec"]["template"].clone();
    assert_eq!(template(&settings("info")), template(&settings("info")));
    assert_ne!(template(&settings("info")), template(&settings("warn")));
    let mut rotated = settings("info");
    rotated.secrets[0].values.insert("PASSWORD".into(), Sealed::new([9; 32]));
    let (before, after) = (template(&settings("info")), template(&rotated));
    assert_eq!(before["spec"], after["spec"], "the Secret keeps its name");
    assert_ne!(
        before["metadata"]["annotations"]["trimtab.dev/secrets"],
        after["metadata"]["annotations"]["trimtab.dev/secrets"]
    );
}

#[test]
fn what_a_component_cannot_be_given_names_the_field() {
    let without_mount = |mut settings: Settings| {
        settings.groups[0].mount_path = None;
        settings
    };
    let no_files = |mut settings: Settings| {
        settings.groups[0].files.clear();
        settings
    };
    let twice = |mut settings: Settings| {
        settings.groups[0].data.insert("PASSWORD".into(), "x".into());
        settings
    };
    let unmounted = |mut settings: Settings| {
        settings.secrets[1].mount_path = None;
        settings
    };
    let good = settings("info");
    for (workload, settings, expected) in [
        (json!({"configGroups": ["a", "a"]}), good.clone(), "workload.configGroups[1]: a stands there twice"),
        (
            json!({"secrets": [{"name": "a", "mountPath": "etc"}]}),
            good.clone(),
            "workload.secrets[0].mountPath: must be an absolute path",
        ),
        (
            json!({"secrets": [{"name": "a", "mountPath": "/x/../y"}]}),
            good.clone(),
            "workload.secrets[0].mountPath: must be an absolute path",
        ),
        (
            json!({"configGroups": [{"name": "a", "mountPath": "/x"}], "secrets": [{"name": "b", "mountPath": "/x/"}]}),
            good.clone(),
            "/x/ is where a is mounted already",
        ),
        (json!({}), without_mount(good.clone()), "workload.configGroups[0]: common has files: say where"),
        (json!({}), no_files(good.clone()), "workload.configGroups[0]: common has no files to mount"),
        (json!({}), twice(good.clone()), "PASSWORD stands in secret db and in ConfigGroup common"),
        (json!({}), unmounted(good.clone()), "workload.secrets[1]: key.pem of tls is no name of a variable: mount it"),
    ] {
        let said = rendered(workload.clone(), &settings).unwrap_err();
        assert!(said.contains(expected), "{workload}: {said}");
    }
}
