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

/// What the served version says of a field, or of a type, beyond its shape; as a row has it, with a space before each word.
fn said(schema: &Value) -> String {
    let text = |key: &str| schema[format!("x-kubernetes-{key}")].as_str();
    let is_list = schema["type"] == "array";
    let list = match (is_list, text("list-type")) {
        (true, Some("atomic")) | (false, None) => None,
        (true, None) => Some("none"),
        (_, word) => word,
    };
    let keys: Vec<&str> =
        schema["x-kubernetes-list-map-keys"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let keys = Some(keys.join(",")).filter(|keys| !keys.is_empty());
    // What nearly always goes together is said once.
    let list = list.filter(|word| keys.is_none() || *word != "map");
    let key = text("patch-merge-key");
    let patch = text("patch-strategy").filter(|word| key.is_none() || *word != "merge");
    let words = [("list", list), ("keys", keys.as_deref()), ("map", text("map-type")), ("patch", patch), ("key", key)];
    words.iter().filter_map(|(name, word)| Some(format!(" {name}={}", (*word)?))).collect()
}

/// Rows of types: what is said of each, and of its fields.
type Rows = BTreeMap<String, (String, BTreeMap<String, String>)>;

fn printed_rows(rows: &Rows) -> String {
    let mut text = String::new();
    for (name, (said, fields)) in rows.iter().filter(|(_, (said, fields))| !said.is_empty() || !fields.is_empty()) {
        let _ = writeln!(text, "type {}{said}", short(name));
        fields.iter().for_each(|(field, row)| {
            let _ = writeln!(text, " {field} {row}");
        });
    }
    text
}

fn printed_kinds<'t>(kinds: impl Iterator<Item = (&'t String, &'t String)>) -> String {
    let (mut text, mut open) = (String::new(), (String::new(), String::new()));
    for (name, ty) in kinds {
        let (api_version, kind) = name.split_once(' ').unwrap_or_default();
        // Nearly all types bear the name of their kind.
        let named = short(ty).strip_suffix(kind).and_then(|prefix| prefix.strip_suffix('.'));
        let prefix = named.map_or_else(|| open.1.clone(), str::to_owned);
        let prefix = if open.0 == api_version || named.is_some() { prefix } else { "-".to_owned() };
        if open != (api_version.to_owned(), prefix.clone()) {
            let _ = writeln!(text, "kinds {api_version} {prefix}");
            open = (api_version.to_owned(), prefix);
        }
        let _ = match named {
            Some(_) => writeln!(text, " {kind}"),
            None => writeln!(text, " {kind} {}", short(ty)),
        };
    }
    text
}

/// As `object` reads it: what both versions say alike, then what each says alone. `definitions` are those of the newer.
pub fn printed(older: &Table, newer: &Table, definitions: &Map<String, Value>) -> String {
    let (mut both, mut old, mut new) = (Rows::new(), Rows::new(), Rows::new());
    for (name, definition) in definitions {
        let type_said = said(definition);
        let in_both = older.types.contains_key(name);
        if !type_said.is_empty() {
            (if in_both { &mut both } else { &mut new }).entry(name.clone()).or_default().0 = type_said;
        }
        for (field, schema) in definition["properties"].as_object().into_iter().flatten() {
            let row = said(schema);
            let known = older.types.get(name).and_then(|fields| fields.get(field));
            let alike = known.filter(|known| same(known, schema));
            match alike {
                Some(known) => {
                    let row = format!("{}{row}", short(&known.ty));
                    both.entry(name.clone()).or_default().1.insert(field.clone(), row);
                }
                None if row.is_empty() => {}
                None => drop(new.entry(name.clone()).or_default().1.insert(field.clone(), format!("-{row}"))),
            }
        }
    }
    for (name, fields) in &older.types {
        for (field, known) in fields {
            if both.get(name).is_some_and(|(_, fields)| fields.contains_key(field)) {
                continue;
            }
            let keys = known.keys.as_ref().map(|keys| keys.join(","));
            let row = match keys.as_deref() {
                None => String::new(),
                Some("") => " patch=merge".to_owned(),
                Some(keys) => format!(" keys={keys} patch=merge"),
            };
            let row = format!("{}{row}", short(&known.ty));
            old.entry(name.clone()).or_default().1.insert(field.clone(), row);
        }
    }
    let in_both = |(kind, _): &(&String, &String)| newer.kinds.contains_key(*kind);
    let (shared, alone): (Vec<_>, Vec<_>) = older.kinds.iter().partition(in_both);
    format!(
        "# What merges how, of Kubernetes 1.21.2 (which Kustomize 5.8 has built in: overlays) and of 1.34.4 (which is served: server-side
# apply, patches, published schemas). Written by `cargo xtask schema`; read by crates/object/src/schema/facts.rs.
# kinds APIVERSION PREFIX, then kinds whose types are PREFIX.KIND, or are named (\"-\": nothing in it merges).
# type NAME FACTS, then its fields: NAME TYPE FACTS. A list of 1.34.4 without `list` is a map if it has `keys`, else atomic; `key` is that of a
# strategic merge, whose `patch` is merge unless it says more.
== both
{}{}== 1.21.2
{}{}== 1.34.4
{}",
        printed_kinds(shared.into_iter()),
        printed_rows(&both),
        printed_kinds(alone.into_iter()),
        printed_rows(&old),
        printed_rows(&new),
    )
}

/// True if the newer version's field leads to the same type, and Kustomize would merge it by the same keys.
fn same(known: &Field, schema: &Value) -> bool {
    let ty = match schema["type"] == "array" {
        true => referred(&schema["items"]),
        false => referred(schema),
    };
    let keys = field(schema).and_then(|field| field.keys);
    (known.ty == "-" || ty.as_ref() == Some(&known.ty)) && keys == known.keys
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
        let empty = super::of(&json!({"definitions": {}}));
        let text = super::printed(&table, &empty, &Default::default());
        let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
        let kinds = ["kinds g/v1 -", " Other -", "kinds v1 core.v1", " Service"];
        let types =
            ["type core.v1.Service", " spec core.v1.Spec", "type core.v1.Spec", " ports - keys=port patch=merge"];
        let expected = ["== both", "== 1.21.2"].iter().chain(&kinds).chain(&types).chain(&["== 1.34.4"]);
        assert_eq!(lines, expected.copied().collect::<Vec<_>>());
        assert_eq!(super::differences(&table, &table).alike, 2);

        // What both say alike stands once, with all that the newer says.
        let mut newer = document.clone();
        let spec = &mut newer["definitions"]["io.k8s.api.core.v1.Spec"];
        spec["properties"]["ports"]["x-kubernetes-list-type"] = json!("map");
        spec["properties"]["ports"]["x-kubernetes-list-map-keys"] = json!(["port"]);
        spec["properties"]["names"] = json!({"type": "array", "x-kubernetes-list-type": "set"});
        let definitions = newer["definitions"].as_object().unwrap();
        let text = super::printed(&table, &super::of(&newer), definitions);
        let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
        let expected = ["== both"].iter().chain(&kinds).chain(&types[..3]).chain(&[
            " ports - keys=port key=port",
            "== 1.21.2",
            "== 1.34.4",
            "type core.v1.Spec",
            " ips - list=none",
            " names - list=set",
        ]);
        assert_eq!(lines, expected.copied().collect::<Vec<_>>());
    }
}
