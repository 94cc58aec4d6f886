//! One table for the gateway out of the routes of all environments. A process that begins knows none of them: what the
//! gateway serves by since before stays until those it belongs to have spoken.

use model::ports::{Gateway, Scope};
use model::routes::Route;
use model::{Environment, Project, RouteTable};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::{Arc, MutexGuard, PoisonError};
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
    /// Who is there, as far as that is known.
    expected: std::sync::Mutex<Expected>,
    /// What the gateway acknowledged last.
    acknowledged: watch::Sender<RouteTable>,
}

#[derive(Default)]
struct State {
    wanted: BTreeMap<Scope, Vec<Route>>,
    /// From before this process.
    inherited: Vec<Route>,
    published: Option<RouteTable>,
}

/// Environments by project; `None`: nobody has looked yet.
#[derive(Default)]
struct Expected(Option<BTreeMap<Project, Option<BTreeSet<Environment>>>>);

impl Expected {
    /// True when everybody has set their routes.
    fn have_spoken(&self, wanted: &BTreeMap<Scope, Vec<Route>>) -> bool {
        let spoke = |project: &Project, environment: &Environment| {
            wanted.contains_key(&Scope { project: project.clone(), environment: environment.clone() })
        };
        self.0.as_ref().is_some_and(|projects| {
            projects.iter().all(|(project, environments)| {
                environments.as_ref().is_some_and(|all| all.iter().all(|environment| spoke(project, environment)))
            })
        })
    }
}

impl Routes {
    pub fn new(gateway: Arc<dyn Gateway>) -> Self {
        Self {
            gateway,
            state: Mutex::default(),
            dirty: Notify::new(),
            expected: std::sync::Mutex::default(),
            acknowledged: watch::Sender::new(RouteTable::default()),
        }
    }

    /// What the gateway serves by now is not taken away before it is known what replaces it. To be called first.
    pub async fn inherit(&self) {
        let mut state = self.state.lock().await;
        let table = self.gateway.inherited().await;
        state.inherited = table.routes.clone();
        self.acknowledged.send_replace(table);
    }

    /// These projects are there.
    pub fn expect_projects(&self, projects: impl Iterator<Item = Project>) {
        let mut expected = self.expected();
        let before = expected.0.take().unwrap_or_default();
        let known = |project: Project| (project.clone(), before.get(&project).cloned().flatten());
        expected.0 = Some(projects.map(known).collect());
    }

    /// A project has these environments.
    pub fn expect(&self, project: &Project, environments: impl Iterator<Item = Environment>) {
        let now = Some(environments.collect());
        let mut expected = self.expected();
        if expected.0.get_or_insert_default().insert(project.clone(), now.clone()).flatten() != now {
            self.dirty.notify_one();
        }
    }

    fn expected(&self) -> MutexGuard<'_, Expected> {
        self.expected.lock().unwrap_or_else(PoisonError::into_inner)
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
        if self.expected().have_spoken(&state.wanted) {
            state.inherited.clear();
        }
        let table = RouteTable { routes: with_inherited(distinct(&state.wanted), state) };
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

/// An inherited route stays while nobody who has spoken has its host, and whose host it is has not spoken.
fn with_inherited(mut routes: Vec<Route>, state: &State) -> Vec<Route> {
    let taken: BTreeSet<String> = routes.iter().map(|route| route.host.clone()).collect();
    let over = |route: &&Route| taken.contains(&route.host) || state.wanted.keys().any(|scope| bears(scope, route));
    routes.extend(state.inherited.iter().filter(|route| !over(route)).cloned());
    routes
}

/// The host bears the environment's name.
fn bears(scope: &Scope, route: &Route) -> bool {
    route.host.ends_with(&format!(".{}.{}.localhost", scope.environment, scope.project))
}

/// Each host once: it belongs to the environment whose name it bears, else to the first that has it.
fn distinct(wanted: &BTreeMap<Scope, Vec<Route>>) -> Vec<Route> {
    let all = || wanted.iter().flat_map(|(scope, routes)| routes.iter().map(move |route| (scope, route)));
    let mut owners: BTreeMap<&str, &Scope> = BTreeMap::new();
    for (scope, route) in all().filter(|(scope, route)| bears(scope, route)).chain(all()) {
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

    /// A gateway with a table from before.
    struct Before(RouteTable);

    #[async_trait::async_trait]
    impl Gateway for Before {
        async fn publish(&self, _: &RouteTable) -> model::ports::Result<()> {
            Ok(())
        }
        async fn inherited(&self) -> RouteTable {
            self.0.clone()
        }
    }

    #[tokio::test]
    async fn routes_from_before_stay_until_whose_they_are_has_spoken() {
        let project = |name: &str| name.parse::<Project>().unwrap();
        let scope = |name: &str| Scope { project: project(name), environment: "dev".parse().unwrap() };
        let route = |host: &str, label: &str| Route { host: host.into(), label: label.into(), backends: Vec::new() };
        let hosts = ["web.dev.a.localhost", "old.dev.a.localhost", "web.dev.b.localhost", "b.example.com"];
        let before = RouteTable { routes: hosts.map(|host| route(host, "before")).into() };
        let routes = Routes::new(Arc::new(Before(before)));
        let now = |routes: &Routes| -> Vec<String> {
            let table = routes.acknowledged.borrow().clone();
            table.routes.iter().map(|route| format!("{} {}", route.host, route.label)).collect()
        };
        routes.inherit().await;
        assert_eq!(now(&routes).len(), 4, "a Pod that goes waits for these");
        routes.expect_projects(["a", "b"].map(project).into_iter());
        routes.expect(&project("a"), ["dev".parse().unwrap()].into_iter());
        assert!(routes.set(&scope("a"), vec![route("web.dev.a.localhost", "now")]).await);
        assert_eq!(now(&routes), ["web.dev.a.localhost now", "web.dev.b.localhost before", "b.example.com before"]);
        routes.expect(&project("b"), ["dev".parse().unwrap()].into_iter());
        assert!(routes.set(&scope("b"), vec![route("web.dev.b.localhost", "now")]).await);
        assert_eq!(now(&routes), ["web.dev.a.localhost now", "web.dev.b.localhost now"]);
    }
}
