//! Server-side apply and the ownership of fields.
//!
//! [`apply`] lays a configuration over the live object, removes what the same manager applied
//! before and no longer does, and refuses to change what others own. [`update`] records what any
//! other write changed. Both keep `metadata.managedFields`.

mod compare;
mod fields;
mod fit;
mod managed;
mod merge;
mod path;
mod set;
mod typed;

pub use managed::{Entry, Managed, Manager, Operation};
pub use path::PathElement;
pub use set::FieldSet;

use crate::meta::{Gvk, meta};
use crate::schema::Schema;
use compare::Comparison;
use fields::{fields_of, reconciled, with_named_fields};
use merge::{merge, remove};
use serde_json::{Value, json};
use std::sync::LazyLock;
use typed::{TypeRef, equal};

/// The annotation in which a client-side apply keeps its last configuration.
pub const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// Entries of updates beyond this are merged into one, oldest first.
const MAX_UPDATE_MANAGERS: usize = 10;

/// Who writes, and how.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// Query parameter `fieldManager`; `unknown` if empty.
    pub manager: &'a str,
    /// Take fields that others own.
    pub force: bool,
    /// `status`, `scale`, or empty.
    pub subresource: &'a str,
    /// Fields that this endpoint does not write, with all below them: `status` on the main
    /// one, everything else on `status`. They are never owned through it.
    pub reset: &'a FieldSet,
    /// Of the object, in the version of the request.
    pub schema: &'a Schema,
    /// RFC 3339, whole seconds, UTC.
    pub now: &'a str,
}

/// Why an apply is refused.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ApplyError {
    /// Others own fields that would change: 409.
    #[error("{0}")]
    Conflicts(Conflicts),
    /// The request is wrong: 400.
    #[error("{0}")]
    BadRequest(String),
    /// The configuration does not fit the schema: 500 with this message.
    #[error("failed to create typed patch object ({0}): {1}")]
    Typed(String, String),
}

/// Fields that others own.
#[derive(Debug, Clone, PartialEq)]
pub struct Conflicts(Vec<Conflict>);

/// One field that somebody else owns.
#[derive(Debug, Clone, PartialEq)]
pub struct Conflict {
    /// Who owns it.
    pub manager: Manager,
    /// Which field.
    pub path: Vec<PathElement>,
}

impl Conflict {
    fn owner(&self) -> String {
        self.manager.to_string()
    }

    /// `.spec.template.spec.containers[name="web"].image`.
    pub fn field(&self) -> String {
        self.path.iter().map(PathElement::to_string).collect()
    }

    /// `conflict with "kubectl" using apps/v1`: the message of a cause in a Status.
    pub fn message(&self) -> String {
        format!("conflict with {}", self.owner())
    }
}

impl Conflicts {
    /// Each of them, by manager and field.
    pub fn iter(&self) -> impl Iterator<Item = &Conflict> {
        self.0.iter()
    }

    /// `details.causes` of a Status.
    pub fn causes(&self) -> Vec<Value> {
        let cause = |conflict: &Conflict| json!({"reason": "FieldManagerConflict", "message": conflict.message(), "field": conflict.field()});
        self.0.iter().map(cause).collect()
    }
}

impl std::fmt::Display for Conflicts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let [only] = self.0.as_slice() {
            return write!(f, "Apply failed with 1 conflict: {}: {}", only.message(), only.field());
        }
        let mut lines = Vec::new();
        let mut last = None;
        for conflict in &self.0 {
            if last != Some(&conflict.manager) {
                lines.push(format!("conflicts with {}:", conflict.owner()));
                last = Some(&conflict.manager);
            }
            lines.push(format!("- {}", conflict.field()));
        }
        write!(f, "Apply failed with {} conflicts: {}", self.0.len(), lines.join("\n"))
    }
}

/// Fields that nobody ever owns.
static NEVER_OWNED: LazyLock<FieldSet> = LazyLock::new(|| {
    FieldSet::of([
        &["apiVersion"][..],
        &["kind"],
        &["metadata"],
        &["metadata", "name"],
        &["metadata", "namespace"],
        &["metadata", "creationTimestamp"],
        &["metadata", "selfLink"],
        &["metadata", "uid"],
        &["metadata", "clusterName"],
        &["metadata", "generation"],
        &["metadata", "managedFields"],
        &["metadata", "resourceVersion"],
    ])
});

/// What stands there when `config` has been applied to `live` (`None`: it does not exist yet), with its
/// managedFields. If nothing changes, it equals `live`. Defaults are for the caller to fill in afterwards.
pub fn apply(live: Option<&Value>, config: &Value, request: &Request<'_>) -> Result<Value, ApplyError> {
    let gvk = Gvk::of(config).ok_or_else(|| ApplyError::BadRequest("apiVersion and kind must be set".into()))?;
    if meta(config).0.is_some_and(|metadata| metadata.get("managedFields").is_some_and(|fields| !fields.is_null())) {
        return Err(ApplyError::BadRequest("metadata.managedFields must be nil".into()));
    }
    let ty = TypeRef::of(request.schema);
    let errors = fit::validate(ty, config, false);
    if !errors.is_empty() {
        return Err(ApplyError::Typed(described(config, &gvk), joined(&errors)));
    }
    let empty = empty(&gvk, request.schema);
    let bare = json!({"apiVersion": gvk.api_version(), "kind": gvk.kind});
    let existing = live.unwrap_or(&bare);
    let managed = Managed::read(meta(existing).managed_fields()).unwrap_or_default();
    let managed =
        if managed.is_empty() && live.is_some() { first_owner(existing, &empty, request, &gvk) } else { managed };
    let applied = match merged(existing, config, managed.clone(), request, &gvk) {
        Err(ApplyError::Conflicts(conflicts)) if request.manager == "kubectl" => {
            let left = unexplained(conflicts, existing, request.schema, &gvk);
            if !left.0.is_empty() {
                return Err(ApplyError::Conflicts(left));
            }
            merged(existing, config, managed, &Request { force: true, ..*request }, &gvk)
        }
        other => other,
    };
    let (mut object, managed) = applied?;
    if request.manager == "kubectl" {
        renew_last_applied(&mut object, config);
    }
    managed.write(&mut object);
    Ok(object)
}

/// What `new` is with its managedFields, given that it replaces `old` (`None`: it is created) by something
/// else than an apply.
pub fn update(old: Option<&Value>, mut new: Value, request: &Request<'_>) -> Value {
    let Some(gvk) = Gvk::of(&new) else { return new };
    let live = || old.and_then(|old| Managed::read(meta(old).managed_fields())).unwrap_or_default();
    let sent = meta(&new).0.and_then(|metadata| metadata.get("managedFields")).and_then(Value::as_array);
    let managed = match sent.map(Vec::as_slice) {
        Some(_) if !request.subresource.is_empty() => live(),
        Some([]) => Managed::default(),
        Some([only]) if only.as_object().is_some_and(serde_json::Map::is_empty) => Managed::default(),
        Some(list) => Managed::read(list).filter(|managed| !managed.is_empty()).unwrap_or_else(live),
        None => live(),
    };
    if let Some(metadata) = crate::meta::meta_mut(&mut new) {
        metadata.shift_remove("managedFields");
    }
    // Objects that are older than their tracking are not tracked before somebody applies them.
    if managed.is_empty() && old.is_some() {
        return new;
    }
    let empty = empty(&gvk, request.schema);
    let managed = updated(old.unwrap_or(&empty), &new, managed, request, &gvk);
    managed.write(&mut new);
    new
}

/// True if two states of an object differ in nothing but the times of their managers: a server then keeps the old
/// one and writes nothing.
pub fn is_unchanged(old: &Value, new: &Value) -> bool {
    let timeless = |object: &Value| {
        let mut object = object.clone();
        if let Some(Value::Array(entries)) = object.pointer_mut("/metadata/managedFields") {
            entries.iter_mut().filter_map(Value::as_object_mut).for_each(|entry| _ = entry.shift_remove("time"));
        }
        object
    };
    old == new || equal(&timeless(old), &timeless(new))
}

/// Puts the fields of `reset` back to what they are in `live`: an endpoint calls it on what it would store.
pub fn restore(new: &mut Value, live: Option<&Value>, reset: &FieldSet) {
    for (element, member, below) in reset.elements() {
        let PathElement::Field(name) = element else { continue };
        let before = live.and_then(|live| live.get(name));
        let Value::Object(map) = &mut *new else { return };
        if !member {
            if let Some(value) = map.get_mut(name) {
                restore(value, before, below);
            }
            continue;
        }
        match before {
            Some(value) => _ = map.insert(name.clone(), value.clone()),
            None => _ = map.shift_remove(name),
        }
    }
}

/// What is there before anything is said.
fn empty(gvk: &Gvk, schema: &Schema) -> Value {
    let mut object = schema.skeleton();
    object["apiVersion"] = Value::String(gvk.api_version());
    object["kind"] = Value::String(gvk.kind.clone());
    object
}

/// Everything that stood there before the first apply belongs to an owner of its own.
fn first_owner(live: &Value, empty: &Value, request: &Request<'_>, gvk: &Gvk) -> Managed {
    updated(empty, live, Managed::default(), &Request { manager: "before-first-apply", ..*request }, gvk)
}

fn updated(old: &Value, new: &Value, managed: Managed, request: &Request<'_>, gvk: &Gvk) -> Managed {
    let ty = TypeRef::of(request.schema);
    let manager = Manager::new(request.manager, Operation::Update, &gvk.api_version(), request.subresource);
    let mut managed = after_schema_change(managed, ty);
    let comparison = Comparison::of(ty, &without_managed(old), new).without(request.reset);
    take_from_others(&mut managed, None, &comparison);
    let changed = comparison.modified.union(&comparison.added);
    let own = changed.recursive_difference(request.reset).difference(&NEVER_OWNED);
    if !own.is_empty() {
        // The original loses the time of this one on its way through the Scale.
        let time = (request.subresource != "scale").then(|| request.now.to_owned());
        let before = managed.0.remove(&manager).map(|entry| entry.fields).unwrap_or_default();
        let entry = Entry { api_version: gvk.api_version(), time, fields: own.union(&before) };
        managed.0.insert(manager, entry);
    }
    capped(managed)
}

/// The object and its owners after an apply.
fn merged(
    live: &Value,
    config: &Value,
    managed: Managed,
    request: &Request<'_>,
    gvk: &Gvk,
) -> Result<(Value, Managed), ApplyError> {
    let ty = TypeRef::of(request.schema);
    let manager = Manager::new(request.manager, Operation::Apply, "", request.subresource);
    let mut managed = after_schema_change(managed, ty);
    let last = managed.0.get(&manager).cloned();
    let fields = fields_of(ty, config).recursive_difference(request.reset);
    let time = last.as_ref().and_then(|entry| entry.time.clone());
    managed.0.insert(manager.clone(), Entry { api_version: gvk.api_version(), time, fields });

    let laid_over = merge(ty, Some(live), Some(config)).unwrap_or_default();
    let mut object = match last.filter(|entry| !entry.fields.is_empty()) {
        Some(last) => pruned(ty, laid_over, &managed, &last.fields),
        None => laid_over,
    };
    let comparison = Comparison::of(ty, live, &object).without(request.reset);
    let conflicts = conflicts(&managed, &manager, &comparison);
    if !request.force && !conflicts.0.is_empty() {
        return Err(ApplyError::Conflicts(conflicts));
    }
    take_from_others(&mut managed, Some(&manager), &comparison);
    let changed = !equal(live, &object);
    request.schema.drop_nulls(&mut object);
    if let Some(entry) = managed.0.get_mut(&manager) {
        entry.fields = entry.fields.difference(&NEVER_OWNED);
        if changed {
            entry.time = Some(request.now.to_owned());
        }
    }
    managed.0.retain(|_, entry| !entry.fields.is_empty());
    Ok((if changed { object } else { live.clone() }, managed))
}

/// Without what the manager applied last time, unless it or somebody else still owns it, or nobody did.
fn pruned(ty: TypeRef<'_>, merged: Value, managed: &Managed, last: &FieldSet) -> Value {
    let named = |set: &FieldSet| with_named_fields(set, ty);
    let last = named(last);
    let all = named(&fields_of(ty, &merged));
    let left = remove(ty, &merged, &last);
    let owned = managed.0.values().fold(FieldSet::default(), |set, entry| set.union(&entry.fields));
    let kept = named(&fields_of(ty, &left)).union(&named(&owned));
    let left = remove(ty, &merged, &all.difference(&kept));
    let left = named(&fields_of(ty, &left));
    remove(ty, &merged, &all.difference(&left).intersection(&last))
}

fn conflicts(managed: &Managed, except: &Manager, comparison: &Comparison) -> Conflicts {
    let changed = comparison.modified.clone().union(&comparison.added);
    let mut conflicts = Vec::new();
    for (manager, entry) in managed.0.iter().filter(|(manager, _)| *manager != except) {
        let paths = entry.fields.intersection(&changed).paths();
        let conflict = |path| Conflict { manager: manager.clone(), path };
        conflicts.extend(paths.into_iter().map(conflict));
    }
    Conflicts(conflicts)
}

/// Whoever else owned what changed or is gone, owns it no longer.
fn take_from_others(managed: &mut Managed, except: Option<&Manager>, comparison: &Comparison) {
    let changed = comparison.modified.clone().union(&comparison.added);
    for (manager, entry) in &mut managed.0 {
        if Some(manager) != except {
            let conflicting = entry.fields.intersection(&changed);
            entry.fields = entry.fields.difference(&conflicting).difference(&comparison.removed);
        }
    }
    managed.0.retain(|_, entry| !entry.fields.is_empty());
}

fn after_schema_change(mut managed: Managed, ty: TypeRef<'_>) -> Managed {
    for entry in managed.0.values_mut() {
        entry.fields = reconciled(&entry.fields, ty);
    }
    managed
}

/// Merges the oldest entries of updates, per version, until there are few enough.
fn capped(mut managed: Managed) -> Managed {
    let mut updaters: Vec<(Option<String>, Manager)> = (managed.0.iter())
        .filter(|(manager, _)| manager.operation == Operation::Update)
        .map(|(manager, entry)| (entry.time.clone(), manager.clone()))
        .collect();
    updaters.sort();
    let mut excess = updaters.len().saturating_sub(MAX_UPDATE_MANAGERS);
    let mut first_of_version: std::collections::BTreeMap<String, Manager> = Default::default();
    for (time, manager) in updaters {
        if excess == 0 {
            break;
        }
        let version = manager.api_version.clone();
        let Some(first) = first_of_version.get(&version) else {
            first_of_version.insert(version, manager);
            continue;
        };
        let bucket = Manager::new("ancient-changes", Operation::Update, &version, "");
        if !managed.0.contains_key(&bucket)
            && let Some(entry) = managed.0.remove(first)
        {
            managed.0.insert(bucket.clone(), entry);
        }
        if let Some(entry) = managed.0.remove(&manager)
            && let Some(into) = managed.0.get_mut(&bucket)
        {
            into.fields = entry.fields.union(&into.fields);
            into.time = time;
            excess -= 1;
        }
    }
    managed
}

/// The conflicts that a client-side apply by kubectl does not explain: fields that stand as its last
/// configuration had them may be taken over.
fn unexplained(conflicts: Conflicts, live: &Value, schema: &Schema, gvk: &Gvk) -> Conflicts {
    let Some(last) = meta(live).annotation(LAST_APPLIED).and_then(|text| serde_json::from_str::<Value>(text).ok())
    else {
        return conflicts;
    };
    if last.get("apiVersion").and_then(Value::as_str) != Some(&gvk.api_version()) {
        return conflicts;
    }
    let ty = TypeRef::of(schema);
    let comparison = Comparison::of(ty, &last, live);
    let explained = (fields_of(ty, &last).difference(&comparison.modified))
        .difference(&comparison.added)
        .difference(&comparison.removed);
    Conflicts(conflicts.0.into_iter().filter(|conflict| !explained.has(&conflict.path)).collect())
}

/// Keeps the annotation of client-side apply in step, where there is one.
fn renew_last_applied(object: &mut Value, config: &Value) {
    if meta(object).annotation(LAST_APPLIED).is_none_or(str::is_empty) {
        return;
    }
    let mut last = config.clone();
    if let Some(Value::Object(annotations)) = last.pointer_mut("/metadata/annotations") {
        annotations.shift_remove(LAST_APPLIED);
    }
    last.sort_all_objects();
    if let Some(Value::Object(annotations)) = object.pointer_mut("/metadata/annotations") {
        annotations.insert(LAST_APPLIED.into(), Value::String(format!("{last}\n")));
    }
}

fn without_managed(object: &Value) -> Value {
    let mut object = object.clone();
    if let Some(Value::Object(metadata)) = object.get_mut("metadata") {
        metadata.shift_remove("managedFields");
    }
    object
}

/// `namespace/name; apps/v1, Kind=Deployment`.
fn described(object: &Value, gvk: &Gvk) -> String {
    format!("{}/{}; {gvk}", meta(object).namespace(), meta(object).name())
}

fn joined(errors: &[String]) -> String {
    match errors {
        [only] => only.clone(),
        many => format!("errors:\n  {}", many.join("\n  ")),
    }
}
