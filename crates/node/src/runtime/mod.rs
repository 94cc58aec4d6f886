//! What a node needs of the machine: the port between Pod workers and containers.
//!
//! Two implementations stand: [`real::Real`] runs containers, [`simulated::Simulated`] pretends to, for
//! machines where that is impossible and for tests of everything above.

mod etc;
pub(crate) mod real;
pub(crate) mod simulated;
pub(crate) mod spec;
mod volume_files;

use crate::error::Error;
use crate::volumes::Volume;
use async_trait::async_trait;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Pod};
use std::collections::{BTreeMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// Runs sandboxes and containers. Every operation that removes is idempotent.
#[async_trait]
pub(crate) trait Runtime: Send + Sync + 'static {
    /// Makes sure that an image is here.
    async fn image(&self, reference: &str, pull: Pull, credentials: &[Credentials]) -> Result<Image, ImageError>;
    /// The network and volumes of a Pod, made or found again; its address.
    async fn sandbox(&self, pod: &Pod, volumes: &BTreeMap<String, Volume>) -> Result<IpAddr, Error>;
    /// Removes the network, volumes and logs of a Pod.
    async fn remove_sandbox(&self, pod: &Pod) -> Result<(), Error>;
    /// Starts a container.
    async fn start(&self, launch: Launch) -> Result<Started, Error>;
    /// Until the container has ended.
    async fn wait(&self, id: &str) -> Result<Exit, Error>;
    /// Asks a container to stop, with the signal that it or its image names.
    async fn stop(&self, id: &str) -> Result<(), Error>;
    /// Sends a signal, by number; nothing happens if the container has ended.
    async fn kill(&self, id: &str, signal: i32) -> Result<(), Error>;
    /// Removes an ended container. Its log stays.
    async fn delete(&self, id: &str) -> Result<(), Error>;
    /// Runs a command in a container.
    async fn exec(&self, id: &str, command: &[String], limit: Duration) -> Result<Outcome, Error>;
    /// What of this Pod has outlived the previous process.
    async fn recover(&self, pod: &Pod) -> Result<Recovered, Error>;
    /// Removes everything of Pods that are not in this set of uids.
    async fn retain(&self, uids: &HashSet<String>) -> Result<(), Error>;
    /// True if nothing listens on the addresses of Pods: asking them over the network would be pointless.
    fn is_simulated(&self) -> bool {
        false
    }
}

/// When to fetch an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pull {
    Always,
    IfNotPresent,
    Never,
}

/// User and password for a registry.
#[derive(Clone)]
pub(crate) struct Credentials {
    pub registry: String,
    pub user: String,
    pub password: String,
}

// The password must not reach a log.
impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Credentials({}@{})", self.user, self.registry)
    }
}

/// An image that is here.
#[derive(Debug, Clone)]
pub(crate) struct Image {
    /// Repository and digest, as a Pod's status shows it.
    pub id: String,
    /// `sha256:…` of the manifest.
    pub digest: String,
    /// It was fetched just now, in so long.
    pub fetched: Option<Duration>,
    /// Signal that stops it, if the image names one.
    pub stop_signal: Option<String>,
}

/// Why an image is not here.
#[derive(Debug, Clone)]
pub(crate) struct ImageError {
    /// `ErrImagePull`, `ErrImageNeverPull` or `InvalidImageName`.
    pub reason: &'static str,
    pub message: String,
}

/// Everything that a container needs to start.
pub(crate) struct Launch {
    pub pod: Arc<Pod>,
    pub container: Container,
    /// 0 for the first.
    pub attempt: u32,
    pub image: Image,
    /// Resolved, in order; what the image sets comes before it.
    pub environment: Vec<(String, String)>,
}

/// A container that runs.
#[derive(Debug, Clone)]
pub(crate) struct Started {
    pub id: String,
    pub at: Timestamp,
}

/// How a container ended.
#[derive(Debug, Clone)]
pub(crate) struct Exit {
    pub code: i32,
    pub signal: Option<i32>,
    pub oom: bool,
    /// How it ended was never seen; the code is assumed.
    pub lost: bool,
    pub finished_at: Timestamp,
}

/// How a command in a container ended.
#[derive(Debug, Clone)]
pub(crate) struct Outcome {
    pub code: i32,
    /// Both streams; long output is cut.
    pub output: String,
}

/// What was found of a Pod after a restart of the control process.
#[derive(Debug, Default)]
pub(crate) struct Recovered {
    /// Its sandbox is whole and has this address.
    pub address: Option<IpAddr>,
    pub containers: Vec<Found>,
}

/// A container that was found.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    pub id: String,
    pub name: String,
    pub attempt: u32,
    pub image_id: String,
    pub started_at: Timestamp,
}
