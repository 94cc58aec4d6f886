//! Schemas of kinds: the built-in ones of Kubernetes 1.34, and those of CustomResourceDefinitions.
//!
//! A [`Schema`] is a number in a shared table, so that it is cheap to keep and to pass on. What
//! it knows decides how objects are checked, pruned, given defaults, merged and compared.

mod builtin;
mod check;
mod compile;
mod decode;
mod defaults;
mod error;
pub mod facts;
mod format;
pub mod openapi;
mod unknown;

pub use builtin::{KUBERNETES_VERSION, builtin, schema_for};
pub use compile::CompileError;
pub use error::{ErrorKind, FieldError};

use regex::Regex;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The type of a value. Cloning shares.
#[derive(Clone)]
pub struct Schema {
    table: Arc<Table>,
    id: TypeId,
}

impl std::fmt::Debug for Schema {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Schema({} of {})", self.id.0, self.table.types.len())
    }
}

/// Place of a type in its table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TypeId(u32);

/// All types that refer to each other.
#[derive(Debug, Default)]
pub(crate) struct Table {
    types: Vec<Type>,
}

/// What values of a type look like, and how they merge.
#[derive(Debug, Clone, Default)]
pub(crate) struct Type {
    /// Of a built-in definition, as Go calls it: `v1.PodSpec`.
    pub name: Option<Arc<str>>,
    /// Go decodes it into structs.
    pub builtin: bool,
    pub shape: Shape,
    /// Null is a value of its own and not the same as absent.
    pub nullable: bool,
    /// Fields that the schema does not name are kept.
    pub preserve_unknown: bool,
    /// A complete object with apiVersion, kind and metadata stands here.
    pub embedded: bool,
    /// Limits beyond the shape.
    pub checks: Option<Box<Checks>>,
}

/// The kinds of JSON that a type accepts.
#[derive(Debug, Clone, Default)]
pub(crate) enum Shape {
    /// Anything; its structure is read off the value.
    #[default]
    Any,
    Boolean,
    Integer {
        bits: u8,
    },
    Number,
    String(Text),
    IntOrString,
    /// A number with a suffix, or a plain number.
    Quantity,
    List(List),
    Map(Map),
    /// No type is given, but structure is: `type` is absent in a CRD beside `properties`.
    Union(List, Map),
}

/// Strings that are more than characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Text {
    #[default]
    Plain,
    /// RFC 3339.
    Time,
    /// Base 64.
    Bytes,
    /// A format that merging does not look into.
    Other,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct List {
    /// `None`: anything.
    pub items: Option<TypeId>,
    pub kind: ListKind,
    pub patch: Patch,
}

/// How the items of a list are told apart.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) enum ListKind {
    /// They are not: the list is one value.
    #[default]
    Atomic,
    /// By their value.
    Set,
    /// By the values of these fields.
    Map(Arc<[String]>),
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Map {
    pub fields: BTreeMap<String, Field>,
    /// Type of keys that are no fields.
    pub values: Option<TypeId>,
    pub required: Vec<String>,
    /// The map is one value.
    pub atomic: bool,
    /// No fields and no values are described: free form.
    pub open: bool,
}

#[derive(Debug, Clone)]
pub(crate) struct Field {
    pub ty: TypeId,
    pub default: Option<Value>,
    /// The default is written into objects. Built-in kinds publish the zero of a Go field as
    /// its default: `{}` for structs, which Go always writes, is filled in; `""`, `0`, `false` only
    /// tell keys of lists apart.
    pub fills: bool,
    pub patch: Patch,
}

/// How strategic merge treats a field.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Patch {
    pub merge: bool,
    pub retain_keys: bool,
    pub merge_key: Option<String>,
}

/// Limits on values, as JSON schema words them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Checks {
    pub choices: Vec<Value>,
    pub pattern: Option<(String, Regex)>,
    pub format: Option<String>,
    pub minimum: Option<(f64, bool)>,
    pub maximum: Option<(f64, bool)>,
    pub multiple_of: Option<f64>,
    pub length: (Option<u64>, Option<u64>),
    pub items: (Option<u64>, Option<u64>),
    pub properties: (Option<u64>, Option<u64>),
    pub all_of: Vec<TypeId>,
    pub any_of: Vec<TypeId>,
    pub one_of: Vec<TypeId>,
    pub not: Option<TypeId>,
}

impl Table {
    pub fn get(&self, id: TypeId) -> &Type {
        &self.types[id.0 as usize]
    }
}

impl Schema {
    /// The schema of a value whose type nobody described: maps merge per key, lists are one value.
    pub fn any() -> Self {
        Self { table: Arc::new(Table { types: vec![Type::default()] }), id: TypeId(0) }
    }

    /// Compiles `openAPIV3Schema` of a CustomResourceDefinition (or any other structural schema).
    /// At the root, `apiVersion`, `kind` and `metadata` get their own types.
    pub fn from_crd(open_api_v3_schema: &Value) -> Result<Self, CompileError> {
        compile::custom_resource(open_api_v3_schema)
    }

    pub(crate) fn table(&self) -> &Table {
        &self.table
    }

    pub(crate) fn id(&self) -> TypeId {
        self.id
    }

    pub(crate) fn ty(&self) -> &Type {
        self.table.get(self.id)
    }

    pub(crate) fn at(&self, id: TypeId) -> Schema {
        Schema { table: self.table.clone(), id }
    }

    /// The schema of a field of this map, if it is described.
    pub fn field(&self, name: &str) -> Option<Schema> {
        match &self.ty().shape {
            Shape::Map(map) | Shape::Union(_, map) => {
                map.fields.get(name).map(|field| field.ty).or(map.values).map(|id| self.at(id))
            }
            _ => None,
        }
    }

    /// The schema of the items of this list, if they are described.
    pub fn items(&self) -> Option<Schema> {
        match &self.ty().shape {
            Shape::List(list) | Shape::Union(list, _) => list.items.map(|id| self.at(id)),
            _ => None,
        }
    }

    /// The fields that tell the items of this list apart; `None` if it is no keyed list.
    pub fn list_map_keys(&self) -> Option<&[String]> {
        match &self.ty().shape {
            Shape::List(List { kind: ListKind::Map(keys), .. }) => Some(keys),
            _ => None,
        }
    }

    /// Every rule that an object breaks, in the order of its fields, in a Kubernetes API server's words.
    /// At most [`check::LIMIT`] are told.
    pub fn validate(&self, object: &Value) -> Vec<FieldError> {
        check::check(self, object)
    }

    /// Why a built-in object cannot be decoded, in the words of Go's decoder; the caller puts
    /// `Deployment in version "v1" cannot be handled as a Deployment: ` in front.
    pub fn decode_error(&self, kind: &str, object: &Value) -> Option<String> {
        decode::error(self, kind, object)
    }

    /// `unknown field "spec.foo"` for each field that the schema does not know: of built-in kinds in the order
    /// of the object, of custom resources sorted.
    pub fn unknown_fields(&self, object: &Value) -> Vec<String> {
        unknown::names(self, object)
    }

    /// Removes the fields that the schema does not know.
    pub fn prune(&self, object: &mut Value) {
        unknown::prune(self, object);
    }

    /// Brings an object into the form that a server stores: fields that are null go, unless the schema says that
    /// null is a value there; in maps and lists of built-in kinds null becomes the zero of the type, and quantities
    /// take their canonical form.
    pub fn drop_nulls(&self, object: &mut Value) {
        defaults::normalise(self, object);
    }

    /// The parts that an object of a built-in kind has even when it is empty (`spec`, `status`, …): Go's
    /// structs. An empty map for custom resources.
    pub(crate) fn skeleton(&self) -> Value {
        defaults::skeleton(self)
    }

    /// Fills in the defaults that the schema names. For built-in kinds these are the ones that
    /// OpenAPI publishes; the others are code in the API server.
    pub fn default(&self, object: &mut Value) {
        defaults::fill(self, object);
    }
}
