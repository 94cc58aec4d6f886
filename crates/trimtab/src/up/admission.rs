//! What stands in git is changed in git: projected specs, Changes, and managed objects of reviewed environments are refused
//! to people who write to the Kubernetes API, with the place where they are changed.

use apiserver::{Admission, AdmissionRequest};
use model::change::FOR_MAIN;
use model::records::Kind;
use model::{LABEL_ENVIRONMENT, LABEL_PROJECT};
use reconcile::Reconciler;
use serde_json::Value;
use std::sync::{Arc, OnceLock};

/// Users of parts of the system: controllers, the node, we ourselves. They do what objects say that people cannot write.
const SYSTEM: &str = "system:";

/// All rules of ours.
pub struct Guard(pub Arc<OnceLock<Reconciler>>);

impl Admission for Guard {
    fn review(&self, request: &AdmissionRequest<'_>) -> Result<(), String> {
        if request.identity.user == super::TRIMTAB {
            return Ok(());
        }
        projection(request)?;
        if request.identity.user.starts_with(SYSTEM) {
            return Ok(());
        }
        match self.0.get() {
            Some(delivery) => managed(request, |project, environment| delivery.is_reviewed(project, environment)),
            // Better too careful for a moment.
            None => managed(request, |_, _| true),
        }
    }
}

fn projection(request: &AdmissionRequest<'_>) -> Result<(), String> {
    if request.gvk.group != model::GROUP {
        return Ok(());
    }
    let (kind, name) = (&request.gvk.kind, request.name);
    if *kind == Kind::Change.name() {
        return Err(format!("{kind} {name} is written by Trimtab alone: trimtab change show {name}"));
    }
    let projection = Kind::ALL.iter().any(|known| known.is_projection() && known.name() == kind);
    if !projection || !request.subresource.is_empty() || unchanged(request.old, request.new) {
        return Ok(());
    }
    let place = |object: &Value| {
        let annotation = |key: &str| object.pointer("/metadata/annotations")?.get(key)?.as_str().map(str::to_owned);
        Some(format!("edit {} in {}", annotation("trimtab.dev/file")?, annotation("trimtab.dev/repository")?))
    };
    let advice = request.old.and_then(place).unwrap_or_else(|| "describe it in the config repository".to_owned());
    Err(format!("{kind} {name} is a projection of git: {advice}"))
}

fn unchanged(old: Option<&Value>, new: Option<&Value>) -> bool {
    matches!((old, new), (Some(old), Some(new)) if old.get("spec") == new.get("spec"))
}

/// What git describes of an environment whose changes are reviewed. What a controller made of it, such as a Pod, may be
/// deleted: it comes again as it is described.
fn managed(request: &AdmissionRequest<'_>, reviewed: impl Fn(&str, &str) -> bool) -> Result<(), String> {
    for object in [request.old, request.new].into_iter().flatten() {
        let label = |key: &str| object.pointer("/metadata/labels")?.get(key)?.as_str();
        let (Some(project), Some(environment)) = (label(LABEL_PROJECT), label(LABEL_ENVIRONMENT)) else { continue };
        if is_owned(object) || !reviewed(project, environment) {
            continue;
        }
        let (kind, name, user) = (&request.gvk.kind, request.name, &request.identity.user);
        return Err(format!(
            "{user} may not write {kind} {name}: changes to {environment} of {project} are reviewed. \
             Describe it in git and push that to {FOR_MAIN} of {project}/config"
        ));
    }
    Ok(())
}

fn is_owned(object: &Value) -> bool {
    let owners = object.pointer("/metadata/ownerReferences").and_then(Value::as_array);
    owners.is_some_and(|owners| owners.iter().any(|owner| owner["controller"] == true))
}

#[cfg(test)]
mod tests {
    use super::*;
    use apiserver::{Identity, Operation};
    use object::{GroupResource, Gvk};
    use serde_json::json;

    fn asked(user: &str, kind: (&str, &str), old: Option<Value>, new: Option<Value>) -> Result<(), String> {
        let identity = Identity { user: user.into(), groups: Vec::new() };
        let gvk = Gvk { group: kind.0.into(), version: "v1".into(), kind: kind.1.into() };
        let resource = GroupResource { group: kind.0.into(), resource: "things".into() };
        let request = AdmissionRequest {
            operation: if new.is_some() { Operation::Update } else { Operation::Delete },
            gvk: &gvk,
            resource: &resource,
            subresource: "",
            namespace: "shop-prod",
            name: "web",
            old: old.as_ref(),
            new: new.as_ref(),
            identity: &identity,
            dry_run: false,
        };
        projection(&request)?;
        managed(&request, |project, environment| (project, environment) == ("shop", "prod"))
    }

    #[test]
    fn people_do_not_write_what_is_reviewed() {
        let labelled = |environment: &str| json!({ "metadata": { "labels": { LABEL_PROJECT: "shop", LABEL_ENVIRONMENT: environment } } });
        let mut pod = labelled("prod");
        pod["metadata"]["ownerReferences"] = json!([{ "controller": true }]);
        let (own, plain) = (Some(labelled("prod")), Some(json!({ "metadata": {} })));
        let deployment = ("apps", "Deployment");
        let error = asked("ada", deployment, own.clone(), own.clone()).unwrap_err();
        for words in ["ada may not write Deployment web", "prod of shop are reviewed", "refs/for/main of shop/config"] {
            assert!(error.contains(words), "{words:?} is missing in {error}");
        }
        for (old, new, good) in [
            (own.clone(), None, false),
            (own.clone(), plain.clone(), false),
            (None, own.clone(), false),
            (plain.clone(), own, false),
            (plain.clone(), plain, true),
            (Some(labelled("dev")), Some(labelled("dev")), true),
            (Some(pod.clone()), None, true),
        ] {
            assert_eq!(asked("ada", deployment, old.clone(), new.clone()).is_ok(), good, "{old:?} {new:?}");
        }
    }

    #[test]
    fn a_change_is_written_by_nobody_else() {
        let object = || Some(json!({ "spec": { "a": 1 } }));
        assert!(
            asked("ada", (model::GROUP, "Change"), object(), object()).unwrap_err().contains("trimtab change show web")
        );
        assert!(asked("ada", (model::GROUP, "Environment"), object(), object()).is_ok());
        assert!(asked("ada", (model::GROUP, "Environment"), object(), None).unwrap_err().contains("projection of git"));
        assert!(asked("ada", (model::GROUP, "Promotion"), object(), Some(json!({ "spec": {} }))).is_ok());
    }
}
