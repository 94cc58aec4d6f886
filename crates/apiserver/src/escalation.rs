//! Nobody gives away rights that they do not have.

use crate::call::Call;
use crate::rbac::{self, Action};
use crate::status::{Refusal, Result};
use crate::store::Key;
use serde_json::Value;

const GROUP: &str = "rbac.authorization.k8s.io";
/// Single rights that one rule may stand for before it is refused as too large to check.
const RIGHTS_MAX: usize = 10_000;

impl Call {
    /// 403 if the new role or binding grants what the caller may not do, unless they may `escalate` or `bind`.
    pub fn no_escalation(&self, object: &Value) -> Result<()> {
        if self.resource.gvk.group != GROUP || rbac::is_master(&self.identity) {
            return Ok(());
        }
        let name = object::meta(object).name();
        let rules = match self.resource.gvk.kind.as_str() {
            "Role" | "ClusterRole" if self.may("escalate", &self.path.resource, name) => return Ok(()),
            "Role" | "ClusterRole" => object["rules"].clone(),
            _ => match self.bound_rules(&object["roleRef"]) {
                Some(rules) => rules,
                None => return Ok(()),
            },
        };
        let missing = rules.as_array().into_iter().flatten().find(|rule| !self.holds(rule));
        let Some(rule) = missing else { return Ok(()) };
        let why = format!(
            "user {:?} (groups={:?}) is attempting to grant RBAC permissions not currently held:\n{rule}",
            self.identity.user, self.identity.groups
        );
        Err(Refusal::forbidden(&self.resource.names, name, why))
    }

    /// The rules of a role that is to be bound; `None` if the caller may bind it anyway.
    fn bound_rules(&self, reference: &Value) -> Option<Value> {
        let name = reference["name"].as_str().unwrap_or_default();
        let (plural, namespace) = match reference["kind"].as_str() {
            Some("Role") => ("roles", self.path.namespace.as_str()),
            _ => ("clusterroles", ""),
        };
        if self.may("bind", plural, name) {
            return None;
        }
        let role = self.server.store.get(&Key::new(format!("{plural}.{GROUP}"), namespace, name));
        // Of a role that does not exist yet, nobody can say that its rights are held.
        Some(role.map_or_else(
            || serde_json::json!([{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}]),
            |role| role.value()["rules"].clone(),
        ))
    }

    fn may(&self, verb: &str, resource: &str, name: &str) -> bool {
        let namespace = &self.path.namespace;
        let action = Action { verb, group: GROUP, resource, subresource: "", namespace, name };
        rbac::allowed(&self.server, &self.identity, &action)
    }

    /// The caller has every single right that a rule stands for.
    fn holds(&self, rule: &Value) -> bool {
        let list =
            |key: &str| -> Vec<&str> { rule[key].as_array().into_iter().flatten().filter_map(Value::as_str).collect() };
        let (verbs, groups, resources, mut names) =
            (list("verbs"), list("apiGroups"), list("resources"), list("resourceNames"));
        if names.is_empty() {
            names.push("");
        }
        // Paths that are no objects are open to everybody who is known, for reading.
        let paths = list("nonResourceURLs");
        if !paths.is_empty() {
            return verbs.iter().all(|verb| *verb == "get");
        }
        let count = [&verbs, &groups, &resources, &names].iter().try_fold(1usize, |n, list| n.checked_mul(list.len()));
        if count.is_none_or(|count| count > RIGHTS_MAX) {
            return false;
        }
        let namespace = &self.path.namespace;
        verbs.iter().all(|verb| {
            groups.iter().all(|group| {
                resources.iter().all(|resource| {
                    let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
                    names.iter().all(|name| {
                        let action = Action { verb, group, resource, subresource, namespace, name };
                        rbac::allowed(&self.server, &self.identity, &action)
                    })
                })
            })
        })
    }
}
