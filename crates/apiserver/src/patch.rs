//! `PATCH`: four ways to say what is to change.

use crate::body;
use crate::call::Call;
use crate::clock;
use crate::decode::misnamed;
use crate::reply::Reply;
use crate::status::{Refusal, Result};
use crate::strategy::rules::{forbidden, required};
use crate::write::{Changed, Owners};
use object::Gvk;
use object::apply::{self, ApplyError};
use object::meta;
use object::patch::{JsonPatchError, json_patch, merge_patch, strategic_merge_patch};
use serde_json::Value;

const JSON: &str = "application/json-patch+json";
const MERGE: &str = "application/merge-patch+json";
const STRATEGIC: &str = "application/strategic-merge-patch+json";
const APPLY: &str = "application/apply-patch+yaml";

impl Call {
    /// `PATCH` of an object or its status.
    pub async fn patch(&mut self) -> Result<Reply> {
        let patch = self.decode_patch()?;
        if self.media == APPLY {
            return self.apply(patch).await;
        }
        if self.query.flag("force") {
            let error = forbidden("force", "may not be specified for non-apply patch");
            return Err(Refusal::invalid_option("PatchOptions", error));
        }
        self.patch_with(patch).await
    }

    /// The body, of one of the types of patches.
    pub fn decode_patch(&mut self) -> Result<Value> {
        let accepted: &[&str] =
            if self.resource.custom.is_some() { &[JSON, MERGE, APPLY] } else { &[JSON, MERGE, STRATEGIC, APPLY] };
        if !accepted.contains(&self.media.as_str()) {
            return Err(Refusal::unsupported_media_type(&self.media, accepted));
        }
        let decoded = body::decode(&self.body, self.media == APPLY)
            .map_err(|why| Refusal::bad_request(format!("error decoding patch: {why}")))?;
        self.duplicates_in_patch(decoded.duplicates)?;
        Ok(decoded.value)
    }

    fn duplicates_in_patch(&mut self, duplicates: Vec<String>) -> Result<()> {
        if self.query.get("fieldValidation") == "Strict" && !duplicates.is_empty() {
            let message = format!("error decoding patch: strict decoding error: {}", duplicates.join(", "));
            return Err(Refusal::bad_request(message));
        }
        if self.query.get("fieldValidation") != "Ignore" {
            self.warnings.extend(duplicates);
        }
        Ok(())
    }

    async fn patch_with(&mut self, patch: Value) -> Result<Reply> {
        // What a patch brings that is unknown is told once, from a first try; the tries below drop it.
        let stored = self.stored()?;
        let mut first = self.patched(&self.in_version(&stored), &patch)?;
        self.checked(&mut first, Vec::new()).map_err(|refusal| Refusal { code: 422, reason: "Invalid", ..refusal })?;
        let (resource, media) = (self.resource.clone(), self.media.clone());
        let name = self.path.name.clone();
        self.modify(|old| {
            let mut object = patched(&resource, &media, old, &patch)?;
            resource.schema.prune(&mut object);
            resource.schema.drop_nulls(&mut object);
            if meta(&object).name() != name {
                return Err(misnamed(meta(&object).name(), &name));
            }
            Ok(Changed { object, owners: Owners::Update })
        })
        .await
    }

    fn patched(&self, old: &Value, patch: &Value) -> Result<Value> {
        patched(&self.resource, &self.media, old, patch)
    }

    /// Server-side apply.
    async fn apply(&mut self, config: Value) -> Result<Reply> {
        if self.query.get("fieldManager").is_empty() {
            let error = required("fieldManager", "is required for apply patch");
            return Err(Refusal::invalid_option("PatchOptions", error));
        }
        self.check_config(&config)?;
        let reset = self.reset_fields();
        let now = clock::now();
        let force = self.query.flag("force");
        let schema = self.resource.schema.clone();
        let (manager, subresource) = (self.manager.clone(), self.path.subresource.clone());
        let applied = |live: Option<&Value>| {
            let request = apply::Request {
                manager: &manager,
                force,
                subresource: &subresource,
                reset: &reset,
                schema: &schema,
                now: &now,
            };
            apply::apply(live, &config, &request).map_err(refused)
        };
        for _ in 0..2 {
            match self.modify(|old| Ok(Changed { object: applied(Some(old))?, owners: Owners::Known })).await {
                Err(missing) if missing.code == 404 && subresource.is_empty() => {
                    let uid = meta(&config).uid();
                    if !uid.is_empty() {
                        let why = format!(
                            "uid mismatch: the provided object specified uid {uid}, and no existing object was found"
                        );
                        return Err(Refusal::conflict(&self.resource.names, &self.path.name, why));
                    }
                    let mut object = applied(None)?;
                    self.place_it(&mut object)?;
                    object["metadata"]["name"] = self.path.name.clone().into();
                    match self.create_from(object, Owners::Known).await {
                        // Somebody was faster: apply to what they made.
                        Err(exists) if exists.reason == "AlreadyExists" => {}
                        other => return other,
                    }
                }
                other => return other,
            }
        }
        Err(Refusal::modified(&self.resource.names, &self.path.name))
    }

    /// The applied configuration must be of this kind, name and namespace. What it says that the schema
    /// does not know is for `object::apply` to refuse.
    fn check_config(&self, config: &Value) -> Result<()> {
        let text = |key: &str| config.get(key).and_then(Value::as_str).unwrap_or_default();
        let sent = Gvk::from_api_version(text("apiVersion"), text("kind"));
        if sent.kind != self.resource.gvk.kind || sent.group != self.resource.gvk.group {
            return Err(Refusal::bad_request(format!("invalid object type: {}", shown(&sent))));
        }
        if sent.version != self.resource.gvk.version {
            return Err(Refusal::bad_request(format!(
                "Incorrect version specified in apply patch. Specified patch version: {}, expected: {}",
                sent.api_version(),
                self.resource.gvk.api_version()
            )));
        }
        let named = meta(config).name();
        if !named.is_empty() && named != self.path.name {
            return Err(misnamed(named, &self.path.name));
        }
        self.in_namespace(config)
    }
}

/// `apps/v1, Kind=Deployment`, `/v1, Kind=Secret`; `/, Kind=` for nothing.
fn shown(gvk: &Gvk) -> String {
    format!("{}/{}, Kind={}", gvk.group, gvk.version, gvk.kind)
}

/// The object after a patch that is no apply.
pub fn patched(resource: &crate::resource::Resource, media: &str, old: &Value, patch: &Value) -> Result<Value> {
    match media {
        JSON => json_patch(old.clone(), patch).map_err(|error| match error {
            JsonPatchError::Malformed(_) => Refusal::bad_request(error.to_string()),
            JsonPatchError::TooMany(_) => Refusal::new(413, "RequestEntityTooLarge", error.to_string()),
            _ => Refusal::impossible_patch(error),
        }),
        STRATEGIC => strategic_merge_patch(old.clone(), patch, &resource.schema)
            .map_err(|error| Refusal::bad_request(error.to_string())),
        _ if patch.is_object() => Ok(merge_patch(old.clone(), patch)),
        _ => Err(Refusal::bad_request("a merge patch must be a map")),
    }
}

fn refused(error: ApplyError) -> Refusal {
    match error {
        ApplyError::Conflicts(conflicts) => Refusal::apply_conflicts(conflicts.to_string(), conflicts.causes()),
        ApplyError::BadRequest(message) => Refusal::bad_request(message),
        typed @ ApplyError::Typed(..) => Refusal::new(500, "", typed.to_string()),
    }
}
