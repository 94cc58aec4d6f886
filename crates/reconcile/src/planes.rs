//! Where an environment runs: on the embedded data plane, or on one that the config repository describes.

use crate::environment::{Handle, Rendered, Target};
use crate::project;
use model::ports::{Placement, PortError};
use model::{Component, DataPlaneFile, DataPlaneName, Digest};
use promote::Facts;
use serde_json::Value;

/// A data plane that is not the embedded one.
#[derive(Debug, Clone, PartialEq)]
pub struct Plane {
    pub name: DataPlaneName,
    /// `dataplanes/<name>.yaml` on main, or what is wrong with it.
    pub file: Result<DataPlaneFile, String>,
}

/// Why a look at an environment ended early.
pub enum Stop {
    /// Its data plane does not answer, or cannot be asked.
    DataPlane(PortError),
    /// Something of our own.
    Other(PortError),
}

impl From<PortError> for Stop {
    fn from(error: PortError) -> Self {
        Self::Other(error)
    }
}

/// Tells a project from others of its name on a cluster that several may use: the beginning of its journal, which goes
/// with the config repository wherever that goes.
pub fn claim(facts: &Facts) -> String {
    let first = facts.journal.first().map(|entry| format!("{} {}", entry.id, entry.at)).unwrap_or_default();
    Digest::of(format!("{} {first}", facts.project).as_bytes()).hex()[..32].to_owned()
}

/// The name of the embedded data plane.
pub fn embedded() -> DataPlaneName {
    DataPlaneName::EMBEDDED.parse().expect("it is a label")
}

impl Target {
    /// Name of its data plane.
    pub fn plane_name(&self) -> DataPlaneName {
        self.plane.as_ref().map_or_else(embedded, |plane| plane.name.clone())
    }

    /// True if the gateway reaches its Pods.
    pub fn is_routed(&self) -> bool {
        self.plane.as_ref().is_none_or(|plane| plane.file.as_ref().is_ok_and(|file| file.reachable))
    }

    /// What its namespace carries on a cluster that others may use too.
    pub fn claim_on(&self, plane: &DataPlaneName) -> Option<&str> {
        (!plane.is_embedded()).then_some(self.claim.as_str())
    }
}

/// The data plane of a target, or of one that it has left.
pub async fn find(
    inner: &crate::Inner,
    project: &project::Handle,
    name: &DataPlaneName,
) -> Result<Placement, PortError> {
    let planes = &inner.ports.data_planes;
    if name.is_embedded() {
        return planes.get(&project.name, None).await;
    }
    let file = match project.view().and_then(|view| view.config.data_planes.get(name).cloned()) {
        Some(Ok(file)) => file,
        Some(Err(problem)) => return Err(PortError::Terminal(problem)),
        // It was removed from the repository; what stands there can still be taken away with the credential.
        None => DataPlaneFile::default(),
    };
    planes.get(&project.name, Some((name, &file))).await
}

/// Who alone may write what is reviewed on another cluster. `None`: it is not, or its API knows no such rule.
pub async fn writer(target: &Target, placement: &Placement) -> Result<Option<String>, PortError> {
    match guarded(target) {
        true => placement.plane.writer().await,
        false => Ok(None),
    }
}

/// Reviewed, on a cluster whose API is not ours.
pub fn guarded(target: &Target) -> bool {
    target.state.file.is_reviewed() && target.plane.is_some()
}

/// All objects of the environment as they stand on its data plane, the namespace first. `writer`: nobody else may write
/// them.
pub fn desired(
    handle: &Handle,
    rendered: &mut [Rendered],
    target: &Target,
    placement: &Placement,
    writer: Option<&str>,
) -> Vec<(Option<Component>, Value)> {
    let project = &handle.scope.project;
    let mut desired = vec![match target.claim_on(&target.plane_name()) {
        Some(claim) => (None, render::claimed_namespace(project, &handle.name, claim)),
        None => (None, render::namespace(project, &handle.name)),
    }];
    if let Some(registry) = &placement.registry {
        desired.push((None, render::pull_secret(project, &handle.name, registry)));
    }
    if let Some(writer) = writer {
        desired.extend(render::guard(project, &handle.name, writer).map(|object| (None, object)));
    }
    for one in rendered {
        let component = Some(one.pin.build.component.clone());
        if let Some(registry) = &placement.registry {
            let hooks = one.manifests.hooks.iter_mut().map(|hook| &mut hook.object);
            one.manifests.objects.iter_mut().chain(hooks).for_each(|object| render::place(object, registry));
        }
        // What is held stays as it stands.
        if one.lacks.is_some() {
            continue;
        }
        desired.extend(one.manifests.objects.iter().map(|object| (component.clone(), object.clone())));
    }
    desired
}
