//! What a name of the cluster stands for, after the DNS specification of Kubernetes.

use crate::network::rules::Networks;
use crate::nftables::Protocol;
use crate::services::{Catalog, Entry, Port, Target};
use hickory_proto::rr::rdata::{A, CNAME, NS, PTR, SOA, SRV, TXT};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use std::collections::BTreeSet;
use std::net::Ipv4Addr;

/// Seconds that an answer may be kept: endpoints change quickly, and the server is near.
pub(super) const TTL: u32 = 5;
/// The zone that all names of the cluster are in.
pub(crate) const ZONE: &str = "cluster.local";
/// Version of the specification that the answers follow.
const VERSION: &str = "1.1.0";
/// Aliases that are followed from one to the next.
const ALIASES_MAX: usize = 8;

/// An answer of the cluster's own names.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Answer {
    /// No name like this exists.
    pub missing: bool,
    pub records: Vec<Record>,
    /// Addresses of what the records name.
    pub additionals: Vec<Record>,
    /// The records end at an alias to this name, which is none of ours.
    pub elsewhere: Option<Name>,
}

/// What the cluster knows of a name; `None` if it is for others to answer.
pub(super) fn answer(catalog: &Catalog, networks: Networks, name: &Name, wanted: RecordType) -> Option<Answer> {
    let labels: Vec<String> = name.iter().map(|label| String::from_utf8_lossy(label).to_lowercase()).collect();
    let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
    match labels.as_slice() {
        [d, c, b, a, "in-addr", "arpa"] => {
            let address: Ipv4Addr = [a, b, c, d].map(|part| *part).join(".").parse().ok()?;
            let ours = networks.pods.holds(address) || networks.services.holds(address);
            ours.then(|| reverse(catalog, name, address, wanted))
        }
        [rest @ .., "cluster", "local"] => Some(of_zone(catalog, name, rest, wanted)),
        _ => None,
    }
}

/// The record that says how long it may be believed that there is nothing.
pub(super) fn start_of_authority() -> Option<Record> {
    let zone = parse(ZONE)?;
    let soa = SOA::new(parse("ns.dns.cluster.local")?, parse("hostmaster.cluster.local")?, 1, 7200, 1800, 86400, TTL);
    Some(Record::from_rdata(zone, TTL, RData::SOA(soa)))
}

/// A complete name.
fn parse(text: &str) -> Option<Name> {
    Name::from_ascii(format!("{text}.")).ok()
}

fn missing() -> Answer {
    Answer { missing: true, ..Answer::default() }
}

fn found(records: Vec<Record>) -> Answer {
    Answer { records, ..Answer::default() }
}

/// There is such a name, but nothing of the wanted type.
fn nothing() -> Answer {
    Answer::default()
}

fn record(name: &Name, data: RData) -> Record {
    Record::from_rdata(name.clone(), TTL, data)
}

fn addresses(name: &Name, wanted: RecordType, addresses: impl IntoIterator<Item = Ipv4Addr>) -> Answer {
    if !matches!(wanted, RecordType::A | RecordType::ANY) {
        return nothing();
    }
    let distinct: BTreeSet<Ipv4Addr> = addresses.into_iter().collect();
    found(distinct.into_iter().map(|address| record(name, RData::A(A(address)))).collect())
}

/// `labels` are those before the zone.
fn of_zone(catalog: &Catalog, name: &Name, labels: &[&str], wanted: RecordType) -> Answer {
    match labels {
        [] => match wanted {
            RecordType::SOA => found(start_of_authority().into_iter().collect()),
            RecordType::NS => {
                found(parse("ns.dns.cluster.local").map(|ns| record(name, RData::NS(NS(ns)))).into_iter().collect())
            }
            _ => nothing(),
        },
        ["dns-version"] if wanted == RecordType::TXT => {
            found(vec![record(name, RData::TXT(TXT::new(vec![VERSION.into()])))])
        }
        ["dns-version"] | ["svc"] => nothing(),
        [namespace, "svc"] if catalog.has_namespace(namespace) => nothing(),
        [service, namespace, "svc"] => match catalog.service(namespace, service) {
            Some(entry) => of_service(catalog, name, entry, wanted),
            None => missing(),
        },
        [endpoint, service, namespace, "svc"] => match catalog.service(namespace, service) {
            Some(entry) => of_endpoint(name, entry, endpoint, wanted),
            None => missing(),
        },
        [port, protocol, service, namespace, "svc"] => match catalog.service(namespace, service) {
            Some(entry) => of_port(name, entry, port, protocol, wanted),
            None => missing(),
        },
        _ => missing(),
    }
}

fn of_service(catalog: &Catalog, name: &Name, entry: Entry<'_>, wanted: RecordType) -> Answer {
    if let Some(target) = entry.external_name() {
        return alias(catalog, name, target, wanted);
    }
    match (wanted, entry.address()) {
        (RecordType::SRV, _) => located(name, entry, |_| true),
        (_, Some(address)) => addresses(name, wanted, [address]),
        (_, None) => {
            let targets = entry.targets();
            match targets.is_empty() {
                // A headless Service that nobody serves is as good as none.
                true => missing(),
                false => addresses(name, wanted, targets.iter().map(|target| target.address)),
            }
        }
    }
}

/// The alias, and what it stands for as far as the cluster knows.
fn alias(catalog: &Catalog, name: &Name, target: &str, wanted: RecordType) -> Answer {
    let mut answer = nothing();
    let mut owner = name.clone();
    let mut next = target.to_owned();
    for _ in 0..ALIASES_MAX {
        let Some(target) = parse(next.trim_end_matches('.')) else { return missing() };
        answer.records.push(record(&owner, RData::CNAME(CNAME(target.clone()))));
        if wanted == RecordType::CNAME {
            return answer;
        }
        let text = target.to_ascii().to_lowercase();
        let Some(rest) = text.trim_end_matches('.').strip_suffix(ZONE) else {
            answer.elsewhere = Some(target);
            return answer;
        };
        let labels: Vec<&str> = rest.trim_end_matches('.').split('.').filter(|label| !label.is_empty()).collect();
        let further = match labels.as_slice() {
            [service, namespace, "svc"] => {
                catalog.service(namespace, service).and_then(|e| e.external_name().map(str::to_owned))
            }
            _ => None,
        };
        match further {
            Some(further) => (owner, next) = (target, further),
            None => {
                let end = of_zone(catalog, &target, &labels, wanted);
                answer.records.extend(end.records);
                answer.additionals = end.additionals;
                return answer;
            }
        }
    }
    answer
}

/// One endpoint of a Service by its host name, or by its address with dashes for dots.
fn of_endpoint(name: &Name, entry: Entry<'_>, endpoint: &str, wanted: RecordType) -> Answer {
    if entry.address().is_some() {
        return match is_protocol(endpoint) {
            true => nothing(),
            false => missing(),
        };
    }
    let targets = entry.targets();
    let known: Vec<Ipv4Addr> =
        targets.iter().filter(|target| label(target) == endpoint).map(|target| target.address).collect();
    match known.is_empty() {
        false => addresses(name, wanted, known),
        true if is_protocol(endpoint) && !targets.is_empty() => nothing(),
        true => missing(),
    }
}

fn of_port(name: &Name, entry: Entry<'_>, port: &str, protocol: &str, wanted: RecordType) -> Answer {
    let (Some(port), true) = (port.strip_prefix('_'), is_protocol(protocol)) else { return missing() };
    let is_it = |p: &Port| p.name.eq_ignore_ascii_case(port) && written(p.protocol) == protocol;
    let answer = located(name, entry, is_it);
    match (answer.records.is_empty(), wanted) {
        (true, _) => missing(),
        (false, RecordType::SRV | RecordType::ANY) => answer,
        (false, _) => nothing(),
    }
}

fn is_protocol(label: &str) -> bool {
    matches!(label, "_tcp" | "_udp")
}

fn written(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Udp => "_udp",
        Protocol::Tcp | Protocol::Icmp => "_tcp",
    }
}

/// Where ports are: at the Service's address, or at each endpoint.
fn located(name: &Name, entry: Entry<'_>, is_it: impl Fn(&Port) -> bool) -> Answer {
    let service = format!("{}.{}.svc.{ZONE}", entry.name(), entry.namespace());
    let mut places: Vec<(String, Ipv4Addr, Vec<Port>)> = Vec::new();
    match entry.address() {
        Some(address) => places.push((service, address, entry.ports())),
        None => {
            let targets = entry.targets();
            places.extend(targets.into_iter().map(|t| (format!("{}.{service}", label(&t)), t.address, t.ports)));
        }
    }
    let mut answer = nothing();
    for (host, address, ports) in places {
        let Some(host) = parse(&host) else { continue };
        let ports: BTreeSet<u16> =
            ports.iter().filter(|port| !port.name.is_empty() && is_it(port)).map(|port| port.number).collect();
        if !ports.is_empty() {
            answer.additionals.push(record(&host, RData::A(A(address))));
        }
        for port in ports {
            answer.records.push(record(name, RData::SRV(SRV::new(0, 100, port, host.clone()))));
        }
    }
    answer
}

/// What tells an endpoint from others of its Service.
fn label(target: &Target) -> String {
    match &target.hostname {
        Some(hostname) => hostname.to_lowercase(),
        None => target.address.to_string().replace('.', "-"),
    }
}

fn reverse(catalog: &Catalog, name: &Name, address: Ipv4Addr, wanted: RecordType) -> Answer {
    let mut names = BTreeSet::new();
    for entry in catalog.services() {
        let service = format!("{}.{}.svc.{ZONE}", entry.name(), entry.namespace());
        if entry.address() == Some(address) {
            names.insert(service);
        } else if entry.address().is_none() {
            let here = entry.targets().into_iter().filter(|target| target.address == address);
            names.extend(here.map(|target| format!("{}.{service}", label(&target))));
        }
    }
    match (names.is_empty(), wanted) {
        (true, _) => missing(),
        (false, RecordType::PTR | RecordType::ANY) => {
            found(names.iter().filter_map(|host| Some(record(name, RData::PTR(PTR(parse(host)?))))).collect())
        }
        (false, _) => nothing(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::Net;
    use crate::services::tests::{service, slice};
    use kube::runtime::watcher::Event;
    use serde_json::json;

    fn catalog() -> Catalog {
        let mut catalog = Catalog::default();
        let ports = json!([{"name": "http", "port": 80}, {"name": "dns", "port": 53, "protocol": "UDP"}]);
        for (name, spec) in [
            ("api", json!({"clusterIP": "10.30.16.7", "ports": ports})),
            ("db", json!({"clusterIP": "None", "ports": [{"name": "sql", "port": 5432}]})),
            ("idle", json!({"clusterIP": "None"})),
            ("pay", json!({"type": "ExternalName", "externalName": "pay.example.com"})),
            ("alias", json!({"type": "ExternalName", "externalName": "api.shop.svc.cluster.local"})),
            ("loop", json!({"type": "ExternalName", "externalName": "loop.shop.svc.cluster.local"})),
        ] {
            catalog.take_service(Event::Apply(service(name, spec)));
        }
        let endpoints = json!([
            {"addresses": ["10.20.1.2"], "hostname": "db-0"},
            {"addresses": ["10.20.1.3"]},
            {"addresses": ["10.20.1.4"], "conditions": {"ready": false}},
        ]);
        catalog.take_slice(Event::Apply(slice("db-1", "db", json!([{"name": "sql", "port": 5432}]), endpoints)));
        catalog
    }

    const NETWORKS: Networks = Networks {
        pods: Net { address: Ipv4Addr::new(10, 20, 1, 0), prefix: 24 },
        services: Net { address: Ipv4Addr::new(10, 30, 16, 0), prefix: 20 },
    };

    /// `NXDOMAIN`, `-` for somebody else's, or the records without name and TTL.
    fn ask(name: &str, wanted: RecordType) -> String {
        let Some(answer) = answer(&catalog(), NETWORKS, &parse(name).unwrap(), wanted) else { return "-".into() };
        if answer.missing {
            return "NXDOMAIN".into();
        }
        let all = answer.records.iter().map(|r| format!("{} {}", r.record_type(), r.data));
        let more = answer.additionals.iter().map(|r| format!("+{} {}", r.name, r.data));
        let elsewhere = answer.elsewhere.iter().map(|name| format!("ask {name}"));
        all.chain(more).chain(elsewhere).collect::<Vec<_>>().join(", ")
    }

    #[test]
    fn names_of_the_cluster() {
        use RecordType::{A, AAAA, CNAME, NS, PTR, SRV, TXT};
        for (name, wanted, expected) in [
            ("api.shop.svc.cluster.local", A, "A 10.30.16.7"),
            ("API.Shop.svc.Cluster.local", A, "A 10.30.16.7"),
            ("api.shop.svc.cluster.local", AAAA, ""),
            ("none.shop.svc.cluster.local", A, "NXDOMAIN"),
            ("api.other.svc.cluster.local", A, "NXDOMAIN"),
            ("db.shop.svc.cluster.local", A, "A 10.20.1.2, A 10.20.1.3"),
            ("db-0.db.shop.svc.cluster.local", A, "A 10.20.1.2"),
            ("10-20-1-3.db.shop.svc.cluster.local", A, "A 10.20.1.3"),
            ("db-1.db.shop.svc.cluster.local", A, "NXDOMAIN"),
            ("idle.shop.svc.cluster.local", A, "NXDOMAIN"),
            ("shop.svc.cluster.local", A, ""),
            ("other.svc.cluster.local", A, "NXDOMAIN"),
            ("svc.cluster.local", A, ""),
            ("cluster.local", NS, "NS ns.dns.cluster.local."),
            ("dns-version.cluster.local", TXT, "TXT 1.1.0"),
            ("pay.shop.svc.cluster.local", A, "CNAME pay.example.com., ask pay.example.com."),
            ("pay.shop.svc.cluster.local", CNAME, "CNAME pay.example.com."),
            ("alias.shop.svc.cluster.local", A, "CNAME api.shop.svc.cluster.local., A 10.30.16.7"),
            (
                "_http._tcp.api.shop.svc.cluster.local",
                SRV,
                "SRV 0 100 80 api.shop.svc.cluster.local., +api.shop.svc.cluster.local. 10.30.16.7",
            ),
            ("_http._udp.api.shop.svc.cluster.local", SRV, "NXDOMAIN"),
            ("_http._tcp.api.shop.svc.cluster.local", A, ""),
            (
                "_sql._tcp.db.shop.svc.cluster.local",
                SRV,
                "SRV 0 100 5432 db-0.db.shop.svc.cluster.local., SRV 0 100 5432 10-20-1-3.db.shop.svc.cluster.local., \
                 +db-0.db.shop.svc.cluster.local. 10.20.1.2, +10-20-1-3.db.shop.svc.cluster.local. 10.20.1.3",
            ),
            ("7.16.30.10.in-addr.arpa", PTR, "PTR api.shop.svc.cluster.local."),
            ("2.1.20.10.in-addr.arpa", PTR, "PTR db-0.db.shop.svc.cluster.local."),
            ("8.16.30.10.in-addr.arpa", PTR, "NXDOMAIN"),
            ("1.2.0.192.in-addr.arpa", PTR, "-"),
            ("example.com", A, "-"),
            ("api.shop.svc.cluster.local.example.com", A, "-"),
        ] {
            assert_eq!(ask(name, wanted), expected, "{wanted} {name}");
        }
        let circle = ask("loop.shop.svc.cluster.local", A);
        assert_eq!(circle.matches("CNAME").count(), ALIASES_MAX, "{circle}");
    }
}
