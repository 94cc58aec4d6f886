//! Which lists of which types merge, and by which keys.

use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

/// A field that leads to lists which merge.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Field {
    /// Its type; of a list, that of its items.
    ty: String,
    /// Of a list that merges; none for plain texts.
    keys: Option<Vec<String>>,
}

/// Kinds and types of one version of Kubernetes.
pub struct Table {
    /// `apps/v1 Deployment` → its type.
    kinds: BTreeMap<String, String>,
    /// Only those that lead to a list that merges.
    types: BTreeMap<String, BTreeMap<String, Field>>,
}

/// From an OpenAPI document (v2), or one made of several (v3).
pub fn of(document: &Value) -> Table {
    let none = Map::new();
    let definitions = document["definitions"].as_object().unwrap_or(&none);
    let all: BTreeMap<&String, BTreeMap<String, Field>> =
        definitions.iter().map(|(name, definition)| (name, fields(definition))).collect();
    // Whatever leads to a list that merges, until nothing is new.
    let mut leads: BTreeSet<&str> = BTreeSet::new();
    loop {
        let found: Vec<&str> = all
            .iter()
            .filter(|(name, fields)| {
                !leads.contains(name.as_str())
                    && fields.values().any(|field| field.keys.is_some() || leads.contains(field.ty.as_str()))
            })
            .map(|(name, _)| name.as_str())
            .collect();
        if found.is_empty() {
            break;
        }
        leads.extend(found);
    }
    let mut table = Table { kinds: BTreeMap::new(), types: BTreeMap::new() };
    let mut wanted = Vec::new();
    for (name, definition) in definitions {
        for kind in definition["x-kubernetes-group-version-kind"].as_array().into_iter().flatten() {
            let text = |key: &str| kind[key].as_str().unwrap_or_default();
            if matches!(text("kind"), "DeleteOptions" | "WatchEvent") {
                continue;
            }
            let group = if text("group").is_empty() { String::new() } else { format!("{}/", text("group")) };
            let leads = leads.contains(name.as_str());
            let ty = if leads { name.clone() } else { "-".to_owned() };
            table.kinds.insert(format!("{group}{} {}", text("version"), text("kind")), ty);
            wanted.extend(leads.then_some(name.as_str()));
        }
    }
    while let Some(name) = wanted.pop() {
        if table.types.contains_key(name) {
            continue;
        }
        let mut kept = BTreeMap::new();
        for (field, known) in
            all.iter().find(|(known, _)| known.as_str() == name).into_iter().flat_map(|(_, fields)| fields)
        {
            let further = leads.get(known.ty.as_str());
            wanted.extend(further);
            if known.keys.is_some() || further.is_some() {
                let ty = further.map_or("-".to_owned(), |ty| (*ty).to_owned());
                kept.insert(field.clone(), Field { ty, keys: known.keys.clone() });
            }
        }
        table.types.insert(name.to_owned(), kept);
    }
    table
}

fn fields(definition: &Value) -> BTreeMap<String, Field> {
    let properties = definition["properties"].as_object().into_iter().flatten();
    let values = Some(&definition["additionalProperties"]).filter(|values| values.is_object());
    let others = values.map(|values| ("*".to_owned(), values));
    let named = properties.map(|(name, schema)| (name.clone(), schema)).chain(others);
    named.filter_map(|(name, schema)| Some((name, field(schema)?))).collect()
}

fn field(schema: &Value) -> Option<Field> {
    if schema["type"] != "array" {
        return Some(Field { ty: referred(schema)?, keys: None });
    }
    let strategy = schema["x-kubernetes-patch-strategy"].as_str().unwrap_or_default();
    if !strategy.split(',').any(|word| word == "merge") {
        return None;
    }
    let listed = schema["x-kubernetes-list-map-keys"].as_array().filter(|keys| !keys.is_empty());
    let keys: Vec<String> = match listed {
        Some(keys) => keys.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        None => schema["x-kubernetes-patch-merge-key"].as_str().map(str::to_owned).into_iter().collect(),
    };
    Some(Field { ty: referred(&schema["items"]).unwrap_or_else(|| "-".into()), keys: Some(keys) })
}

/// `$ref`, which v3 documents wrap because of a default beside it.
fn referred(schema: &Value) -> Option<String> {
    let reference = schema["$ref"].as_str().or_else(|| schema["allOf"][0]["$ref"].as_str())?;
    Some(reference.rsplit('/').next().unwrap_or_default().to_owned())
}

fn short(name: &str) -> &str {
    let prefixes = ["io.k8s.api.", "io.k8s.apimachinery.pkg.apis.", "io.k8s."];
    prefixes.iter().find_map(|prefix| name.strip_prefix(prefix)).unwrap_or(name)
}

/// As `crates/render` reads it.
pub fn printed(table: &Table) -> String {
    let mut text = "# How kustomize 5.8 merges: the published OpenAPI of Kubernetes 1.21.2, of which only what leads to lists that
# strategic merge does not replace as a whole is kept.
# kind APIVERSION KIND TYPE (\"-\": no such list); type NAME, then its fields: \" NAME TYPE\" or \" NAME [KEYS] TYPE-OF-ITEMS\".
"
    .to_owned();
    for (kind, ty) in &table.kinds {
        let _ = writeln!(text, "kind {kind} {}", short(ty));
    }
    for (name, fields) in &table.types {
        let _ = writeln!(text, "type {}", short(name));
        for (field, known) in fields {
            let keys = known.keys.as_ref().map(|keys| format!("[{}] ", keys.join(","))).unwrap_or_default();
            let _ = writeln!(text, " {field} {keys}{}", short(&known.ty));
        }
    }
    text
}

/// Where two versions tell different things of a type that both have.
pub struct Differences {
    /// Types that are equal.
    pub alike: usize,
    /// `TYPE.FIELD: one, other`.
    pub lines: Vec<String>,
}

pub fn differences(older: &Table, newer: &Table) -> Differences {
    let mut found = Differences { alike: 0, lines: Vec::new() };
    for (name, before) in &older.types {
        let Some(after) = newer.types.get(name) else { continue };
        let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
        let count = found.lines.len();
        for field in names {
            let told = |fields: &BTreeMap<String, Field>| match fields.get(field).map(|field| &field.keys) {
                None => "replaced or absent".to_owned(),
                Some(None) => "entered".to_owned(),
                Some(Some(keys)) => format!("merged by [{}]", keys.join(",")),
            };
            let (before, after) = (told(before), told(after));
            if before != after {
                found.lines.push(format!("{}.{field}: {before} in kustomize, {after} as served", short(name)));
            }
        }
        found.alike += usize::from(count == found.lines.len());
    }
    found
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    #[test]
    fn only_what_leads_to_lists_that_merge_is_kept() {
        let list = json!({"type": "array", "items": {"$ref": "#/definitions/io.k8s.api.core.v1.Port"},
            "x-kubernetes-patch-strategy": "merge", "x-kubernetes-patch-merge-key": "port"});
        let document = json!({"definitions": {
            "io.k8s.api.core.v1.Service": {
                "properties": {"spec": {"allOf": [{"$ref": "#/definitions/io.k8s.api.core.v1.Spec"}]}, "kind": {"type": "string"}},
                "x-kubernetes-group-version-kind": [{"group": "", "version": "v1", "kind": "Service"}]},
            "io.k8s.api.core.v1.Spec": {"properties": {"ports": list, "ips": {"type": "array", "items": {"type": "string"}}}},
            "io.k8s.api.core.v1.Port": {"properties": {"port": {"type": "integer"}}},
            "io.k8s.api.core.v1.Other": {
                "properties": {},
                "x-kubernetes-group-version-kind": [{"group": "g", "version": "v1", "kind": "Other"}]},
        }});
        let table = super::of(&document);
        let text = super::printed(&table);
        let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
        let expected = [
            "kind g/v1 Other -",
            "kind v1 Service core.v1.Service",
            "type core.v1.Service",
            " spec core.v1.Spec",
            "type core.v1.Spec",
            " ports [port] -",
        ];
        assert_eq!(lines, expected);
        assert_eq!(super::differences(&table, &table).alike, 2);
    }
}
