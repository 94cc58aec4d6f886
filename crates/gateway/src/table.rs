//! Which address a request goes to.

use model::routes::{Backend, Route, RouteTable};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// A published table, ready to be asked. Replaced as a whole.
#[derive(Default)]
pub struct Table {
    pub published: RouteTable,
    by_host: HashMap<String, Entry>,
}

struct Entry {
    route: Route,
    /// Counts requests, so that they spread.
    turn: AtomicU32,
}

/// What the table says about a request.
#[derive(Debug, PartialEq, Eq)]
pub enum Pick {
    /// No route has this host.
    Unknown,
    /// No endpoint is ready, or all were tried.
    Nobody {
        /// The route's words for people.
        label: String,
    },
    /// There.
    Endpoint(SocketAddr),
}

impl Table {
    pub fn new(published: RouteTable) -> Self {
        let entry =
            |route: &Route| (route.host.to_ascii_lowercase(), Entry { route: route.clone(), turn: AtomicU32::new(0) });
        let by_host = published.routes.iter().map(entry).collect();
        Self { published, by_host }
    }

    /// The next endpoint of a host (lower case, without port), by weight, then in turn, leaving out what was tried.
    pub fn pick(&self, host: &str, tried: &[SocketAddr]) -> Pick {
        let Some(entry) = self.by_host.get(host) else { return Pick::Unknown };
        let open = |backend: &&Backend| backend.weight > 0 && backend.endpoints.iter().any(|e| !tried.contains(e));
        let total: u64 = entry.route.backends.iter().filter(open).map(|backend| u64::from(backend.weight)).sum();
        let turn = entry.turn.fetch_add(1, Ordering::Relaxed);
        // Multiples of the golden ratio fill the interval evenly: shares are right after few requests already, and
        // requests of one backend do not come in a row.
        let share = turn.wrapping_mul(0x9E37_79B9);
        let mut ticket = (u64::from(share) * total) >> 32;
        for backend in entry.route.backends.iter().filter(open) {
            if ticket < u64::from(backend.weight) {
                let left = backend.endpoints.iter().filter(|e| !tried.contains(e)).count();
                let mut endpoints = backend.endpoints.iter().filter(|e| !tried.contains(e));
                if let Some(endpoint) = endpoints.nth(turn as usize % left.max(1)) {
                    return Pick::Endpoint(*endpoint);
                }
            }
            ticket = ticket.saturating_sub(u64::from(backend.weight));
        }
        Pick::Nobody { label: entry.route.label.clone() }
    }

    /// True if requests for this host may go to this address.
    pub fn allows(&self, host: &str, endpoint: SocketAddr) -> bool {
        self.by_host
            .get(host)
            .is_some_and(|entry| entry.route.backends.iter().any(|b| b.weight > 0 && b.endpoints.contains(&endpoint)))
    }

    /// True if any route names this address.
    pub fn names(&self, endpoint: SocketAddr) -> bool {
        self.by_host.values().any(|entry| entry.route.backends.iter().any(|b| b.endpoints.contains(&endpoint)))
    }
}

/// Of all requests.
pub type Shared = Arc<std::sync::RwLock<Table>>;

#[cfg(test)]
mod tests {
    use super::*;

    fn at(port: u16) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, 1], port))
    }

    fn table(backends: &[(u32, &[u16])]) -> Table {
        let backend = |(weight, ports): &(u32, &[u16])| Backend {
            name: "x".into(),
            weight: *weight,
            endpoints: ports.iter().map(|port| at(*port)).collect(),
        };
        let backends = backends.iter().map(backend).collect();
        Table::new(RouteTable { routes: vec![Route { host: "Web.Localhost".into(), label: "web".into(), backends }] })
    }

    fn counts(table: &Table, requests: usize) -> HashMap<u16, usize> {
        let mut counts = HashMap::new();
        for _ in 0..requests {
            if let Pick::Endpoint(endpoint) = table.pick("web.localhost", &[]) {
                *counts.entry(endpoint.port()).or_default() += 1;
            }
        }
        counts
    }

    #[test]
    fn weights_hold_after_few_requests_and_endpoints_share() {
        let found = counts(&table(&[(90, &[1, 2]), (10, &[3]), (0, &[4])]), 200);
        assert!((17..=23).contains(&found[&3]), "{found:?}");
        assert!((70..=110).contains(&found[&1]) && (70..=110).contains(&found[&2]), "{found:?}");
        assert!(!found.contains_key(&4), "weight 0 gets nothing: {found:?}");
    }

    #[test]
    fn a_backend_without_endpoints_leaves_its_share_to_the_others() {
        assert_eq!(counts(&table(&[(90, &[]), (10, &[3])]), 10)[&3], 10);
    }

    #[test]
    fn tried_endpoints_are_left_out_until_nobody_is_left() {
        let table = table(&[(1, &[1, 2])]);
        let Pick::Endpoint(first) = table.pick("web.localhost", &[]) else { panic!() };
        let Pick::Endpoint(second) = table.pick("web.localhost", &[first]) else { panic!() };
        assert_ne!(first, second);
        assert_eq!(table.pick("web.localhost", &[first, second]), Pick::Nobody { label: "web".into() });
        assert_eq!(table.pick("other.localhost", &[]), Pick::Unknown);
        assert!(table.allows("web.localhost", at(1)) && !table.allows("other.localhost", at(1)));
    }
}
