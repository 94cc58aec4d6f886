//! The Pod's own `/etc/hosts` and `/etc/resolv.conf`.

use crate::error::Error;
use crate::layout::{Layout, write_private};
use crate::pod::PodExt;
use k8s_openapi::api::core::v1::{Pod, PodSpec};
use kube::ResourceExt;
use std::fs;
use std::net::IpAddr;

/// Where systemd keeps the real servers while `/etc/resolv.conf` names its own stub.
const SYSTEMD_RESOLV: &str = "/run/systemd/resolve/resolv.conf";
const RESOLV: &str = "/etc/resolv.conf";

/// Writes both.
pub(super) fn write(layout: &Layout, pod: &Pod, address: IpAddr) -> Result<(), Error> {
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
    write_private(&layout.etc(pod, "resolv.conf"), resolv(pod.spec_ref(), &of_host).as_bytes(), 0o644)
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

fn resolv(spec: &PodSpec, of_host: &str) -> String {
    let config = spec.dns_config.clone().unwrap_or_default();
    let mut text = match spec.dns_policy.as_deref() {
        Some("None") => String::new(),
        _ => of_host.trim_end().to_owned() + "\n",
    };
    for server in config.nameservers.iter().flatten() {
        text.push_str(&format!("nameserver {server}\n"));
    }
    if let Some(searches) = config.searches.filter(|s| !s.is_empty()) {
        text.push_str(&format!("search {}\n", searches.join(" ")));
    }
    let options = config.options.iter().flatten().map(|o| match (&o.name, &o.value) {
        (Some(name), Some(value)) => format!("{name}:{value}"),
        (name, _) => name.clone().unwrap_or_default(),
    });
    let options: Vec<String> = options.collect();
    if !options.is_empty() {
        text.push_str(&format!("options {}\n", options.join(" ")));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn resolv_conf() {
        let config = json!({"nameservers": ["10.0.0.1"], "searches": ["a", "b"], "options": [{"name": "ndots", "value": "2"}, {"name": "edns0"}]});
        let own = "nameserver 10.0.0.1\nsearch a b\noptions ndots:2 edns0\n";
        for (spec, expected) in [
            (json!({"containers": []}), "nameserver 192.0.2.1\n".to_owned()),
            (json!({"containers": [], "dnsPolicy": "None", "dnsConfig": config}), own.to_owned()),
            (json!({"containers": [], "dnsConfig": config}), format!("nameserver 192.0.2.1\n{own}")),
        ] {
            let spec: PodSpec = serde_json::from_value(spec).unwrap();
            assert_eq!(resolv(&spec, "nameserver 192.0.2.1\n"), expected);
        }
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
