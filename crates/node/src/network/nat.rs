//! The rules in the kernel, and forwarding, without which they are never asked.

use super::rules::{self, Networks, Virtual};
use crate::error::Error;
use crate::nftables::{self, Protocol};
use std::fs;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::Path;

const FORWARD: &str = "/proc/sys/net/ipv4/ip_forward";
/// Says that forwarding was off before the first instance came.
const NOTE: &str = "/run/trimtab-forwarding-was-off";

/// Name of this instance's table; nothing else of the packet filter is touched.
fn table(instance: &str) -> String {
    format!("trimtab_{instance}")
}

/// Installs the rules. False if this kernel has no nftables: Pods then reach each other and the host, nothing beyond.
pub(super) fn install(instance: &str, networks: Networks, ports: &[Virtual]) -> Result<bool, Error> {
    match nftables::replace(&rules::table(table(instance), networks, ports)) {
        Ok(()) => Ok(true),
        Err(error) if absent(&error) => Ok(false),
        Err(error) => Err(Error::Nft(error.to_string())),
    }
}

/// Installs the rules without any Service, unless rules are there: those of an earlier process serve until all
/// Services are known again.
pub(super) fn begin(instance: &str, networks: Networks) -> Result<(), Error> {
    nftables::create(&rules::table(table(instance), networks, &[])).map_err(|error| Error::Nft(error.to_string()))
}

/// Whether this kernel can do all that Services need; nothing stays of the question.
pub(super) fn serves(instance: &str, networks: Networks) -> bool {
    let endpoint = |host: u8| SocketAddrV4::new(Ipv4Addr::new(127, 0, 0, host), 1);
    let port = Virtual {
        address: networks.services.address,
        protocol: Protocol::Tcp,
        port: 1,
        endpoints: vec![endpoint(1), endpoint(2)],
        sticky: false,
    };
    nftables::check(&rules::table(format!("{}_check", table(instance)), networks, &[port])).is_ok()
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

/// Turns forwarding on, and leaves a note for whoever is the last to need it. The note lives as long as the setting
/// does: until the machine stops.
pub(super) fn enable_forwarding() -> Result<(), Error> {
    let was_off = fs::read_to_string(FORWARD).map_err(Error::file("reading", FORWARD))?.trim() == "0";
    // Writing 1 over 1 would not be without effect: the kernel then resets settings of every link.
    if was_off {
        fs::write(NOTE, b"").map_err(Error::file("writing", NOTE))?;
        fs::write(FORWARD, "1").map_err(Error::file("writing", FORWARD))?;
    }
    Ok(())
}

/// Turns forwarding off if one of us turned it on.
pub(super) fn restore_forwarding() -> Result<(), Error> {
    if !Path::new(NOTE).exists() {
        return Ok(());
    }
    fs::write(FORWARD, "0").map_err(Error::file("writing", FORWARD))?;
    fs::remove_file(NOTE).map_err(Error::file("removing", NOTE))
}
