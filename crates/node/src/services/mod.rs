//! Services as this machine serves them: addresses by the packet filter, names by DNS.
//!
//! ```text
//! Services, EndpointSlices ─ watch ─▶ Catalog ─▶ rules of the packet filter (replaced as a whole)
//!                                        └─────▶ answers of the name server
//! ```

mod catalog;

#[cfg(test)]
pub(crate) use catalog::tests;
pub(crate) use catalog::{Catalog, Entry, Port, Target};

use crate::network::Network;
use crate::network::rules::Virtual;
use futures::StreamExt;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Changes that come this close together are one: a rollout changes many objects at once.
const TOGETHER: Duration = Duration::from_millis(5);
/// The next attempt after the kernel did not take the rules.
const AGAIN: Duration = Duration::from_secs(1);

/// The Services of the cluster, as this node has seen and serves them.
pub(crate) struct Services {
    catalog: watch::Sender<Arc<Catalog>>,
    /// What the packet filter does now.
    served: watch::Sender<Arc<Vec<Virtual>>>,
}

impl Services {
    pub(crate) fn new() -> Self {
        Self { catalog: watch::Sender::default(), served: watch::Sender::default() }
    }

    /// As if the API had said so.
    #[cfg(test)]
    pub(crate) fn holding(catalog: Catalog) -> Self {
        let services = Self::new();
        services.catalog.send_replace(Arc::new(catalog));
        services
    }

    /// All that is known now.
    pub(crate) fn catalog(&self) -> Arc<Catalog> {
        self.catalog.borrow().clone()
    }

    /// Until no connection to a Service is sent to this address any more.
    pub(crate) async fn leave(&self, address: IpAddr) {
        let gone = |ports: &Arc<Vec<Virtual>>| {
            !ports.iter().any(|port| port.endpoints.iter().any(|endpoint| IpAddr::V4(*endpoint.ip()) == address))
        };
        // The sender lives in self, so this cannot fail.
        let _ = self.served.subscribe().wait_for(gone).await;
    }

    /// Follows the API and keeps the packet filter up to date, until shutdown.
    pub(crate) async fn run(&self, client: Client, network: &Network, shutdown: CancellationToken) {
        let follow = async {
            tokio::select! {
                () = shutdown.cancelled() => {}
                () = self.follow(client) => {}
            }
        };
        tokio::join!(follow, self.serve(network, &shutdown));
    }

    async fn follow(&self, client: Client) {
        let config = watcher::Config::default;
        let mut services = std::pin::pin!(watcher(Api::<Service>::all(client.clone()), config()).default_backoff());
        let mut slices = std::pin::pin!(watcher(Api::<EndpointSlice>::all(client), config()).default_backoff());
        let mut known = Catalog::default();
        let (mut services_known, mut slices_known) = (false, false);
        let mut due = None;
        loop {
            tokio::select! {
                Some(event) = services.next() => match event {
                    Ok(event) => {
                        services_known |= matches!(event, Event::InitDone);
                        known.take_service(event);
                    }
                    Err(error) => tracing::warn!(%error, "Services cannot be watched; trying again"),
                },
                Some(event) = slices.next() => match event {
                    Ok(event) => {
                        slices_known |= matches!(event, Event::InitDone);
                        known.take_slice(event);
                    }
                    Err(error) => tracing::warn!(%error, "EndpointSlices cannot be watched; trying again"),
                },
                () = sleep_until(due), if due.is_some() => {
                    due = None;
                    self.catalog.send_replace(Arc::new(known.clone()));
                    continue;
                }
                else => return,
            }
            // Half of what there is would take away the rules that serve the other half.
            if services_known && slices_known {
                due = due.or(Some(tokio::time::Instant::now() + TOGETHER));
            }
        }
    }

    /// A replacement that has begun ends before this does: whoever removes the rules afterwards has the last word.
    async fn serve(&self, network: &Network, shutdown: &CancellationToken) {
        let mut changes = self.catalog.subscribe();
        // The first time in any case: what an earlier process left is not known.
        let mut installed = false;
        loop {
            tokio::select! {
                changed = changes.changed() => if changed.is_err() { return },
                () = shutdown.cancelled() => return,
            }
            let ports = changes.borrow_and_update().virtuals();
            if installed && **self.served.borrow() == ports {
                continue;
            }
            installed = match network.serve(ports.clone()).await {
                Ok(()) => {
                    self.served.send_replace(Arc::new(ports));
                    true
                }
                Err(error) => {
                    tracing::warn!(error = error.line(), "Services are not up to date; trying again");
                    tokio::select! {
                        () = tokio::time::sleep(AGAIN) => changes.mark_changed(),
                        () = shutdown.cancelled() => return,
                    }
                    false
                }
            };
        }
    }
}

async fn sleep_until(due: Option<tokio::time::Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}
