//! A gateway hands what it serves to its successor, and no client notices.
//!
//! ```text
//!  successor ── handOver ──▶ old      the listening socket comes back; both accept from it
//!  successor ── taken ─────▶ old      it serves, and has the control socket's name: the old one accepts no more
//!  successor ◀─ connections ── old    those that are between two requests, each as it comes to rest
//! ```
//!
//! Answers and tunnels that are under way go on in the old process. It is asked, under a name of its own beside the
//! control socket, whether an address has come to rest, and ends with the last of them.

use crate::control::{Envelope, PROTOCOL, Request, Response};
use crate::descriptors;
use crate::error::Error;
use std::io::{self, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::mpsc;

/// Version of this conversation, which a gateway of any version understands so far that it can say no.
pub const HANDOVER: u32 = 1;
/// From the listening socket until the successor serves.
pub const TAKE_LIMIT: Duration = Duration::from_secs(30);
/// An answer or a tunnel that lasts longer is cut.
pub const DRAIN_LIMIT: Duration = Duration::from_secs(3600);
/// Connections on their way to the successor.
const DEPARTING_MAX: usize = 64;
/// Comes with each of them.
const CONNECTION: &[u8] = b"c";

/// Why somebody who asks to take over may not.
pub fn refusal(version: Option<u64>, peer: &impl std::os::fd::AsFd) -> Option<String> {
    if version != Some(u64::from(HANDOVER)) {
        let asked = version.map_or("nothing known".to_owned(), |version| version.to_string());
        return Some(format!(
            "this gateway ({}) hands over by protocol {HANDOVER}, and was asked by {asked}: stop it with `trimtab down`, \
             then start the other version",
            env!("CARGO_PKG_VERSION")
        ));
    }
    descriptors::of_same_user(peer).err()
}

/// Where a gateway that hands over can still be asked.
pub fn aside(socket: &Path, pid: u32) -> PathBuf {
    socket.with_extension(pid.to_string())
}

/// Gateways that have handed over and have not ended, as far as their names are still there.
pub fn leaving(socket: &Path) -> Vec<PathBuf> {
    let Some(entries) = socket.parent().and_then(|parent| std::fs::read_dir(parent).ok()) else { return Vec::new() };
    let is_leaving = |path: &PathBuf| {
        let digits = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
        path.file_stem() == socket.file_stem() && !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit())
    };
    entries.flatten().map(|entry| entry.path()).filter(is_leaving).collect()
}

/// What a successor has been given.
pub struct Taking {
    pub clients: TcpListener,
    pub listen: SocketAddr,
    stream: UnixStream,
}

/// Asks the gateway behind this socket.
pub fn take(socket: &Path) -> Result<Taking, Error> {
    let mut stream = UnixStream::connect(socket).map_err(Error::Control)?;
    stream.set_read_timeout(Some(TAKE_LIMIT)).map_err(Error::Control)?;
    descriptors::of_same_user(&stream).map_err(Error::Refused)?;
    let mut line = serde_json::to_vec(&Envelope { protocol: PROTOCOL, request: Request::HandOver(HANDOVER) })
        .expect("a request serialises");
    line.push(b'\n');
    stream.write_all(&line).map_err(Error::Control)?;
    let (line, mut given) = descriptors::receive_line(&stream)
        .map_err(Error::Control)?
        .ok_or(Error::Control(io::ErrorKind::UnexpectedEof.into()))?;
    match (serde_json::from_slice(&line), given.pop()) {
        (Ok(Response::HandingOver(listen)), Some(listener)) => {
            Ok(Taking { clients: TcpListener::from(listener), listen, stream })
        }
        (Ok(Response::Refused(why)), _) => Err(Error::Refused(why)),
        _ => Err(Error::Refused(format!("it answered {}", String::from_utf8_lossy(&line)))),
    }
}

impl Taking {
    /// Everything is served here now. Connections come to `arrive` until the other one ends.
    pub fn taken(mut self, arrive: Vec<mpsc::Sender<TcpStream>>) -> Result<(), Error> {
        self.stream.set_read_timeout(None).map_err(Error::Control)?;
        let mut line = serde_json::to_vec(&Taken::Taken).expect("a word serialises");
        line.push(b'\n');
        self.stream.write_all(&line).map_err(Error::Control)?;
        let receive = move || {
            let mut given = Vec::new();
            for to in arrive.iter().cycle() {
                match descriptors::receive(&self.stream, &mut [0], &mut given) {
                    Ok(1..) => {}
                    _ => return,
                }
                if let Some(connection) = given.pop()
                    && to.blocking_send(TcpStream::from(connection)).is_err()
                {
                    return;
                }
            }
        };
        std::thread::Builder::new().name("arrivals".into()).spawn(receive).map(drop).map_err(Error::Start)
    }
}

/// What a successor says when it serves.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Taken {
    /// It does.
    Taken,
}

/// The way of connections to the successor. Ended by `None`.
pub type Departures = mpsc::Sender<Option<TcpStream>>;

/// Sends connections to the successor at the other end.
pub fn depart(stream: UnixStream) -> Result<(Departures, JoinHandle<()>), Error> {
    let (sender, mut waiting) = mpsc::channel::<Option<TcpStream>>(DEPARTING_MAX);
    let send = move || {
        while let Some(Some(connection)) = waiting.blocking_recv() {
            if let Err(error) = descriptors::send(&stream, CONNECTION, &[connection.as_fd()]) {
                tracing::warn!(%error, "the gateway that took over is gone");
                return;
            }
        }
    };
    let thread = std::thread::Builder::new().name("departures".into()).spawn(send).map_err(Error::Start)?;
    Ok((sender, thread))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_version_is_refused_with_what_to_do() {
        let (here, _there) = UnixStream::pair().unwrap();
        assert_eq!(refusal(Some(u64::from(HANDOVER)), &here), None);
        for version in [None, Some(0), Some(99)] {
            let why = refusal(version, &here).unwrap();
            assert!(why.contains("trimtab down") && why.contains(&format!("protocol {HANDOVER}")), "{why}");
        }
    }

    #[test]
    fn those_that_leave_are_found_by_their_names() {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("gateway.sock");
        for name in ["gateway.sock", "gateway.new", "gateway.17", "hook.18", "gateway."] {
            std::fs::write(directory.path().join(name), "").unwrap();
        }
        assert_eq!(leaving(&socket), [aside(&socket, 17)]);
    }
}
