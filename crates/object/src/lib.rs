//! What a Kubernetes object is: a JSON value with a schema, owners of its fields, ways to
//! change it and to compare it.
//!
//! Everything is a function over [`serde_json::Value`]: no clock, disk, network or task.
//! Time is an argument, as RFC 3339 text.

pub mod apply;
pub mod diff;
pub mod meta;
pub mod packed;
pub mod patch;
pub mod quantity;
pub mod schema;
pub mod selector;
mod unified;

pub use diff::{Difference, diff};
pub use meta::{GroupResource, Gvk, Meta, meta};
pub use schema::{FieldError, Schema};
pub use unified::unified;
