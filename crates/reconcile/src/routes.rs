//! One table for the gateway out of the routes of all environments.

use model::RouteTable;
use model::ports::{Gateway, Scope};
use model::routes::Route;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Mutex, Notify, watch};
use tokio_util::sync::CancellationToken;

/// Waits between tries to reach a gateway that does not answer.
const RETRY: Duration = Duration::from_secs(1);

/// The routes of all environments, and what the gateway has acknowledged.
pub struct Routes {
    gateway: Arc<dyn Gateway>,
    state: Mutex<State>,
    dirty: Notify,
    /// What the gateway acknowledged last.
    acknowledged: watch::Sender<RouteTable>,
}

#[derive(Default)]
struct State {
    wanted: BTreeMap<Scope, Vec<Route>>,
    published: Option<RouteTable>,
}

impl Routes {
    pub fn new(gateway: Arc<dyn Gateway>) -> Self {
        Self {
            gateway,
            state: Mutex::default(),
            dirty: Notify::new(),
            acknowledged: watch::Sender::new(RouteTable::default()),
        }
    }

    /// Sets the routes of one environment. True when the gateway has acknowledged the whole table.
    pub async fn set(&self, scope: &Scope, routes: Vec<Route>) -> bool {
        let mut state = self.state.lock().await;
        state.wanted.insert(scope.clone(), routes);
        self.publish(&mut state).await
    }

    /// Returns when no acknowledged route leads to this address any more.
    pub async fn gone(&self, address: IpAddr) {
        let leads = |table: &RouteTable| {
            let endpoints = table.routes.iter().flat_map(|r| &r.backends).flat_map(|b| &b.endpoints);
            endpoints.into_iter().any(|endpoint| endpoint.ip() == address)
        };
        // The sender lives as long as this does.
        let _ = self.acknowledged.subscribe().wait_for(|table| !leads(table)).await;
    }

    async fn publish(&self, state: &mut State) -> bool {
        let table = RouteTable { routes: state.wanted.values().flatten().cloned().collect() };
        if state.published.as_ref() == Some(&table) {
            return true;
        }
        match self.gateway.publish(&table).await {
            Ok(()) => {
                self.acknowledged.send_replace(table.clone());
                state.published = Some(table);
                true
            }
            Err(error) => {
                tracing::warn!(%error, "the gateway has not taken the routes");
                self.dirty.notify_one();
                false
            }
        }
    }

    /// Tries again what the gateway did not take.
    pub async fn run(&self, shutdown: CancellationToken) {
        while shutdown.run_until_cancelled(self.dirty.notified()).await.is_some() {
            if shutdown.run_until_cancelled(tokio::time::sleep(RETRY)).await.is_none() {
                return;
            }
            let mut state = self.state.lock().await;
            self.publish(&mut state).await;
        }
    }
}
