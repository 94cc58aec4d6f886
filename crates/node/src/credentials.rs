//! Pull secrets: `kubernetes.io/dockerconfigjson` and the older `kubernetes.io/dockercfg`.

use crate::objects::{Kind, Lookup, Reference};
use crate::pod::PodExt;
use crate::runtime::Credentials;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use k8s_openapi::api::core::v1::Pod;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};

/// Secrets that the Pod names.
pub(crate) fn needs(pod: &Pod) -> BTreeSet<Reference> {
    pod.spec_ref().image_pull_secrets.iter().flatten().map(|r| (Kind::Secret, r.name.clone())).collect()
}

/// All credentials in these secrets. What cannot be read is passed over.
pub(crate) fn resolve(lookup: &Lookup) -> Vec<Credentials> {
    let secrets = lookup.values().flatten();
    secrets
        .flat_map(|data| {
            let modern = data.entries.get(".dockerconfigjson").and_then(|v| serde_json::from_slice::<Config>(v).ok());
            let old = data.entries.get(".dockercfg").and_then(|v| serde_json::from_slice(v).ok());
            modern.map(|config| config.auths).or(old).unwrap_or_default()
        })
        .filter_map(|(registry, entry)| entry.credentials(registry))
        .collect()
}

#[derive(Deserialize)]
struct Config {
    auths: BTreeMap<String, Entry>,
}

#[derive(Deserialize)]
struct Entry {
    username: Option<String>,
    password: Option<String>,
    auth: Option<String>,
}

impl Entry {
    fn credentials(self, registry: String) -> Option<Credentials> {
        let (user, password) = match (self.username, self.password, self.auth) {
            (Some(user), Some(password), _) => (user, password),
            (_, _, Some(auth)) => {
                let text = String::from_utf8(BASE64_STANDARD.decode(auth).ok()?).ok()?;
                let (user, password) = text.split_once(':')?;
                (user.to_owned(), password.to_owned())
            }
            _ => return None,
        };
        let registry = registry.trim_start_matches("https://").trim_start_matches("http://");
        let registry = registry.split('/').next().unwrap_or_default().to_owned();
        Some(Credentials { registry, user, password })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objects::Data;

    #[test]
    fn both_forms_and_no_password_in_debug() {
        let auth = BASE64_STANDARD.encode("ada:pass:word");
        let modern =
            format!(r#"{{"auths": {{"https://r.example/v1/": {{"auth": "{auth}"}}, "bad": {{"auth": "%"}}}}}}"#);
        let old = r#"{"o.example": {"username": "u", "password": "p"}}"#;
        let data = |key: &str, value: &str| {
            let entries = BTreeMap::from([(key.to_owned(), value.as_bytes().to_vec())]);
            Some(Data { entries, ..Data::default() })
        };
        let lookup = Lookup::from([
            ((Kind::Secret, "a".into()), data(".dockerconfigjson", &modern)),
            ((Kind::Secret, "b".into()), data(".dockercfg", old)),
            ((Kind::Secret, "c".into()), None),
        ]);
        let found = resolve(&lookup);
        assert_eq!(format!("{found:?}"), "[Credentials(ada@r.example), Credentials(u@o.example)]");
        assert_eq!(found[0].password, "pass:word");
    }
}
