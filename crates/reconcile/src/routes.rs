//! One table for the gateway out of the routes of all environments.

use model::RouteTable;
use model::ports::{Gateway, Scope};
use model::routes::Route;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Mutex, Notify};
use tokio_util::sync::CancellationToken;

/// Waits between tries to reach a gateway that does not answer.
const RETRY: Duration = Duration::from_secs(1);

/// The routes of all environments, and what the gateway has acknowledged.
pub struct Routes {
    gateway: Arc<dyn Gateway>,
    state: Mutex<State>,
    dirty: Notify,
}

#[derive(Default)]
struct State {
    wanted: BTreeMap<Scope, Vec<Route>>,
    published: Option<RouteTable>,
}

impl Routes {
    pub fn new(gateway: Arc<dyn Gateway>) -> Self {
        Self { gateway, state: Mutex::default(), dirty: Notify::new() }
    }

    /// Sets the routes of one environment. True when the gateway has acknowledged the whole table.
    pub async fn set(&self, scope: &Scope, routes: Vec<Route>) -> bool {
        let mut state = self.state.lock().await;
        state.wanted.insert(scope.clone(), routes);
        self.publish(&mut state).await
    }

    async fn publish(&self, state: &mut State) -> bool {
        let table = RouteTable { routes: state.wanted.values().flatten().cloned().collect() };
        if state.published.as_ref() == Some(&table) {
            return true;
        }
        match self.gateway.publish(&table).await {
            Ok(()) => {
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
