//! Secrets among the values of a chart: they may come out in Secrets and nowhere else.

use crate::charted::Given;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use model::ObjectId;
use serde_json::Value;

/// A shorter secret may be a part of any text by chance: it is only looked for as a whole.
const PART_MIN: usize = 6;

/// As `--set-literal` takes them.
///
/// # Errors
/// A secret that is no text.
pub fn settings(secrets: &[Given]) -> Result<Vec<String>, String> {
    let one = |given: &Given| match std::str::from_utf8(given.value.expose()) {
        Ok(text) => Ok(format!("{}={text}", given.path)),
        Err(_) => Err(format!("{}: {} is not UTF-8, and values of charts are text", given.path, given.secret)),
    };
    secrets.iter().map(one).collect()
}

/// A message without what is secret.
pub fn without(message: &str, secrets: &[Given]) -> String {
    let mut message = message.to_owned();
    for given in secrets {
        for form in forms(given) {
            message = message.replace(&form, &format!("<{}>", given.secret));
        }
    }
    message
}

/// Whether anything that is secret would stand in an object that everybody may see.
///
/// # Errors
/// Which, in which object and field.
pub fn check(objects: &[Value], secrets: &[Given]) -> Result<(), String> {
    for given in secrets {
        let forms = forms(given);
        for object in objects {
            let id = ObjectId::of(object);
            let mut path = Vec::new();
            if shows(object, &forms, id.is_secret(), &mut path) {
                let (Given { secret, path: value, .. }, at) = (given, path.join("."));
                return Err(format!(
                    "{value}: {id} would show {secret} in the open, at {at}: the chart must put it into a Secret; it often has a value that names an existing one"
                ));
            }
        }
    }
    Ok(())
}

/// As it is, and as it stands in fields of bytes; the longer one first.
fn forms(given: &Given) -> Vec<String> {
    let bytes = given.value.expose();
    let text = String::from_utf8_lossy(bytes).into_owned();
    let trimmed = text.trim().to_owned();
    let mut forms = vec![STANDARD.encode(bytes), STANDARD.encode(&trimmed), text, trimmed];
    forms.retain(|form| !form.is_empty());
    forms.sort_by_key(|form| std::cmp::Reverse(form.len()));
    forms.dedup();
    forms
}

/// True if a value holds one of these; `path` is then where.
fn shows(value: &Value, forms: &[String], is_secret: bool, path: &mut Vec<String>) -> bool {
    let holds = |text: &str| forms.iter().any(|form| text == form || (form.len() >= PART_MIN && text.contains(form)));
    match value {
        Value::String(text) => holds(text),
        Value::Number(number) => holds(&number.to_string()),
        Value::Array(items) => items.iter().enumerate().any(|(index, item)| {
            path.push(index.to_string());
            let found = shows(item, forms, false, path);
            if !found {
                path.pop();
            }
            found
        }),
        Value::Object(map) => map.iter().any(|(key, item)| {
            if is_secret && matches!(key.as_str(), "data" | "stringData") {
                return item.as_object().is_some_and(|data| data.keys().any(|key| holds(key)));
            }
            if holds(key) {
                path.push("a name".to_owned());
                return true;
            }
            path.push(key.clone());
            let found = shows(item, forms, false, path);
            if !found {
                path.pop();
            }
            found
        }),
        Value::Null | Value::Bool(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::settings::Plain;
    use serde_json::json;

    fn given(value: &str) -> Vec<Given> {
        let secret = "db/password".to_owned().try_into().unwrap();
        vec![Given { path: "auth.password".into(), secret, value: Plain::new(value.as_bytes().to_vec()) }]
    }

    #[test]
    fn a_secret_comes_out_in_secrets_and_nowhere_else() {
        let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "db"}, "stringData": {"uri": "postgres://u:hunter2@db"}, "data": {"p": STANDARD.encode("hunter2")}});
        let own = json!({"apiVersion": "mine.dev/v1", "kind": "Secret", "metadata": {"name": "db"}, "data": {"p": "hunter2"}});
        let map = |text: &str| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"a": [text]}});
        let mut noted = secret.clone();
        noted["metadata"]["annotations"] = json!({"seen": "it is hunter2"});
        for (object, value, expect) in [
            (&secret, "hunter2", None),
            (&map("nothing"), "hunter2", None),
            (&map("u:hunter2@db"), "hunter2", Some("ConfigMap c would show db/password in the open, at data.a.0")),
            (&map(&STANDARD.encode("hunter2")), "hunter2", Some("at data.a.0")),
            (&map("hunter2"), "hunter2\n", Some("at data.a.0")),
            (&own, "hunter2", Some("at data.p")),
            (&noted, "hunter2", Some("at metadata.annotations.seen")),
            (&map("admins"), "admin", None),
            (&map("admin"), "admin", Some("at data.a.0")),
        ] {
            let found = check(std::slice::from_ref(object), &given(value));
            match expect {
                None => assert_eq!(found, Ok(()), "{object}"),
                Some(words) => {
                    let problem = found.unwrap_err();
                    assert!(problem.contains(words) && !problem.contains("hunter2"), "{problem}");
                }
            }
        }
    }

    #[test]
    fn messages_hold_no_secret() {
        let encoded = STANDARD.encode("hunter2");
        let message = without(&format!("at hunter2: bad {encoded}"), &given("hunter2"));
        assert_eq!(message, "at <db/password>: bad <db/password>");
    }
}
