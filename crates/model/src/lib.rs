//! The nouns that travel between crates, the kinds of `trimtab.dev`, and the ports that
//! `reconcile` talks through.
//!
//! A noun is here only if it crosses two crates; a trait only where a test needs a fake.
//! Everything is a value: no clock, disk, network or task. Time is an argument.

pub mod change;
pub mod chart;
pub mod config;
pub mod edit;
pub mod flow;
pub mod journal;
pub mod names;
pub mod people;
pub mod policy;
pub mod ports;
pub mod records;
pub mod release;
pub mod remote;
pub mod requests;
pub mod routes;
pub mod rules;
pub mod settings;
pub mod views;
pub mod window;

pub use change::Change;
pub use chart::{ChartPin, ChartRule, ChartSource};
pub use config::{ComponentFile, DataPlaneFile, EnvironmentFile, Pin, ProjectFile};
pub use flow::{Manifests, ObjectId, Observation, Plan, Receipt, Revision, Snapshot, Verdict};
pub use names::{
    BuildId, CommitId, Component, DataPlaneName, Digest, Domain, Environment, Group, ImageRef, Project, UserName,
};
pub use people::{Grant, Person, Right, Role, Target, allowed};
pub use policy::{PolicyAction, PolicyFile};
pub use records::{Build, Promotion};
pub use release::{Release, Version};
pub use requests::{Check, NewEnvironment, Recreate, Removal};
pub use routes::RouteTable;
pub use window::Window;

/// API group of every kind of ours.
pub const GROUP: &str = "trimtab.dev";
/// The one version that is served.
pub const VERSION: &str = "v1alpha1";
/// Field manager of everything that Trimtab applies.
pub const FIELD_MANAGER: &str = "trimtab";
/// Labels on every generated or applied object.
pub const LABEL_PROJECT: &str = "trimtab.dev/project";
/// Environment label, see [`LABEL_PROJECT`].
pub const LABEL_ENVIRONMENT: &str = "trimtab.dev/environment";
/// Component label, see [`LABEL_PROJECT`].
pub const LABEL_COMPONENT: &str = "trimtab.dev/component";
/// Label on what a chart's hook made: the event.
pub const LABEL_HOOK: &str = "trimtab.dev/hook";
/// Label on a namespace of another cluster: which project of that name claims it.
pub const LABEL_CLAIM: &str = "trimtab.dev/project-uid";
/// Name under which images are recorded; each data plane maps it.
pub const REGISTRY: &str = "registry.trimtab.internal";
/// Branch of a config repository that holds the desired state, and of an application
/// repository that is built.
pub const MAIN: &str = "refs/heads/main";
/// The journal: signed commits with an empty tree, the only history.
pub const JOURNAL: &str = "refs/trimtab/journal";
