//! The Pod network of one machine: a bridge, a pair of links and a namespace for each Pod, addresses on record.
//!
//! Everything carries the instance's name or is a port of its bridge, so that two instances live side by side and
//! each finds what is its own.

mod links;
mod nat;
mod netns;
mod record;
pub(crate) mod rules;
#[cfg(test)]
mod tests;

use crate::error::Error;
use crate::layout::{self, Layout};
pub(crate) use record::Net;
use record::Record;
use rtnetlink::Handle;
use rules::{Networks, Virtual};
use std::collections::HashSet;
use std::fs::File;
use std::net::Ipv4Addr;
use std::os::fd::AsRawFd;
use std::path::Path;
use tokio::sync::Mutex;

/// The network of one node.
pub(crate) struct Network {
    layout: Layout,
    instance: String,
    handle: Handle,
    bridge: u32,
    gateway: Ipv4Addr,
    networks: Networks,
    record: Mutex<Record>,
}

impl Network {
    /// Makes the network, or completes what an earlier process left of it.
    pub(crate) async fn open(layout: Layout, instance: &str) -> Result<Self, Error> {
        let handle = netns::connect()?;
        let (record, networks) = recorded(&handle, &layout, instance).await?;
        let gateway = record.gateway();
        let bridge = links::ensure_bridge(&handle, &bridge_name(instance), gateway).await?;
        // Whatever happens to the rules, a packet for a Service ends here and never leaves the machine.
        links::ensure_route(&handle, bridge, networks.services, gateway).await?;
        match nat::serves(instance, networks) {
            true => {
                nat::begin(instance, networks)?;
                nat::enable_forwarding()?;
            }
            false => tracing::warn!("this kernel has no nftables for it: Pods reach this machine only, and no Service"),
        }
        let record = Mutex::new(record);
        Ok(Self { layout, instance: instance.to_owned(), handle, bridge, gateway, networks, record })
    }

    /// The addresses of Pods and Services.
    pub(crate) fn networks(&self) -> Networks {
        self.networks
    }

    /// Replaces what stands behind the addresses of Services, in one step; connections that stand go on.
    pub(crate) async fn serve(&self, ports: Vec<Virtual>) -> Result<(), Error> {
        let (instance, networks) = (self.instance.clone(), self.networks);
        layout::blocking(move || nat::install(&instance, networks, &ports)).await.map(drop)
    }

    /// The machine, as Pods see it.
    pub(crate) fn gateway(&self) -> Ipv4Addr {
        self.gateway
    }

    /// The address of a Pod whose network is whole.
    pub(crate) async fn find(&self, uid: &str) -> Option<Ipv4Addr> {
        let address = *self.record.lock().await.leases.get(uid)?;
        let link = links::find(&self.handle, &self.link_name(address)).await.ok().flatten();
        (netns::exists(&self.layout.netns(uid)) && link.is_some()).then_some(address)
    }

    /// Makes the network of a Pod, unless it is whole, and returns its address.
    pub(crate) async fn attach(&self, uid: &str) -> Result<Ipv4Addr, Error> {
        if let Some(address) = self.find(uid).await {
            return Ok(address);
        }
        let address = {
            let mut record = self.record.lock().await;
            let address = record.lease(uid)?;
            self.save(&record).await?;
            address
        };
        let (path, name) = (self.layout.netns(uid), self.link_name(address));
        // What a crash left half made is made anew.
        links::remove(&self.handle, &name).await?;
        netns::remove(&path)?;
        let inside = netns::create(path.clone()).await?;
        let namespace = File::open(&path).map_err(Error::file("opening", &path))?;
        links::add_pair(&self.handle, &name, self.bridge, namespace.as_raw_fd()).await?;
        links::configure_pod(&inside, address, self.gateway).await?;
        Ok(address)
    }

    /// Removes the network of a Pod and frees its address.
    pub(crate) async fn detach(&self, uid: &str) -> Result<(), Error> {
        let address = self.record.lock().await.leases.get(uid).copied();
        if let Some(address) = address {
            links::remove(&self.handle, &self.link_name(address)).await?;
        }
        netns::remove(&self.layout.netns(uid))?;
        let mut record = self.record.lock().await;
        // Last, so that a failure leaves the record to try again with.
        match record.leases.remove(uid) {
            Some(_) => self.save(&record).await,
            None => Ok(()),
        }
    }

    /// Removes the networks of all Pods but these, and ports of the bridge that belong to no Pod.
    pub(crate) async fn retain(&self, uids: &HashSet<String>) -> Result<(), Error> {
        let mut known: HashSet<String> = self.record.lock().await.leases.keys().cloned().collect();
        for entry in layout::list(&self.layout.netns_directory())? {
            known.insert(entry.file_name().to_string_lossy().into_owned());
        }
        for uid in known.difference(uids) {
            self.detach(uid).await?;
        }
        let record = self.record.lock().await;
        let ours: HashSet<String> = record.leases.values().map(|address| self.link_name(*address)).collect();
        for port in links::ports(&self.handle, self.bridge).await? {
            if port.starts_with(&link_prefix(&self.instance)) && !ours.contains(&port) {
                links::remove(&self.handle, &port).await?;
            }
        }
        Ok(())
    }

    async fn save(&self, record: &Record) -> Result<(), Error> {
        let (record, path) = (record.clone(), self.layout.network_record());
        layout::blocking(move || record.write(&path)).await
    }

    /// One name for one address: it is free when the address is.
    fn link_name(&self, address: Ipv4Addr) -> String {
        format!("{}{:02x}", link_prefix(&self.instance), address.octets()[3])
    }
}

/// The record of an instance with both its networks, chosen now if they are not.
async fn recorded(handle: &Handle, layout: &Layout, instance: &str) -> Result<(Record, Networks), Error> {
    let path = layout.network_record();
    let (mut record, mut changed) = match Record::read(&path)? {
        Some(record) => (record, false),
        None => (Record::choose(instance, &links::networks(handle).await?)?, true),
    };
    if record.services.is_none() {
        changed |= record.choose_services(instance, &links::networks(handle).await?)?;
    }
    if changed {
        record.write(&path)?;
    }
    let missing = || Error::Exhausted("no network for Services".into());
    let networks = Networks { pods: record.pods(), services: record.services().ok_or_else(missing)? };
    Ok((record, networks))
}

/// The network of Services of an instance; `None` if it is to be served and this kernel cannot.
pub(crate) async fn services(layout: &Layout, instance: &str, serve: bool) -> Result<Option<Net>, Error> {
    let (_, networks) = recorded(&netns::connect()?, layout, instance).await?;
    Ok((!serve || nat::serves(instance, networks)).then_some(networks.services))
}

/// Removes the whole network of an instance. The subnet stays on record, so that it is the same next time.
pub(crate) async fn remove(layout: &Layout, instance: &str) -> Result<(), Error> {
    // The record is the first thing that is made: without it there is nothing.
    let Some(mut record) = Record::read(&layout.network_record())? else { return Ok(()) };
    let handle = netns::connect()?;
    for entry in layout::list(&layout.netns_directory())? {
        netns::remove(&entry.path())?;
    }
    let bridge = bridge_name(instance);
    if let Some(index) = links::find(&handle, &bridge).await? {
        for port in links::ports(&handle, index).await? {
            links::remove(&handle, &port).await?;
        }
        links::remove(&handle, &bridge).await?;
    }
    nat::remove(instance)?;
    if !another_instance()? {
        nat::restore_forwarding()?;
    }
    record.leases.clear();
    record.write(&layout.network_record())
}

/// Whether the bridge of any instance is there.
fn another_instance() -> Result<bool, Error> {
    let links = layout::list(Path::new("/sys/class/net"))?;
    let is_bridge = |name: &str| {
        let digits = name.strip_prefix(BRIDGE).unwrap_or_default();
        digits.len() == 8 && digits.bytes().all(|b| b.is_ascii_hexdigit())
    };
    Ok(links.iter().any(|link| is_bridge(&link.file_name().to_string_lossy())))
}

/// Before the instance in the name of its bridge.
const BRIDGE: &str = "tt";

/// A link's name has at most 15 characters.
fn bridge_name(instance: &str) -> String {
    format!("{BRIDGE}{instance}")
}

fn link_prefix(instance: &str) -> String {
    format!("tp{instance}")
}
