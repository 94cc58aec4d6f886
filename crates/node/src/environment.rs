//! Environment, command and arguments of a container.

use crate::downward::{self, Facts};
use crate::objects::{Data, Kind, Lookup, Missing, Reference, required};
use crate::pod::PodExt;
use k8s_openapi::api::core::v1::{Container, EnvVarSource, Pod};
use std::collections::{BTreeSet, HashMap};

/// Objects that the environment of a container refers to.
pub(crate) fn needs(container: &Container) -> BTreeSet<Reference> {
    let mut needs = BTreeSet::new();
    for from in container.env_from.iter().flatten() {
        needs.extend(from.config_map_ref.iter().map(|r| (Kind::ConfigMap, r.name.clone())));
        needs.extend(from.secret_ref.iter().map(|r| (Kind::Secret, r.name.clone())));
    }
    for source in container.env.iter().flatten().filter_map(|e| e.value_from.as_ref()) {
        needs.extend(source.config_map_key_ref.iter().map(|r| (Kind::ConfigMap, r.name.clone())));
        needs.extend(source.secret_key_ref.iter().map(|r| (Kind::Secret, r.name.clone())));
    }
    needs
}

/// The variables in order, each name once; a later one wins.
pub(crate) fn resolve(
    pod: &Pod,
    container: &Container,
    facts: &Facts,
    lookup: &Lookup,
) -> Result<Vec<(String, String)>, Missing> {
    let mut variables = Variables::default();
    for from in container.env_from.iter().flatten() {
        let prefix = from.prefix.as_deref().unwrap_or_default();
        let sources = [
            from.config_map_ref.as_ref().map(|r| (Kind::ConfigMap, &r.name, r.optional)),
            from.secret_ref.as_ref().map(|r| (Kind::Secret, &r.name, r.optional)),
        ];
        for (kind, name, optional) in sources.into_iter().flatten() {
            let data = required(lookup, (kind, name.clone()), optional.unwrap_or(false))?;
            for (key, value) in data.iter().flat_map(|d| &d.entries) {
                variables.set(&format!("{prefix}{key}"), text(value));
            }
        }
    }
    for variable in container.env.iter().flatten() {
        let value = match &variable.value_from {
            Some(source) => match from_source(pod, container, facts, lookup, source)? {
                Some(value) => value,
                None => continue,
            },
            None => expand(variable.value.as_deref().unwrap_or_default(), &variables.known),
        };
        variables.set(&variable.name, value);
    }
    Ok(variables.ordered())
}

/// Command and arguments of a container with the variables filled in.
pub(crate) fn expand_all(words: &[String], environment: &[(String, String)]) -> Vec<String> {
    let known: HashMap<String, String> = environment.iter().cloned().collect();
    words.iter().map(|word| expand(word, &known)).collect()
}

fn from_source(
    pod: &Pod,
    container: &Container,
    facts: &Facts,
    lookup: &Lookup,
    source: &EnvVarSource,
) -> Result<Option<String>, Missing> {
    let namespace = pod.namespace_str();
    if let Some(r) = &source.config_map_key_ref {
        let data = required(lookup, (Kind::ConfigMap, r.name.clone()), r.optional.unwrap_or(false))?;
        return key_of(data, (Kind::ConfigMap, &r.name), &r.key, r.optional, namespace);
    }
    if let Some(r) = &source.secret_key_ref {
        let data = required(lookup, (Kind::Secret, r.name.clone()), r.optional.unwrap_or(false))?;
        return key_of(data, (Kind::Secret, &r.name), &r.key, r.optional, namespace);
    }
    if let Some(selector) = &source.field_ref {
        return downward::field(pod, facts, selector).map(Some).map_err(Missing::hopeless);
    }
    if let Some(selector) = &source.resource_field_ref {
        return downward::resource(pod, &container.name, facts, selector).map(Some).map_err(Missing::hopeless);
    }
    Ok(Some(String::new()))
}

fn key_of(
    data: Option<&Data>,
    (kind, name): (Kind, &str),
    key: &str,
    optional: Option<bool>,
    namespace: &str,
) -> Result<Option<String>, Missing> {
    match data.map(|d| d.entries.get(key)) {
        Some(Some(value)) => Ok(Some(text(value))),
        Some(None) if !optional.unwrap_or(false) => Err(Missing {
            message: format!("couldn't find key {key} in {kind:?} {namespace}/{name}"),
            of: Some((kind, name.to_owned())),
        }),
        _ => Ok(None),
    }
}

fn text(value: &[u8]) -> String {
    String::from_utf8_lossy(value).into_owned()
}

#[derive(Default)]
struct Variables {
    order: Vec<String>,
    known: HashMap<String, String>,
}

impl Variables {
    fn set(&mut self, name: &str, value: String) {
        // A name with `=` cannot be told from its value in an environment.
        if name.is_empty() || name.contains('=') {
            return;
        }
        if self.known.insert(name.to_owned(), value).is_none() {
            self.order.push(name.to_owned());
        }
    }

    fn ordered(mut self) -> Vec<(String, String)> {
        let value = |name: String| self.known.remove(&name).map(|value| (name, value));
        self.order.into_iter().filter_map(value).collect()
    }
}

/// `$(NAME)` becomes its value, `$$` one dollar; what names nothing known stays as it is.
fn expand(input: &str, known: &HashMap<String, String>) -> String {
    let mut output = String::with_capacity(input.len());
    let mut rest = input;
    while let Some(at) = rest.find('$') {
        output.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        let reference = after.strip_prefix('(').and_then(|a| a.split_once(')'));
        rest = match reference {
            _ if after.starts_with('$') => {
                output.push('$');
                &after[1..]
            }
            Some((name, tail)) if known.contains_key(name) => {
                output.push_str(&known[name]);
                tail
            }
            Some((name, tail)) => {
                output.push_str(&format!("$({name})"));
                tail
            }
            None => {
                output.push('$');
                after
            }
        };
    }
    output + rest
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn expansion() {
        let known = HashMap::from([("A".to_owned(), "1".to_owned()), ("B".to_owned(), "$(A)".to_owned())]);
        for (input, expected) in [
            ("$(A)", "1"),
            ("x$(A)y$(B)", "x1y$(A)"),
            ("$(NONE)", "$(NONE)"),
            ("$$(A)", "$(A)"),
            ("$$$(A)", "$1"),
            ("$A", "$A"),
            ("$(A", "$(A"),
            ("$", "$"),
            ("a$$b", "a$b"),
            ("", ""),
        ] {
            assert_eq!(expand(input, &known), expected, "{input}");
        }
    }

    fn data(entries: &[(&str, &str)]) -> Option<Data> {
        let entries = entries.iter().map(|(k, v)| ((*k).to_owned(), v.as_bytes().to_vec())).collect();
        Some(Data { entries, ..Data::default() })
    }

    fn container(value: serde_json::Value) -> Container {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn later_wins_and_sees_earlier() {
        let container = container(json!({
            "name": "main",
            "envFrom": [{"configMapRef": {"name": "common"}, "prefix": "P_"}, {"secretRef": {"name": "gone", "optional": true}}],
            "env": [
                {"name": "P_LEVEL", "value": "debug"},
                {"name": "URL", "value": "http://$(HOST):$(P_PORT)/$(LATER)"},
                {"name": "LATER", "value": "x"},
                {"name": "PASSWORD", "valueFrom": {"secretKeyRef": {"name": "db", "key": "password"}}},
                {"name": "ABSENT", "valueFrom": {"secretKeyRef": {"name": "db", "key": "none", "optional": true}}},
                {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}
            ]
        }));
        let lookup = Lookup::from([
            ((Kind::ConfigMap, "common".to_owned()), data(&[("LEVEL", "info"), ("PORT", "80")])),
            ((Kind::Secret, "db".to_owned()), data(&[("password", "s3cret")])),
            ((Kind::Secret, "gone".to_owned()), None),
        ]);
        assert_eq!(needs(&container).into_iter().collect::<Vec<_>>(), lookup.keys().cloned().collect::<Vec<_>>());
        let facts = Facts { pod_ip: "10.0.0.9".into(), ..Facts::default() };
        let environment = resolve(&Pod::default(), &container, &facts, &lookup).unwrap();
        let shown: Vec<String> = environment.iter().map(|(k, v)| format!("{k}={v}")).collect();
        assert_eq!(
            shown,
            [
                "P_LEVEL=debug",
                "P_PORT=80",
                "URL=http://$(HOST):80/$(LATER)",
                "LATER=x",
                "PASSWORD=s3cret",
                "IP=10.0.0.9"
            ]
        );
        assert_eq!(expand_all(&["$(LATER)$(P_PORT)".to_owned()], &environment), ["x80"]);
    }

    #[test]
    fn what_is_missing_is_named() {
        let missing_key = json!([{"name": "A", "valueFrom": {"configMapKeyRef": {"name": "c", "key": "k"}}}]);
        let missing_secret = json!([{"name": "A", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]);
        let bad_field = json!([{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "spec.x"}}}]);
        let lookup = Lookup::from([((Kind::ConfigMap, "c".to_owned()), data(&[]))]);
        for (env, message, helped_by) in [
            (missing_key, "couldn't find key k in ConfigMap default/c", Some((Kind::ConfigMap, "c".to_owned()))),
            (missing_secret, "secret \"s\" not found", Some((Kind::Secret, "s".to_owned()))),
            (bad_field, "unsupported fieldPath: spec.x", None),
        ] {
            let container = container(json!({"name": "main", "env": env}));
            let missing = resolve(&Pod::default(), &container, &Facts::default(), &lookup).unwrap_err();
            assert_eq!((missing.message.as_str(), missing.of), (message, helped_by));
        }
    }
}
