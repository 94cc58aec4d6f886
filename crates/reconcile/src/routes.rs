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
        let table = RouteTable { routes: distinct(&state.wanted) };
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

/// Each host once: it belongs to the environment whose name it bears, else to the first that has it.
fn distinct(wanted: &BTreeMap<Scope, Vec<Route>>) -> Vec<Route> {
    let own = |scope: &Scope, route: &Route| {
        route.host.ends_with(&format!(".{}.{}.localhost", scope.environment, scope.project))
    };
    let all = || wanted.iter().flat_map(|(scope, routes)| routes.iter().map(move |route| (scope, route)));
    let mut owners: BTreeMap<&str, &Scope> = BTreeMap::new();
    for (scope, route) in all().filter(|(scope, route)| own(scope, route)).chain(all()) {
        let owner = owners.entry(&route.host).or_insert(scope);
        if *owner != scope {
            tracing::warn!(host = route.host, ?scope, ?owner, "the host is that of another environment");
        }
    }
    all().filter(|(scope, route)| owners.get(route.host.as_str()) == Some(scope)).map(|(_, r)| r.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_environment_takes_the_host_of_another() {
        let scope = |project: &str| Scope { project: project.parse().unwrap(), environment: "dev".parse().unwrap() };
        let route = |host: &str, label: &str| Route { host: host.into(), label: label.into(), backends: Vec::new() };
        let wanted = BTreeMap::from([
            (scope("a"), vec![route("web.dev.b.localhost", "taken"), route("web.example.com", "first")]),
            (scope("b"), vec![route("web.dev.b.localhost", "own"), route("web.example.com", "second")]),
        ]);
        let labels: Vec<String> = distinct(&wanted).into_iter().map(|route| route.label).collect();
        assert_eq!(labels, ["first", "own"]);
    }
}
