//! Who may do what: roles and bindings in the store, evaluated as Kubernetes does.

use crate::request::Path;
use crate::server::{Identity, Inner};
use crate::status::{Refusal, Result};
use http::HeaderMap;
use object::{GroupResource, meta};
use serde_json::Value;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// May do everything.
pub const MASTERS: &str = "system:masters";
/// Everybody who is known.
pub const AUTHENTICATED: &str = "system:authenticated";
const SERVICE_ACCOUNT: &str = "system:serviceaccount:";
const SOURCES: [&str; 4] = [
    "roles.rbac.authorization.k8s.io",
    "clusterroles.rbac.authorization.k8s.io",
    "rolebindings.rbac.authorization.k8s.io",
    "clusterrolebindings.rbac.authorization.k8s.io",
];

/// What is asked for.
#[derive(Debug, Clone, Copy)]
pub struct Action<'a> {
    /// `get`.
    pub verb: &'a str,
    /// Empty for the core group.
    pub group: &'a str,
    /// `pods`.
    pub resource: &'a str,
    /// `log`, or empty.
    pub subresource: &'a str,
    /// Empty for all, or for cluster-scoped objects.
    pub namespace: &'a str,
    /// Empty for a collection.
    pub name: &'a str,
}

/// Roles and bindings, read once per change of any of them.
#[derive(Default)]
pub struct Cache(Mutex<([u64; 4], Arc<Roles>)>);

#[derive(Default)]
struct Roles {
    bindings: Vec<Binding>,
}

struct Binding {
    /// Empty: everywhere.
    namespace: String,
    subjects: Vec<Subject>,
    rules: Arc<[Rule]>,
}

enum Subject {
    User(String),
    Group(String),
}

#[derive(Debug)]
struct Rule {
    verbs: Vec<String>,
    groups: Vec<String>,
    resources: Vec<String>,
    names: Vec<String>,
}

/// 403 unless the caller may do this.
pub fn authorize_resource(server: &Inner, identity: &Identity, verb: &str, path: &Path) -> Result<()> {
    // Rights in a namespace cover reading the namespace itself.
    let namespace = if path.resource == "namespaces" && path.group.is_empty() { &path.name } else { &path.namespace };
    let action = Action {
        verb,
        group: &path.group,
        resource: &path.resource,
        subresource: &path.subresource,
        namespace,
        name: &path.name,
    };
    // A review of oneself is everybody's.
    let review = path.resource.starts_with("selfsubject") && verb == "create";
    if review || allowed(server, identity, &action) {
        return Ok(());
    }
    let mut resource = path.resource.clone();
    if !path.subresource.is_empty() {
        resource = format!("{resource}/{}", path.subresource);
    }
    let scope = if path.namespace.is_empty() {
        "at the cluster scope".into()
    } else {
        format!("in the namespace {:?}", path.namespace)
    };
    let why =
        format!("User {:?} cannot {verb} resource {resource:?} in API group {:?} {scope}", identity.user, path.group);
    let names = GroupResource { group: path.group.clone(), resource: path.resource.clone() };
    Err(Refusal::forbidden(&names, &path.name, why))
}

/// May do everything.
pub fn is_master(identity: &Identity) -> bool {
    identity.groups.iter().any(|group| group == MASTERS)
}

/// Whether somebody may do something.
pub fn allowed(server: &Inner, identity: &Identity, action: &Action<'_>) -> bool {
    if is_master(identity) {
        return true;
    }
    let roles = server.roles.get(server);
    roles.bindings.iter().any(|binding| {
        (binding.namespace.is_empty() || binding.namespace == action.namespace)
            && binding.subjects.iter().any(|subject| subject.is(identity))
            && binding.rules.iter().any(|rule| rule.covers(action))
    })
}

/// The identity that the caller wants to be, if they may.
pub fn impersonated(server: &Inner, identity: Identity, headers: &HeaderMap) -> Result<Identity> {
    let values = |name: &str| -> Vec<String> {
        headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).map(str::to_owned).collect()
    };
    let (users, mut groups) = (values("impersonate-user"), values("impersonate-group"));
    let Some(user) = users.into_iter().next() else {
        return if groups.is_empty() {
            Ok(identity)
        } else {
            Err(Refusal::internal("Impersonate-Group needs an Impersonate-User"))
        };
    };
    let account = user.strip_prefix(SERVICE_ACCOUNT).and_then(|rest| rest.split_once(':'));
    let user_action = match account {
        Some((namespace, name)) => ("serviceaccounts", namespace, name),
        None => ("users", "", user.as_str()),
    };
    let wanted = std::iter::once(user_action).chain(groups.iter().map(|group| ("groups", "", group.as_str())));
    for (resource, namespace, name) in wanted {
        let action = Action { verb: "impersonate", group: "", resource, subresource: "", namespace, name };
        if !allowed(server, &identity, &action) {
            let names = GroupResource { group: String::new(), resource: resource.into() };
            let why = format!("User {:?} cannot impersonate resource {resource:?} in API group \"\"", identity.user);
            return Err(Refusal::forbidden(&names, name, why));
        }
    }
    if let Some((namespace, _)) = account.filter(|_| groups.is_empty()) {
        groups.push("system:serviceaccounts".into());
        groups.push(format!("system:serviceaccounts:{namespace}"));
    }
    if !groups.iter().any(|group| group == AUTHENTICATED) {
        groups.push(AUTHENTICATED.into());
    }
    Ok(Identity { user, groups })
}

impl Cache {
    fn get(&self, server: &Inner) -> Arc<Roles> {
        let versions = SOURCES.map(|resource| server.store.last_change(resource));
        let mut cached = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if cached.0 != versions {
            *cached = (versions, Arc::new(Roles::read(server)));
        }
        cached.1.clone()
    }
}

impl Roles {
    fn read(server: &Inner) -> Self {
        let mut rules: HashMap<(String, String), Arc<[Rule]>> = HashMap::new();
        for source in &SOURCES[..2] {
            for object in server.store.list(source, "").objects {
                let place = (object.key.namespace.to_string(), object.key.name.to_string());
                let list = object.value()["rules"].as_array().cloned().unwrap_or_default();
                rules.insert(place, list.iter().map(Rule::read).collect());
            }
        }
        let mut bindings = Vec::new();
        for source in &SOURCES[2..] {
            for object in server.store.list(source, "").objects {
                let value = object.value();
                let namespace = object.key.namespace.to_string();
                let home = if value["roleRef"]["kind"] == "Role" { namespace.clone() } else { String::new() };
                let role = value["roleRef"]["name"].as_str().unwrap_or_default().to_owned();
                if let Some(rules) = rules.get(&(home, role)) {
                    let subjects = value["subjects"].as_array().into_iter().flatten();
                    let subjects =
                        subjects.filter_map(|subject| Subject::read(subject, meta(&value).namespace())).collect();
                    bindings.push(Binding { namespace, subjects, rules: rules.clone() });
                }
            }
        }
        Self { bindings }
    }
}

impl Subject {
    fn read(subject: &Value, namespace: &str) -> Option<Self> {
        let name = subject["name"].as_str()?;
        let home = subject["namespace"].as_str().unwrap_or(namespace);
        match subject["kind"].as_str()? {
            "User" => Some(Subject::User(name.into())),
            "Group" => Some(Subject::Group(name.into())),
            "ServiceAccount" => Some(Subject::User(format!("{SERVICE_ACCOUNT}{home}:{name}"))),
            _ => None,
        }
    }

    fn is(&self, identity: &Identity) -> bool {
        match self {
            Subject::User(name) => *name == identity.user,
            Subject::Group(name) => identity.groups.contains(name),
        }
    }
}

impl Rule {
    fn read(rule: &Value) -> Self {
        let strings = |key: &str| {
            let list = rule[key].as_array().into_iter().flatten();
            list.filter_map(Value::as_str).map(str::to_owned).collect()
        };
        Self {
            verbs: strings("verbs"),
            groups: strings("apiGroups"),
            resources: strings("resources"),
            names: strings("resourceNames"),
        }
    }

    fn covers(&self, action: &Action<'_>) -> bool {
        let has = |list: &[String], wanted: &str| list.iter().any(|known| known == "*" || known == wanted);
        let resource = match action.subresource {
            // What is asked for every resource is asked for every part of them.
            "" => has(&self.resources, action.resource),
            part => {
                let exact = format!("{}/{part}", action.resource);
                let any = format!("*/{part}");
                self.resources.iter().any(|known| *known == "*" || *known == exact || *known == any)
            }
        };
        has(&self.verbs, action.verb)
            && has(&self.groups, action.group)
            && resource
            && (self.names.is_empty() || self.names.iter().any(|known| known == action.name))
    }
}
