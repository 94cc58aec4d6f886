//! Objects in bodies: of the right kind, in the right place, without what the schema does not know.

use crate::body;
use crate::call::Call;
use crate::request::Verb;
use crate::status::{Refusal, Result};
use crate::strategy::rules::unsupported;
use object::meta::meta_mut;
use object::{Gvk, meta};
use serde_json::Value;

impl Call {
    /// The object in the body: of the right kind, in the right namespace, without unknown fields.
    pub fn decode_object(&mut self) -> Result<Value> {
        let yaml = match self.media.as_str() {
            "" | "application/json" => false,
            "application/yaml" => true,
            other => return Err(Refusal::unsupported_media_type(other, &["application/json", "application/yaml"])),
        };
        let decoded = body::decode(&self.body, yaml).map_err(|why| self.undecodable(&why))?;
        let mut object = decoded.value;
        self.check_kind(&object)?;
        self.checked(&mut object, decoded.duplicates)?;
        self.place_it(&mut object)?;
        Ok(object)
    }

    fn undecodable(&self, why: &str) -> Refusal {
        let Gvk { kind, version, .. } = &self.resource.gvk;
        Refusal::bad_request(format!("{kind} in version {version:?} cannot be handled as a {kind}: {why}"))
    }

    fn check_kind(&self, object: &Value) -> Result<()> {
        let text = |key: &str| object.get(key).and_then(Value::as_str).unwrap_or_default();
        let gvk = &self.resource.gvk;
        let (api_version, kind) = (text("apiVersion"), text("kind"));
        if self.resource.custom.is_some() || !object.is_object() {
            for (key, sent) in [("Kind", kind), ("apiVersion", api_version)] {
                if sent.is_empty() {
                    return Err(Refusal::bad_request(format!(
                        "Object '{key}' is missing in '{}'",
                        shorten(&self.body)
                    )));
                }
            }
        }
        if !api_version.is_empty() && api_version != gvk.api_version() {
            return Err(Refusal::bad_request(format!(
                "the API version in the data ({api_version}) does not match the expected API version ({})",
                gvk.api_version()
            )));
        }
        if !kind.is_empty() && kind != gvk.kind {
            return Err(Refusal::bad_request(format!(
                "the kind in the data ({kind}) does not match the expected kind ({})",
                gvk.kind
            )));
        }
        Ok(())
    }

    /// Decodes against the schema: values of the wrong type are refused; unknown and duplicate
    /// fields are dropped, and refused or warned of as `fieldValidation` asks.
    pub fn checked(&mut self, object: &mut Value, duplicates: Vec<String>) -> Result<()> {
        let schema = &self.resource.schema;
        if self.resource.custom.is_none()
            && let Some(why) = schema.decode_error(&self.resource.gvk.kind, object)
        {
            return Err(self.undecodable(&why));
        }
        let mut found = schema.unknown_fields(object);
        found.extend(duplicates);
        self.strict(found)?;
        self.resource.schema.prune(object);
        self.resource.schema.drop_nulls(object);
        if let Some(map) = object.as_object_mut() {
            map.insert("apiVersion".into(), self.resource.gvk.api_version().into());
            map.insert("kind".into(), self.resource.gvk.kind.clone().into());
        }
        Ok(())
    }

    fn strict(&mut self, found: Vec<String>) -> Result<()> {
        match self.query.get("fieldValidation") {
            "Ignore" => Ok(()),
            "" | "Warn" => {
                self.warnings.extend(found);
                Ok(())
            }
            "Strict" if found.is_empty() => Ok(()),
            "Strict" => {
                let message = format!("strict decoding error: {}", found.join(", "));
                Err(match self.verb {
                    Verb::Patch => Refusal::new(422, "Invalid", message),
                    _ => self.undecodable(&message),
                })
            }
            other => {
                let error = unsupported("fieldValidation", &other.into(), &["", "Ignore", "Strict", "Warn"]);
                Err(Refusal::invalid_option(self.verb.options(), error))
            }
        }
    }

    /// 400 if the object says that it belongs elsewhere.
    pub fn in_namespace(&self, object: &Value) -> Result<()> {
        let sent = meta(object).namespace();
        if sent.is_empty() || sent == self.path.namespace {
            return Ok(());
        }
        let message = "the namespace of the provided object does not match the namespace sent on the request";
        Err(Refusal::bad_request(message))
    }

    /// Puts the namespace of the path into the object.
    pub fn place_it(&self, object: &mut Value) -> Result<()> {
        self.in_namespace(object)?;
        let metadata = meta_mut(object).ok_or_else(|| Refusal::bad_request("metadata must be a map"))?;
        match self.path.namespace.as_str() {
            "" => metadata.shift_remove("namespace"),
            namespace => metadata.insert("namespace".into(), namespace.into()),
        };
        Ok(())
    }
}

/// 400: the object is not the one that the path names.
pub fn misnamed(named: &str, path: &str) -> Refusal {
    Refusal::bad_request(format!("the name of the object ({named}) does not match the name on the URL ({path})"))
}

/// The beginning of a body, for a message.
fn shorten(body: &[u8]) -> String {
    String::from_utf8_lossy(&body[..body.len().min(120)]).into_owned()
}
