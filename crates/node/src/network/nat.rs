//! The way out of the machine for Pods: forwarding and masquerade.

use crate::error::Error;
use crate::nftables::{self, Chain, Hook, Kind, Match, Rule, Table, Verdict};
use std::fs;
use std::net::Ipv4Addr;

const FORWARD: &str = "/proc/sys/net/ipv4/ip_forward";
/// Of the subnet of Pods.
const PREFIX: u8 = 24;

/// Name of this instance's table; nothing else of the packet filter is touched.
fn table(instance: &str) -> String {
    format!("trimtab_{instance}")
}

/// Installs the rules. False if this kernel has no nftables: Pods then reach each other and the host, nothing beyond.
pub(super) fn install(instance: &str, subnet: Ipv4Addr) -> Result<bool, Error> {
    let leaving = vec![Match::Source(subnet, PREFIX), Match::DestinationNot(subnet, PREFIX)];
    let rule = Rule { when: leaving, then: Verdict::Masquerade };
    let chain = Chain {
        name: "postrouting".into(),
        hook: Hook::Postrouting,
        priority: 100,
        kind: Kind::Nat,
        rules: vec![rule],
    };
    match nftables::replace(&Table { name: table(instance), chains: vec![chain] }) {
        Ok(()) => Ok(true),
        Err(error) if absent(&error) => Ok(false),
        Err(error) => Err(Error::Nft(error.to_string())),
    }
}

/// Removes the rules.
pub(super) fn remove(instance: &str) -> Result<(), Error> {
    match nftables::remove(&table(instance)) {
        Err(error) if !absent(&error) => Err(Error::Nft(error.to_string())),
        _ => Ok(()),
    }
}

/// Kernels without nftables, or without its address translation, say it in one of these ways.
fn absent(error: &std::io::Error) -> bool {
    use rustix::io::Errno;
    let codes = [Errno::PROTONOSUPPORT, Errno::OPNOTSUPP, Errno::NOENT, Errno::AFNOSUPPORT];
    codes.iter().any(|code| error.raw_os_error() == Some(code.raw_os_error()))
}

/// Whether this machine forwards nothing between its links.
pub(super) fn forwarding_is_off() -> Result<bool, Error> {
    Ok(fs::read_to_string(FORWARD).map_err(Error::file("reading", FORWARD))?.trim() == "0")
}

/// Turns forwarding on.
pub(super) fn enable_forwarding() -> Result<(), Error> {
    // Writing 1 over 1 would not be without effect: the kernel then resets settings of every link.
    if forwarding_is_off()? { fs::write(FORWARD, "1").map_err(Error::file("writing", FORWARD)) } else { Ok(()) }
}

/// As it was before.
pub(super) fn disable_forwarding() -> Result<(), Error> {
    fs::write(FORWARD, "0").map_err(Error::file("writing", FORWARD))
}
