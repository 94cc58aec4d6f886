//! Which charts take part: dependencies with their conditions, tags, aliases and imported values.

use super::chart::{Dependency, Tree};
use super::functions::{Constraint, Version};
use super::values::{coalesced, copied, table, tables, value_at};
use std::sync::Arc;
use template::{Entries, Map, Value};

/// A chart in its place among the others.
pub(super) struct Node {
    pub tree: Arc<Tree>,
    /// Its alias, or else its own name.
    pub name: String,
    pub values: Map,
    pub dependencies: Vec<Dependency>,
    pub children: Vec<Node>,
}

/// True if a version fits; not if one of them cannot be read.
pub(super) fn fits(constraint: &str, version: &str) -> bool {
    match (Constraint::parse(constraint), Version::parse(version)) {
        (Some(constraint), Some(version)) => constraint.allows(&version),
        _ => false,
    }
}

impl Node {
    /// A chart with all that stands below it.
    pub fn of(tree: &Arc<Tree>) -> Self {
        Self::named(tree, tree.metadata.name.clone())
    }

    fn named(tree: &Arc<Tree>, name: String) -> Self {
        Self {
            tree: Arc::clone(tree),
            name,
            values: Map::thawed(&tree.values),
            dependencies: tree.metadata.dependencies.clone(),
            children: tree.dependencies.iter().map(Node::of).collect(),
        }
    }

    /// Drops what is switched off, and imports values upwards.
    pub fn resolve(&mut self, values: &Map) -> Result<(), String> {
        self.enable(values, "")?;
        self.import()
    }

    fn enable(&mut self, values: &Map, path: &str) -> Result<(), String> {
        if self.dependencies.is_empty() {
            return Ok(());
        }
        let existing = std::mem::take(&mut self.children);
        let listed = |child: &Node| {
            let version = &child.tree.metadata.version;
            self.dependencies
                .iter()
                .any(|dependency| dependency.name == child.name && fits(&dependency.version, version))
        };
        let mut children: Vec<Node> = Vec::new();
        for child in existing.iter().filter(|child| !listed(child)) {
            children.push(Node::of(&child.tree));
        }
        for dependency in &mut self.dependencies {
            let found = existing
                .iter()
                .find(|child| child.name == dependency.name && fits(&dependency.version, &child.tree.metadata.version));
            let has_alias = !dependency.alias.is_empty();
            if let Some(child) = found {
                let name = if has_alias { dependency.alias.clone() } else { child.name.clone() };
                children.push(Node::named(&child.tree, name));
            }
            if has_alias {
                dependency.name.clone_from(&dependency.alias);
            }
            dependency.enabled = true;
        }
        self.children = children;
        let seen = coalesced(self, values, false)?;
        by_tags(&mut self.dependencies, &seen);
        by_conditions(&mut self.dependencies, &seen, path);
        let off: Vec<String> =
            self.dependencies.iter().filter(|dependency| !dependency.enabled).map(|d| d.name.clone()).collect();
        self.children.retain(|child| !off.contains(&child.name));
        self.dependencies.retain(|dependency| !off.contains(&dependency.name));
        for child in &mut self.children {
            let below = format!("{path}{}.", child.name);
            child.enable(&seen, &below)?;
        }
        Ok(())
    }

    fn import(&mut self) -> Result<(), String> {
        for child in &mut self.children {
            child.import()?;
        }
        if self.dependencies.is_empty() {
            return Ok(());
        }
        let seen = coalesced(self, &Map::new(Entries::new()), true)?;
        let imported = Map::new(Entries::new());
        for dependency in &self.dependencies {
            for entry in &dependency.import_values {
                let (child, parent) = match entry {
                    serde_json::Value::String(name) => (format!("exports.{name}"), ".".to_owned()),
                    serde_json::Value::Object(map) => {
                        let text = |key: &str| match map.get(key) {
                            Some(serde_json::Value::String(text)) => text.clone(),
                            _ => "<nil>".to_owned(),
                        };
                        (text("child"), text("parent"))
                    }
                    _ => continue,
                };
                let Some(found) = table(&seen, &format!("{}.{child}", dependency.name)) else { continue };
                let found = if parent == "." { found } else { wrapped(&parent, found) };
                tables(&imported, &found, true);
            }
        }
        let seen = copied(&seen);
        tables(&seen, &imported, true);
        self.values = seen;
        Ok(())
    }
}

/// `a.b` → a map in a map.
fn wrapped(path: &str, map: Map) -> Map {
    path.rsplit('.').fold(map, |map, key| Map::new([(key.into(), Value::Map(map))].into_iter().collect()))
}

fn by_tags(dependencies: &mut [Dependency], values: &Map) {
    let Some(tags) = table(values, "tags") else { return };
    for dependency in dependencies {
        let flags: Vec<bool> = dependency
            .tags
            .iter()
            .filter_map(|tag| match tags.get(tag) {
                Some(Value::Bool(flag)) => Some(flag),
                _ => None,
            })
            .collect();
        dependency.enabled = flags.is_empty() || flags.contains(&true);
    }
}

fn by_conditions(dependencies: &mut [Dependency], values: &Map, path: &str) {
    for dependency in dependencies {
        let conditions = dependency.condition.trim().split(',').filter(|condition| !condition.is_empty());
        let flags = conditions.filter_map(|condition| match value_at(values, &format!("{path}{condition}")) {
            Some(Value::Bool(flag)) => Some(flag),
            _ => None,
        });
        if let Some(flag) = flags.into_iter().next() {
            dependency.enabled = flag;
        }
    }
}

/// Dependencies that `Chart.yaml` names and `charts/` does not have.
pub(super) fn missing(tree: &Tree) -> Vec<&str> {
    let has = |name: &str| tree.dependencies.iter().any(|child| child.metadata.name == name);
    let named = tree.metadata.dependencies.iter().map(|dependency| dependency.name.as_str());
    named.filter(|name| !has(name)).collect()
}
