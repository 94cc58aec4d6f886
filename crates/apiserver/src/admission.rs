//! The say of others on every write.

use crate::server::Identity;
use object::{GroupResource, Gvk};
use serde_json::Value;

/// Refuses writes. Asked after validation, before anything is stored, in dry runs too; a controller
/// that must not be asked is told apart by its identity.
pub trait Admission: Send + Sync {
    /// `Err` is the message of the `403 Forbidden`.
    fn review(&self, request: &AdmissionRequest<'_>) -> Result<(), String>;
}

/// What is about to be done.
#[derive(Debug, Clone, Copy)]
pub struct AdmissionRequest<'a> {
    /// Create, update or delete.
    pub operation: Operation,
    /// Of the object.
    pub gvk: &'a Gvk,
    /// As paths name it.
    pub resource: &'a GroupResource,
    /// `status`, `scale`, or empty.
    pub subresource: &'a str,
    /// Empty for cluster-scoped objects.
    pub namespace: &'a str,
    /// Of the object.
    pub name: &'a str,
    /// As it stands; absent on create.
    pub old: Option<&'a Value>,
    /// As it will stand; absent on delete.
    pub new: Option<&'a Value>,
    /// Who asks.
    pub identity: &'a Identity,
    /// Nothing will be stored.
    pub dry_run: bool,
}

/// Sorts of writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// A new object.
    Create,
    /// Another state of an object, by update, patch or apply.
    Update,
    /// The end of an object, or its beginning if something must finish first.
    Delete,
}
