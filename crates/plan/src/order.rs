//! What stands before what.

use model::ObjectId;

/// Objects of a lower rank are applied first and deleted last.
pub(crate) fn rank(object: &ObjectId) -> u8 {
    match (object.group.as_str(), object.kind.as_str()) {
        ("", "Namespace") => 0,
        ("apiextensions.k8s.io", "CustomResourceDefinition") => 1,
        ("", "ServiceAccount") | ("rbac.authorization.k8s.io", _) => 2,
        ("", "ConfigMap" | "Secret" | "PersistentVolumeClaim") => 3,
        ("", "Service") => 4,
        ("", "Pod") | ("apps" | "batch", _) => 6,
        ("admissionregistration.k8s.io", _) => 7,
        _ => 5,
    }
}
