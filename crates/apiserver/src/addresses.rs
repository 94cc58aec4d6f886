//! Which Service has which address of the service network.
//!
//! Nothing is recorded but the Services themselves: an address is taken if a Service has it, or if one that is being
//! written is about to. So nothing can leak, and deleting a Service frees its address.

use crate::store::Store;
use crate::strategy::rules::invalid;
use object::FieldError;
use serde_json::{Value, json};
use std::collections::HashSet;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A network of IPv4 addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    /// The first address.
    pub address: Ipv4Addr,
    /// How many leading bits all addresses share; at most 30 for a network that Services have addresses of.
    pub prefix: u8,
}

impl Network {
    fn size(self) -> u32 {
        1u32.checked_shl(32 - u32::from(self.prefix.min(32))).unwrap_or(u32::MAX)
    }

    /// Neither the network's own address nor the last one is anybody's.
    fn holds(self, address: Ipv4Addr) -> bool {
        let offset = address.to_bits().wrapping_sub(self.address.to_bits());
        offset > 0 && offset < self.size() - 1
    }

    fn at(self, offset: u32) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.address.to_bits().wrapping_add(offset))
    }
}

/// The addresses of all Services.
pub struct Addresses {
    /// `None`: Services have no addresses.
    network: Option<Network>,
    /// Addresses of Services that are being written.
    claimed: Arc<Mutex<HashSet<Ipv4Addr>>>,
}

/// Keeps an address for a Service until it is stored.
#[derive(Debug)]
pub struct Claim {
    claimed: Arc<Mutex<HashSet<Ipv4Addr>>>,
    address: Ipv4Addr,
}

impl Drop for Claim {
    fn drop(&mut self) {
        lock(&self.claimed).remove(&self.address);
    }
}

fn lock(claimed: &Mutex<HashSet<Ipv4Addr>>) -> MutexGuard<'_, HashSet<Ipv4Addr>> {
    claimed.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a Service got.
#[derive(Debug, Default)]
pub struct Assigned {
    /// Drop it when the Service is stored.
    pub claim: Option<Claim>,
    /// What is not as asked for.
    pub warning: Option<String>,
}

impl Addresses {
    pub fn new(network: Option<Network>) -> Self {
        Self { network, claimed: Arc::default() }
    }

    /// Gives a Service its address if it needs one, or makes sure of the one that it asks for. `old` is the Service
    /// as it is stored. A dry run takes nothing: it is shown the network's own address.
    pub fn assign(
        &self,
        store: &Store,
        service: &mut Value,
        old: Option<&Value>,
        dry_run: bool,
    ) -> Result<Assigned, FieldError> {
        let spec = &service["spec"];
        let asked = spec["clusterIP"].as_str().unwrap_or_default().to_owned();
        let had = old.and_then(|old| old["spec"]["clusterIP"].as_str()).unwrap_or_default();
        if spec["type"] == "ExternalName" || asked == "None" || (!asked.is_empty() && asked == had) {
            return Ok(Assigned::default());
        }
        let Some(network) = self.network else { return without(service, &asked) };
        if asked.is_empty() {
            let (address, claim) = match dry_run {
                true => (network.address, None),
                false => self.any(store, network).map(|claim| (claim.address, Some(claim)))?,
            };
            set(service, &address.to_string());
            return Ok(Assigned { claim, warning: None });
        }
        let refuse = |why: &str| {
            let why = format!("failed to allocate IP {asked}: {why}");
            invalid("spec.clusterIPs", &json!([asked]), why)
        };
        let address: Ipv4Addr = asked.parse().map_err(|_| refuse("it is no IPv4 address"))?;
        if !network.holds(address) {
            return Err(refuse("the provided network does not match the current range"));
        }
        let mut claimed = lock(&self.claimed);
        if taken(store).contains(&address) || !claimed.insert(address) {
            return Err(refuse("provided IP is already allocated"));
        }
        Ok(Assigned { claim: Some(Claim { claimed: self.claimed.clone(), address }), warning: None })
    }

    /// A free address: a random one, so that one that was freed rests. The lowest are left to those who ask for them.
    fn any(&self, store: &Store, network: Network) -> Result<Claim, FieldError> {
        let size = network.size();
        let low = (size / 16).clamp(1, 256);
        let mut claimed = lock(&self.claimed);
        let taken = taken(store);
        let high = size.saturating_sub(1).saturating_sub(low).max(1);
        let start = rand::random::<u32>() % high;
        let offsets = (0..high).map(|n| low + (start + n) % high).chain(1..low);
        let free = offsets
            .map(|offset| network.at(offset))
            .find(|address| network.holds(*address) && !taken.contains(address) && !claimed.contains(address));
        let Some(address) = free else {
            let why = "failed to allocate a serviceIP: range is full";
            return Err(invalid("spec.clusterIPs", &Value::Null, why));
        };
        claimed.insert(address);
        Ok(Claim { claimed: self.claimed.clone(), address })
    }
}

/// There is no service network: the names of Services resolve to the Pods themselves.
fn without(service: &mut Value, asked: &str) -> Result<Assigned, FieldError> {
    if !asked.is_empty() {
        let why = "service addresses are not served here; leave the field out, or set it to None";
        return Err(invalid("spec.clusterIP", &asked.into(), why));
    }
    set(service, "None");
    let type_ = service["spec"]["type"].as_str().unwrap_or_default();
    let warning = match type_ {
        "ClusterIP" => {
            "this Service is served headless (clusterIP: None): its name resolves to the addresses of its Pods".into()
        }
        other => format!(
            "this Service of type {other} is served headless (clusterIP: None): nothing listens on the node for it"
        ),
    };
    Ok(Assigned { claim: None, warning: Some(warning) })
}

fn set(service: &mut Value, address: &str) {
    service["spec"]["clusterIP"] = address.into();
    service["spec"]["clusterIPs"] = json!([address]);
}

/// The addresses of all Services that are stored.
fn taken(store: &Store) -> HashSet<Ipv4Addr> {
    let services = store.list("services", "").objects;
    services.iter().filter_map(|service| service.field("spec.clusterIP")?.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_holds_all_but_its_ends() {
        let network = Network { address: Ipv4Addr::new(10, 3, 16, 0), prefix: 20 };
        for (address, holds) in [
            ("10.3.16.0", false),
            ("10.3.16.1", true),
            ("10.3.31.254", true),
            ("10.3.31.255", false),
            ("10.3.32.1", false),
            ("10.3.15.255", false),
        ] {
            assert_eq!(network.holds(address.parse().unwrap()), holds, "{address}");
        }
    }
}
