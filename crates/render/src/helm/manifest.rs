//! What templates wrote, as documents in the order in which they are applied.

use super::Error;
use super::chart::Texts;
use super::node::Node;
use std::collections::BTreeMap;
use yaml::{Dialect, Kind};

/// A document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// `chart/templates/file.yaml`.
    pub path: String,
    /// Its text, without space around.
    pub text: String,
    /// `apiVersion`; empty if it has none.
    pub api_version: String,
    /// `kind`; empty if it has none.
    pub kind: String,
    /// `metadata.name`; empty if it has none.
    pub name: String,
}

/// A document that is applied at some event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hook {
    /// The document.
    pub document: Document,
    /// `pre-install`, `post-upgrade`, …
    pub events: Vec<String>,
    /// Lower ones come first.
    pub weight: i64,
    /// `before-hook-creation`, `hook-succeeded`, `hook-failed`.
    pub delete_policies: Vec<String>,
}

/// What a chart stands for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rendered {
    /// Files of `crds/`, of this chart first.
    pub crds: Vec<(String, String)>,
    /// Documents by kind, and by place.
    pub manifests: Vec<Document>,
    /// Hooks by kind, and by place.
    pub hooks: Vec<Hook>,
    /// `NOTES.txt` of the chart itself.
    pub notes: String,
}

const INSTALL_ORDER: [&str; 36] = [
    "PriorityClass",
    "Namespace",
    "NetworkPolicy",
    "ResourceQuota",
    "LimitRange",
    "PodSecurityPolicy",
    "PodDisruptionBudget",
    "ServiceAccount",
    "Secret",
    "SecretList",
    "ConfigMap",
    "StorageClass",
    "PersistentVolume",
    "PersistentVolumeClaim",
    "CustomResourceDefinition",
    "ClusterRole",
    "ClusterRoleList",
    "ClusterRoleBinding",
    "ClusterRoleBindingList",
    "Role",
    "RoleList",
    "RoleBinding",
    "RoleBindingList",
    "Service",
    "DaemonSet",
    "Pod",
    "ReplicationController",
    "ReplicaSet",
    "Deployment",
    "HorizontalPodAutoscaler",
    "StatefulSet",
    "Job",
    "CronJob",
    "IngressClass",
    "Ingress",
    "APIService",
];

const EVENTS: [&str; 10] = [
    "pre-install",
    "post-install",
    "pre-delete",
    "post-delete",
    "pre-upgrade",
    "post-upgrade",
    "pre-rollback",
    "post-rollback",
    "test",
    "test-success",
];

/// Known kinds in their order, then the others by name.
fn rank(kind: &str) -> (usize, &str) {
    match INSTALL_ORDER.iter().position(|known| *known == kind) {
        Some(position) => (position, ""),
        None => (INSTALL_ORDER.len(), kind),
    }
}

/// Sorts what the files of templates wrote.
pub(super) fn sorted(root: &Node, files: BTreeMap<String, String>, texts: &Texts) -> Result<Rendered, Error> {
    let mut rendered = Rendered::default();
    crds(root, &root.name, &mut rendered.crds);
    let notes = format!("{}/templates/NOTES.txt", root.name);
    for (path, text) in files {
        if path.ends_with("NOTES.txt") {
            if path == notes {
                rendered.notes = text;
            }
            continue;
        }
        let documents = split(&text);
        if let [document] = documents.as_slice() {
            // The text of most files is that of their only document.
            let start = document.as_ptr().addr() - text.as_ptr().addr();
            let end = start + document.len();
            add(&mut rendered, &path, cut(text, start, end), texts)?;
        } else {
            documents.iter().try_for_each(|document| add(&mut rendered, &path, (*document).to_owned(), texts))?;
        }
    }
    rendered.manifests.sort_by(|a, b| rank(&a.kind).cmp(&rank(&b.kind)));
    rendered.hooks.sort_by(|a, b| rank(&a.document.kind).cmp(&rank(&b.document.kind)));
    Ok(rendered)
}

/// A part of a text, in its memory.
fn cut(mut text: String, start: usize, end: usize) -> String {
    text.truncate(end);
    text.drain(..start);
    text.shrink_to_fit();
    text
}

fn crds(node: &Node, path: &str, crds: &mut Vec<(String, String)>) {
    for file in &node.tree.files {
        let extension = file.name.rsplit_once('.').map_or("", |(_, extension)| extension).to_ascii_lowercase();
        if file.name.starts_with("crds/") && matches!(extension.as_str(), "yaml" | "yml" | "json") {
            crds.push((format!("{path}/{}", file.name), template::from_bytes(&file.bytes)));
        }
    }
    for child in &node.children {
        self::crds(child, &format!("{path}/charts/{}", child.name), crds);
    }
}

fn is_space(character: char) -> bool {
    matches!(character, ' ' | '\t' | '\n' | '\r' | '\x0c')
}

/// The documents of a text: between lines that begin with `---`, without space around.
pub(super) fn split(text: &str) -> Vec<&str> {
    let text = text.trim();
    let mut documents = Vec::new();
    let (mut start, mut from) = (0, 0);
    while let Some(found) = memchr::memmem::find(&text.as_bytes()[from..], b"---") {
        let at = from + found;
        // The line's end before it belongs to it, so that it cannot follow another one directly.
        if at > 0 && (at == start || !text[..at].ends_with('\n')) {
            from = at + 1;
            continue;
        }
        documents.push(text[start..at].trim_end_matches(is_space));
        let rest = &text[at + 3..];
        start = text.len() - rest.trim_start_matches(is_space).len();
        from = start;
    }
    documents.push(&text[start..]);
    documents.retain(|document| !document.is_empty());
    documents.into_iter().map(str::trim).collect()
}

fn add(rendered: &mut Rendered, path: &str, text: String, texts: &Texts) -> Result<(), Error> {
    let fail = |problem: String| Error::Manifest(format!("YAML parse error on {path}: {problem}"));
    let head = texts.head(&text, Head::read).map_err(fail)?;
    let document = Document {
        path: path.to_owned(),
        text,
        api_version: head.api_version.clone(),
        kind: head.kind.clone(),
        name: head.name.clone(),
    };
    let annotation =
        |name: &str| head.annotations.iter().rfind(|(key, _)| key == name).map(|(_, value)| value.as_str());
    let Some(hook) = annotation("helm.sh/hook") else {
        rendered.manifests.push(document);
        return Ok(());
    };
    let words = |text: &str| text.split(',').map(|word| word.trim().to_lowercase()).collect::<Vec<_>>();
    let events = words(hook);
    if !events.iter().all(|event| EVENTS.contains(&event.as_str())) {
        return Ok(());
    }
    let events = events.iter().map(|event| event.replace("test-success", "test")).collect();
    let weight = annotation("helm.sh/hook-weight").and_then(|weight| weight.parse().ok()).unwrap_or(0);
    let delete_policies = annotation("helm.sh/hook-delete-policy").map(words).unwrap_or_default();
    rendered.hooks.push(Hook { document, events, weight, delete_policies });
    Ok(())
}

/// What is looked at of a document.
#[derive(Debug, Default)]
pub(super) struct Head {
    api_version: String,
    kind: String,
    name: String,
    annotations: Vec<(String, String)>,
}

impl Head {
    fn read(text: &str) -> Result<Self, String> {
        let wrong = |error: yaml::Error| {
            format!("error converting YAML to JSON: yaml: line {}: {}", error.line, error.reason())
        };
        let nodes = yaml::parse_fields(text, "", &["apiVersion", "kind", "metadata"]).map_err(wrong)?;
        let Some(node) = nodes.first() else { return Ok(Self::default()) };
        let Kind::Mapping(pairs) = &node.kind else {
            return match yaml::to_json(node, Dialect::V2).map_err(wrong)? {
                serde_json::Value::Null => Ok(Self::default()),
                other => Err(not(name_of(&other), "value of type releaseutil.SimpleHead")),
            };
        };
        let mut head = Self::default();
        for (key, value) in pairs {
            let Kind::Scalar(key, _) = &key.kind else { continue };
            match key.as_str() {
                "apiVersion" => {
                    head.api_version = text_of(value)
                        .map_err(|what| not(what, "struct field SimpleHead.apiVersion of type string"))?;
                }
                "kind" => {
                    head.kind =
                        text_of(value).map_err(|what| not(what, "struct field SimpleHead.kind of type string"))?;
                }
                "metadata" => head.metadata(value).map_err(|(what, field)| not(what, &field))?,
                _ => {}
            }
        }
        Ok(head)
    }

    fn metadata(&mut self, node: &yaml::Node) -> Result<(), (&'static str, String)> {
        let field = |name: &str| format!("struct field .metadata.{name} of type string");
        let pairs = match &node.kind {
            Kind::Mapping(pairs) => pairs,
            Kind::Scalar(..) if text_of(node).is_ok_and(|text| text.is_empty()) => return Ok(()),
            _ => return Err(("string", "struct field SimpleHead.metadata of type struct".into())),
        };
        for (key, value) in pairs {
            let Kind::Scalar(key, _) = &key.kind else { continue };
            match key.as_str() {
                "name" => self.name = text_of(value).map_err(|what| (what, field("name")))?,
                "annotations" => {
                    self.annotations.clear();
                    let Kind::Mapping(pairs) = &value.kind else {
                        match text_of(value) {
                            Ok(text) if text.is_empty() => continue,
                            Ok(_) => {
                                return Err((
                                    "string",
                                    "struct field .metadata.annotations of type map[string]string".into(),
                                ));
                            }
                            Err(what) => {
                                return Err((
                                    what,
                                    "struct field .metadata.annotations of type map[string]string".into(),
                                ));
                            }
                        }
                    };
                    for (key, value) in pairs {
                        let Kind::Scalar(key, _) = &key.kind else { continue };
                        let value = text_of(value).map_err(|what| (what, field("annotations")))?;
                        self.annotations.push((key.clone(), value));
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }
}

fn not(what: &str, wanted: &str) -> String {
    let told = "error unmarshaling JSON: while decoding JSON: json: cannot unmarshal";
    format!("{told} {what} into Go {wanted}")
}

fn name_of(json: &serde_json::Value) -> &'static str {
    match json {
        serde_json::Value::Array(_) => "array",
        serde_json::Value::Object(_) => "object",
        serde_json::Value::Bool(_) => "bool",
        serde_json::Value::Number(_) => "number",
        _ => "string",
    }
}

/// A scalar as Go reads it into a text.
fn text_of(node: &yaml::Node) -> Result<String, &'static str> {
    match yaml::to_json(node, Dialect::V2) {
        Ok(serde_json::Value::String(text)) => Ok(text),
        Ok(serde_json::Value::Null) => Ok(String::new()),
        Ok(serde_json::Value::Bool(flag)) => Ok(flag.to_string()),
        Ok(serde_json::Value::Number(number)) => Ok(match number.as_i64() {
            Some(int) => int.to_string(),
            None => template::float(number.as_f64().unwrap_or(0.0)),
        }),
        Ok(other) => Err(name_of(&other)),
        Err(_) => Err("value"),
    }
}
