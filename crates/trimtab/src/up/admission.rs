//! What stands in git is changed in git: a projected spec is refused with the file that holds it.

use apiserver::{Admission, AdmissionRequest};
use model::records::Kind;
use serde_json::Value;

/// Refuses people's writes to the specs of projections.
pub struct Projections;

impl Admission for Projections {
    fn review(&self, request: &AdmissionRequest<'_>) -> Result<(), String> {
        let ours = request.gvk.group == model::GROUP
            && request.subresource.is_empty()
            && request.identity.user != super::TRIMTAB;
        let projection = Kind::ALL.iter().any(|kind| kind.is_projection() && kind.name() == request.gvk.kind);
        if !ours || !projection || unchanged(request.old, request.new) {
            return Ok(());
        }
        let place = |object: &Value| {
            let annotation = |key: &str| object.pointer("/metadata/annotations")?.get(key)?.as_str().map(str::to_owned);
            Some(format!("edit {} in {}", annotation("trimtab.dev/file")?, annotation("trimtab.dev/repository")?))
        };
        let advice = request.old.and_then(place).unwrap_or_else(|| "describe it in the config repository".to_owned());
        Err(format!("{} {} is a projection of git: {advice}", request.gvk.kind, request.name))
    }
}

fn unchanged(old: Option<&Value>, new: Option<&Value>) -> bool {
    matches!((old, new), (Some(old), Some(new)) if old.get("spec") == new.get("spec"))
}
