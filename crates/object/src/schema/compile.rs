//! OpenAPI v3 schemas as JSON → [`Table`].

use super::{Checks, Field, List, ListKind, Map, Patch, Schema, Shape, Table, Text, Type, TypeId};
use regex::Regex;
use serde_json::Value;
use std::collections::HashMap;
use std::sync::Arc;

/// What is wrong with a schema, and where in it.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {message}")]
pub struct CompileError {
    /// Path in the schema: `properties.spec.pattern`.
    pub path: String,
    /// What is wrong there.
    pub message: String,
    /// The pattern's own error, if it is a pattern.
    #[source]
    pub source: Option<Box<regex::Error>>,
}

/// Definitions by name, as `components.schemas` holds them.
pub(super) type Definitions = serde_json::Map<String, Value>;

const OBJECT_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";

/// Compiles all definitions into one table.
pub(super) fn definitions(definitions: &Definitions) -> Result<(Arc<Table>, HashMap<String, TypeId>), CompileError> {
    let mut compiler = Compiler::new(definitions);
    for name in definitions.keys() {
        compiler.named(name)?;
    }
    let names = std::mem::take(&mut compiler.names);
    Ok((Arc::new(compiler.finish()), names))
}

/// Of all definitions those that custom resources refer to: their metadata, and what it is made of.
pub(super) fn common(definitions: &Definitions) -> Result<Definitions, CompileError> {
    let mut compiler = Compiler::new(definitions);
    compiler.named(OBJECT_META)?;
    Ok(compiler.names.into_keys().filter_map(|name| definitions.get_key_value(&name)).map(owned).collect())
}

fn owned((name, schema): (&String, &Value)) -> (String, Value) {
    (name.clone(), schema.clone())
}

/// Compiles the schema of a custom resource; the root is an object with standard metadata.
pub(super) fn custom_resource(schema: &Value) -> Result<Schema, CompileError> {
    let mut compiler = Compiler::new(super::builtin::common());
    let id = compiler.compile(schema, false, "")?;
    let index = id.0 as usize;
    compiler.types[index].embedded = true;
    compiler.add_object_fields(index)?;
    Ok(Schema { table: Arc::new(compiler.finish()), id })
}

struct Compiler<'a> {
    definitions: &'a Definitions,
    names: HashMap<String, TypeId>,
    types: Vec<Type>,
    /// Types that are another one but for being atomic.
    atomic_copies: Vec<(TypeId, TypeId)>,
    /// Inside a built-in definition, not in a schema that a user wrote.
    builtin: bool,
}

impl<'a> Compiler<'a> {
    fn new(definitions: &'a Definitions) -> Self {
        Self { definitions, names: HashMap::new(), types: Vec::new(), atomic_copies: Vec::new(), builtin: false }
    }

    fn finish(mut self) -> Table {
        for (copy, of) in self.atomic_copies {
            let mut ty = self.types[of.0 as usize].clone();
            if let Shape::Map(map) = &mut ty.shape {
                map.atomic = true;
            }
            self.types[copy.0 as usize] = ty;
        }
        self.types.shrink_to_fit();
        Table { types: self.types }
    }

    fn reserve(&mut self) -> TypeId {
        let id = TypeId(u32::try_from(self.types.len()).expect("a schema has fewer than 2^32 types"));
        self.types.push(Type::default());
        id
    }

    fn named(&mut self, name: &str) -> Result<TypeId, CompileError> {
        if let Some(id) = self.names.get(name) {
            return Ok(*id);
        }
        let schema = self.definitions.get(name).ok_or_else(|| error("$ref", format!("{name} is not defined")))?;
        let id = self.reserve();
        self.names.insert(name.to_owned(), id);
        let outer = std::mem::replace(&mut self.builtin, true);
        let mut ty = match name {
            "io.k8s.apimachinery.pkg.api.resource.Quantity" => {
                Type { shape: Shape::Quantity, builtin: true, ..Type::default() }
            }
            // Another object in full, or anything; merging does not look inside.
            "io.k8s.apimachinery.pkg.runtime.RawExtension" => Type {
                shape: Shape::Map(Map { atomic: true, open: true, ..Map::default() }),
                preserve_unknown: true,
                ..Type::default()
            },
            _ => self.parse(schema, false, name)?,
        };
        self.builtin = outer;
        ty.name = Some(go_name(name).into());
        self.types[id.0 as usize] = ty;
        Ok(id)
    }

    fn compile(&mut self, schema: &Value, preserve: bool, path: &str) -> Result<TypeId, CompileError> {
        if let Some(name) = reference(schema) {
            let target = self.named(name)?;
            if text(schema, "x-kubernetes-map-type") == "atomic" {
                let copy = self.reserve();
                self.atomic_copies.push((copy, target));
                return Ok(copy);
            }
            return Ok(target);
        }
        let id = self.reserve();
        self.types[id.0 as usize] = self.parse(schema, preserve, path)?;
        if self.types[id.0 as usize].embedded {
            self.add_object_fields(id.0 as usize)?;
        }
        Ok(id)
    }

    fn parse(&mut self, schema: &Value, preserve: bool, path: &str) -> Result<Type, CompileError> {
        let preserve_unknown = preserve || flag(schema, "x-kubernetes-preserve-unknown-fields");
        let shape = match text(schema, "type") {
            "boolean" => Shape::Boolean,
            "integer" => Shape::Integer { bits: if text(schema, "format") == "int32" { 32 } else { 64 } },
            "number" => Shape::Number,
            "string" => Shape::String(match text(schema, "format") {
                "" => Text::Plain,
                "date-time" => Text::Time,
                "byte" => Text::Bytes,
                _ => Text::Other,
            }),
            "array" => Shape::List(self.list(schema, preserve_unknown, path)?),
            "object" => Shape::Map(self.map(schema, preserve_unknown, path)?),
            "" if flag(schema, "x-kubernetes-int-or-string") || text(schema, "format") == "int-or-string" => {
                Shape::IntOrString
            }
            "" if ["properties", "items", "required"].iter().any(|key| schema.get(key).is_some()) => {
                Shape::Union(self.list(schema, preserve_unknown, path)?, self.map(schema, preserve_unknown, path)?)
            }
            "" => Shape::Any,
            other => return Err(error(&join(path, "type"), format!("unknown type {other:?}"))),
        };
        Ok(Type {
            name: None,
            builtin: self.builtin,
            shape,
            nullable: flag(schema, "nullable"),
            preserve_unknown: flag(schema, "x-kubernetes-preserve-unknown-fields"),
            embedded: flag(schema, "x-kubernetes-embedded-resource"),
            checks: self.checks(schema, path)?.map(Box::new),
        })
    }

    fn list(&mut self, schema: &Value, preserve: bool, path: &str) -> Result<List, CompileError> {
        let patch = patch(schema);
        let kind = match text(schema, "x-kubernetes-list-type") {
            "set" => ListKind::Set,
            "map" => ListKind::Map(strings(schema, "x-kubernetes-list-map-keys").into()),
            "" if patch.merge => match &patch.merge_key {
                Some(key) => ListKind::Map(Arc::new([key.clone()])),
                None => ListKind::Set,
            },
            _ => ListKind::Atomic,
        };
        let items = schema.get("items");
        Ok(List {
            items: items.map(|items| self.compile(items, preserve, &join(path, "items"))).transpose()?,
            kind,
            patch,
        })
    }

    fn map(&mut self, schema: &Value, preserve: bool, path: &str) -> Result<Map, CompileError> {
        let mut map = Map {
            required: strings(schema, "required"),
            atomic: text(schema, "x-kubernetes-map-type") == "atomic",
            ..Map::default()
        };
        for (name, property) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
            let ty = self.compile(property, preserve, &join(path, &format!("properties.{name}")))?;
            let default = property.get("default").cloned();
            let fills =
                default.as_ref().is_some_and(|default| !self.builtin || default.is_object() || !is_zero(default));
            let field = Field { ty, default, fills, patch: patch(property) };
            map.fields.insert(name.clone(), field);
        }
        match schema.get("additionalProperties") {
            Some(values @ Value::Object(_)) => {
                map.values = Some(self.compile(values, preserve, &join(path, "additionalProperties"))?);
            }
            Some(Value::Bool(true)) => map.open = true,
            Some(_) => {}
            None => map.open = preserve || map.fields.is_empty(),
        }
        Ok(map)
    }

    fn checks(&mut self, schema: &Value, path: &str) -> Result<Option<Checks>, CompileError> {
        let number = |key: &str| schema.get(key).and_then(Value::as_f64);
        let count = |key: &str| schema.get(key).and_then(Value::as_u64);
        let pattern = match schema.get("pattern").and_then(Value::as_str) {
            Some(pattern) => {
                let regex = Regex::new(pattern).map_err(|source| CompileError {
                    path: join(path, "pattern"),
                    message: format!("{pattern:?} is no regular expression"),
                    source: Some(Box::new(source)),
                })?;
                Some((pattern.to_owned(), regex))
            }
            None => None,
        };
        let checks = Checks {
            choices: schema.get("enum").and_then(Value::as_array).cloned().unwrap_or_default(),
            pattern,
            format: schema.get("format").and_then(Value::as_str).map(str::to_owned),
            minimum: number("minimum").map(|limit| (limit, flag(schema, "exclusiveMinimum"))),
            maximum: number("maximum").map(|limit| (limit, flag(schema, "exclusiveMaximum"))),
            multiple_of: number("multipleOf"),
            length: (count("minLength"), count("maxLength")),
            items: (count("minItems"), count("maxItems")),
            properties: (count("minProperties"), count("maxProperties")),
            all_of: self.alternatives(schema, "allOf", path)?,
            any_of: self.alternatives(schema, "anyOf", path)?,
            one_of: self.alternatives(schema, "oneOf", path)?,
            not: match schema.get("not") {
                Some(not) => Some(self.compile(not, false, &join(path, "not"))?),
                None => None,
            },
        };
        Ok((!checks.is_empty()).then_some(checks))
    }

    fn alternatives(&mut self, schema: &Value, key: &str, path: &str) -> Result<Vec<TypeId>, CompileError> {
        let list = schema.get(key).and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        list.iter()
            .enumerate()
            .map(|(index, schema)| self.compile(schema, false, &join(path, &format!("{key}[{index}]"))))
            .collect()
    }

    /// Gives a map the fields that every object has; the schema's own `metadata` can only narrow names.
    fn add_object_fields(&mut self, index: usize) -> Result<(), CompileError> {
        let metadata = self.named(OBJECT_META)?;
        let string = self.reserve();
        self.types[string.0 as usize].shape = Shape::String(Text::Plain);
        if matches!(self.types[index].shape, Shape::Any) {
            self.types[index].shape = Shape::Map(Map { open: true, ..Map::default() });
        }
        if let Shape::Map(map) | Shape::Union(_, map) = &mut self.types[index].shape {
            for (name, ty) in [("apiVersion", string), ("kind", string), ("metadata", metadata)] {
                map.fields.insert(name.into(), Field { ty, default: None, fills: false, patch: Patch::default() });
            }
        }
        Ok(())
    }
}

impl Checks {
    fn is_empty(&self) -> bool {
        let none = |(low, high): &(Option<u64>, Option<u64>)| low.is_none() && high.is_none();
        self.choices.is_empty()
            && self.pattern.is_none()
            && self.format.is_none()
            && self.minimum.is_none()
            && self.maximum.is_none()
            && self.multiple_of.is_none()
            && none(&self.length)
            && none(&self.items)
            && none(&self.properties)
            && self.all_of.is_empty()
            && self.any_of.is_empty()
            && self.one_of.is_empty()
            && self.not.is_none()
    }
}

/// The name of the definition that a schema is: `$ref`, or `allOf` with just one.
fn reference(schema: &Value) -> Option<&str> {
    let holder = match schema.get("allOf").and_then(Value::as_array).map(Vec::as_slice) {
        Some([only]) if only.get("$ref").is_some() => only,
        _ => schema,
    };
    let path = holder.get("$ref")?.as_str()?;
    Some(path.rsplit_once('/').map_or(path, |(_, name)| name))
}

/// `io.k8s.api.core.v1.PodSpec` → `v1.PodSpec`.
fn go_name(definition: &str) -> &str {
    let mut dots = definition.rmatch_indices('.').map(|(at, _)| at);
    dots.nth(1).map_or(definition, |at| &definition[at + 1..])
}

fn is_zero(default: &Value) -> bool {
    match default {
        Value::Null => true,
        Value::Bool(value) => !value,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.is_empty(),
    }
}

fn patch(schema: &Value) -> Patch {
    let strategies = text(schema, "x-kubernetes-patch-strategy");
    Patch {
        merge: strategies.split(',').any(|word| word == "merge"),
        retain_keys: strategies.split(',').any(|word| word == "retainKeys"),
        merge_key: schema.get("x-kubernetes-patch-merge-key").and_then(Value::as_str).map(str::to_owned),
    }
}

fn text<'v>(schema: &'v Value, key: &str) -> &'v str {
    schema.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn flag(schema: &Value, key: &str) -> bool {
    schema.get(key).and_then(Value::as_bool).unwrap_or_default()
}

fn strings(schema: &Value, key: &str) -> Vec<String> {
    let list = schema.get(key).and_then(Value::as_array);
    list.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

fn join(path: &str, part: &str) -> String {
    if path.is_empty() { part.to_owned() } else { format!("{path}.{part}") }
}

fn error(path: &str, message: String) -> CompileError {
    CompileError { path: path.to_owned(), message, source: None }
}
