//! What a request asks for: its path, its query.

use crate::status::{Refusal, Result};
use crate::store::Stored;
use crate::strategy::rules::unsupported;
use http::Method;
use object::selector::{FieldSelector, LabelSelector};
use serde_json::json;

/// A path below `/api` or `/apis` that names objects.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Path {
    /// Empty for the core group.
    pub group: String,
    /// `v1`.
    pub version: String,
    /// Empty if none is named.
    pub namespace: String,
    /// Plural.
    pub resource: String,
    /// Empty for the collection.
    pub name: String,
    /// Empty for the object itself.
    pub subresource: String,
}

impl Path {
    /// `None` if the path names no objects.
    pub fn parse(path: &str) -> Option<Self> {
        let decoded: Vec<String> =
            path.trim_matches('/').split('/').map(|part| decode(part, false)).collect::<Option<_>>()?;
        let parts: Vec<&str> = decoded.iter().map(String::as_str).collect();
        let (group, version, rest) = match parts.as_slice() {
            ["api", version, rest @ ..] => ("", *version, rest),
            ["apis", group, version, rest @ ..] => (*group, *version, rest),
            _ => return None,
        };
        let (namespace, rest) = match rest {
            // The namespace itself and its subresources, not things in it.
            ["namespaces", _, "status" | "finalize"] | ["namespaces"] | ["namespaces", _] => ("", rest),
            ["namespaces", namespace, rest @ ..] => (*namespace, rest),
            rest => ("", rest),
        };
        let (resource, name, subresource) = match rest {
            [resource] => (*resource, "", ""),
            [resource, name] => (*resource, *name, ""),
            [resource, name, subresource] => (*resource, *name, *subresource),
            _ => return None,
        };
        if [version, resource].contains(&"") || (rest.len() > 1 && name.is_empty()) {
            return None;
        }
        Some(Self {
            group: group.into(),
            version: version.into(),
            namespace: namespace.into(),
            resource: resource.into(),
            name: name.into(),
            subresource: subresource.into(),
        })
    }
}

/// What is done to objects, as roles name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// One object.
    Get,
    /// A collection.
    List,
    /// A collection, from now on.
    Watch,
    /// A new object.
    Create,
    /// A whole object.
    Update,
    /// A part of an object.
    Patch,
    /// One object.
    Delete,
    /// A collection.
    DeleteCollection,
}

impl Verb {
    /// From the method and what it is applied to; `None` if that is not done.
    pub fn of(method: &Method, path: &Path, query: &Query) -> Option<Self> {
        let one = !path.name.is_empty();
        Some(match *method {
            Method::GET | Method::HEAD if one => Verb::Get,
            Method::GET | Method::HEAD if query.flag("watch") => Verb::Watch,
            Method::GET | Method::HEAD => Verb::List,
            Method::POST if !one || !path.subresource.is_empty() => Verb::Create,
            Method::PUT if one => Verb::Update,
            Method::PATCH if one => Verb::Patch,
            Method::DELETE if one => Verb::Delete,
            Method::DELETE => Verb::DeleteCollection,
            _ => return None,
        })
    }

    /// The kind that holds the query's parameters of this verb.
    pub fn options(self) -> &'static str {
        match self {
            Verb::Get => "GetOptions",
            Verb::List | Verb::Watch => "ListOptions",
            Verb::Create => "CreateOptions",
            Verb::Update => "UpdateOptions",
            Verb::Patch => "PatchOptions",
            Verb::Delete | Verb::DeleteCollection => "DeleteOptions",
        }
    }

    /// `deletecollection`.
    pub fn name(self) -> &'static str {
        match self {
            Verb::Get => "get",
            Verb::List => "list",
            Verb::Watch => "watch",
            Verb::Create => "create",
            Verb::Update => "update",
            Verb::Patch => "patch",
            Verb::Delete => "delete",
            Verb::DeleteCollection => "deletecollection",
        }
    }
}

/// The part of a URI behind the question mark.
#[derive(Debug, Clone, Default)]
pub struct Query(Vec<(String, String)>);

impl Query {
    /// Pairs that cannot be decoded are dropped.
    pub fn parse(text: &str) -> Self {
        let pair = |part: &str| {
            let (key, value) = part.split_once('=').unwrap_or((part, ""));
            Some((decode(key, true)?, decode(value, true)?))
        };
        Self(text.split('&').filter(|part| !part.is_empty()).filter_map(pair).collect())
    }

    /// The first value; empty if there is none.
    pub fn get(&self, key: &str) -> &str {
        self.0.iter().find(|(known, _)| known == key).map_or("", |(_, value)| value)
    }

    /// Every value.
    pub fn all<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(known, _)| known == key).map(|(_, value)| value.as_str())
    }

    /// All pairs.
    pub fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// `true`, `1`, or nothing but the key.
    pub fn flag(&self, key: &str) -> bool {
        self.0
            .iter()
            .find(|(known, _)| known == key)
            .is_some_and(|(_, value)| matches!(value.as_str(), "" | "1" | "true" | "True"))
    }

    /// A number; `None` if the key is absent.
    pub fn number(&self, key: &str) -> Result<Option<u64>> {
        match self.get(key) {
            "" => Ok(None),
            text => text
                .parse()
                .map(Some)
                .map_err(|_| Refusal::bad_request(format!("{key}: Invalid value: {text:?}: must be a whole number"))),
        }
    }

    /// Whether `dryRun=All` is asked for.
    pub fn dry_run(&self, verb: Verb) -> Result<bool> {
        let values: Vec<&str> = self.all("dryRun").filter(|value| !value.is_empty()).collect();
        match values.as_slice() {
            [] => Ok(false),
            all if all.iter().all(|value| *value == "All") => Ok(true),
            [..] => {
                let error = unsupported("dryRun", &json!(values), &["All"]);
                Err(Refusal::invalid_option(verb.options(), error))
            }
        }
    }
}

/// What a list or watch is narrowed to.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    /// By labels.
    pub labels: LabelSelector,
    /// By fields; a path that names one object adds its name.
    pub fields: FieldSelector,
}

impl Selection {
    /// From `labelSelector` and `fieldSelector`; 400 if they cannot be read, or select by a field that the
    /// resource does not offer.
    pub fn parse(query: &Query, resource: &str, api_version: &str) -> Result<Self> {
        let bad = |error: object::selector::SelectorError| Refusal::bad_request(error.to_string());
        let labels = LabelSelector::parse(query.get("labelSelector")).map_err(bad)?;
        let fields = FieldSelector::parse(query.get("fieldSelector")).map_err(bad)?;
        let offered = crate::builtin::selectable(resource);
        let unknown = fields.terms().iter().find(|term| {
            !matches!(term.path.as_str(), "metadata.name" | "metadata.namespace") && !offered.contains(&&*term.path)
        });
        if let Some(term) = unknown.filter(|_| offered.is_empty()) {
            return Err(Refusal::bad_request(format!(
                "{:?} is not a known field selector: only \"metadata.name\", \"metadata.namespace\"",
                term.path
            )));
        }
        if let Some(term) = unknown {
            let plural = resource.split('.').next().unwrap_or(resource);
            let version = if api_version.contains('/') { api_version.to_owned() } else { format!("/{api_version}") };
            return Err(Refusal::bad_request(format!(
                "Unable to find \"{version}, Resource={plural}\" that match label selector {:?}, field selector {:?}: field label not supported: {}",
                query.get("labelSelector"),
                query.get("fieldSelector"),
                term.path
            )));
        }
        Ok(Self { labels, fields })
    }

    /// True if the object is wanted.
    pub fn matches(&self, object: &Stored) -> bool {
        let field = |path: &str| object.field(path).unwrap_or_default();
        self.fields.terms().iter().all(|term| (field(&term.path) == term.value) != term.negated)
            && self.labels.matches_with(|key| object.label(key))
    }
}

/// Resolves `%41`, and in queries `+`; `None` if what comes out is no UTF-8.
fn decode(text: &str, query: bool) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, behind)) = rest.split_first() {
        rest = behind;
        match first {
            b'%' => {
                let (code, behind) = rest.split_at_checked(2)?;
                bytes.push(u8::from_str_radix(std::str::from_utf8(code).ok()?, 16).ok()?);
                rest = behind;
            }
            b'+' if query => bytes.push(b' '),
            other => bytes.push(*other),
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths() {
        let cases = [
            ("/api/v1/pods", ["", "v1", "", "pods", "", ""]),
            ("/api/v1/namespaces/a/pods/b/log", ["", "v1", "a", "pods", "b", "log"]),
            ("/api/v1/namespaces/a", ["", "v1", "", "namespaces", "a", ""]),
            ("/api/v1/namespaces/a/finalize", ["", "v1", "", "namespaces", "a", "finalize"]),
            ("/apis/apps/v1/namespaces/a/deployments", ["apps", "v1", "a", "deployments", "", ""]),
            (
                "/apis/rbac.authorization.k8s.io/v1/clusterroles/system%3Ax",
                ["rbac.authorization.k8s.io", "v1", "", "clusterroles", "system:x", ""],
            ),
        ];
        for (path, expected) in cases {
            let found = Path::parse(path).expect(path);
            let found = [found.group, found.version, found.namespace, found.resource, found.name, found.subresource];
            assert_eq!(found, expected, "{path}");
        }
        for path in ["/api", "/api/v1", "/apis/apps/v1", "/", "/api/v1/a/b/c/d/e", "/api/v1/pods/%zz"] {
            assert_eq!(Path::parse(path), None, "{path}");
        }
    }
}
