//! The packet filter's rules: what Pods and Services need, as one table of values.
//!
//! ```text
//! prerouting, output   (destination)  service address and port ─▶ one ready endpoint
//! prerouting, output   (filter)       any other packet to a service address ─▶ refused
//! postrouting          (source)       from a Pod to the world, or to a Pod through a Service ─▶ masquerade
//! ```

use super::record::Net;
use crate::nftables::{Base, Chain, Hook, Kind, Match, Protocol, Rule, Table, Verdict};
use std::net::{Ipv4Addr, SocketAddrV4};

const DESTINATION: i32 = -100;
const AFTER_DESTINATION: i32 = -90;
const FILTER: i32 = 0;
const SOURCE: i32 = 100;
const ICMP_REDIRECT: u8 = 5;
const SERVICES: &str = "services";
const STRAYS: &str = "strays";

/// The two networks of an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Networks {
    pub pods: Net,
    pub services: Net,
}

/// One port of a Service, and what stands behind it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Virtual {
    pub address: Ipv4Addr,
    pub protocol: Protocol,
    pub port: u16,
    /// Ready endpoints, each once. None: connections are refused.
    pub endpoints: Vec<SocketAddrV4>,
    /// A client meets the same endpoint again, for as long as these do not change.
    pub sticky: bool,
}

/// The table of an instance.
pub(crate) fn table(name: String, networks: Networks, ports: &[Virtual]) -> Table {
    let Networks { pods, services } = networks;
    let to_services = Match::Destination(services.address, services.prefix);
    let served = || ports.iter().filter(|port| !port.endpoints.is_empty());
    let mut chains: Vec<Chain> = served().map(balance).collect();
    let dispatch = served().map(|port| Rule {
        when: vec![Match::Destination(port.address, 32), Match::Protocol(port.protocol), Match::Port(port.port)],
        then: Verdict::Jump(chain_name(port)),
    });
    chains.push(Chain { name: SERVICES.into(), base: None, rules: dispatch.collect() });
    chains.push(Chain {
        name: STRAYS.into(),
        base: None,
        rules: vec![
            Rule { when: vec![Match::Protocol(Protocol::Tcp)], then: Verdict::Reset },
            Rule { when: vec![], then: Verdict::Reject },
        ],
    });
    let jump = |chain: &str| Rule { when: vec![to_services.clone()], then: Verdict::Jump(chain.into()) };
    chains.push(base("prerouting", Kind::Nat, Hook::Prerouting, DESTINATION, vec![jump(SERVICES)]));
    chains.push(base("output", Kind::Nat, Hook::Output, DESTINATION, vec![jump(SERVICES)]));
    // Before a route is looked for: a Pod would also be told of a shorter one, and that uses up what the kernel allows
    // itself to tell it at all.
    chains.push(base("prerouting-filter", Kind::Filter, Hook::Prerouting, AFTER_DESTINATION, vec![jump(STRAYS)]));
    // A Pod would believe this machine that the shorter way to a Service is the endpoint of one connection.
    let redirect = Rule {
        when: vec![
            Match::Destination(pods.address, pods.prefix),
            Match::Protocol(Protocol::Icmp),
            Match::IcmpType(ICMP_REDIRECT),
        ],
        then: Verdict::Drop,
    };
    chains.push(base("output-filter", Kind::Filter, Hook::Output, FILTER, vec![jump(STRAYS), redirect]));
    let from_pod = Match::Source(pods.address, pods.prefix);
    let leaving = vec![from_pod.clone(), Match::DestinationNot(pods.address, pods.prefix)];
    // Or the endpoint, on the same link, would answer past the translation, in its own name.
    let through_service = vec![from_pod, Match::Destination(pods.address, pods.prefix), Match::Translated];
    let masquerade = |when| Rule { when, then: Verdict::Masquerade };
    let rules = vec![masquerade(leaving), masquerade(through_service)];
    chains.push(base("postrouting", Kind::Nat, Hook::Postrouting, SOURCE, rules));
    Table { name, chains }
}

fn base(name: &str, kind: Kind, hook: Hook, priority: i32, rules: Vec<Rule>) -> Chain {
    Chain { name: name.into(), base: Some(Base { kind, hook, priority }), rules }
}

/// Each endpoint gets an equal share: the first 1 of n, the second 1 of the n-1 that are left, the last all.
fn balance(port: &Virtual) -> Chain {
    let count = port.endpoints.len() as u32;
    let rules = port.endpoints.iter().zip(0u32..).map(|(endpoint, at)| {
        let when = match (count - at, port.sticky) {
            (1, _) => vec![],
            (_, true) => vec![Match::ClientOf { groups: count, group: at }],
            (left, false) => vec![Match::OneOf(left)],
        };
        Rule { when, then: Verdict::Destination(*endpoint) }
    });
    Chain { name: chain_name(port), base: None, rules: rules.collect() }
}

fn chain_name(port: &Virtual) -> String {
    let protocol = match port.protocol {
        Protocol::Udp => "udp",
        Protocol::Tcp | Protocol::Icmp => "tcp",
    };
    format!("{}-{protocol}-{}", port.address, port.port)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(address: &str, endpoints: &[&str], sticky: bool) -> Virtual {
        Virtual {
            address: address.parse().unwrap(),
            protocol: Protocol::Tcp,
            port: 80,
            endpoints: endpoints.iter().map(|e| e.parse().unwrap()).collect(),
            sticky,
        }
    }

    fn chain<'a>(table: &'a Table, name: &str) -> &'a Chain {
        table.chains.iter().find(|chain| chain.name == name).unwrap()
    }

    const NETWORKS: Networks = Networks {
        pods: Net { address: Ipv4Addr::new(10, 20, 1, 0), prefix: 24 },
        services: Net { address: Ipv4Addr::new(10, 30, 16, 0), prefix: 20 },
    };

    #[test]
    fn every_endpoint_gets_an_equal_share() {
        let three = ["10.20.1.2:8080", "10.20.1.3:8080", "10.20.1.4:9090"];
        let ports = [port("10.30.16.1", &three, false), port("10.30.16.2", &three[..2], true)];
        let table = table("t".into(), NETWORKS, &ports);
        let shares = |name: &str| -> Vec<(Vec<Match>, Verdict)> {
            chain(&table, name).rules.iter().map(|rule| (rule.when.clone(), rule.then.clone())).collect()
        };
        let to = |at: usize| Verdict::Destination(three[at].parse().unwrap());
        assert_eq!(
            shares("10.30.16.1-tcp-80"),
            [(vec![Match::OneOf(3)], to(0)), (vec![Match::OneOf(2)], to(1)), (vec![], to(2))]
        );
        assert_eq!(
            shares("10.30.16.2-tcp-80"),
            [(vec![Match::ClientOf { groups: 2, group: 0 }], to(0)), (vec![], to(1))]
        );
    }

    #[test]
    fn what_has_no_endpoint_is_refused_like_any_stray() {
        let table = table("t".into(), NETWORKS, &[port("10.30.16.1", &[], false)]);
        assert!(chain(&table, "services").rules.is_empty());
        let jump = Rule {
            when: vec![Match::Destination(NETWORKS.services.address, 20)],
            then: Verdict::Jump("strays".into()),
        };
        for (name, hook, priority) in [("prerouting-filter", Hook::Prerouting, -90), ("output-filter", Hook::Output, 0)]
        {
            let chain = chain(&table, name);
            assert_eq!(chain.base, Some(Base { kind: Kind::Filter, hook, priority }));
            assert_eq!(chain.rules[0], jump);
        }
        assert_eq!(chain(&table, "strays").rules[0].then, Verdict::Reset);
    }

    #[test]
    fn chains_stand_before_those_that_jump_to_them() {
        let ports = [port("10.30.16.1", &["10.20.1.2:80"], false)];
        let table = table("t".into(), NETWORKS, &ports);
        let mut known = Vec::new();
        for chain in &table.chains {
            for rule in &chain.rules {
                if let Verdict::Jump(to) = &rule.then {
                    assert!(known.contains(to), "{} jumps to {to}", chain.name);
                }
            }
            known.push(chain.name.clone());
        }
    }
}
