//! What went wrong, as clients of Kubernetes expect to be told: a `Status` object.

use object::{FieldError, GroupResource, Gvk};
use serde_json::{Map, Value, json};

/// A refusal. Its words are those of kube-apiserver where clients or people compare them.
#[derive(Debug, Clone, PartialEq)]
pub struct Refusal {
    /// HTTP status.
    pub code: u16,
    /// One word for programs.
    pub reason: &'static str,
    /// For people.
    pub message: String,
    /// `details` of the Status; present though empty where Kubernetes has it so.
    pub details: Option<Map<String, Value>>,
}

/// What handlers return.
pub type Result<T, E = Refusal> = std::result::Result<T, E>;

impl Refusal {
    /// Without details.
    pub fn new(code: u16, reason: &'static str, message: impl Into<String>) -> Self {
        Self { code, reason, message: message.into(), details: None }
    }

    fn about(mut self, kind: &str, group: &str, name: &str) -> Self {
        for (key, text) in [("name", name), ("group", group), ("kind", kind)] {
            if !text.is_empty() {
                self.details.get_or_insert_default().insert(key.into(), text.into());
            }
        }
        self
    }

    /// A refusal that is about no object, and says so by empty details.
    fn general(code: u16, reason: &'static str, message: impl Into<String>) -> Self {
        Self { details: Some(Map::new()), ..Self::new(code, reason, message) }
    }

    /// With the particular after the general: what was wrong, for people.
    pub fn saying(mut self, particular: impl std::fmt::Display) -> Self {
        self.message = format!("{}: {particular}", self.message);
        self
    }

    fn of(self, resource: &GroupResource, name: &str) -> Self {
        self.about(&resource.resource, &resource.group, name)
    }

    fn with_causes(mut self, causes: Vec<Value>) -> Self {
        self.details.get_or_insert_default().insert("causes".into(), causes.into());
        self
    }

    /// 400.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "BadRequest", message)
    }

    /// 401.
    pub fn unauthorized() -> Self {
        Self::new(401, "Unauthorized", "Unauthorized")
    }

    /// 403, of an object.
    pub fn forbidden(resource: &GroupResource, name: &str, why: impl std::fmt::Display) -> Self {
        let message = match name {
            "" => format!("{resource} is forbidden: {why}"),
            name => format!("{resource} {name:?} is forbidden: {why}"),
        };
        Self::new(403, "Forbidden", message).of(resource, name)
    }

    /// 403: a namespace on its way out takes in nothing.
    pub fn namespace_terminating(resource: &GroupResource, name: &str, namespace: &str) -> Self {
        let why = format!("unable to create new content in namespace {namespace} because it is being terminated");
        let cause = json!({
            "reason": "NamespaceTerminating",
            "message": format!("namespace {namespace} is being terminated"),
            "field": "metadata.namespace",
        });
        Self::forbidden(resource, name, why).with_causes(vec![cause])
    }

    /// 404: there is no such object.
    pub fn not_found(resource: &GroupResource, name: &str) -> Self {
        Self::new(404, "NotFound", format!("{resource} {name:?} not found")).of(resource, name)
    }

    /// 404: there is no such path.
    pub fn no_such_path() -> Self {
        Self::general(404, "NotFound", "the server could not find the requested resource")
    }

    /// 405.
    pub fn method_not_allowed() -> Self {
        Self::general(405, "MethodNotAllowed", "the server does not allow this method on the requested resource")
    }

    /// 406.
    pub fn not_acceptable() -> Self {
        let message = "only the following media types are accepted: application/json, application/yaml";
        Self::general(406, "NotAcceptable", message)
    }

    /// 409: it stands there already.
    pub fn already_exists(resource: &GroupResource, name: &str) -> Self {
        Self::new(409, "AlreadyExists", format!("{resource} {name:?} already exists")).of(resource, name)
    }

    /// 409.
    pub fn conflict(resource: &GroupResource, name: &str, why: impl std::fmt::Display) -> Self {
        let message = format!("Operation cannot be fulfilled on {resource} {name:?}: {why}");
        Self::new(409, "Conflict", message).of(resource, name)
    }

    /// 409: it is not what the writer last saw.
    pub fn modified(resource: &GroupResource, name: &str) -> Self {
        let why = "the object has been modified; please apply your changes to the latest version and try again";
        Self::conflict(resource, name, why)
    }

    /// 409: it is not the one that was to be deleted.
    pub fn another(gvk: &Gvk, name: &str, why: impl std::fmt::Display) -> Self {
        let kind = if gvk.group.is_empty() { gvk.kind.clone() } else { format!("{}.{}", gvk.kind, gvk.group) };
        Self::new(409, "Conflict", format!("Operation cannot be fulfilled on {kind} {name:?}: {why}"))
            .about(&gvk.kind, &gvk.group, name)
    }

    /// 409: others own fields that an apply would change.
    pub fn apply_conflicts(message: String, causes: Vec<Value>) -> Self {
        Self::new(409, "Conflict", message).with_causes(causes)
    }

    /// 410: the revision is no longer known.
    pub fn expired(message: impl Into<String>) -> Self {
        Self::new(410, "Expired", message)
    }

    /// 413.
    pub fn too_large(limit: usize) -> Self {
        Self::new(
            413,
            "RequestEntityTooLarge",
            format!("Request entity too large: limit is {limit}; split the object or store less in it"),
        )
    }

    /// 422: a patch that cannot be carried out.
    pub fn impossible_patch(why: impl std::fmt::Display) -> Self {
        Self::general(422, "Invalid", "the server rejected our request due to an error in our request").saying(why)
    }

    /// 415.
    pub fn unsupported_media_type(sent: &str, accepted: &[&str]) -> Self {
        let message = format!(
            "the body of the request was in an unknown format - accepted media types include: {}{}",
            accepted.join(", "),
            if sent.is_empty() { String::new() } else { format!("; it was {sent}") }
        );
        Self::new(415, "UnsupportedMediaType", message)
    }

    /// 422: the object breaks rules.
    pub fn invalid(gvk: &Gvk, name: &str, errors: &[FieldError]) -> Self {
        let texts: Vec<String> = errors.iter().map(FieldError::to_string).collect();
        let list = if let [one] = texts.as_slice() { one.clone() } else { format!("[{}]", texts.join(", ")) };
        let kind = if gvk.group.is_empty() { gvk.kind.clone() } else { format!("{}.{}", gvk.kind, gvk.group) };
        let field = |error: &FieldError| if error.path.is_empty() { "<nil>".to_owned() } else { error.path.clone() };
        let causes = errors
            .iter()
            .map(|error| json!({"reason": error.kind.reason(), "message": error.message(), "field": field(error)}))
            .collect();
        Self::new(422, "Invalid", format!("{kind} {name:?} is invalid: {list}"))
            .about(&gvk.kind, &gvk.group, name)
            .with_causes(causes)
    }

    /// 422: a parameter of the request breaks a rule. `kind` is that of its options: `PatchOptions`.
    pub fn invalid_option(kind: &str, error: FieldError) -> Self {
        Self::invalid(&Gvk::new("meta.k8s.io", "v1", kind), "", &[error])
    }

    /// 500.
    pub fn internal(message: impl std::fmt::Display) -> Self {
        Self::new(500, "InternalError", format!("Internal error occurred: {message}"))
    }

    /// 503.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::new(503, "ServiceUnavailable", message)
    }

    /// 504: the revision has not been reached.
    pub fn too_new(asked: u64, newest: u64) -> Self {
        let mut refusal =
            Self::new(504, "Timeout", format!("Timeout: Too large resource version: {asked}, current: {newest}"))
                .with_causes(vec![
                    json!({"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}),
                ]);
        refusal.details.get_or_insert_default().insert("retryAfterSeconds".into(), 1.into());
        refusal
    }

    /// The object on the wire.
    pub fn to_value(&self) -> Value {
        let mut status = json!({
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
        });
        if !self.reason.is_empty() {
            status["reason"] = self.reason.into();
        }
        if let Some(details) = &self.details {
            status["details"] = Value::Object(details.clone());
        }
        status["code"] = self.code.into();
        status
    }
}

/// The Status that a deletion answers with when nothing is left to show.
pub fn success(resource: &GroupResource, name: &str, uid: &str) -> Value {
    let mut details = Map::new();
    details.insert("name".into(), name.into());
    if !resource.group.is_empty() {
        details.insert("group".into(), resource.group.clone().into());
    }
    details.insert("kind".into(), resource.resource.clone().into());
    details.insert("uid".into(), uid.into());
    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details})
}
