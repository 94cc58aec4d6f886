//! Objects of the control API as the loops read them: listed again after we wrote one, or when a watch says that somebody
//! did, and not on every look.

use crate::projections::{read_build, read_change, read_promotion};
use async_trait::async_trait;
use model::ports::{Records, Result, Wake};
use model::records::Kind;
use model::{Change, Project, Promotion};
use promote::Builds;
use serde_json::Value;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// The port, and what was read through it last.
pub struct Remembered {
    port: Arc<dyn Records>,
    projects: Mutex<HashMap<Project, Arc<Shelf>>>,
}

/// Of one project.
#[derive(Default)]
struct Shelf {
    /// What others write is told. Until then nothing is taken to be as it was.
    watched: AtomicBool,
    builds: Slot<Builds>,
    promotions: Slot<Arc<Vec<Promotion>>>,
    changes: Slot<Arc<Vec<Change>>>,
}

/// One kind: what was read, and after how many changes.
struct Slot<T> {
    changes: AtomicU64,
    known: Mutex<Option<(u64, T)>>,
}

impl<T> Default for Slot<T> {
    fn default() -> Self {
        Self { changes: AtomicU64::new(0), known: Mutex::default() }
    }
}

impl Shelf {
    /// Something of a kind may be different, or of any.
    fn changed(&self, kind: Option<Kind>) {
        let counts = [
            (Kind::Build, &self.builds.changes),
            (Kind::Promotion, &self.promotions.changes),
            (Kind::Change, &self.changes.changes),
        ];
        for (_, count) in counts.into_iter().filter(|(of, _)| kind.is_none_or(|kind| kind == *of)) {
            count.fetch_add(1, Ordering::SeqCst);
        }
    }
}

/// Whatever becomes of a write, the next who reads looks anew.
struct Writing {
    shelf: Arc<Shelf>,
    kind: Kind,
}

impl Drop for Writing {
    fn drop(&mut self) {
        self.shelf.changed(Some(self.kind));
    }
}

impl Remembered {
    pub fn new(port: Arc<dyn Records>) -> Self {
        Self { port, projects: Mutex::default() }
    }

    /// All builds. What cannot be read is said and passed over.
    pub async fn builds(&self, project: &Project) -> Result<Builds> {
        let read = |values: Vec<Value>| all(&values, read_build).into();
        self.known(project, Kind::Build, |shelf| &shelf.builds, read).await
    }

    /// The same of promotions.
    pub async fn promotions(&self, project: &Project) -> Result<Arc<Vec<Promotion>>> {
        let read = |values: Vec<Value>| all(&values, read_promotion).into();
        self.known(project, Kind::Promotion, |shelf| &shelf.promotions, read).await
    }

    /// The same of Changes, oldest first.
    pub async fn changes(&self, project: &Project) -> Result<Arc<Vec<Change>>> {
        let read = |values: Vec<Value>| {
            let mut changes = all(&values, read_change);
            changes.retain(|change| !change.status.patch_sets.is_empty());
            changes.sort_by_key(|change| change.number);
            changes.into()
        };
        self.known(project, Kind::Change, |shelf| &shelf.changes, read).await
    }

    async fn known<T: Clone + PartialEq>(
        &self,
        project: &Project,
        kind: Kind,
        slot: impl Fn(&Shelf) -> &Slot<T>,
        read: impl FnOnce(Vec<Value>) -> T,
    ) -> Result<T> {
        let shelf = self.shelf(project);
        let slot = slot(&shelf);
        let changes = slot.changes.load(Ordering::SeqCst);
        if shelf.watched.load(Ordering::SeqCst)
            && let Some((at, known)) = &*slot.known.lock().unwrap_or_else(PoisonError::into_inner)
            && *at == changes
        {
            return Ok(known.clone());
        }
        let found = read(self.port.list(kind, project).await?);
        let mut known = slot.known.lock().unwrap_or_else(PoisonError::into_inner);
        // Whoever kept the last one sees that this is no other.
        let found = known.take().map(|(_, last)| last).filter(|last| *last == found).unwrap_or(found);
        *known = Some((changes, found.clone()));
        Ok(found)
    }

    fn shelf(&self, project: &Project) -> Arc<Shelf> {
        let mut projects = self.projects.lock().unwrap_or_else(PoisonError::into_inner);
        projects.entry(project.clone()).or_default().clone()
    }

    /// `None` if the object names no project: the port says so.
    fn writing(&self, kind: Kind, object: &Value) -> Option<Writing> {
        let project = object["metadata"]["namespace"].as_str()?.parse().ok()?;
        Some(Writing { shelf: self.shelf(&project), kind })
    }
}

/// Somebody else may have written what cannot be read.
fn all<T>(values: &[Value], read: fn(&Value) -> serde_json::Result<T>) -> Vec<T> {
    let one = |value: &Value| {
        let name = &value["metadata"]["name"];
        read(value)
            .inspect_err(|error| tracing::warn!(%name, %error, "an object of the control API cannot be read"))
            .ok()
    };
    values.iter().filter_map(one).collect()
}

#[async_trait]
impl Records for Remembered {
    async fn open(&self, project: &Project) -> Result<()> {
        self.port.open(project).await
    }

    async fn list(&self, kind: Kind, project: &Project) -> Result<Vec<Value>> {
        self.port.list(kind, project).await
    }

    async fn create(&self, kind: Kind, object: &Value) -> Result<bool> {
        let _writing = self.writing(kind, object);
        self.port.create(kind, object).await
    }

    async fn apply(&self, kind: Kind, object: &Value) -> Result<()> {
        let _writing = self.writing(kind, object);
        self.port.apply(kind, object).await
    }

    async fn delete(&self, kind: Kind, project: &Project, name: &str) -> Result<()> {
        let _writing = Writing { shelf: self.shelf(project), kind };
        self.port.delete(kind, project, name).await
    }

    async fn watch(&self, project: &Project, wake: Wake) -> Result<()> {
        let shelf = self.shelf(project);
        let told = {
            let shelf = shelf.clone();
            move || {
                shelf.changed(None);
                wake();
            }
        };
        self.port.watch(project, Arc::new(told)).await?;
        // What came between the last list and the watch.
        shelf.changed(None);
        shelf.watched.store(true, Ordering::SeqCst);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
