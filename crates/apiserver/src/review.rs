//! Questions about rights, answered and not stored.

use crate::call::Call;
use crate::clock;
use crate::rbac::{self, Action};
use crate::reply::Reply;
use crate::server::Identity;
use crate::status::Result;
use serde_json::{Value, json};

/// `POST` of a review.
pub fn answer(call: &mut Call) -> Result<Reply> {
    let mut review = call.decode_object()?;
    review["status"] = match call.resource.gvk.kind.as_str() {
        "SelfSubjectReview" => {
            review["metadata"] = json!({"creationTimestamp": clock::now()});
            json!({"userInfo": {"username": call.identity.user, "groups": call.identity.groups}})
        }
        "SelfSubjectAccessReview" => access(call, &call.identity.clone(), &review["spec"]),
        _ => {
            let groups = review["spec"]["groups"].as_array().into_iter().flatten();
            let identity = Identity {
                user: review["spec"]["user"].as_str().unwrap_or_default().to_owned(),
                groups: groups.filter_map(Value::as_str).map(str::to_owned).collect(),
            };
            access(call, &identity, &review["spec"])
        }
    };
    Ok(Reply::Value(201, review))
}

fn access(call: &Call, identity: &Identity, spec: &Value) -> Value {
    let Some(asked) = spec.get("resourceAttributes").filter(|asked| !asked.is_null()) else {
        // Paths that are no objects can be read by everybody who is known.
        let verb = spec.pointer("/nonResourceAttributes/verb").and_then(Value::as_str).unwrap_or_default();
        return json!({"allowed": verb == "get" || identity.groups.iter().any(|group| group == rbac::MASTERS)});
    };
    let text = |key: &str| asked[key].as_str().unwrap_or_default();
    let action = Action {
        verb: text("verb"),
        group: text("group"),
        resource: text("resource"),
        subresource: text("subresource"),
        namespace: text("namespace"),
        name: text("name"),
    };
    json!({"allowed": rbac::allowed(&call.server, identity, &action)})
}
