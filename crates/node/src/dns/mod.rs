//! The cluster's name server, on the bridge's address.
//!
//! It lives in the control process and is gone with it: connections go on, new names are not found until the process
//! is back. A resolver asks again after some seconds, so that a restart is felt as a delay.

mod answer;
mod forward;

pub(crate) use answer::ZONE;

use crate::network::rules::Networks;
use crate::services::Services;
use answer::{Answer, answer, start_of_authority};
use forward::{Forwarder, read_framed, write_framed};
use hickory_proto::op::{Edns, Message, MessageType, Metadata, OpCode, Query, ResponseCode};
use hickory_proto::rr::{Name, RecordType};
use rustix::net::sockopt::set_socket_reuseport;
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpSocket, TcpStream, UdpSocket};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

const DNS: u16 = 53;
/// UDP questions at the same time; those that come then wait in the kernel.
const QUESTIONS_MAX: usize = 512;
/// TCP connections at the same time.
const CONNECTIONS_MAX: usize = 64;
/// A connection on which nothing is asked ends.
const IDLE: Duration = Duration::from_secs(10);
/// What is told to be taken over UDP.
const PAYLOAD: u16 = 1232;
/// After a failed receive or accept.
const AGAIN: Duration = Duration::from_millis(100);
const RESOLV_CONF: &str = "/etc/resolv.conf";

/// A name server that listens.
pub(crate) struct Server {
    udp: UdpSocket,
    tcp: TcpListener,
    resolver: Resolver,
}

/// Answers questions.
struct Resolver {
    services: Arc<Services>,
    networks: Networks,
    own: Ipv4Addr,
    forwarder: Forwarder,
}

impl Server {
    /// Listens on port 53 of the bridge's address.
    pub(crate) async fn bind(own: Ipv4Addr, networks: Networks, services: Arc<Services>) -> io::Result<Self> {
        let at = SocketAddrV4::new(own, DNS);
        let (udp, tcp) = (datagram_socket(at)?, listener(at)?);
        let forwarder = Forwarder::new(PathBuf::from(RESOLV_CONF), own);
        Ok(Self { udp, tcp, resolver: Resolver { services, networks, own, forwarder } })
    }

    /// Answers until shutdown.
    pub(crate) async fn run(self, shutdown: CancellationToken) {
        let (udp, resolver) = (Arc::new(self.udp), Arc::new(self.resolver));
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = datagrams(udp, resolver.clone()) => {}
            () = connections(self.tcp, resolver) => {}
        }
    }
}

/// Shared with the process that this one takes over from, and with no other software's.
fn datagram_socket(at: SocketAddrV4) -> io::Result<UdpSocket> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = rustix::net::socket_with(AddressFamily::INET, SocketType::DGRAM, flags, None)?;
    set_socket_reuseport(&socket, true)?;
    rustix::net::bind(&socket, &at)?;
    UdpSocket::from_std(socket.into())
}

/// As above.
fn listener(at: SocketAddrV4) -> io::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.set_reuseport(true)?;
    socket.bind(at.into())?;
    socket.listen(CONNECTIONS_MAX as u32)
}

async fn datagrams(socket: Arc<UdpSocket>, resolver: Arc<Resolver>) {
    let turns = Arc::new(Semaphore::new(QUESTIONS_MAX));
    let mut buffer = [0; 4096];
    while let Ok(turn) = turns.clone().acquire_owned().await {
        let (length, from) = match socket.recv_from(&mut buffer).await {
            Ok(received) => received,
            Err(error) => {
                tracing::debug!(%error, "receiving a question");
                tokio::time::sleep(AGAIN).await;
                continue;
            }
        };
        let (socket, resolver, question) = (socket.clone(), resolver.clone(), buffer[..length].to_vec());
        tokio::spawn(async move {
            if let Some(answer) = resolver.respond(&question, from, false).await {
                // Who has gone away does not mind.
                let _ = socket.send_to(&answer, from).await;
            }
            drop(turn);
        });
    }
}

async fn connections(listener: TcpListener, resolver: Arc<Resolver>) {
    let turns = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    while let Ok(turn) = turns.clone().acquire_owned().await {
        match listener.accept().await {
            Ok((stream, from)) => {
                let resolver = resolver.clone();
                tokio::spawn(async move {
                    // It ends when the client closes it, is silent, or sends what is no question.
                    let _ = conversation(stream, from, &resolver).await;
                    drop(turn);
                });
            }
            Err(error) => {
                tracing::debug!(%error, "accepting a connection");
                tokio::time::sleep(AGAIN).await;
            }
        }
    }
}

async fn conversation(mut stream: TcpStream, from: SocketAddr, resolver: &Resolver) -> io::Result<()> {
    while let Ok(question) = tokio::time::timeout(IDLE, read_framed(&mut stream)).await {
        let Some(answer) = resolver.respond(&question?, from, true).await else { break };
        tokio::time::timeout(IDLE, write_framed(&mut stream, &answer)).await??;
    }
    Ok(())
}

impl Resolver {
    /// The answer as bytes; `None` to say nothing.
    async fn respond(&self, question: &[u8], from: SocketAddr, stream: bool) -> Option<Vec<u8>> {
        // This machine's own name server, not the world's.
        if !self.serves(from.ip()) {
            return None;
        }
        let Ok(asked) = Message::from_vec(question) else { return malformed(question) };
        if asked.metadata.message_type != MessageType::Query {
            return None;
        }
        let refuse = |code| response(&asked, code);
        if asked.metadata.op_code != OpCode::Query {
            return refuse(ResponseCode::NotImp).to_vec().ok();
        }
        let [query] = asked.queries.as_slice() else { return refuse(ResponseCode::FormErr).to_vec().ok() };
        let catalog = self.services.catalog();
        let Some(answer) = answer(&catalog, self.networks, query.name(), query.query_type()) else {
            return match self.forwarder.ask(question, stream).await {
                Ok(answer) => Some(answer),
                Err(error) => {
                    tracing::debug!(name = %query.name(), error = error.line(), "not resolved");
                    refuse(ResponseCode::ServFail).to_vec().ok()
                }
            };
        };
        let answered = self.complete(&asked, query, answer, stream).await;
        let bytes = answered.to_vec().ok()?;
        match stream || bytes.len() <= usize::from(asked.max_payload()) {
            true => Some(bytes),
            false => answered.truncate().to_vec().ok(),
        }
    }

    fn serves(&self, from: IpAddr) -> bool {
        match from {
            IpAddr::V4(from) => self.networks.pods.holds(from) || from == self.own || from.is_loopback(),
            IpAddr::V6(_) => false,
        }
    }

    async fn complete(&self, asked: &Message, query: &Query, answer: Answer, stream: bool) -> Message {
        let Answer { missing, mut records, additionals, elsewhere } = answer;
        if let Some(target) = elsewhere {
            match self.look_up(target, query.query_type(), stream).await {
                Some(more) => records.extend(more),
                None => return response(asked, ResponseCode::ServFail),
            }
        }
        let mut response = response(asked, if missing { ResponseCode::NXDomain } else { ResponseCode::NoError });
        response.metadata.authoritative = true;
        if records.is_empty() {
            response.authorities.extend(start_of_authority());
        } else if records.iter().all(|record| record.record_type() == RecordType::A) {
            // Whoever takes the first does not always get the same: ids are random.
            let first = usize::from(asked.metadata.id) % records.len();
            records.rotate_left(first);
        }
        response.answers = records;
        response.additionals = additionals;
        response
    }

    /// Records of a name that is not the cluster's.
    async fn look_up(&self, name: Name, wanted: RecordType, stream: bool) -> Option<Vec<hickory_proto::rr::Record>> {
        let mut message = Message::query();
        message.metadata.recursion_desired = true;
        message.add_query(Query::query(name, wanted));
        let answer = self.forwarder.ask(&message.to_vec().ok()?, stream).await.ok()?;
        Message::from_vec(&answer).ok().map(|answer| answer.answers)
    }
}

fn response(asked: &Message, code: ResponseCode) -> Message {
    let mut response = Message::response(asked.metadata.id, asked.metadata.op_code);
    response.metadata = Metadata::response_from_request(&asked.metadata);
    response.metadata.recursion_available = true;
    response.metadata.response_code = code;
    response.add_queries(asked.queries.iter().cloned());
    if asked.edns.is_some() {
        let mut edns = Edns::new();
        edns.set_max_payload(PAYLOAD);
        response.set_edns(edns);
    }
    response
}

/// To what is no question, as far as it can be told whose it is.
fn malformed(question: &[u8]) -> Option<Vec<u8>> {
    let (id, flags) = (question.get(..2)?, question.get(2)?);
    // An answer is never answered: two servers would talk for ever.
    let asks = flags & 0x80 == 0 && question.len() >= 12;
    let id = u16::from_be_bytes([id[0], id[1]]);
    asks.then(|| Message::error_msg(id, OpCode::Query, ResponseCode::FormErr).to_vec().ok())?
}

#[cfg(test)]
mod tests;
