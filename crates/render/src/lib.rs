//! From what repositories describe to complete Kubernetes objects.
//!
//! Four ways lead to [`Manifests`](model::Manifests): [`render`] generates the workload of a component (and [`namespace`]
//! the namespace it runs in), [`described`] builds what a component describes itself, [`charted`] renders its chart, [`plain`]
//! takes the objects in YAML files as they are. All are functions of their arguments alone: equal input gives equal bytes.

mod charted;
mod check;
mod described;
mod error;
mod guard;
pub mod helm;
pub mod kustomize;
mod open;
mod own;
mod place;
mod plain;
pub mod settings;
mod test_run;
mod workload;

pub use charted::{CHARTS, Charted, Given, chart_files, charted, values_of};
pub use described::{Described, described};
pub use error::Error;
pub use guard::guard;
pub use own::{Owner, own};
pub use place::{PULL_SECRET, claimed_namespace, place, pull_secret};
pub use plain::plain;
pub use test_run::{Tested, test_run};
pub use workload::{Input, namespace, public_domain, public_endpoint, public_host, render};

#[cfg(test)]
mod tests;
