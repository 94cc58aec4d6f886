//! Names that are none of the cluster's: the host's resolvers are asked.

use crate::error::Error;
use hickory_proto::op::Message;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::sync::Semaphore;

/// Questions that wait for an answer at the same time; one more is refused at once.
const WAITING_MAX: usize = 256;
/// The longest that one server is waited for. A Pod asks again after 5 s.
const PATIENCE: Duration = Duration::from_secs(2);
/// As many as the C library asks.
const SERVERS_MAX: usize = 3;
const DNS: u16 = 53;
/// Largest UDP answer that any server sends.
const ANSWER_MAX: usize = 65_535;

/// Asks the servers that `resolv.conf` names, one after the other.
pub(super) struct Forwarder {
    resolv_conf: PathBuf,
    /// Never asked: it is this server itself.
    own: Ipv4Addr,
    port: u16,
    waiting: Semaphore,
}

impl Forwarder {
    pub(super) fn new(resolv_conf: PathBuf, own: Ipv4Addr) -> Self {
        Self { resolv_conf, own, port: DNS, waiting: Semaphore::new(WAITING_MAX) }
    }

    /// The answer to a question, as bytes with the question's own id; over TCP if `stream`.
    pub(super) async fn ask(&self, question: &[u8], stream: bool) -> Result<Vec<u8>, Error> {
        let invalid = |why: &str| Error::Invalid(format!("a name cannot be resolved: {why}"));
        let _turn =
            self.waiting.try_acquire().map_err(|_| invalid("too many questions wait for the host's resolvers"))?;
        // Read anew: the machine may have moved to another network.
        let text =
            tokio::fs::read_to_string(&self.resolv_conf).await.map_err(Error::file("reading", &self.resolv_conf))?;
        let servers = servers(&text).filter(|server| *server != IpAddr::V4(self.own));
        let mut last = invalid(&format!("{} names no server", self.resolv_conf.display()));
        for server in servers.take(SERVERS_MAX) {
            let at = SocketAddr::new(server, self.port);
            let asked = async {
                match stream {
                    true => over_tcp(at, question).await,
                    false => over_udp(at, question).await,
                }
            };
            match tokio::time::timeout(PATIENCE, asked).await {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(error)) => last = Error::network(format!("asking the name server {at}"))(error),
                Err(_) => last = invalid(&format!("the name server {at} does not answer")),
            }
        }
        Err(last)
    }
}

/// Name servers of a `resolv.conf`.
pub(super) fn servers(resolv_conf: &str) -> impl Iterator<Item = IpAddr> {
    let lines = resolv_conf.lines().filter_map(|line| line.trim().strip_prefix("nameserver"));
    lines.filter_map(|server| server.split_whitespace().next()?.parse().ok())
}

/// Over a socket of its own: its port is random, and so is the id, which makes answers hard to forge.
async fn over_udp(server: SocketAddr, question: &[u8]) -> io::Result<Vec<u8>> {
    let any: SocketAddr = if server.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0u16; 8], 0).into() };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(server).await?;
    let asked = with_id(question, Message::query().metadata.id);
    socket.send(&asked).await?;
    let mut buffer = vec![0; ANSWER_MAX];
    loop {
        let length = socket.recv(&mut buffer).await?;
        if fits(&asked, &buffer[..length]) {
            return Ok(with_id(&buffer[..length], id(question)));
        }
    }
}

async fn over_tcp(server: SocketAddr, question: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(server).await?;
    write_framed(&mut stream, question).await?;
    let answer = read_framed(&mut stream).await?;
    match fits(question, &answer) {
        true => Ok(answer),
        false => Err(io::Error::new(io::ErrorKind::InvalidData, "the answer is to another question")),
    }
}

/// Over TCP, each message has its length before it.
pub(super) async fn read_framed(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let length = stream.read_u16().await?;
    let mut message = vec![0; usize::from(length)];
    stream.read_exact(&mut message).await?;
    Ok(message)
}

pub(super) async fn write_framed(stream: &mut TcpStream, message: &[u8]) -> io::Result<()> {
    let too_long = |_| io::Error::new(io::ErrorKind::InvalidData, "a message of more than 64 KiB");
    let length = u16::try_from(message.len()).map_err(too_long)?;
    stream.write_all(&[&length.to_be_bytes(), message].concat()).await
}

fn id(message: &[u8]) -> u16 {
    u16::from_be_bytes([message.first().copied().unwrap_or_default(), message.get(1).copied().unwrap_or_default()])
}

fn with_id(message: &[u8], id: u16) -> Vec<u8> {
    let mut message = message.to_vec();
    message.splice(..message.len().min(2), id.to_be_bytes());
    message
}

/// Whether this is an answer to that very question.
fn fits(question: &[u8], answer: &[u8]) -> bool {
    let (Ok(asked), Ok(answered)) = (Message::from_vec(question), Message::from_vec(answer)) else { return false };
    asked.metadata.id == answered.metadata.id
        && answered.metadata.message_type == hickory_proto::op::MessageType::Response
        && asked.queries == answered.queries
}

#[cfg(test)]
mod tests {
    use super::*;
    use hickory_proto::op::{Query, ResponseCode};
    use hickory_proto::rr::{Name, RecordType};

    fn question() -> Vec<u8> {
        let mut message = Message::query();
        message.add_query(Query::query(Name::from_ascii("example.com.").unwrap(), RecordType::A));
        message.to_vec().unwrap()
    }

    #[test]
    fn servers_of_a_file() {
        let text = "# comment\nsearch a.b\nnameserver 192.0.2.1\n nameserver\tfd00::1 \nnameserver x\n";
        let found: Vec<String> = servers(text).map(|server| server.to_string()).collect();
        assert_eq!(found, ["192.0.2.1", "fd00::1"]);
    }

    /// A server that first sends an answer to another question, as a forger would.
    #[tokio::test]
    async fn the_hosts_resolver_is_asked_and_only_its_answer_counts() {
        let server = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let port = server.local_addr().unwrap().port();
        tokio::spawn(async move {
            let mut buffer = [0; 512];
            let (length, from) = server.recv_from(&mut buffer).await.unwrap();
            let mut answer = Message::from_vec(&buffer[..length]).unwrap().into_response();
            answer.metadata.response_code = ResponseCode::Refused;
            let forged = with_id(&answer.to_vec().unwrap(), answer.metadata.id.wrapping_add(1));
            server.send_to(&forged, from).await.unwrap();
            answer.metadata.response_code = ResponseCode::NXDomain;
            server.send_to(&answer.to_vec().unwrap(), from).await.unwrap();
        });
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("resolv.conf");
        std::fs::write(&path, "nameserver 10.20.1.1\nnameserver 127.0.0.1\n").unwrap();
        let mut forwarder = Forwarder::new(path, Ipv4Addr::new(10, 20, 1, 1));
        forwarder.port = port;
        let question = question();
        let answer = Message::from_vec(&forwarder.ask(&question, false).await.unwrap()).unwrap();
        assert_eq!(answer.metadata.response_code, ResponseCode::NXDomain);
        assert_eq!(answer.metadata.id, id(&question));
    }

    #[tokio::test]
    async fn without_any_server_it_says_so() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("resolv.conf");
        std::fs::write(&path, "nameserver 10.20.1.1\n").unwrap();
        let forwarder = Forwarder::new(path, Ipv4Addr::new(10, 20, 1, 1));
        let error = forwarder.ask(&question(), false).await.unwrap_err().line();
        assert!(error.contains("names no server"), "{error}");
    }
}
