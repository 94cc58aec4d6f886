//! Whose an object is: the controller named in it, and nobody by name or label alone.

use crate::error::{Error, WriteResult};
use crate::held::Kept;
use crate::objects::{Key, controller_of, is_deleting, name, selects, uid};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{Patch, PatchParams};
use kube::core::Selector;
use kube::{Api, Resource};
use serde::de::DeserializeOwned;
use serde_json::json;
use std::fmt::Debug;
use std::sync::Arc;

/// What an owner does about one object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Claim {
    Keep,
    /// It belongs to nobody, and the owner selects it.
    Adopt,
    /// It is the owner's, who no longer selects it.
    Release,
    Ignore,
}

fn judge(owner: &impl Resource, selector: &Selector, object: &impl Resource) -> Claim {
    let selected = selects(selector, object);
    match controller_of(object) {
        Some(controller) if controller.uid != uid(owner) => Claim::Ignore,
        Some(_) if selected => Claim::Keep,
        Some(_) if is_deleting(owner) || is_deleting(object) => Claim::Ignore,
        Some(_) => Claim::Release,
        None if selected && !is_deleting(owner) && !is_deleting(object) => Claim::Adopt,
        None => Claim::Ignore,
    }
}

/// True if an owner who selects such Pods has to look whose this one is.
pub(crate) fn is_candidate(owner: &impl Resource, selector: &Selector, pod: &Kept<Pod>) -> bool {
    pod.may_be_of(owner) && (pod.controller.is_some() || pod.facts.labels.match_selector(selector))
}

/// The candidates that are the owner's, after adopting and releasing what has to be.
pub(crate) async fn settle<O, K>(
    owner: &O,
    selector: &Selector,
    candidates: Vec<Arc<K>>,
    apis: (&Api<O>, &Api<K>),
) -> Result<Vec<Arc<K>>, Error>
where
    O: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug,
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug,
{
    let (owners, objects) = apis;
    let mut owned = Vec::new();
    let mut may_adopt = None;
    for object in candidates {
        match judge(owner, selector, &*object) {
            Claim::Keep => owned.push(object),
            Claim::Ignore => {}
            Claim::Release => {
                let others = object.meta().owner_references.iter().flatten().filter(|o| o.uid != uid(owner)).cloned();
                set_owners(objects, &*object, others.collect()).await?;
            }
            Claim::Adopt => {
                // The cache may lag behind a deletion of the owner, after which its orphans are nobody's.
                if may_adopt.is_none() {
                    may_adopt = Some(is_alive(owners, owner).await?);
                }
                if may_adopt == Some(true) {
                    let mut all = object.meta().owner_references.clone().unwrap_or_default();
                    all.extend(controller_reference(owner));
                    owned.extend(set_owners(objects, &*object, all).await?.map(Arc::new));
                }
            }
        }
    }
    Ok(owned)
}

/// What a dependent names as its controller.
pub(crate) fn controller_reference(owner: &impl Resource<DynamicType = ()>) -> Option<OwnerReference> {
    let reference = owner.controller_owner_ref(&())?;
    Some(OwnerReference { block_owner_deletion: Some(true), ..reference })
}

async fn is_alive<O>(owners: &Api<O>, owner: &O) -> Result<bool, Error>
where
    O: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug,
{
    let live = owners.get_opt(name(owner)).await.during("reading", &Key::of(owner))?;
    Ok(live.is_some_and(|live| uid(&live) == uid(owner) && !is_deleting(&live)))
}

/// Writes the list of owners, if the object is still the one that was looked at; `None` if it is gone.
async fn set_owners<K>(api: &Api<K>, object: &K, owners: Vec<OwnerReference>) -> Result<Option<K>, Error>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug,
{
    let meta = object.meta();
    let patch =
        json!({"metadata": {"uid": meta.uid, "resourceVersion": meta.resource_version, "ownerReferences": owners}});
    let written = api.patch(name(object), &PatchParams::default(), &Patch::Merge(patch)).await;
    written.unless_gone().during("changing the owners of", &Key::of(object))
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::apps::v1::ReplicaSet;
    use serde_json::{Value, from_value};

    #[test]
    fn an_object_is_its_controllers_and_an_orphan_is_whoever_selects_it() {
        let owner = |deleting: bool| -> ReplicaSet {
            let deleted = deleting.then_some("2026-01-01T00:00:00Z");
            from_value(json!({"metadata": {"name": "web", "uid": "me", "deletionTimestamp": deleted}})).unwrap()
        };
        let pod = |app: &str, controller: Option<&str>, deleting: bool| -> Pod {
            let owners: Vec<Value> = controller
                .map(|uid| json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web", "uid": uid, "controller": true}))
                .into_iter()
                .collect();
            let deleted = deleting.then_some("2026-01-01T00:00:00Z");
            let metadata = json!({"labels": {"app": app}, "ownerReferences": owners, "deletionTimestamp": deleted});
            from_value(json!({"metadata": metadata})).unwrap()
        };
        let selector: Selector = [("app", "web")].into_iter().collect();
        let cases = [
            (owner(false), pod("web", Some("me"), false), Claim::Keep),
            (owner(false), pod("web", Some("me"), true), Claim::Keep),
            (owner(false), pod("web", Some("namesake"), false), Claim::Ignore),
            (owner(false), pod("web", None, false), Claim::Adopt),
            (owner(false), pod("web", None, true), Claim::Ignore),
            (owner(true), pod("web", None, false), Claim::Ignore),
            (owner(false), pod("other", Some("me"), false), Claim::Release),
            (owner(true), pod("other", Some("me"), false), Claim::Ignore),
            (owner(false), pod("other", None, false), Claim::Ignore),
        ];
        for (number, (owner, pod, expect)) in cases.into_iter().enumerate() {
            assert_eq!(judge(&owner, &selector, &pod), expect, "case {number}");
        }
    }
}
