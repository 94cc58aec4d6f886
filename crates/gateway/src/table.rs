//! Which address a request goes to.

use crate::endpoint::Endpoint;
use crate::measure::Counters;
use model::routes::RouteTable;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

/// Requests of one route at the same time: one service that hangs must not take every connection there is.
pub const IN_FLIGHT_MAX: usize = 4096;

/// A published table, ready to be asked. Replaced as a whole.
#[derive(Default)]
pub struct Table {
    by_host: HashMap<Arc<str>, Entry>,
}

struct Entry {
    label: Box<str>,
    backends: Box<[Set]>,
    /// Counts requests, so that they spread.
    turn: AtomicU32,
    in_flight: Arc<AtomicUsize>,
}

struct Set {
    weight: u32,
    endpoints: Box<[Arc<Endpoint>]>,
    counters: Arc<Counters>,
}

/// What the table says about a request.
#[derive(Debug)]
pub enum Pick {
    /// No route has this host.
    Unknown,
    /// No endpoint is ready, or all were tried.
    Nobody {
        /// The route's words for people.
        label: String,
    },
    /// There.
    Endpoint(Picked),
}

/// Where a request goes. It is in flight there for as long as this lives.
#[derive(Debug)]
pub struct Picked {
    pub endpoint: Arc<Endpoint>,
    pub counters: Arc<Counters>,
    route: Arc<AtomicUsize>,
}

impl Picked {
    fn new(endpoint: &Arc<Endpoint>, counters: &Arc<Counters>, route: &Arc<AtomicUsize>) -> Self {
        endpoint.begin();
        counters.begin();
        route.fetch_add(1, Ordering::Relaxed);
        Self { endpoint: endpoint.clone(), counters: counters.clone(), route: route.clone() }
    }
}

impl Drop for Picked {
    fn drop(&mut self) {
        self.route.fetch_sub(1, Ordering::Relaxed);
        self.counters.end();
        self.endpoint.end();
    }
}

impl Table {
    /// Endpoints come from `endpoint`, so that those of the table before are the same; its counters go on.
    pub fn new(published: RouteTable, before: &Self, mut endpoint: impl FnMut(SocketAddr) -> Arc<Endpoint>) -> Self {
        let mut by_host = HashMap::with_capacity(published.routes.len());
        for route in published.routes {
            let host: Arc<str> = route.host.to_ascii_lowercase().into();
            let known = before.by_host.get(&host);
            let backends = route.backends.iter().map(|backend| {
                let mut sets = known.iter().flat_map(|entry| &entry.backends);
                let counters = sets.find(|set| *set.counters.backend == *backend.name).map(|set| set.counters.clone());
                Set {
                    weight: backend.weight,
                    endpoints: backend.endpoints.iter().map(|address| endpoint(*address)).collect(),
                    counters: counters.unwrap_or_else(|| Arc::new(Counters::new(host.clone(), &backend.name))),
                }
            });
            let entry = Entry {
                backends: backends.collect(),
                label: route.label.into(),
                turn: AtomicU32::new(0),
                in_flight: known.map(|entry| entry.in_flight.clone()).unwrap_or_default(),
            };
            by_host.insert(host, entry);
        }
        Self { by_host }
    }

    /// The next endpoint of a host (lower case, without port), by weight, then in turn, leaving out what was tried.
    pub fn pick(&self, host: &str, tried: &[SocketAddr]) -> Pick {
        let Some(entry) = self.by_host.get(host) else { return Pick::Unknown };
        if entry.in_flight.load(Ordering::Relaxed) >= IN_FLIGHT_MAX {
            return Pick::Nobody { label: format!("{}: too many requests at the same time", entry.label) };
        }
        let untried = |endpoint: &&Arc<Endpoint>| !tried.contains(&endpoint.address);
        let open = |set: &&Set| set.weight > 0 && set.endpoints.iter().any(|e| untried(&e));
        let total: u64 = entry.backends.iter().filter(open).map(|set| u64::from(set.weight)).sum();
        let turn = entry.turn.fetch_add(1, Ordering::Relaxed);
        // Multiples of the golden ratio fill the interval evenly: shares are right after few requests already, and
        // requests of one backend do not come in a row.
        let share = turn.wrapping_mul(0x9E37_79B9);
        let mut ticket = (u64::from(share) * total) >> 32;
        for set in entry.backends.iter().filter(open) {
            if ticket < u64::from(set.weight) {
                let left = set.endpoints.iter().filter(untried).count();
                let mut endpoints = set.endpoints.iter().filter(untried);
                if let Some(endpoint) = endpoints.nth(turn as usize % left.max(1)) {
                    return Pick::Endpoint(Picked::new(endpoint, &set.counters, &entry.in_flight));
                }
            }
            ticket = ticket.saturating_sub(u64::from(set.weight));
        }
        Pick::Nobody { label: entry.label.to_string() }
    }

    /// True if requests for this host may go to this address.
    pub fn allows(&self, host: &str, endpoint: &Arc<Endpoint>) -> bool {
        let holds = |set: &Set| set.weight > 0 && set.endpoints.iter().any(|known| Arc::ptr_eq(known, endpoint));
        self.by_host.get(host).is_some_and(|entry| entry.backends.iter().any(holds))
    }

    /// How many hosts it has.
    pub fn len(&self) -> usize {
        self.by_host.len()
    }

    /// Of all backends.
    pub fn counters(&self) -> impl Iterator<Item = &Arc<Counters>> {
        self.by_host.values().flat_map(|entry| &entry.backends).map(|set| &set.counters)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::routes::{Backend, Route};

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
        let routes = vec![Route { host: "Web.Localhost".into(), label: "web".into(), backends }];
        let mut known = HashMap::new();
        let endpoint = |address| known.entry(address).or_insert_with(|| Arc::new(Endpoint::new(address, 1))).clone();
        Table::new(RouteTable { routes }, &Table::default(), endpoint)
    }

    fn counts(table: &Table, requests: usize) -> HashMap<u16, usize> {
        let mut counts = HashMap::new();
        for _ in 0..requests {
            if let Pick::Endpoint(picked) = table.pick("web.localhost", &[]) {
                *counts.entry(picked.endpoint.address.port()).or_default() += 1;
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
        let (first, address) = (first.endpoint.clone(), first.endpoint.address);
        let Pick::Endpoint(second) = table.pick("web.localhost", &[address]) else { panic!() };
        assert_ne!(address, second.endpoint.address);
        let tried = [address, second.endpoint.address];
        assert!(matches!(table.pick("web.localhost", &tried), Pick::Nobody { label } if label == "web"));
        assert!(matches!(table.pick("other.localhost", &[]), Pick::Unknown));
        assert!(table.allows("web.localhost", &first) && !table.allows("other.localhost", &first));
    }

    #[test]
    fn one_route_cannot_take_everything() {
        let table = table(&[(1, &[1])]);
        let mut held: Vec<Pick> = (0..IN_FLIGHT_MAX).map(|_| table.pick("web.localhost", &[])).collect();
        assert!(held.iter().all(|pick| matches!(pick, Pick::Endpoint(_))));
        assert!(matches!(table.pick("web.localhost", &[]), Pick::Nobody { .. }));
        held.pop();
        assert!(matches!(table.pick("web.localhost", &[]), Pick::Endpoint(_)));
    }
}
