//! What Kubernetes says of its types beyond their shape: which lists merge, by which keys, and what is replaced as a whole.
//!
//! One table for two versions, `data/facts.txt`, written by `cargo xtask schema`: overlays merge as the Kubernetes does that
//! Kustomize has built in; server-side apply, strategic merge patches and the published schemas are those of the version
//! that is served. Most rows hold for both and stand first; then come those of the older alone, then those of the newer.

use serde_json::{Map, Value};
use std::collections::HashMap;

/// Whose facts are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Edition {
    /// Kubernetes 1.21, which Kustomize 5.8 has built in.
    Kustomize,
    /// The version whose API is served, [`super::KUBERNETES_VERSION`].
    Served,
}

/// A row of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Row<'t> {
    /// A kind of this API version is of a type; none: nothing in it merges. Of [`Edition::Kustomize`] only.
    Kind { api_version: &'t str, kind: &'t str, ty: Type<'t> },
    /// What follows is of this type.
    Type { name: &'t str, facts: Facts<'t> },
    /// A field, and the type of its value or items; `*` are those without a name.
    Field { name: &'t str, ty: &'t str, facts: Facts<'t> },
}

/// The type of a kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Type<'t> {
    /// `-`: nothing in it merges.
    Named(&'t str),
    /// It has the name of the kind, behind this prefix and a dot.
    Prefixed(&'t str),
}

/// What is said of a field or type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Facts<'t> {
    /// `x-kubernetes-list-type`; a list of which nothing is said is `atomic`, and `none` one that has no such word.
    list: Option<&'t str>,
    /// `x-kubernetes-list-map-keys`, with commas.
    keys: Option<&'t str>,
    /// `x-kubernetes-map-type`.
    map: Option<&'t str>,
    /// `x-kubernetes-patch-strategy`.
    patch: Option<&'t str>,
    /// `x-kubernetes-patch-merge-key`.
    key: Option<&'t str>,
}

impl<'t> Facts<'t> {
    fn of(words: &[&'t str]) -> Self {
        let mut facts = Self::default();
        for (name, value) in words.iter().filter_map(|word| word.split_once('=')) {
            match name {
                "list" => facts.list = Some(value),
                "keys" => facts.keys = Some(value),
                "map" => facts.map = Some(value),
                "patch" => facts.patch = Some(value),
                "key" => facts.key = Some(value),
                _ => {}
            }
        }
        facts.list = facts.list.or(facts.keys.map(|_| "map"));
        facts.patch = facts.patch.or(facts.key.map(|_| "merge"));
        facts
    }

    /// The fields that tell items of a list apart which strategic merge merges, as Kustomize finds them: none for plain
    /// texts. `None`: it replaces the list as a whole.
    pub fn merge_keys(&self) -> Option<impl Iterator<Item = &'t str> + use<'t>> {
        let merges = self.patch.is_some_and(|words| words.split(',').any(|word| word == "merge"));
        merges.then(|| self.keys.or(self.key).into_iter().flat_map(|keys| keys.split(',')))
    }

    /// As OpenAPI says it.
    fn written(&self, schema: &mut Map<String, Value>) {
        let is_list = schema.get("type").and_then(Value::as_str) == Some("array");
        let list = self.list.or(is_list.then_some("atomic")).filter(|word| *word != "none");
        let keys = self.keys.map(|keys| keys.split(',').collect::<Vec<_>>());
        let words = [
            ("list-type", list),
            ("map-type", self.map),
            ("patch-merge-key", self.key),
            ("patch-strategy", self.patch),
        ];
        let before = schema.len();
        schema.extend(keys.map(|keys| ("x-kubernetes-list-map-keys".to_owned(), keys.into())));
        let said = words.into_iter().filter_map(|(name, word)| Some((format!("x-kubernetes-{name}"), word?.into())));
        schema.extend(said);
        if schema.len() != before {
            schema.sort_keys();
        }
    }
}

static TABLE: &str = include_str!("../../data/facts.txt");
/// Begins the rows that hold for both, those of one alone, and those of the other.
const SECTION: &str = "== ";

/// The rows that hold for an edition, in their order.
pub fn rows(edition: Edition) -> impl Iterator<Item = Row<'static>> {
    rows_of(TABLE, edition)
}

fn rows_of(table: &str, edition: Edition) -> impl Iterator<Item = Row<'_>> {
    // Of the sections, the first is everybody's.
    let mut parts = table.split(SECTION).skip(1);
    let both = parts.next();
    let own = match edition {
        Edition::Kustomize => parts.next(),
        Edition::Served => parts.nth(1),
    };
    let lines = both.into_iter().chain(own).flat_map(|part| part.lines().skip(1));
    let mut kinds: Option<(&str, &str)> = None;
    lines.filter_map(move |line| {
        let mut words = [""; 8];
        let mut count = 0;
        for word in line.split_ascii_whitespace().take(words.len()) {
            words[count] = word;
            count += 1;
        }
        let words = &words[..count];
        match (words, line.starts_with(' '), kinds) {
            (["kinds", api_version, prefix], false, _) => {
                kinds = Some((api_version, prefix));
                None
            }
            (["type", name, facts @ ..], false, _) => {
                kinds = None;
                Some(Row::Type { name, facts: Facts::of(facts) })
            }
            ([kind, ty @ ..], true, Some((api_version, prefix))) => {
                let ty = ty.first().map_or(Type::Prefixed(prefix), |ty| Type::Named(ty));
                Some(Row::Kind { api_version, kind, ty })
            }
            ([name, ty, facts @ ..], true, None) => Some(Row::Field { name, ty, facts: Facts::of(facts) }),
            _ => None,
        }
    })
}

/// Says of the definitions what the table says of their types.
pub(super) fn apply(definitions: &mut Map<String, Value>) {
    let mut types: HashMap<&str, (Facts<'_>, HashMap<&str, Facts<'_>>)> = HashMap::new();
    let mut open = "";
    for row in rows(Edition::Served) {
        match row {
            Row::Kind { .. } => {}
            Row::Type { name, facts } => {
                open = name;
                let known = types.entry(name).or_default();
                known.0 = if facts == Facts::default() { known.0 } else { facts };
            }
            Row::Field { name, facts, .. } => drop(types.entry(open).or_default().1.insert(name, facts)),
        }
    }
    let none = HashMap::new();
    for (name, definition) in definitions {
        let (own, fields) = types.get(short(name)).map_or((Facts::default(), &none), |(own, fields)| (*own, fields));
        let Some(definition) = definition.as_object_mut() else { continue };
        own.written(definition);
        let properties = definition.get_mut("properties").and_then(Value::as_object_mut);
        for (field, schema) in properties.into_iter().flatten() {
            if let Some(schema) = schema.as_object_mut() {
                fields.get(field.as_str()).copied().unwrap_or_default().written(schema);
            }
        }
    }
}

/// Names of Kubernetes' own types, as the table has them.
pub fn short(name: &str) -> &str {
    let prefixes = ["io.k8s.api.", "io.k8s.apimachinery.pkg.apis.", "io.k8s."];
    prefixes.iter().find_map(|prefix| name.strip_prefix(prefix)).unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_row_for_both_is_read_by_both_and_others_by_their_own() {
        let table = "# words\n== both\nkinds apps/v1 apps.v1\n Deployment\n List -\ntype core.v1.PodSpec\n containers core.v1.Container keys=name key=name\n\
            == older\ntype core.v1.PodSpec\n old - patch=merge\n== newer\ntype core.v1.PodSpec map=atomic\n new - list=set\n";
        let told = |edition| -> Vec<String> {
            let row = |row| match row {
                Row::Kind { kind, ty, .. } => format!("{kind} {ty:?}"),
                Row::Type { name, .. } => name.to_owned(),
                Row::Field { name, facts, .. } => {
                    format!("{name} {:?}", facts.merge_keys().map(|keys| keys.collect::<Vec<_>>()))
                }
            };
            rows_of(table, edition).map(row).collect()
        };
        let both =
            ["Deployment Prefixed(\"apps.v1\")", "List Named(\"-\")", "core.v1.PodSpec", "containers Some([\"name\"])"];
        let with = |own: [&'static str; 2]| both.iter().copied().chain(own).collect::<Vec<_>>();
        assert_eq!(told(Edition::Kustomize), with(["core.v1.PodSpec", "old Some([])"]));
        assert_eq!(told(Edition::Served), with(["core.v1.PodSpec", "new None"]));
    }

    #[test]
    fn the_published_schemas_say_what_the_table_says() {
        let definitions = crate::schema::builtin::definitions();
        let pod = &definitions["io.k8s.api.core.v1.PodSpec"]["properties"];
        let keys: Vec<(&str, &Value)> =
            pod["containers"].as_object().unwrap().iter().map(|(k, v)| (k.as_str(), v)).skip(2).collect();
        let said = [
            ("x-kubernetes-list-map-keys", &json!(["name"])),
            ("x-kubernetes-list-type", &json!("map")),
            ("x-kubernetes-patch-merge-key", &json!("name")),
            ("x-kubernetes-patch-strategy", &json!("merge")),
        ];
        assert_eq!(keys, said);
        assert_eq!(pod["volumes"]["x-kubernetes-patch-strategy"], "merge,retainKeys");
        assert_eq!(pod["resourceClaims"]["x-kubernetes-patch-merge-key"], "name", "of the newer version alone");
    }
}
