//! Which addresses are taken: a subnet for the node, one address for each Pod. Written before it is used.

use crate::error::Error;
use crate::failpoint;
use crate::layout::make_directory;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::net::Ipv4Addr;
use std::path::Path;

/// Hosts of a /24 that Pods may have; `.1` is the bridge.
const FIRST_HOST: u8 = 2;
const LAST_HOST: u8 = 254;
/// Of the subnet of Pods.
const POD_PREFIX: u8 = 24;
/// Of the network of Services: 4094 of them.
const SERVICE_PREFIX: u8 = 20;

/// The record, as it stands in `network.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Record {
    /// Network address of a /24.
    pub subnet: Ipv4Addr,
    /// Network address of a /20 for Services; a record of an earlier version has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub services: Option<Ipv4Addr>,
    /// Last byte of the address given last: an address rests before it is given again, because others may still
    /// believe that it is the old Pod's.
    last_given: u8,
    /// Pod uid → address.
    pub leases: BTreeMap<String, Ipv4Addr>,
}

/// An IPv4 network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Net {
    pub address: Ipv4Addr,
    pub prefix: u8,
}

impl Net {
    /// Whether an address belongs to it.
    pub(crate) fn holds(self, address: Ipv4Addr) -> bool {
        self.overlaps(Self { address, prefix: 32 })
    }

    /// Default routes overlap with everything and are none of ours.
    fn overlaps(self, other: Self) -> bool {
        let shortest = self.prefix.min(other.prefix);
        let mask = u32::MAX.checked_shl(32 - u32::from(shortest)).unwrap_or(0);
        shortest > 0 && self.address.to_bits() & mask == other.address.to_bits() & mask
    }
}

impl Record {
    /// Chooses a /24 for Pods and a /20 for Services in 10.0.0.0/8 that overlap with none of these; the instance decides
    /// where the search begins, so that two instances that start together seldom meet.
    pub(crate) fn choose(instance: &str, taken: &[Net]) -> Result<Self, Error> {
        let subnet = find(instance, POD_PREFIX, taken)?;
        let mut record = Self { subnet, services: None, last_given: FIRST_HOST - 1, leases: BTreeMap::new() };
        record.choose_services(instance, taken)?;
        Ok(record)
    }

    /// Chooses the network of Services, unless it is chosen; true if it was not.
    pub(crate) fn choose_services(&mut self, instance: &str, taken: &[Net]) -> Result<bool, Error> {
        if self.services.is_some() {
            return Ok(false);
        }
        let taken: Vec<Net> = taken.iter().copied().chain([self.pods()]).collect();
        self.services = Some(find(instance, SERVICE_PREFIX, &taken)?);
        Ok(true)
    }

    /// Where Pods have their addresses.
    pub(crate) fn pods(&self) -> Net {
        Net { address: self.subnet, prefix: POD_PREFIX }
    }

    /// Where Services have their addresses.
    pub(crate) fn services(&self) -> Option<Net> {
        self.services.map(|address| Net { address, prefix: SERVICE_PREFIX })
    }

    /// Address of the bridge: the Pods' gateway.
    pub(crate) fn gateway(&self) -> Ipv4Addr {
        self.host(1)
    }

    /// The address of a Pod, given now if it has none.
    pub(crate) fn lease(&mut self, uid: &str) -> Result<Ipv4Addr, Error> {
        if let Some(address) = self.leases.get(uid) {
            return Ok(*address);
        }
        let after = (self.last_given.saturating_add(1)..=LAST_HOST).chain(FIRST_HOST..=LAST_HOST);
        let free = after.into_iter().find(|host| !self.leases.values().any(|taken| *taken == self.host(*host)));
        let host = free.ok_or_else(|| {
            Error::Exhausted(format!(
                "all {} Pod addresses of {}/24 are taken",
                LAST_HOST - FIRST_HOST + 1,
                self.subnet
            ))
        })?;
        self.last_given = host;
        let address = self.host(host);
        self.leases.insert(uid.to_owned(), address);
        Ok(address)
    }

    fn host(&self, number: u8) -> Ipv4Addr {
        let [a, b, c, _] = self.subnet.octets();
        Ipv4Addr::new(a, b, c, number)
    }

    /// The record of an earlier process.
    pub(crate) fn read(path: &Path) -> Result<Option<Self>, Error> {
        match fs::read(path) {
            Ok(bytes) => {
                let damaged = |source| Error::Damaged { path: path.to_owned(), source };
                serde_json::from_slice(&bytes).map(Some).map_err(damaged)
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(Error::file("reading", path)(e)),
        }
    }

    /// Replaces the record as a whole.
    pub(crate) fn write(&self, path: &Path) -> Result<(), Error> {
        let parent = path.parent().unwrap_or(Path::new("."));
        make_directory(parent)?;
        failpoint("node.network.before");
        let temporary = path.with_extension("tmp");
        let write = || {
            let mut file = File::create(&temporary)?;
            file.write_all(&serde_json::to_vec(self).expect("a record of addresses serialises"))?;
            file.sync_all()?;
            fs::rename(&temporary, path)?;
            File::open(parent)?.sync_all()
        };
        write().map_err(Error::file("writing", path))?;
        failpoint("node.network.after");
        Ok(())
    }
}

/// A free network of this size.
fn find(instance: &str, prefix: u8, taken: &[Net]) -> Result<Ipv4Addr, Error> {
    let start = instance.bytes().fold(0u16, |sum, byte| sum.wrapping_mul(31).wrapping_add(u16::from(byte)));
    let step = 1u16 << (24 - prefix);
    let begin = start - start % step;
    let free = (0..=u16::MAX / step).map(|n| subnet(begin.wrapping_add(n.wrapping_mul(step)))).find(|address| {
        let net = Net { address: *address, prefix };
        // The ends of the range are where other tools begin.
        (16..=250).contains(&address.octets()[1]) && !taken.iter().any(|other| net.overlaps(*other))
    });
    free.ok_or_else(|| {
        Error::Exhausted(format!("no free /{prefix} in 10.0.0.0/8: every one overlaps a route of this machine"))
    })
}

fn subnet(number: u16) -> Ipv4Addr {
    let [high, low] = number.to_be_bytes();
    Ipv4Addr::new(10, high, low, 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn net(text: &str) -> Net {
        let (address, prefix) = text.split_once('/').unwrap();
        Net { address: address.parse().unwrap(), prefix: prefix.parse().unwrap() }
    }

    #[test]
    fn overlap() {
        for (a, b, expected) in [
            ("10.1.2.0/24", "10.1.2.128/25", true),
            ("10.1.2.0/24", "10.1.0.0/16", true),
            ("10.1.2.0/24", "10.1.3.0/24", false),
            ("10.1.2.0/24", "10.1.2.7/32", true),
            ("10.1.2.0/24", "0.0.0.0/0", false),
        ] {
            assert_eq!(net(a).overlaps(net(b)), expected, "{a} {b}");
            assert_eq!(net(b).overlaps(net(a)), expected, "{b} {a}");
        }
    }

    #[test]
    fn a_free_subnet_is_found_or_the_lack_is_said() {
        let first = Record::choose("0a1b2c3d", &[]).unwrap();
        let taken = Net { address: first.subnet, prefix: 16 };
        let second = Record::choose("0a1b2c3d", &[taken]).unwrap();
        assert_ne!(first.subnet.octets()[1], second.subnet.octets()[1]);
        assert!(Record::choose("0a1b2c3d", &[net("10.0.0.0/8")]).unwrap_err().to_string().contains("no free /24"));
    }

    #[test]
    fn services_have_a_network_of_their_own() {
        for instance in ["0a1b2c3d", "ffffffff", "00000000"] {
            let record = Record::choose(instance, &[]).unwrap();
            let services = record.services().unwrap();
            assert!(!services.overlaps(record.pods()), "{record:?}");
            assert_eq!((services.address.octets()[2] % 16, services.address.octets()[3]), (0, 0), "{record:?}");
            let next = Record::choose(instance, &[record.pods(), services]).unwrap();
            assert!(!next.services().unwrap().overlaps(services), "two instances side by side");
        }
        // A record of an earlier version gets one.
        let mut old: Record =
            serde_json::from_str(r#"{"subnet": "10.20.1.0", "lastGiven": 7, "leases": {"a": "10.20.1.7"}}"#).unwrap();
        assert!(old.choose_services("0a1b2c3d", &[]).unwrap());
        assert!(!old.choose_services("0a1b2c3d", &[]).unwrap());
    }

    #[test]
    fn addresses_rest_before_they_are_given_again() {
        let mut record = Record::choose("0a1b2c3d", &[]).unwrap();
        let hosts = |record: &mut Record, uid: &str| record.lease(uid).unwrap().octets()[3];
        assert_eq!((hosts(&mut record, "a"), hosts(&mut record, "b"), hosts(&mut record, "a")), (2, 3, 2));
        record.leases.remove("a");
        assert_eq!(hosts(&mut record, "c"), 4, "the freed one comes last");
        for n in 0..251 {
            record.lease(&format!("fill-{n}")).unwrap();
        }
        assert!(record.lease("one-too-many").unwrap_err().to_string().contains("253"));
    }

    #[test]
    fn a_record_is_whole_or_damaged() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("node/network.json");
        assert_eq!(Record::read(&path).unwrap(), None);
        let mut record = Record::choose("0a1b2c3d", &[]).unwrap();
        record.lease("a").unwrap();
        record.write(&path).unwrap();
        assert_eq!(Record::read(&path).unwrap(), Some(record));
        fs::write(&path, "{").unwrap();
        assert!(Record::read(&path).unwrap_err().to_string().contains("damaged"));
    }

    /// The process that `a_crash_leaves_the_old_or_the_new_record` kills; by itself it does nothing.
    #[test]
    fn child_writes() {
        let Some(path) = std::env::var_os("TRIMTAB_TEST_RECORD") else { return };
        let mut record = Record::read(path.as_ref()).unwrap().unwrap();
        record.lease("new").unwrap();
        record.write(path.as_ref()).unwrap();
    }

    #[test]
    fn a_crash_leaves_the_old_or_the_new_record() {
        for (failpoint, written) in crate::FAILPOINTS.iter().zip([false, true]) {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("network.json");
            Record::choose("0a1b2c3d", &[]).unwrap().write(&path).unwrap();
            let child = std::process::Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "network::record::tests::child_writes"])
                .env("TRIMTAB_TEST_RECORD", &path)
                .env("TRIMTAB_FAILPOINT", failpoint)
                .output()
                .unwrap();
            use std::os::unix::process::ExitStatusExt;
            assert_eq!(child.status.signal(), Some(6), "{failpoint}: {child:?}");
            let record = Record::read(&path).unwrap().unwrap();
            assert_eq!(record.leases.contains_key("new"), written, "{failpoint}");
        }
    }
}
