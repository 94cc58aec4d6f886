//! What kustomize knows of kinds: which are cluster-scoped, and which lists merge by which keys.

use super::id::Gvk;
use object::schema::facts::{self, Edition, Row, short};
use serde_json::Value;
use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, LazyLock};

/// Facts about kinds.
#[derive(Debug, Default, Clone)]
pub(super) struct Types {
    /// `apps/v1 Deployment` → its type.
    kinds: HashMap<String, String>,
    types: HashMap<String, HashMap<String, Field>>,
    cluster_scoped: HashSet<String>,
    namespaced: HashSet<String>,
}

/// What a build knows of kinds. The first `openapi` that it meets holds for all that follows.
#[derive(Debug)]
pub(super) struct Known {
    types: RefCell<Arc<Types>>,
    is_set: RefCell<bool>,
}

impl Known {
    pub fn new() -> Self {
        Self { types: RefCell::new(Types::builtin()), is_set: RefCell::new(false) }
    }

    pub fn types(&self) -> Arc<Types> {
        self.types.borrow().clone()
    }

    /// True if an `openapi` was met already.
    pub fn is_set(&self) -> bool {
        *self.is_set.borrow()
    }

    /// The built-in types are asked for by name.
    pub fn set_builtin(&self) {
        self.is_set.replace(true);
    }

    pub fn set(&self, types: Types) {
        self.is_set.replace(true);
        self.types.replace(Arc::new(types));
    }
}

/// A field that leads to lists which merge.
#[derive(Debug, Clone)]
struct Field {
    ty: String,
    /// Of a list that merges: the fields which tell its items apart; none for plain texts.
    keys: Option<Vec<String>>,
}

/// The type of a value.
#[derive(Debug, Clone, Copy)]
pub(super) struct Type<'t> {
    types: &'t Types,
    name: &'t str,
    keys: Option<&'t [String]>,
}

static BUILTIN: LazyLock<Arc<Types>> = LazyLock::new(|| {
    let mut types = Types::default();
    types.read_table();
    types.cluster_scoped = lines(include_str!("data/cluster_scoped.txt")).map(str::to_owned).collect();
    Arc::new(types)
});

fn lines(table: &'static str) -> impl Iterator<Item = &'static str> {
    table.lines().filter(|line| !line.starts_with('#') && !line.is_empty())
}

impl Types {
    /// What kustomize knows by itself.
    pub fn builtin() -> Arc<Self> {
        BUILTIN.clone()
    }

    fn read_table(&mut self) {
        let mut open = String::new();
        for row in facts::rows(Edition::Kustomize) {
            match row {
                Row::Kind { api_version, kind, ty } => {
                    let ty = match ty {
                        facts::Type::Named(name) => name.to_owned(),
                        facts::Type::Prefixed(prefix) => format!("{prefix}.{kind}"),
                    };
                    self.kinds.insert(format!("{api_version} {kind}"), ty);
                }
                Row::Type { name, .. } => open = name.to_owned(),
                Row::Field { name, ty, facts } => {
                    let keys = facts.merge_keys().map(|keys| keys.map(str::to_owned).collect());
                    let field = (name.to_owned(), Field { ty: ty.to_owned(), keys });
                    self.types.entry(open.clone()).or_default().extend([field]);
                }
            }
        }
    }

    pub fn is_cluster_scoped(&self, gvk: &Gvk) -> bool {
        let name = format!("{} {}", gvk.api_version(), gvk.kind);
        self.cluster_scoped.contains(&name) && !self.namespaced.contains(&name)
    }

    /// The type of an object.
    pub fn of(&self, api_version: &str, kind: &str) -> Option<Type<'_>> {
        let name = self.kinds.get(&format!("{api_version} {kind}"))?;
        Some(Type { types: self, name, keys: None })
    }

    /// What an OpenAPI document (`openapi.path`) tells; with `only`, the built-in types are forgotten.
    pub fn with_document(&self, document: &Value, only: bool) -> Self {
        let mut types = if only {
            Self { cluster_scoped: BUILTIN.cluster_scoped.clone(), ..Self::default() }
        } else {
            self.clone()
        };
        let definitions = document.get("definitions").and_then(Value::as_object);
        for (name, definition) in definitions.into_iter().flatten() {
            types.define(short(name), definition);
            for gvk in definition.get(GVK).and_then(Value::as_array).into_iter().flatten() {
                types.kinds.insert(kind_name(gvk), short(name).to_owned());
            }
        }
        for (path, item) in document.get("paths").and_then(Value::as_object).into_iter().flatten() {
            let Some(gvk) = item.pointer(&format!("/get/{GVK}")) else { continue };
            let place =
                if path.contains("namespaces/{namespace}") { &mut types.namespaced } else { &mut types.cluster_scoped };
            place.insert(kind_name(gvk));
        }
        types
    }

    fn define(&mut self, name: &str, definition: &Value) {
        let properties = definition.get("properties").and_then(Value::as_object).into_iter().flatten();
        let values = definition.get("additionalProperties").filter(|values| values.is_object());
        let others = values.map(|values| ("*".to_owned(), values));
        let fields: Vec<(String, &Value)> =
            properties.map(|(field, schema)| (field.clone(), schema)).chain(others).collect();
        let mut known = HashMap::new();
        for (field, schema) in fields {
            let inner = format!("{name}#{field}");
            known.insert(field, self.field(&inner, schema));
        }
        self.types.insert(name.to_owned(), known);
    }

    /// A field of an OpenAPI definition; what is described in place becomes a type named `inner`.
    fn field(&mut self, inner: &str, schema: &Value) -> Field {
        let text = |key: &str| schema.get(key).and_then(Value::as_str);
        if let Some(reference) = text("$ref") {
            return Field { ty: referred(reference), keys: None };
        }
        if text("type") != Some("array") {
            self.define(inner, schema);
            return Field { ty: inner.to_owned(), keys: None };
        }
        let merges = text("x-kubernetes-patch-strategy").is_some_and(|words| words.split(',').any(|w| w == "merge"));
        let listed = schema.get("x-kubernetes-list-map-keys").and_then(Value::as_array);
        let keys = match listed {
            Some(keys) => keys.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
            None => text("x-kubernetes-patch-merge-key").map(str::to_owned).into_iter().collect(),
        };
        let items = schema.get("items").cloned().unwrap_or_default();
        let ty = self.field(&format!("{inner}[]"), &items).ty;
        Field { ty, keys: merges.then_some(keys) }
    }
}

const GVK: &str = "x-kubernetes-group-version-kind";

fn referred(reference: &str) -> String {
    short(reference.rsplit('/').next().unwrap_or_default()).to_owned()
}

fn kind_name(gvk: &Value) -> String {
    let text = |key: &str| gvk.get(key).and_then(Value::as_str).unwrap_or_default();
    match text("group") {
        "" => format!("{} {}", text("version"), text("kind")),
        group => format!("{group}/{} {}", text("version"), text("kind")),
    }
}

impl<'t> Type<'t> {
    /// The type of a field. What is not described has no list that merges.
    pub fn field(&self, name: &str) -> Type<'t> {
        let fields = self.types.types.get(self.name);
        let field = fields.and_then(|fields| fields.get(name).or_else(|| fields.get("*")));
        match field {
            Some(field) => Type { types: self.types, name: &field.ty, keys: field.keys.as_deref() },
            None => Type { types: self.types, name: "-", keys: None },
        }
    }

    /// The type of the items of this list.
    pub fn items(&self) -> Type<'t> {
        Type { keys: None, ..*self }
    }

    /// The keys by which items of this list merge; `None` if the list is replaced as a whole.
    pub fn merge_keys(&self) -> Option<&'t [String]> {
        self.keys
    }
}
