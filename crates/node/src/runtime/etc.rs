//! The Pod's own `/etc/hosts` and `/etc/resolv.conf`.

use crate::dns::ZONE;
use crate::error::Error;
use crate::layout::{Layout, write_private};
use crate::pod::PodExt;
use k8s_openapi::api::core::v1::{Pod, PodDNSConfig, PodSpec};
use kube::ResourceExt;
use std::collections::HashSet;
use std::fs;
use std::net::IpAddr;

/// Where systemd keeps the real servers while `/etc/resolv.conf` names its own stub.
const SYSTEMD_RESOLV: &str = "/run/systemd/resolve/resolv.conf";
const RESOLV: &str = "/etc/resolv.conf";

/// Writes both. `cluster` is the cluster's name server, if there is one.
pub(super) fn write(layout: &Layout, pod: &Pod, address: IpAddr, cluster: Option<IpAddr>) -> Result<(), Error> {
    let hosts = match pod.host_network() {
        true => fs::read_to_string("/etc/hosts").unwrap_or_default(),
        false => hosts(pod, address),
    };
    write_private(&layout.etc(pod, "hosts"), (hosts + &aliases(pod.spec_ref())).as_bytes(), 0o644)?;
    let of_host = fs::read_to_string(RESOLV).unwrap_or_default();
    let of_host = match only_loopback(&of_host) && !pod.host_network() {
        true => fs::read_to_string(SYSTEMD_RESOLV).unwrap_or(of_host),
        false => of_host,
    };
    write_private(&layout.etc(pod, "resolv.conf"), resolv(pod, &of_host, cluster).as_bytes(), 0o644)
}

fn resolv(pod: &Pod, of_host: &str, cluster: Option<IpAddr>) -> String {
    let (spec, of_host) = (pod.spec_ref(), Resolv::parse(of_host));
    let base = match (spec.dns_policy.as_deref(), cluster.filter(|_| asks_cluster(spec))) {
        (Some("None"), _) => Resolv::default(),
        (_, Some(server)) => Resolv::cluster(server, pod.namespace_str(), &of_host),
        (_, None) => of_host,
    };
    base.with(spec.dns_config.as_ref()).to_string()
}

/// On the host's network, a Pod must ask for it by name.
fn asks_cluster(spec: &PodSpec) -> bool {
    match spec.dns_policy.as_deref() {
        None | Some("ClusterFirst") => spec.host_network != Some(true),
        Some(policy) => policy == "ClusterFirstWithHostNet",
    }
}

/// The name that the Pod's containers know themselves by.
pub(super) fn hostname(pod: &Pod) -> String {
    let name = pod.spec_ref().hostname.clone().unwrap_or_else(|| pod.name_any());
    // A host name has at most 63 characters and does not end in a separator.
    name.chars().take(63).collect::<String>().trim_end_matches(['-', '.']).to_owned()
}

fn hosts(pod: &Pod, address: IpAddr) -> String {
    format!(
        "# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n\
         fe00::0\tip6-localnet\nfe00::0\tip6-mcastprefix\nfe00::1\tip6-allnodes\nfe00::2\tip6-allrouters\n{address}\t{}\n",
        hostname(pod)
    )
}

fn aliases(spec: &PodSpec) -> String {
    let lines = spec.host_aliases.iter().flatten();
    lines.map(|a| format!("{}\t{}\n", a.ip, a.hostnames.as_deref().unwrap_or_default().join("\t"))).collect()
}

fn servers(resolv: &str) -> impl Iterator<Item = &str> {
    resolv.lines().filter_map(|line| line.trim().strip_prefix("nameserver")).map(str::trim)
}

/// A server on loopback is another one in a Pod's namespace.
fn only_loopback(resolv: &str) -> bool {
    servers(resolv).all(|s| s.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())) && servers(resolv).next().is_some()
}

/// As many as resolvers look at.
const SERVERS_MAX: usize = 3;
const SEARCHES_MAX: usize = 32;

/// What a `resolv.conf` says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Resolv {
    servers: Vec<String>,
    searches: Vec<String>,
    options: Vec<String>,
}

impl Resolv {
    fn parse(text: &str) -> Self {
        let mut found = Self::default();
        for line in text.lines() {
            let mut words = line.split_whitespace().map(str::to_owned);
            match words.next().as_deref() {
                Some("nameserver") => found.servers.extend(words.next()),
                // Of several, the last one counts.
                Some("search" | "domain") => found.searches = words.collect(),
                Some("options") => found.options.extend(words),
                _ => {}
            }
        }
        found
    }

    /// The cluster's names first; the host's search list stays.
    fn cluster(server: IpAddr, namespace: &str, of_host: &Self) -> Self {
        let own = [format!("{namespace}.svc.{ZONE}"), format!("svc.{ZONE}"), ZONE.to_owned()];
        Self {
            servers: vec![server.to_string()],
            searches: own.into_iter().chain(of_host.searches.iter().cloned()).collect(),
            options: vec!["ndots:5".to_owned()],
        }
    }

    /// With what the Pod says itself.
    fn with(mut self, config: Option<&PodDNSConfig>) -> Self {
        let Some(config) = config else { return self };
        self.servers.extend(config.nameservers.iter().flatten().cloned());
        self.searches.extend(config.searches.iter().flatten().cloned());
        for option in config.options.iter().flatten() {
            let Some(name) = option.name.as_deref().filter(|name| !name.is_empty()) else { continue };
            self.options.retain(|known| known.split(':').next() != Some(name));
            self.options.push(match &option.value {
                Some(value) => format!("{name}:{value}"),
                None => name.to_owned(),
            });
        }
        self
    }
}

impl std::fmt::Display for Resolv {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let distinct = |list: &[String], max: usize| {
            let mut seen = HashSet::new();
            list.iter().filter(|item| seen.insert(item.as_str())).take(max).cloned().collect::<Vec<_>>()
        };
        let searches = distinct(&self.searches, SEARCHES_MAX);
        if !searches.is_empty() {
            writeln!(f, "search {}", searches.join(" "))?;
        }
        for server in distinct(&self.servers, SERVERS_MAX) {
            writeln!(f, "nameserver {server}")?;
        }
        if !self.options.is_empty() {
            writeln!(f, "options {}", self.options.join(" "))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn resolv_conf() {
        const HOST: &str = "# of the host\nnameserver 192.0.2.1\nsearch lan\noptions rotate\n";
        let of_host = "search lan\nnameserver 192.0.2.1\noptions rotate\n";
        let cluster = "search shop.svc.cluster.local svc.cluster.local cluster.local lan\nnameserver 10.20.1.1\noptions ndots:5\n";
        let config = json!({"nameservers": ["10.0.0.1"], "searches": ["a", "lan"], "options": [{"name": "ndots", "value": "2"}, {"name": "edns0"}]});
        let both = "search shop.svc.cluster.local svc.cluster.local cluster.local lan a\nnameserver 10.20.1.1\nnameserver 10.0.0.1\noptions ndots:2 edns0\n";
        for (spec, expected) in [
            (json!({}), cluster),
            (json!({"dnsPolicy": "ClusterFirst"}), cluster),
            (json!({"dnsPolicy": "ClusterFirst", "hostNetwork": true}), of_host),
            (json!({"dnsPolicy": "ClusterFirstWithHostNet", "hostNetwork": true}), cluster),
            (json!({"dnsPolicy": "Default"}), of_host),
            (
                json!({"dnsPolicy": "None", "dnsConfig": config}),
                "search a lan\nnameserver 10.0.0.1\noptions ndots:2 edns0\n",
            ),
            (json!({"dnsConfig": config}), both),
        ] {
            let mut pod = json!({"metadata": {"name": "p", "namespace": "shop"}, "spec": {"containers": []}});
            pod["spec"].as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
            let pod: Pod = serde_json::from_value(pod).unwrap();
            assert_eq!(resolv(&pod, HOST, Some([10, 20, 1, 1].into())), expected, "{spec}");
        }
        let pod: Pod = serde_json::from_value(json!({"spec": {"containers": []}})).unwrap();
        assert_eq!(resolv(&pod, HOST, None), of_host, "no name server of the cluster");
    }

    #[test]
    fn a_server_on_loopback_is_not_a_pods() {
        assert!(only_loopback("# stub\nnameserver 127.0.0.53\n"));
        assert!(!only_loopback("nameserver 127.0.0.53\nnameserver 192.0.2.1\n"));
        assert!(!only_loopback(""));
    }

    #[test]
    fn host_names_are_short() {
        let pod = |name: &str| -> Pod { serde_json::from_value(json!({"metadata": {"name": name}})).unwrap() };
        assert_eq!(hostname(&pod("web")), "web");
        assert_eq!(hostname(&pod(&format!("{}-x", "a".repeat(62)))), "a".repeat(62));
    }
}
