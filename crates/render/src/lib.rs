//! From what repositories describe to complete Kubernetes objects.
//!
//! Two ways lead to [`Manifests`](model::Manifests): [`render`] generates the workload of a component (and [`namespace`] the
//! namespace it runs in), [`plain`] takes the objects in YAML files as they are. All are functions of their arguments alone: equal input gives equal bytes.

mod check;
mod error;
pub mod helm;
pub mod kustomize;
mod plain;
mod workload;

pub use error::Error;
pub use plain::plain;
pub use workload::{Input, namespace, public_endpoint, public_host, render};

#[cfg(test)]
mod tests;
