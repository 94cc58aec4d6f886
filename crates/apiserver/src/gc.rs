//! Garbage collection: what goes because something else has gone.
//!
//! One task, woken by every commit, that looks at the work lists of the store: objects whose owners
//! are gone or going, and objects that are on their way out. It keeps nothing between two looks, so
//! a crash costs nothing.

use crate::crd;
use crate::delete::{DeleteOptions, FOREGROUND, Failure, ORPHAN, Propagation};
use crate::server::Inner;
use crate::store::{Change, CommitError, Expected, Key, Stored, Uid, Write};
use crate::strategy;
use object::meta::meta_mut;
use serde_json::{Value, json};
use std::sync::{Arc, Weak};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Runs until the server is gone.
pub async fn run(server: Weak<Inner>, stop: CancellationToken, mut changes: watch::Receiver<u64>) {
    loop {
        changes.borrow_and_update();
        let Some(server) = server.upgrade() else { return };
        server.collect().await;
        drop(server);
        tokio::select! {
            changed = changes.changed() => if changed.is_err() { return },
            () = stop.cancelled() => return,
        }
    }
}

/// What the owners of an object mean for it.
enum Fate {
    /// Somebody owns it.
    Keep,
    /// Owners are gone, others stay: these references go.
    Release(Vec<Uid>),
    /// All owners are gone or going.
    Delete(Propagation),
}

impl Inner {
    /// Does what there is to do now. What it does wakes it again.
    async fn collect(&self) {
        for object in self.store.dangling() {
            self.judge(&object).await;
        }
        for object in self.store.terminating() {
            self.advance(&object).await;
        }
    }

    async fn judge(&self, object: &Stored) {
        let revision = self.store.revision();
        let done = match self.fate(object) {
            Fate::Keep => {
                self.store.settle(&object.key, revision);
                Ok(())
            }
            Fate::Release(gone) => self.release(object, &gone).await,
            Fate::Delete(propagation) if object.deleting && propagation == Propagation::Background => Ok(()),
            Fate::Delete(propagation) => {
                let options = DeleteOptions {
                    propagation: Some(propagation),
                    uid: Some(object.uid.to_string()),
                    ..Default::default()
                };
                self.delete(&object.key, &options, |_| Ok(())).await.map(drop).map_err(told)
            }
        };
        self.report(&object.key, done);
    }

    fn fate(&self, object: &Stored) -> Fate {
        let (mut gone, mut waiting, mut solid) = (Vec::new(), Vec::new(), false);
        for reference in &object.owners {
            let owner = self.store.by_uid(&reference.uid);
            // An owner in another namespace is none; of an object in no namespace, nobody can say.
            let owner = owner.filter(|o| {
                let home = &o.key.namespace;
                home.is_empty() || *home == object.key.namespace || object.key.namespace.is_empty()
            });
            match owner {
                None => gone.push(reference.uid.clone()),
                Some(owner) if owner.deleting && has(&owner, FOREGROUND) => waiting.push(reference.uid.clone()),
                Some(_) => solid = true,
            }
        }
        if solid && gone.is_empty() && waiting.is_empty() {
            return Fate::Keep;
        }
        if solid {
            gone.extend(waiting);
            return Fate::Release(gone);
        }
        let own_dependents = !waiting.is_empty() && !self.store.dependents(&object.uid).is_empty();
        Fate::Delete(match (has(object, ORPHAN), own_dependents || has(object, FOREGROUND)) {
            (true, _) => Propagation::Orphan,
            (false, true) => Propagation::Foreground,
            (false, false) => Propagation::Background,
        })
    }

    /// Takes the references to these owners out of an object.
    async fn release(&self, object: &Stored, owners: &[Uid]) -> Result<(), CommitError> {
        self.rewrite(object, |value| {
            let list = value.pointer_mut("/metadata/ownerReferences").and_then(Value::as_array_mut);
            if let Some(list) = list {
                list.retain(|reference| !reference["uid"].as_str().is_some_and(|uid| owners.contains(&Uid::from(uid))));
                if list.is_empty()
                    && let Some(metadata) = meta_mut(value)
                {
                    metadata.shift_remove("ownerReferences");
                }
            }
        })
        .await
    }

    /// Brings an object that is on its way out one step further.
    async fn advance(&self, object: &Stored) {
        let done = if *object.key.resource == *"namespaces" {
            self.empty_namespace(object).await
        } else if has(object, ORPHAN) {
            self.orphan(object).await
        } else if has(object, FOREGROUND) && !self.blocked(object) {
            self.finish(object, FOREGROUND).await
        } else if has(object, crd::CLEANUP) {
            self.empty_definition(object).await
        } else {
            Ok(())
        };
        self.report(&object.key, done);
    }

    fn blocked(&self, owner: &Stored) -> bool {
        let blocks = |dependent: &Arc<Stored>| dependent.owners.iter().any(|o| o.uid == owner.uid && o.blocks);
        self.store.dependents(&owner.uid).iter().any(blocks)
    }

    async fn orphan(&self, owner: &Stored) -> Result<(), CommitError> {
        for dependent in self.store.dependents(&owner.uid) {
            self.release(&dependent, std::slice::from_ref(&owner.uid)).await?;
        }
        self.finish(owner, ORPHAN).await
    }

    /// Takes a finalizer away.
    async fn finish(&self, object: &Stored, finalizer: &str) -> Result<(), CommitError> {
        self.rewrite(object, |value| {
            if let Some(list) = value.pointer_mut("/metadata/finalizers").and_then(Value::as_array_mut) {
                list.retain(|name| name != finalizer);
            }
        })
        .await
    }

    /// Deletes what is in a namespace, Pods first; then lets it go.
    async fn empty_namespace(&self, namespace: &Stored) -> Result<(), CommitError> {
        let name = &*namespace.key.name;
        let mut resources = self.store.resources_in(name);
        if let Some(at) = resources.iter().position(|resource| **resource == *"pods") {
            resources = vec![resources.swap_remove(at)];
        }
        for resource in &resources {
            for object in self.store.list(resource, name).objects {
                self.remove(&object).await?;
            }
        }
        if !resources.is_empty() {
            return Ok(());
        }
        self.rewrite(namespace, |value| {
            if let Some(spec) = value.get_mut("spec").and_then(Value::as_object_mut) {
                spec.shift_remove("finalizers");
            }
        })
        .await
    }

    /// Deletes the objects that a definition defines; then lets it go.
    async fn empty_definition(&self, definition: &Stored) -> Result<(), CommitError> {
        // The name of a definition is that of its resource.
        let objects = self.store.list(&definition.key.name, "").objects;
        if objects.is_empty() {
            return self.finish(definition, crd::CLEANUP).await;
        }
        for object in objects {
            self.remove(&object).await?;
        }
        Ok(())
    }

    /// Deletes an object unless that has begun already.
    async fn remove(&self, object: &Stored) -> Result<(), CommitError> {
        if object.deleting {
            return Ok(());
        }
        match self.delete(&object.key, &DeleteOptions::background(), |_| Ok(())).await {
            Ok(_) => Ok(()),
            Err(failure) => Err(told(failure)),
        }
    }

    /// Stores an object changed, or removes it if nothing holds it any more.
    async fn rewrite(&self, object: &Stored, change: impl FnOnce(&mut Value)) -> Result<(), CommitError> {
        let old = object.value();
        let mut value = old.clone();
        change(&mut value);
        if let Some(metadata) = meta_mut(&mut value)
            && metadata.get("finalizers") == Some(&json!([]))
        {
            metadata.shift_remove("finalizers");
        }
        if value == old {
            return Ok(());
        }
        let done = strategy::deletion_is_complete(&object.key.resource, &value);
        let change = if done { Change::Delete(value) } else { Change::Put(value) };
        let expected = Expected::Revision(object.revision);
        self.commit(Write { key: object.key.clone(), expected, change, guard: None }).await.map(drop)
    }

    fn report(&self, key: &Key, done: Result<(), CommitError>) {
        match done {
            // Whoever was faster has woken this task again.
            Ok(()) | Err(CommitError::Changed | CommitError::Missing) => {}
            Err(error) => tracing::warn!(object = %key, %error, "garbage collection"),
        }
    }
}

fn has(object: &Stored, finalizer: &str) -> bool {
    object.finalizers.iter().any(|known| **known == *finalizer)
}

fn told(failure: Failure) -> CommitError {
    match failure {
        Failure::Commit(error) => error,
        // Another object has taken the place: that one is judged for itself.
        Failure::Precondition(_) | Failure::Refused(_) => CommitError::Changed,
    }
}
