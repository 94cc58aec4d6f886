//! nftables over netlink, so that nothing but the kernel is needed: one table, replaced as a whole.
//!
//! The kernel takes a batch of messages or none of it (`nfnetlink`, `linux/netfilter/nf_tables.h`), which is what
//! makes a replacement safe under traffic: there is no moment without rules.

use netlink_sys::{Socket, SocketAddr};
use std::io;
use std::net::Ipv4Addr;

/// A table of the `ip` family.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// Carries the instance's id, so that no other software's rules are touched.
    pub name: String,
    /// In the order in which they are created.
    pub chains: Vec<Chain>,
}

/// A base chain that translates addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    pub name: String,
    pub hook: Hook,
    /// Lower runs first; -100 is where destinations are translated, 100 where sources are.
    pub priority: i32,
    pub rules: Vec<Rule>,
}

/// Where the kernel asks a chain; the numbers are its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hook {
    Postrouting = 4,
}

/// All conditions hold: the verdict applies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    pub when: Vec<Match>,
    pub then: Verdict,
}

/// A condition on a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Match {
    /// Source address within a network, given as address and prefix length.
    Source(Ipv4Addr, u8),
    /// Destination address outside of a network.
    DestinationNot(Ipv4Addr, u8),
}

/// What happens to a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Its source becomes the address of the link that it leaves by.
    Masquerade,
}

/// Replaces the table of this name, or creates it, in one step.
pub fn replace(table: &Table) -> io::Result<()> {
    let mut batch = Batch::new();
    // Creating it first lets the deletion succeed whether or not it was there.
    batch.table(NEW_TABLE, &table.name);
    batch.table(DELETE_TABLE, &table.name);
    batch.table(NEW_TABLE, &table.name);
    for chain in &table.chains {
        batch.chain(&table.name, chain);
        for rule in &chain.rules {
            batch.rule(&table.name, &chain.name, rule);
        }
    }
    batch.commit()
}

/// Removes the table, if it is there.
pub fn remove(name: &str) -> io::Result<()> {
    let mut batch = Batch::new();
    batch.table(NEW_TABLE, name);
    batch.table(DELETE_TABLE, name);
    batch.commit()
}

const NETLINK_NETFILTER: isize = 12;
const SUBSYSTEM: u16 = 10;
const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;
const NEW_TABLE: u16 = 0;
const DELETE_TABLE: u16 = 2;
const NEW_CHAIN: u16 = 3;
const NEW_RULE: u16 = 6;
const GET_GENERATION: u16 = 16;
const FAMILY_IPV4: u8 = 2;
const REQUEST: u16 = 0x1;
const CREATE: u16 = 0x400;
const APPEND: u16 = 0x800;
const NESTED: u16 = 0x8000;
/// The first 16-byte register.
const REGISTER: u32 = 1;

/// Attributes of netlink messages: length, type, payload, padded to four bytes.
#[derive(Default)]
struct Attributes(Vec<u8>);

impl Attributes {
    fn put(mut self, kind: u16, payload: &[u8]) -> Self {
        let length = u16::try_from(payload.len() + 4).expect("attributes of rules are short");
        self.0.extend_from_slice(&length.to_ne_bytes());
        self.0.extend_from_slice(&kind.to_ne_bytes());
        self.0.extend_from_slice(payload);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }
    fn text(self, kind: u16, text: &str) -> Self {
        self.put(kind, &[text.as_bytes(), &[0]].concat())
    }
    /// Numbers of nf_tables are big-endian.
    fn number(self, kind: u16, number: u32) -> Self {
        self.put(kind, &number.to_be_bytes())
    }
    fn nest(self, kind: u16, inner: Attributes) -> Self {
        self.put(kind | NESTED, &inner.0)
    }
    fn expression(self, name: &str, data: Attributes) -> Self {
        self.nest(1, Attributes::default().text(1, name).nest(2, data))
    }
    /// Loads bytes of the network (1) or transport (2) header.
    fn payload(self, base: u32, offset: u32, length: u32) -> Self {
        let data = Attributes::default().number(1, REGISTER).number(2, base).number(3, offset).number(4, length);
        self.expression("payload", data)
    }
    /// Compares the register: 0 equal, 1 not equal.
    fn compare(self, operation: u32, value: &[u8]) -> Self {
        let data = Attributes::default().number(1, REGISTER).number(2, operation);
        self.expression("cmp", data.nest(3, Attributes::default().put(1, value)))
    }
    fn network(self, offset: u32, operation: u32, address: Ipv4Addr, prefix: u8) -> Self {
        let mask = u32::MAX.checked_shl(32 - u32::from(prefix.min(32))).unwrap_or(0).to_be_bytes();
        let value: Vec<u8> = address.octets().iter().zip(mask).map(|(byte, mask)| byte & mask).collect();
        let data = Attributes::default().number(1, REGISTER).number(2, REGISTER).number(3, 4);
        let data = data.nest(4, Attributes::default().put(1, &mask)).nest(5, Attributes::default().put(1, &[0; 4]));
        self.payload(1, offset, 4).expression("bitwise", data).compare(operation, &value)
    }
}

fn condition(attributes: Attributes, condition: &Match) -> Attributes {
    match condition {
        Match::Source(address, prefix) => attributes.network(12, 0, *address, *prefix),
        Match::DestinationNot(address, prefix) => attributes.network(16, 1, *address, *prefix),
    }
}

fn verdict(attributes: Attributes, verdict: &Verdict) -> Attributes {
    match verdict {
        Verdict::Masquerade => attributes.expression("masq", Attributes::default()),
    }
}

/// Messages that take effect together.
struct Batch {
    bytes: Vec<u8>,
    sequence: u32,
}

impl Batch {
    fn new() -> Self {
        let mut batch = Self { bytes: Vec::new(), sequence: 0 };
        batch.message(BATCH_BEGIN, REQUEST, 0, SUBSYSTEM, &Attributes::default());
        batch
    }

    fn message(&mut self, kind: u16, flags: u16, family: u8, resource: u16, attributes: &Attributes) {
        let length = u32::try_from(16 + 4 + attributes.0.len()).expect("messages are short");
        self.sequence += 1;
        self.bytes.extend_from_slice(&length.to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(&flags.to_ne_bytes());
        self.bytes.extend_from_slice(&self.sequence.to_ne_bytes());
        self.bytes.extend_from_slice(&0u32.to_ne_bytes());
        self.bytes.extend_from_slice(&[family, 0]);
        self.bytes.extend_from_slice(&resource.to_be_bytes());
        self.bytes.extend_from_slice(&attributes.0);
    }

    fn nftables(&mut self, kind: u16, flags: u16, attributes: &Attributes) {
        self.message(SUBSYSTEM << 8 | kind, REQUEST | flags, FAMILY_IPV4, 0, attributes);
    }

    fn table(&mut self, kind: u16, name: &str) {
        let flags = if kind == NEW_TABLE { CREATE } else { 0 };
        self.nftables(kind, flags, &Attributes::default().text(1, name));
    }

    fn chain(&mut self, table: &str, chain: &Chain) {
        let hook = Attributes::default().number(1, chain.hook as u32).put(2, &chain.priority.to_be_bytes());
        let attributes = Attributes::default().text(1, table).text(3, &chain.name).nest(4, hook).text(7, "nat");
        self.nftables(NEW_CHAIN, CREATE, &attributes);
    }

    fn rule(&mut self, table: &str, chain: &str, rule: &Rule) {
        let conditions = rule.when.iter().fold(Attributes::default(), condition);
        let expressions = verdict(conditions, &rule.then);
        let attributes = Attributes::default().text(1, table).text(2, chain).nest(4, expressions);
        self.nftables(NEW_RULE, CREATE | APPEND, &attributes);
    }

    fn commit(mut self) -> io::Result<()> {
        self.message(BATCH_END, REQUEST, 0, SUBSYSTEM, &Attributes::default());
        // A question behind the batch: netlink answers in order, so that its answer tells a batch without errors
        // from one whose errors have not come yet.
        let begin = self.bytes.len();
        self.nftables(GET_GENERATION, 0, &Attributes::default());
        let question = self.bytes.split_off(begin);
        let mut socket = Socket::new(NETLINK_NETFILTER)?;
        socket.bind_auto()?;
        let kernel = SocketAddr::new(0, 0);
        socket.send_to(&self.bytes, &kernel, 0)?;
        socket.send_to(&question, &kernel, 0)?;
        answer(&socket, self.sequence)
    }
}

/// Reads answers until that of message `last`; an error of an earlier one is the batch's.
fn answer(socket: &Socket, last: u32) -> io::Result<()> {
    const ERROR: u16 = 2;
    loop {
        let mut buffer = Vec::with_capacity(64 << 10);
        socket.recv(&mut buffer, 0)?;
        let mut rest = buffer.as_slice();
        while let Some((header, _)) = rest.split_at_checked(20) {
            let word = |at: usize| u32::from_ne_bytes(header[at..at + 4].try_into().expect("four bytes"));
            let (length, kind, sequence) = (word(0) as usize, u16::from_ne_bytes([header[4], header[5]]), word(8));
            if sequence == last {
                return Ok(());
            }
            let code = i32::from_ne_bytes(header[16..20].try_into().expect("four bytes"));
            if kind == ERROR && code != 0 {
                return Err(io::Error::from_raw_os_error(-code));
            }
            rest = rest.get(length.next_multiple_of(4).max(20)..).unwrap_or_default();
        }
    }
}
