//! nftables over netlink, so that nothing but the kernel is needed: one table, replaced as a whole.
//!
//! The kernel takes a batch of messages or none of it (`nfnetlink`, `linux/netfilter/nf_tables.h`), which is what
//! makes a replacement safe under traffic: there is no moment without rules.

use netlink_sys::{Socket, SocketAddr};
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsRawFd, BorrowedFd};

/// A table of the `ip` family.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// Carries the instance's id, so that no other software's rules are touched.
    pub name: String,
    /// Those that others jump to stand before them.
    pub chains: Vec<Chain>,
}

/// Rules, asked one after the other until one gives a verdict.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    pub name: String,
    /// `None`: only others jump to it.
    pub base: Option<Base>,
    pub rules: Vec<Rule>,
}

/// When the kernel asks a chain by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Base {
    pub kind: Kind,
    pub hook: Hook,
    /// Lower runs first; -100 is where destinations are translated, 0 where packets are filtered, 100 where sources
    /// are translated.
    pub priority: i32,
}

/// What a chain may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Translates addresses; sees only the first packet of a connection.
    Nat,
    /// Sees every packet.
    Filter,
}

/// Where the kernel asks a chain; the numbers are its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hook {
    Prerouting = 0,
    Output = 3,
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
    /// Destination address within a network.
    Destination(Ipv4Addr, u8),
    /// Destination address outside of a network.
    DestinationNot(Ipv4Addr, u8),
    Protocol(Protocol),
    /// Destination port of TCP or UDP; only behind a [`Match::Protocol`] of one of them.
    Port(u16),
    /// Type of an ICMP message; only behind a [`Match::Protocol`] of ICMP.
    IcmpType(u8),
    /// True for one of so many new connections, at random.
    OneOf(u32),
    /// True for the n-th of so many groups of clients, told apart by their address.
    ClientOf {
        groups: u32,
        group: u32,
    },
    /// The destination of its connection has been translated.
    Translated,
}

/// The numbers are those of the IP header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    Icmp = 1,
    Tcp = 6,
    Udp = 17,
}

/// What happens to a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Its source becomes the address of the link that it leaves by.
    Masquerade,
    /// Its destination becomes this.
    Destination(SocketAddrV4),
    /// The rules of that chain are asked, then the next one here.
    Jump(String),
    /// It is refused with "port unreachable".
    Reject,
    /// It is refused with a TCP reset.
    Reset,
    Drop,
}

/// Replaces the table of this name, or creates it, in one step.
pub fn replace(table: &Table) -> io::Result<()> {
    Batch::of(table).commit()
}

/// Creates the table if none of this name is there.
pub fn create(table: &Table) -> io::Result<()> {
    let mut batch = Batch::new();
    batch.nftables(NEW_TABLE, CREATE | EXCLUSIVE, &Attributes::default().text(1, &table.name));
    batch.content(table);
    match batch.commit() {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    }
}

/// Whether the kernel would take this table: it is created and removed in one step.
pub fn check(table: &Table) -> io::Result<()> {
    let mut batch = Batch::of(table);
    batch.table(DELETE_TABLE, &table.name);
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
const EXCLUSIVE: u16 = 0x200;
const CREATE: u16 = 0x400;
const APPEND: u16 = 0x800;
const NESTED: u16 = 0x8000;
/// The first 16-byte register, and a second one for ports.
const REGISTER: u32 = 1;
const REGISTER_PORT: u32 = 2;
/// Connection tracking's bit of a translated destination.
const STATUS_DNAT: u32 = 1 << 5;
const DROP: i32 = 0;
const JUMP: i32 = -3;

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
    /// Keeps those bits of the register that the mask has.
    fn mask(self, mask: &[u8]) -> Self {
        let length = u32::try_from(mask.len()).expect("a register is short");
        let data = Attributes::default().number(1, REGISTER).number(2, REGISTER).number(3, length);
        let data = data.nest(4, Attributes::default().put(1, mask));
        let data = data.nest(5, Attributes::default().put(1, &vec![0; mask.len()]));
        self.expression("bitwise", data)
    }
    fn network(self, offset: u32, operation: u32, address: Ipv4Addr, prefix: u8) -> Self {
        let mask = u32::MAX.checked_shl(32 - u32::from(prefix.min(32))).unwrap_or(0).to_be_bytes();
        let value: Vec<u8> = address.octets().iter().zip(mask).map(|(byte, mask)| byte & mask).collect();
        self.payload(1, offset, 4).mask(&mask).compare(operation, &value)
    }
    fn immediate(self, register: u32, value: &[u8]) -> Self {
        let data = Attributes::default().number(1, register).nest(2, Attributes::default().put(1, value));
        self.expression("immediate", data)
    }
    fn decide(self, code: i32, chain: Option<&str>) -> Self {
        let verdict = Attributes::default().put(1, &code.to_be_bytes());
        let verdict = chain.into_iter().fold(verdict, |verdict, chain| verdict.text(2, chain));
        let data = Attributes::default().number(1, 0).nest(2, Attributes::default().nest(2, verdict));
        self.expression("immediate", data)
    }
}

fn condition(attributes: Attributes, condition: &Match) -> Attributes {
    match condition {
        Match::Source(address, prefix) => attributes.network(12, 0, *address, *prefix),
        Match::Destination(address, prefix) => attributes.network(16, 0, *address, *prefix),
        Match::DestinationNot(address, prefix) => attributes.network(16, 1, *address, *prefix),
        Match::Protocol(protocol) => {
            let l4proto = Attributes::default().number(2, 16).number(1, REGISTER);
            attributes.expression("meta", l4proto).compare(0, &[*protocol as u8])
        }
        Match::Port(port) => attributes.payload(2, 2, 2).compare(0, &port.to_be_bytes()),
        Match::IcmpType(number) => attributes.payload(2, 0, 1).compare(0, &[*number]),
        Match::OneOf(count) => {
            let data = Attributes::default().number(1, REGISTER).number(2, (*count).max(1)).number(3, 1).number(4, 0);
            attributes.expression("numgen", data).compare(0, &0u32.to_ne_bytes())
        }
        Match::ClientOf { groups, group } => {
            let attributes = attributes.payload(1, 12, 4);
            let data = Attributes::default().number(1, REGISTER).number(2, REGISTER).number(3, 4);
            // Without a seed of ours the kernel would draw one for each rule.
            let data = data.number(4, (*groups).max(1)).number(5, 1).number(6, 0);
            attributes.expression("hash", data).compare(0, &group.to_ne_bytes())
        }
        Match::Translated => {
            let data = Attributes::default().number(1, REGISTER).number(2, 2);
            attributes.expression("ct", data).mask(&STATUS_DNAT.to_ne_bytes()).compare(1, &[0; 4])
        }
    }
}

fn verdict(attributes: Attributes, verdict: &Verdict) -> Attributes {
    match verdict {
        Verdict::Masquerade => attributes.expression("masq", Attributes::default()),
        Verdict::Destination(to) => {
            let nat = Attributes::default().number(1, 1).number(2, u32::from(FAMILY_IPV4));
            let nat = nat.number(3, REGISTER).number(5, REGISTER_PORT);
            let attributes = attributes.immediate(REGISTER, &to.ip().octets());
            attributes.immediate(REGISTER_PORT, &to.port().to_be_bytes()).expression("nat", nat)
        }
        Verdict::Jump(chain) => attributes.decide(JUMP, Some(chain)),
        Verdict::Reject => attributes.expression("reject", Attributes::default().number(1, 0).put(2, &[3])),
        Verdict::Reset => attributes.expression("reject", Attributes::default().number(1, 1).put(2, &[0])),
        Verdict::Drop => attributes.decide(DROP, None),
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

    fn of(table: &Table) -> Self {
        let mut batch = Self::new();
        // Creating it first lets the deletion succeed whether or not it was there.
        batch.table(NEW_TABLE, &table.name);
        batch.table(DELETE_TABLE, &table.name);
        batch.table(NEW_TABLE, &table.name);
        batch.content(table);
        batch
    }

    fn content(&mut self, table: &Table) {
        for chain in &table.chains {
            self.chain(&table.name, chain);
            for rule in &chain.rules {
                self.rule(&table.name, &chain.name, rule);
            }
        }
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
        let mut attributes = Attributes::default().text(1, table).text(3, &chain.name);
        if let Some(base) = chain.base {
            let kind = match base.kind {
                Kind::Nat => "nat",
                Kind::Filter => "filter",
            };
            let hook = Attributes::default().number(1, base.hook as u32).put(2, &base.priority.to_be_bytes());
            attributes = attributes.nest(4, hook).text(7, kind);
        }
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
        // The batch goes in one piece: the buffer must hold it, and the kernel counts more than the bytes.
        // SAFETY: the socket is open for as long as the descriptor is borrowed.
        #[allow(unsafe_code)]
        let descriptor = unsafe { BorrowedFd::borrow_raw(socket.as_raw_fd()) };
        rustix::net::sockopt::set_socket_send_buffer_size_force(descriptor, self.bytes.len() * 2 + (64 << 10))?;
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
