//! Layers of values: what charts bring, what users say.

use super::node::Node;
use super::set::Reading;
use std::rc::Rc;
use template::{Entries, Map, Of, Text, Value};

/// What subcharts share.
const GLOBAL: &str = "global";

/// A copy that shares nothing with the original that could change.
pub(super) fn copied(map: &Map) -> Map {
    map.untouched().unwrap_or_else(|| {
        let entries = map.entries().iter().map(|(key, value)| (Text::clone(key), copy(value))).collect();
        Map::new(entries).typed(map.of)
    })
}

fn copy(value: &Value) -> Value {
    match value {
        Value::Map(map) => Value::Map(copied(map)),
        Value::List(list) if list.items.iter().any(|item| matches!(item, Value::Map(_) | Value::List(_))) => {
            let items = list.items.iter().map(copy).collect();
            Value::List(template::List { items: Rc::new(items), of: list.of })
        }
        other => other.clone(),
    }
}

fn as_table(value: &Value) -> Option<&Map> {
    match value {
        Value::Map(map) if map.of == Of::Any => Some(map),
        _ => None,
    }
}

fn entries(map: &Map) -> Vec<(Text, Value)> {
    map.entries().iter().map(|(key, value)| (Text::clone(key), value.clone())).collect()
}

/// Values as a chart and those below it see them: its own below the given ones. With `merge`, null keeps its place;
/// without, it takes a default away.
pub(super) fn coalesced(node: &Node, values: &Map, merge: bool) -> Result<Map, String> {
    let values = copied(values);
    coalesce(node, &values, merge)?;
    Ok(values)
}

fn coalesce(node: &Node, values: &Map, merge: bool) -> Result<(), String> {
    own_values(node, values, merge);
    for child in &node.children {
        let inner = match values.get(&child.name) {
            None => {
                let map = Map::new(Entries::new());
                values.set(child.name.as_str(), Value::Map(map.clone()));
                map
            }
            Some(Value::Map(map)) if map.of == Of::Any => map,
            Some(other) => {
                let shown = template::printf("%t", &[other]);
                return Err(format!("type mismatch on {}: {shown}", child.name));
            }
        };
        globals(&inner, values);
        coalesce(child, &inner, merge)?;
    }
    Ok(())
}

fn own_values(node: &Node, values: &Map, merge: bool) {
    for (key, value) in entries(&copied(&node.values)) {
        match values.get(&key) {
            None => values.set(key, value),
            Some(Value::Nil) if !merge => drop(values.entries_mut().remove(&key)),
            Some(Value::Map(target)) if target.of == Of::Any => {
                if let Some(source) = as_table(&value) {
                    let is_child = node.children.iter().any(|child| *child.name == *key);
                    tables(&target, source, merge || is_child);
                }
            }
            Some(_) => {}
        }
    }
}

/// What stands under `global` goes down to a subchart, over what it has.
fn globals(inner: &Map, outer: &Map) {
    let table = |map: &Map| match map.get(GLOBAL) {
        None => Some(Map::new(Entries::new())),
        Some(Value::Map(map)) if map.of == Of::Any => Some(map),
        Some(_) => None,
    };
    let (Some(target), Some(source)) = (table(inner), table(outer)) else { return };
    for (key, value) in entries(&source) {
        match (as_table(&value), target.get(&key)) {
            (Some(map), before) => {
                // The keys are new, what they stand for is shared.
                let over = Map::new(map.entries().clone());
                match before {
                    None => target.set(key, Value::Map(over)),
                    Some(Value::Map(before)) if before.of == Of::Any => {
                        tables(&over, &before, true);
                        target.set(key, Value::Map(over));
                    }
                    Some(_) => {}
                }
            }
            (None, Some(Value::Map(before))) if before.of == Of::Any => {}
            (None, _) => target.set(key, value),
        }
    }
    inner.set(GLOBAL, Value::Map(target));
}

/// Entries of the source that the target does not have; null in the target takes one away, or stays with `merge`.
pub(super) fn tables(target: &Map, source: &Map, merge: bool) {
    if target.is(source) {
        return;
    }
    let source_has: Vec<Text> =
        entries(source).into_iter().filter(|(_, value)| !value.is_nil()).map(|(key, _)| key).collect();
    for (key, value) in entries(target) {
        if value.is_nil() {
            source.set(key, Value::Nil);
        }
    }
    for (key, value) in entries(source) {
        match target.get(&key) {
            None => target.set(key, value),
            Some(before) if before.is_nil() && !merge && source_has.contains(&key) => {
                target.entries_mut().remove(&key);
            }
            Some(before) => {
                if let (Some(below), Some(before)) = (as_table(&value), as_table(&before)) {
                    tables(before, below, merge);
                }
            }
        }
    }
}

/// Files and flags of a command line: the later one wins, maps are merged.
pub(super) fn merged(base: &Map, over: &Map) -> Map {
    let result = Map::new(base.entries().clone());
    for (key, value) in entries(over) {
        let value = match (as_table(&value), result.get(&key).as_ref().and_then(as_table)) {
            (Some(over), Some(base)) => Value::Map(merged(base, over)),
            _ => value,
        };
        result.set(key, value);
    }
    result
}

/// A table by its path, `a.b.c`.
pub(super) fn table(map: &Map, path: &str) -> Option<Map> {
    let mut current = map.clone();
    for part in path.split('.') {
        let Some(Value::Map(next)) = current.get(part) else { return None };
        current = next;
    }
    Some(current)
}

/// A value by its path, if it is no table.
pub(super) fn value_at(map: &Map, path: &str) -> Option<Value> {
    let (table_path, key) = path.rsplit_once('.').map_or((None, path), |(table, key)| (Some(table), key));
    let table = match table_path {
        Some(path) => table(map, path)?,
        None => map.clone(),
    };
    table.get(key).filter(|value| as_table(value).is_none())
}

/// Values that a user gives, in the order in which helm lays them over each other.
#[derive(Debug, Clone, Default)]
pub struct Layers {
    /// Names and contents of `--values` files.
    pub files: Vec<(String, String)>,
    /// `--set-json`.
    pub set_json: Vec<String>,
    /// `--set`.
    pub set: Vec<String>,
    /// `--set-string`.
    pub set_string: Vec<String>,
    /// `--set-file`.
    pub set_file: Vec<String>,
    /// Contents of the files that `--set-file` names, by those names.
    pub named: std::collections::BTreeMap<String, String>,
    /// `--set-literal`.
    pub set_literal: Vec<String>,
}

impl Layers {
    pub(super) fn merged(&self) -> Result<Map, String> {
        let mut base = Map::new(Entries::new());
        for (name, text) in &self.files {
            match super::chart::values_file(text, name)? {
                Value::Map(over) => base = merged(&base, &over),
                Value::Nil => {}
                _ => return Err(format!("failed to parse {name}: error unmarshaling JSON: it is no map")),
            }
        }
        let read = |name: &str| {
            let found = self.named.get(name).cloned();
            found.ok_or_else(|| format!("open {name}: no such file or directory"))
        };
        let file: Option<&dyn Fn(&str) -> Result<String, String>> = Some(&read);
        let lines = [
            (&self.set_json, Reading::Json, None, "--set-json"),
            (&self.set, Reading::Typed, None, "--set"),
            (&self.set_string, Reading::Text, None, "--set-string"),
            (&self.set_file, Reading::Typed, file, "--set-file"),
            (&self.set_literal, Reading::Literal, None, "--set-literal"),
        ];
        for (lines, reading, file, flag) in lines {
            for line in lines {
                let told = |error: String| match flag {
                    "--set-json" => format!("failed parsing --set-json data {line}"),
                    _ => format!("failed parsing {flag} data: {error}"),
                };
                super::set::set(line, reading, file, &base).map_err(told)?;
            }
        }
        Ok(base)
    }

    /// The files that `--set-file` names.
    pub fn files_named(&self) -> Vec<String> {
        let names = std::cell::RefCell::new(Vec::new());
        let read = |name: &str| {
            names.borrow_mut().push(name.to_owned());
            Ok(String::new())
        };
        for line in &self.set_file {
            // What is wrong with a line is told when it is used.
            _ = super::set::set(line, Reading::Typed, Some(&read), &Map::new(Entries::new()));
        }
        names.into_inner()
    }
}
