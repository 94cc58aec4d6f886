//! Kustomize: overlays over manifests, as the original builds them.
//!
//! [`build`] is a function over files. It works as the original's pipeline does: each kustomization gathers its
//! resources and those of the directories that it names, generates, lets components work on them, and transforms them;
//! at the end names get their digests, references follow the names, vars are resolved, and all is sorted.
//! Output is the same to the byte; the facts it rests on (field specs, keys of lists, kinds without a namespace) are
//! tables in `data/`.

mod accumulate;
mod cache;
mod chart;
mod config;
mod decode;
mod field;
mod file;
mod files;
mod finish;
mod fold;
mod generate;
mod hash;
mod id;
mod json;
mod loader;
mod merge;
mod names;
mod patch;
mod path;
mod plugin;
mod read;
mod replacement;
mod resource;
mod schema;
mod set;
mod sort;
mod structured;
mod time;
mod transform;
mod tree;
mod value_add;
mod vars;

pub use cache::Cache;

use crate::error::Error;
use crate::helm::KubeVersion;
use model::Snapshot;
use model::remote::Remotes;
use serde_json::Value;
use std::rc::Rc;

/// The version whose output this is.
pub const VERSION: &str = "v5.8.2";

/// How objects are ordered if the kustomization does not say it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Order {
    /// By kind, what others need first: so does the original's command line.
    #[default]
    Legacy,
    /// As they were gathered: so do the original's library, and Flux with it.
    None,
}

/// How a directory is built.
#[derive(Clone, Default)]
pub struct Options {
    /// Order of the objects.
    pub order: Order,
    /// Kustomizations may read files outside of their directory.
    pub load_outside: bool,
    /// Render the charts that kustomizations name.
    pub charts: Option<Charts>,
    /// What was fetched of that which lies elsewhere.
    pub remotes: Remotes,
    /// Label everything as managed by kustomize.
    pub managed_by_label: bool,
}

/// What charts that kustomizations name are rendered with.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Charts {
    /// What is random in them follows from this: who knows it knows their passwords.
    pub seed: [u8; 32],
    /// What `now` gives.
    pub now: jiff::Timestamp,
    /// The cluster's version, unless a kustomization names another one.
    pub kube_version: KubeVersion,
}

impl Charts {
    /// For a data plane of ours.
    pub fn in_cluster(seed: [u8; 32], now: jiff::Timestamp) -> Self {
        let kube_version = KubeVersion::parse(object::schema::KUBERNETES_VERSION).unwrap_or_default();
        Self { seed, now, kube_version }
    }
}

/// The objects that a directory with a kustomization stands for.
///
/// # Errors
/// Where a file cannot be read, a field is wrong, or the parts do not fit together: with file, line and field.
/// [`Error::Remote`] if it names what lies elsewhere and is not among [`Options::remotes`]: fetch that and build again.
pub fn build(snapshot: &Snapshot, directory: &str, options: &Options) -> Result<Vec<Value>, Error> {
    Ok(built(snapshot, directory, options, &Rc::new(files::Sources::new(&options.remotes)))?.objects)
}

/// What a directory with a kustomization stands for.
#[derive(Debug, Clone, PartialEq)]
pub struct Built {
    /// In their order.
    pub objects: Vec<Value>,
    /// Of each, whether a chart made it: what it holds does not stand in git as it is.
    pub from_charts: Vec<bool>,
}

fn built<'s>(
    snapshot: &'s Snapshot,
    directory: &str,
    options: &'s Options,
    sources: &Rc<files::Sources<'s>>,
) -> Result<Built, Error> {
    let made = made(snapshot, directory, options, sources);
    match sources.lacking() {
        none if none.is_empty() => made,
        // Whatever went wrong besides, it went wrong for want of these.
        addresses => Err(Error::Remote { addresses }),
    }
}

fn made<'s>(
    snapshot: &'s Snapshot,
    directory: &str,
    options: &'s Options,
    sources: &Rc<files::Sources<'s>>,
) -> Result<Built, Error> {
    let mut loader = loader::Loader::new(snapshot, directory, !options.load_outside, sources.clone())?;
    loader.charts = options.charts.clone().map(Rc::new);
    let mut target = accumulate::Target::load(loader, &Rc::new(schema::Known::new()), None)?;
    target.read_types(true)?;
    if !target.kustomization.build_metadata.is_empty() {
        target.origin = Some(resource::Origin::default());
    }
    let gathered = target.accumulate(accumulate::Accumulator::default())?;
    finish::finish(&target, gathered, options)
}

/// True if objects of this kind belong to no namespace. Kinds that Kubernetes does not bring along count as namespaced.
pub fn is_cluster_scoped(api_version: &str, kind: &str) -> bool {
    schema::Types::builtin().is_cluster_scoped(&id::Gvk::new(api_version, kind))
}

/// Names that the file of a kustomization may have; a directory to [`build`] has one of them.
pub const FILE_NAMES: [&str; 3] = ["kustomization.yaml", "kustomization.yml", "Kustomization"];

/// True if a build failed because it named something above the top of the snapshot.
pub fn leads_out(error: &Error) -> bool {
    matches!(error, Error::Kustomization { problem, .. } if problem.ends_with(loader::LEADS_OUT))
}

/// True if a directory is one to [`build`].
pub fn is_kustomization(snapshot: &Snapshot, directory: &str) -> bool {
    let directory = directory.trim_matches('/');
    FILE_NAMES.iter().any(|name| {
        let path = if directory.is_empty() { (*name).to_owned() } else { format!("{directory}/{name}") };
        snapshot.files.contains_key(&path)
    })
}
