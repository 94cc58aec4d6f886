//! Creating and changing objects: every write goes through [`Call::create`] or [`Call::modify`].

use crate::addresses::{Assigned, Claim};
use crate::admission::Operation;
use crate::call::Call;
use crate::clock;
use crate::decode::misnamed;
use crate::reply::Reply;
use crate::status::{Refusal, Result};
use crate::store::{Change, CommitError, Expected, Key, Stored, Write};
use crate::strategy::rules::invalid;
use crate::strategy::{self, Scope};
use object::apply::{self, FieldSet};
use object::meta::meta_mut;
use object::{Gvk, meta};
use serde_json::Value;

/// A write that has lost a race this often gives up. Kubernetes tries five times.
const TRIES_MAX: usize = 10;
const GENERATE_TRIES_MAX: usize = 8;
/// Alphabet of generated names: no vowels, so no words.
const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
const GENERATED_LENGTH: usize = 5;
const GENERATED_BASE_MAX: usize = 58;

/// Who answers for the fields of a new state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owners {
    /// The manager of the request, of what differs.
    Update,
    /// Known already: a server-side apply found them out.
    Known,
}

/// What a change makes of an object.
pub struct Changed {
    /// The new state.
    pub object: Value,
    /// Of its fields.
    pub owners: Owners,
}

impl Call {
    /// `POST` to a collection.
    pub async fn create(&mut self) -> Result<Reply> {
        let object = self.decode_object()?;
        self.create_from(object, Owners::Update).await
    }

    /// `PUT`.
    pub async fn update(&mut self) -> Result<Reply> {
        let object = self.decode_object()?;
        let named = meta(&object).name();
        if named != self.path.name {
            return Err(misnamed(named, &self.path.name));
        }
        // Definitions can say anything, so that nobody may overwrite what they have not seen.
        if self.resource.custom.is_some() && meta(&object).resource_version().is_empty() {
            let error = invalid("metadata.resourceVersion", &0.into(), "must be specified for an update");
            let gvk = Gvk { kind: self.resource.names.resource.clone(), ..self.resource.gvk.clone() };
            return Err(Refusal::invalid(&gvk, named, &[error]));
        }
        self.modify(|_| Ok(Changed { object: object.clone(), owners: Owners::Update })).await
    }

    /// `PUT` of a namespace's `finalize`: only `spec.finalizers` is taken.
    pub async fn finalize(&mut self) -> Result<Reply> {
        let sent = self.decode_object()?;
        self.modify(|old| {
            let mut object = old.clone();
            object["spec"] = sent.get("spec").cloned().unwrap_or_default();
            Ok(Changed { object, owners: Owners::Update })
        })
        .await
    }

    /// Stores a new object.
    pub async fn create_from(&mut self, object: Value, owners: Owners) -> Result<Reply> {
        let generated = meta(&object).name().is_empty() && !meta(&object).generate_name().is_empty();
        let mut tries = if generated { GENERATE_TRIES_MAX } else { 1 };
        loop {
            tries -= 1;
            let mut new = self.prepared(object.clone(), owners)?;
            let _claim = self.addressed(&mut new, None)?;
            self.admit(Operation::Create, None, Some(&new))?;
            if self.query.dry_run(self.verb)? {
                let key = self.key_of(&new);
                self.guarded(&new)?;
                return match self.server.store.get(&key) {
                    Some(_) => Err(Refusal::already_exists(&self.resource.names, &key.name)),
                    None => Ok(Reply::Value(201, new)),
                };
            }
            let write = Write {
                key: self.key_of(&new),
                expected: Expected::Absent,
                guard: self.guard(),
                change: Change::Put(new),
            };
            let name = write.key.name.clone();
            match self.server.commit(write).await {
                Err(CommitError::Exists) if tries > 0 => {}
                other => return Ok(Reply::Stored(201, other.map_err(|error| self.refused(error, &name))?)),
            }
        }
    }

    /// A new object with everything that the server adds, valid.
    fn prepared(&mut self, mut object: Value, owners: Owners) -> Result<Value> {
        let resource = self.resource.clone();
        name_it(&mut object);
        strategy::default(&resource, &mut object);
        if owners == Owners::Update {
            object = self.owned(None, object);
        }
        let warnings = strategy::prepare_create(&resource, &mut object);
        if !resource.effective {
            self.warnings.push(format!(
                "{} {} is stored, but nothing here acts on it",
                resource.gvk.api_version(),
                resource.gvk.kind
            ));
        }
        self.warnings.extend(warnings);
        if let Some(metadata) = meta_mut(&mut object) {
            for key in ["resourceVersion", "deletionTimestamp", "deletionGracePeriodSeconds", "selfLink"] {
                metadata.shift_remove(key);
            }
            metadata.insert("uid".into(), uid().into());
            metadata.insert("creationTimestamp".into(), clock::now().into());
            metadata.shift_remove("generation");
            if strategy::has_generation(&resource) {
                metadata.insert("generation".into(), 1.into());
            }
        }
        if &*resource.id == "jobs.batch" {
            self.warnings.extend(strategy::job::prepare(&mut object));
        }
        if resource.custom.is_none() && &*resource.id == "customresourcedefinitions.apiextensions.k8s.io" {
            self.server.establish(&mut object);
        }
        self.valid(&object, None)?;
        Ok(object)
    }

    /// Changes the object that the path names. `change` is asked again if another write comes first
    /// and the new state does not insist on the version that it was made from.
    pub async fn modify(&mut self, change: impl Fn(&Value) -> Result<Changed>) -> Result<Reply> {
        for _ in 0..TRIES_MAX {
            let stored = self.stored()?;
            let old = self.in_version(&stored);
            let Changed { object, owners } = change(&old)?;
            match self.replace(&stored, &old, object, owners).await? {
                Some(reply) => return Ok(reply),
                None => continue,
            }
        }
        Err(Refusal::modified(&self.resource.names, &self.path.name))
    }

    /// One try of [`Call::modify`]; `None` if another write came first.
    async fn replace(&mut self, stored: &Stored, old: &Value, new: Value, owners: Owners) -> Result<Option<Reply>> {
        self.check_identity(old, &new)?;
        let mut new = self.revised(old, new, owners)?;
        if new == *old {
            return Ok(Some(Reply::Value(200, new)));
        }
        self.valid(&new, Some(old))?;
        let _claim = self.addressed(&mut new, Some(old))?;
        self.admit(Operation::Update, Some(old), Some(&new))?;
        if self.query.dry_run(self.verb)? {
            return Ok(Some(Reply::Value(200, new)));
        }
        let done = strategy::deletion_is_complete(&self.resource.id, &new);
        let write = Write {
            key: stored.key.clone(),
            expected: Expected::Revision(stored.revision),
            change: if done { Change::Delete(new) } else { Change::Put(new) },
            guard: None,
        };
        match self.server.commit(write).await {
            Ok(stored) => Ok(Some(Reply::Stored(200, stored))),
            Err(CommitError::Changed) => Ok(None),
            Err(error) => Err(self.refused(error, &stored.key.name)),
        }
    }

    /// The new state, with what this endpoint may not write as it was.
    fn revised(&mut self, old: &Value, mut new: Value, owners: Owners) -> Result<Value> {
        let resource = self.resource.clone();
        let scope = self.scope();
        strategy::restrict(&resource, scope, old, &mut new);
        resource.schema.drop_nulls(&mut new);
        if resource.custom.is_some() {
            resource.schema.prune(&mut new);
        }
        strategy::default(&resource, &mut new);
        let warnings = strategy::prepare_update(&resource, &mut new, old);
        self.warnings.extend(warnings);
        if owners == Owners::Update {
            new = self.owned(Some(old), new);
        }
        if &*resource.id == "customresourcedefinitions.apiextensions.k8s.io" {
            self.server.establish(&mut new);
        }
        let generation = meta(old).generation();
        if scope != Scope::Subresource
            && strategy::has_generation(&resource)
            && strategy::spec_changed(old, &new)
            && let Some(metadata) = meta_mut(&mut new)
        {
            metadata.insert("generation".into(), (generation + 1).into());
        }
        Ok(new)
    }

    /// The object with `managedFields` as this request leaves them.
    fn owned(&self, old: Option<&Value>, new: Value) -> Value {
        apply::update(old, new, &self.apply_request(false, &self.reset_fields(), &clock::now()))
    }

    /// How `object::apply` is told of this request.
    pub fn apply_request<'a>(&'a self, force: bool, reset: &'a FieldSet, now: &'a str) -> apply::Request<'a> {
        apply::Request {
            manager: &self.manager,
            force,
            subresource: &self.path.subresource,
            reset,
            schema: &self.resource.schema,
            now,
        }
    }

    /// The fields that this endpoint does not write.
    pub fn reset_fields(&self) -> FieldSet {
        strategy::reset_fields(&self.resource, self.scope())
    }

    /// Which part of the object this endpoint writes.
    pub fn scope(&self) -> Scope {
        match self.path.subresource.as_str() {
            "status" => Scope::Status,
            "finalize" => Scope::Finalize,
            "binding" => Scope::Subresource,
            _ => Scope::Main,
        }
    }

    /// A stored object in the version of the path.
    pub fn in_version(&self, stored: &Stored) -> Value {
        let mut value = stored.value();
        let api_version = self.resource.gvk.api_version();
        if value["apiVersion"] != *api_version {
            value["apiVersion"] = api_version.into();
        }
        value
    }

    /// 409 if the new state was made from another version or another object.
    fn check_identity(&self, old: &Value, new: &Value) -> Result<()> {
        let (before, after) = (meta(old), meta(new));
        let names = &self.resource.names;
        if !after.uid().is_empty() && after.uid() != before.uid() {
            let why = format!(
                "Precondition failed: UID in precondition: {}, UID in object meta: {}",
                after.uid(),
                before.uid()
            );
            return Err(Refusal::conflict(names, before.name(), why));
        }
        if !after.resource_version().is_empty() && after.resource_version() != before.resource_version() {
            return Err(Refusal::modified(names, before.name()));
        }
        Ok(())
    }

    /// 422 if a rule is broken.
    fn valid(&self, object: &Value, old: Option<&Value>) -> Result<()> {
        let errors = strategy::validate(&self.resource, self.scope(), object, old);
        let name = meta(object).name();
        if errors.is_empty() { Ok(()) } else { Err(Refusal::invalid(&self.resource.gvk, name, &errors)) }
    }

    /// Gives a Service its address; hold what is returned until the Service is stored.
    fn addressed(&mut self, object: &mut Value, old: Option<&Value>) -> Result<Option<Claim>> {
        if &*self.resource.id != "services" || self.scope() != Scope::Main {
            return Ok(None);
        }
        let dry_run = self.query.dry_run(self.verb)?;
        let assigned = self.server.addresses.assign(&self.server.store, object, old, dry_run);
        let Assigned { claim, warning } =
            assigned.map_err(|error| Refusal::invalid(&self.resource.gvk, meta(object).name(), &[error]))?;
        self.warnings.extend(warning);
        Ok(claim)
    }

    fn key_of(&self, object: &Value) -> Key {
        Key::new(self.resource.id.clone(), self.path.namespace.as_str(), meta(object).name())
    }

    /// The namespace that a new object needs.
    fn guard(&self) -> Option<Key> {
        self.resource.namespaced.then(|| Key::new("namespaces", "", self.path.namespace.as_str()))
    }

    /// What the writer would say of the guard, for dry runs.
    fn guarded(&self, object: &Value) -> Result<()> {
        let Some(guard) = self.guard() else { return Ok(()) };
        match self.server.store.get(&guard) {
            None => Err(self.refused(CommitError::GuardMissing(guard), meta(object).name())),
            Some(found) if found.deleting => Err(self.refused(CommitError::GuardDeleting(guard), meta(object).name())),
            Some(_) => Ok(()),
        }
    }

    /// Why the store did not take a write, for the client.
    pub fn refused(&self, error: CommitError, name: &str) -> Refusal {
        let names = &self.resource.names;
        match error {
            CommitError::Exists => Refusal::already_exists(names, name),
            CommitError::Missing => Refusal::not_found(names, name),
            CommitError::Changed => Refusal::modified(names, name),
            CommitError::GuardMissing(guard) => {
                let namespaces = object::GroupResource { group: String::new(), resource: "namespaces".into() };
                Refusal::not_found(&namespaces, &guard.name)
            }
            CommitError::GuardDeleting(guard) => Refusal::namespace_terminating(names, name, &guard.name),
            CommitError::Disk(_) => Refusal::unavailable(error.to_string()),
        }
    }
}

/// Gives an object with `generateName` its name.
fn name_it(object: &mut Value) {
    let base = meta(object).generate_name().to_owned();
    if !meta(object).name().is_empty() || base.is_empty() {
        return;
    }
    let end = (0..=base.len().min(GENERATED_BASE_MAX)).rev().find(|at| base.is_char_boundary(*at)).unwrap_or_default();
    let suffix = (0..GENERATED_LENGTH).map(|_| {
        let at = rand::random::<u32>() as usize % ALPHABET.len();
        char::from(ALPHABET[at])
    });
    let name: String = base[..end].chars().chain(suffix).collect();
    if let Some(metadata) = meta_mut(object) {
        metadata.insert("name".into(), name.into());
    }
}

/// A random uid, as RFC 4122 writes version 4.
pub fn uid() -> String {
    let mut bytes: [u8; 16] = rand::random();
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let text = hex::encode(bytes);
    [&text[..8], &text[8..12], &text[12..16], &text[16..20], &text[20..]].join("-")
}
