//! Deleting: at once, after a grace period, or when finalizers and dependents are through.

use crate::admission::Operation;
use crate::body;
use crate::call::Call;
use crate::clock;
use crate::reply::Reply;
use crate::server::Inner;
use crate::status::{self, Refusal, Result};
use crate::store::{Change, CommitError, Expected, Key, Stored, Write};
use crate::strategy;
use object::meta;
use object::meta::meta_mut;
use serde_json::{Value, json};
use std::sync::Arc;

/// Finalizer of an owner that goes after its dependents.
pub const FOREGROUND: &str = "foregroundDeletion";
/// Finalizer of an owner that leaves its dependents behind.
pub const ORPHAN: &str = "orphan";
const TRIES_MAX: usize = 10;

/// What happens to dependents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Propagation {
    /// They go after it.
    Background,
    /// They go before it.
    Foreground,
    /// They stay.
    Orphan,
}

/// How something is to be deleted.
#[derive(Debug, Clone, Default)]
pub struct DeleteOptions {
    /// Seconds; `None`: what the object itself asks for.
    pub grace: Option<u64>,
    /// `None`: in the background, unless its finalizers say otherwise.
    pub propagation: Option<Propagation>,
    /// It must be this one.
    pub uid: Option<String>,
    /// It must be at this version.
    pub resource_version: Option<String>,
    /// Only say what would happen.
    pub dry_run: bool,
}

impl DeleteOptions {
    /// In the background.
    pub fn background() -> Self {
        Self { propagation: Some(Propagation::Background), ..Self::default() }
    }
}

/// What a deletion came to.
pub enum Deleted {
    /// It is gone; this was its last state.
    Gone(Value),
    /// It is on its way out.
    Terminating(Value),
}

impl Call {
    /// `DELETE` of an object.
    pub async fn delete(&mut self) -> Result<Reply> {
        let options = self.delete_options()?;
        let deleted = self.delete_one(&self.key(), &options).await?;
        Ok(self.deletion_reply(deleted))
    }

    /// `POST` to `eviction`: a deletion with the options inside.
    pub async fn evict(&mut self) -> Result<Reply> {
        let sent = self.decode_any()?;
        let mut options = options_of(sent.get("deleteOptions").unwrap_or(&Value::Null))?;
        options.dry_run |= self.query.dry_run(self.verb)?;
        self.delete_one(&self.key(), &options).await?;
        Ok(Reply::Value(
            201,
            json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}),
        ))
    }

    /// `DELETE` of a collection: everything that is selected.
    pub async fn delete_collection(&mut self) -> Result<Reply> {
        let options = self.delete_options()?;
        let reply = self.list()?;
        if let Reply::List { objects, .. } = &reply {
            for object in objects {
                match self.delete_one(&object.key, &options).await {
                    Err(gone) if gone.code == 404 => {}
                    other => drop(other?),
                }
            }
        }
        Ok(reply)
    }

    async fn delete_one(&self, key: &Key, options: &DeleteOptions) -> Result<Deleted> {
        if let Some(why) = strategy::undeletable(&key.resource, &key.name) {
            return Err(Refusal::forbidden(&self.resource.names, &key.name, why));
        }
        let admit = |old: &Value| self.admit(Operation::Delete, Some(old), None);
        self.server.delete(key, options, admit).await.map_err(|failure| match failure {
            Failure::Refused(refusal) => refusal,
            Failure::Commit(error) => self.refused(error, &key.name),
            Failure::Precondition(why) => Refusal::another(&self.resource.gvk, &key.name, why),
        })
    }

    /// Kubernetes answers with the object while it is on its way out, and for a few kinds always.
    fn deletion_reply(&self, deleted: Deleted) -> Reply {
        match deleted {
            Deleted::Terminating(object) => Reply::Value(200, object),
            Deleted::Gone(object) if strategy::returns_deleted(&self.resource.id) => Reply::Value(200, object),
            Deleted::Gone(object) => {
                let metadata = meta(&object);
                Reply::Value(200, status::success(&self.resource.names, metadata.name(), metadata.uid()))
            }
        }
    }

    /// From the body and, where that is silent, the query.
    fn delete_options(&self) -> Result<DeleteOptions> {
        let sent = if self.body.is_empty() { Value::Null } else { self.decode_any()? };
        let mut options = options_of(&sent)?;
        options.dry_run |= self.query.dry_run(self.verb)?;
        options.grace = options.grace.or(self.query.number("gracePeriodSeconds")?);
        if options.propagation.is_none() {
            options.propagation = propagation(self.query.get("propagationPolicy"))?;
        }
        if self.query.flag("orphanDependents") {
            options.propagation = Some(Propagation::Orphan);
        }
        Ok(options)
    }

    fn decode_any(&self) -> Result<Value> {
        let accepted = ["", "application/json", "application/yaml"];
        if !accepted.contains(&self.media.as_str()) {
            return Err(Refusal::unsupported_media_type(&self.media, &accepted[1..]));
        }
        let decoded = body::decode(&self.body, self.media.ends_with("yaml"));
        Ok(decoded
            .map_err(|why| Refusal::bad_request(format!("couldn't get version/kind; json parse error: {why}")))?
            .value)
    }
}

fn options_of(sent: &Value) -> Result<DeleteOptions> {
    let text = |value: Option<&Value>| value.and_then(Value::as_str).map(str::to_owned);
    let precondition = |key: &str| text(sent.get("preconditions").and_then(|p| p.get(key)));
    let dry_run = sent.get("dryRun").and_then(Value::as_array).is_some_and(|list| !list.is_empty());
    let mut options = DeleteOptions {
        grace: sent.get("gracePeriodSeconds").and_then(Value::as_i64).map(|seconds| seconds.max(0).unsigned_abs()),
        propagation: propagation(sent.get("propagationPolicy").and_then(Value::as_str).unwrap_or_default())?,
        uid: precondition("uid"),
        resource_version: precondition("resourceVersion"),
        dry_run,
    };
    if sent.get("orphanDependents").and_then(Value::as_bool) == Some(true) {
        options.propagation = Some(Propagation::Orphan);
    }
    Ok(options)
}

fn propagation(text: &str) -> Result<Option<Propagation>> {
    Ok(Some(match text {
        "" => return Ok(None),
        "Background" => Propagation::Background,
        "Foreground" => Propagation::Foreground,
        "Orphan" => Propagation::Orphan,
        other => {
            return Err(Refusal::new(
                422,
                "Invalid",
                format!(
                    "DeleteOptions.meta.k8s.io \"\" is invalid: propagationPolicy: Invalid value: {other:?}: must be one of Background, Foreground, Orphan"
                ),
            ));
        }
    }))
}

/// Why something was not deleted.
pub enum Failure {
    /// Admission does not want it.
    Refused(Refusal),
    /// The store did not take it.
    Commit(CommitError),
    /// It is not the one that was meant.
    Precondition(String),
}

impl Inner {
    /// Deletes an object, or marks it as being deleted.
    pub async fn delete(
        &self,
        key: &Key,
        options: &DeleteOptions,
        admit: impl Fn(&Value) -> Result<()>,
    ) -> Result<Deleted, Failure> {
        for _ in 0..TRIES_MAX {
            let stored = self.store.get(key).ok_or(Failure::Commit(CommitError::Missing))?;
            let old = stored.value();
            check(&old, options)?;
            admit(&old).map_err(Failure::Refused)?;
            let Some(next) = next(&stored, &old, options) else { return Ok(Deleted::Terminating(old)) };
            if options.dry_run {
                return Ok(match next {
                    Next::Mark(object) => Deleted::Terminating(object),
                    Next::Remove(object) => Deleted::Gone(object),
                });
            }
            let (change, gone) = match next {
                Next::Mark(object) => (Change::Put(object), false),
                Next::Remove(object) => (Change::Delete(object), true),
            };
            let expected = Expected::Revision(stored.revision);
            match self.commit(Write { key: key.clone(), expected, change, guard: None }).await {
                Ok(stored) if gone => return Ok(Deleted::Gone(stored.value())),
                Ok(stored) => return Ok(Deleted::Terminating(stored.value())),
                Err(CommitError::Changed) => {}
                Err(error) => return Err(Failure::Commit(error)),
            }
        }
        Err(Failure::Commit(CommitError::Changed))
    }
}

fn check(old: &Value, options: &DeleteOptions) -> Result<(), Failure> {
    let metadata = meta(old);
    let checks = [
        ("UID", &options.uid, metadata.uid(), "deleted and then recreated"),
        ("ResourceVersion", &options.resource_version, metadata.resource_version(), "modified"),
    ];
    for (what, wanted, found, how) in checks {
        if let Some(wanted) = wanted
            && wanted != found
        {
            return Err(Failure::Precondition(format!(
                "the {what} in the precondition ({wanted}) does not match the {what} in record ({found}). The object might have been {how}"
            )));
        }
    }
    Ok(())
}

enum Next {
    Mark(Value),
    Remove(Value),
}

/// What the deletion does to the object now; `None`: it is on its way already.
fn next(stored: &Arc<Stored>, old: &Value, options: &DeleteOptions) -> Option<Next> {
    let grace = strategy::grace(&stored.key.resource, old, options.grace);
    let mut object = old.clone();
    let mut finalizers = finalizers(old, options.propagation);
    if !stored.deleting {
        finalizers.extend(strategy::own_finalizer(&stored.key.resource).map(Value::from));
    }
    let pending = !finalizers.is_empty() || strategy::content_finalizers(&stored.key.resource, old);
    let deleting = stored.deleting;
    let left = old.pointer("/metadata/deletionGracePeriodSeconds").and_then(Value::as_u64);
    let metadata = meta_mut(&mut object)?;
    if finalizers.is_empty() {
        metadata.shift_remove("finalizers");
    } else {
        metadata.insert("finalizers".into(), finalizers.into());
    }
    if grace == 0 && !pending {
        if deleting {
            metadata.insert("deletionGracePeriodSeconds".into(), 0.into());
        }
        return Some(Next::Remove(object));
    }
    if !deleting || left.is_some_and(|left| grace < left) {
        metadata.insert("deletionTimestamp".into(), clock::after(grace).into());
        if *stored.key.resource != *"namespaces" {
            metadata.insert("deletionGracePeriodSeconds".into(), grace.into());
        }
        if let Some(generation) = metadata.get("generation").and_then(Value::as_i64).filter(|_| !deleting) {
            metadata.insert("generation".into(), (generation + 1).into());
        }
        strategy::mark_deleting(&stored.key.resource, &mut object);
    }
    (object != *old).then_some(Next::Mark(object))
}

/// The finalizers after `propagation` has added or taken away those of garbage collection.
fn finalizers(old: &Value, propagation: Option<Propagation>) -> Vec<Value> {
    let kept = |name: &&str| propagation.is_none() || ![FOREGROUND, ORPHAN].contains(name);
    let mut names: Vec<Value> = meta(old).finalizers().filter(kept).map(Value::from).collect();
    match propagation {
        Some(Propagation::Foreground) => names.push(FOREGROUND.into()),
        Some(Propagation::Orphan) => names.push(ORPHAN.into()),
        Some(Propagation::Background) | None => {}
    }
    names
}
