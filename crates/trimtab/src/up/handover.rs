//! A running control process hands its listening sockets and its data directory to a new one, so that a new program takes
//! the place of an old one without a refused connection.
//!
//! ```text
//!  new ── hello {protocol, version} ──▶ old     or "refused", with a sentence
//!  new ◀─ offer, three sockets ──────── old
//!  new ── go ─────────────────────────▶ old     lets nobody in any more, finishes what is under way, closes everything
//!  new ◀─ released ──────────────────── old     the data directory is free; who comes now waits in the sockets
//!  new ── serving ────────────────────▶ old     and ends
//! ```
//!
//! If the new one goes away before it serves, the old one begins again on the sockets that it still holds. All of it is
//! blocking and bounded: nothing else happens in either process meanwhile.

use super::listeners::Listeners;
use crate::instance::Layout;
use anyhow::{Context, Result, anyhow, bail};
use gateway::descriptors;
use model::Version;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::Duration;
use tokio::sync::mpsc;

/// Version of this conversation.
const PROTOCOL: u32 = 1;
/// For an answer that needs no work.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);
/// From `go` to `released`: longer than everything that is waited for in between.
const RELEASE_LIMIT: Duration = Duration::from_secs(60);
/// From `released` to `serving`. A successor that takes longer is ended.
const START_LIMIT: Duration = Duration::from_secs(60);

/// Where a killed successor is tested to leave the old process serving.
pub const FAILPOINTS: &[&str] = &["handover.released", "handover.serving"];

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Hello {
    protocol: u32,
    version: String,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Answer {
    /// With the sockets.
    Offer(Running),
    /// The data directory is free.
    Released,
    /// Why not.
    Refused(String),
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Wish {
    Go,
    Serving,
}

/// How the old process was started: its successor goes on like that unless told otherwise.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Running {
    pub version: String,
    pub pid: u32,
    /// Where traffic comes in.
    pub gateway: Option<SocketAddr>,
    pub simulate: bool,
    pub allow_exec: Vec<String>,
}

/// Why whoever says this may not take over.
fn refusal(hello: &Hello) -> Option<String> {
    let own = env!("CARGO_PKG_VERSION");
    let instead = "stop this one with Ctrl-C (containers and the gateway run on), then start the other";
    if hello.protocol != PROTOCOL {
        return Some(format!(
            "Trimtab {own} runs here and hands over by protocol {PROTOCOL}; Trimtab {} asks by protocol {}: {instead}",
            hello.version, hello.protocol
        ));
    }
    match (hello.version.parse::<Version>(), own.parse::<Version>()) {
        (Ok(new), Ok(old)) if new < old => Some(format!(
            "Trimtab {own} runs here, and {} is older: what {own} has written is not for it. `trimtab restore` a backup of that \
             version into another data directory",
            hello.version
        )),
        (Ok(_), _) => None,
        (Err(_), _) => Some(format!("{:?} is no version of Trimtab: {instead}", hello.version)),
    }
}

/// Listens for successors. The directory is private, and the data directory's lock is held.
pub fn listen(layout: &Layout) -> Result<UnixListener> {
    let path = layout.run().join("control.sock");
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("deleting {}", path.display()));
        }
        _ => {}
    }
    let listener = UnixListener::bind(&path).with_context(|| format!("listening on {}", path.display()))?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Answers whoever asks, one at a time, until somebody says `go`: then that connection is sent on.
pub async fn serve(
    listener: UnixListener,
    running: Running,
    listeners: Listeners,
    successor: mpsc::Sender<UnixStream>,
) -> Result<()> {
    let listener = tokio::net::UnixListener::from_std(listener)?;
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream.into_std()?,
            Err(error) => {
                tracing::warn!(%error, "a successor could not connect");
                tokio::time::sleep(Duration::from_millis(100)).await; // Out of descriptors: let some be closed.
                continue;
            }
        };
        let (running, again) = (running.clone(), listeners.again()?);
        let offered =
            tokio::task::spawn_blocking(move || offer(&stream, &running, &again).map(|go| go.then_some(stream)));
        match offered.await? {
            Ok(Some(stream)) => {
                let _ = successor.send(stream).await;
                return Ok(());
            }
            Ok(None) => {}
            Err(error) => tracing::warn!(error = format!("{error:#}"), "somebody asked to take over, and does not"),
        }
    }
}

/// True: it said `go`.
fn offer(stream: &UnixStream, running: &Running, listeners: &Listeners) -> Result<bool> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(ANSWER_LIMIT))?;
    let refused = match descriptors::of_same_user(stream) {
        Err(why) => Some(why),
        Ok(()) => match receive::<Hello>(stream)? {
            Some(hello) => refusal(&hello),
            None => return Ok(false),
        },
    };
    if let Some(why) = refused {
        send(stream, &Answer::Refused(why))?;
        return Ok(false);
    }
    descriptors::send(stream, &line(&Answer::Offer(running.clone())), &listeners.descriptors())?;
    Ok(matches!(receive(stream)?, Some(Wish::Go)))
}

/// Tells the successor that everything is its own, and waits until it serves. False: it does not, and is gone.
pub fn release(stream: &UnixStream) -> bool {
    let serves = || -> Result<bool> {
        send(stream, &Answer::Released)?;
        stream.set_read_timeout(Some(START_LIMIT))?;
        Ok(matches!(receive(stream)?, Some(Wish::Serving)))
    };
    match serves() {
        Ok(serves) => serves,
        Err(error) => {
            tracing::error!(error = format!("{error:#}"), "the process that was to take over does not serve");
            let kind = error.downcast_ref::<io::Error>().map(io::Error::kind);
            // It hangs, and may hold the data directory.
            if matches!(kind, Some(io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut))
                && let Ok(peer) = rustix::net::sockopt::socket_peercred(stream)
            {
                let _ = rustix::process::kill_process(peer.pid, rustix::process::Signal::KILL);
            }
            false
        }
    }
}

/// What a new process was offered.
#[derive(Debug)]
pub struct Taking {
    pub running: Running,
    stream: UnixStream,
    listeners: Listeners,
}

/// Asks the process that runs here. `None`: nobody listens, as far as that can be seen.
pub fn ask(layout: &Layout) -> Result<Option<Taking>> {
    let path = layout.run().join("control.sock");
    let Some(stream) = connect(&path)? else { return Ok(None) };
    let taking = talk(stream).with_context(|| format!("taking over from the process behind {}", path.display()))?;
    Ok(Some(taking))
}

fn connect(path: &Path) -> Result<Option<UnixStream>> {
    match UnixStream::connect(path) {
        Ok(stream) => Ok(Some(stream)),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => Ok(None),
        Err(error) => Err(error).with_context(|| format!("connecting to {}", path.display())),
    }
}

fn talk(stream: UnixStream) -> Result<Taking> {
    stream.set_read_timeout(Some(ANSWER_LIMIT))?;
    descriptors::of_same_user(&stream).map_err(|why| anyhow!(why))?;
    send(&stream, &Hello { protocol: PROTOCOL, version: env!("CARGO_PKG_VERSION").to_owned() })?;
    let Some((text, given)) = descriptors::receive_line(&stream)? else { bail!("it hung up") };
    match serde_json::from_slice(&text).with_context(|| format!("it said {}", String::from_utf8_lossy(&text)))? {
        Answer::Offer(running) => Ok(Taking { running, stream, listeners: Listeners::from_descriptors(given)? }),
        Answer::Refused(why) => bail!(why),
        Answer::Released => bail!("it said something out of turn"),
    }
}

impl Taking {
    /// Lets the old process finish. On return the data directory is free.
    pub fn go(self) -> Result<(Listeners, Taken)> {
        send(&self.stream, &Wish::Go)?;
        self.stream.set_read_timeout(Some(RELEASE_LIMIT))?;
        match receive(&self.stream).context("the running process does not come to an end")? {
            // One that died instead has released everything too: the lock decides.
            Some(Answer::Released) | None => {}
            Some(other) => bail!("the running process said {other:?}"),
        }
        crate::instance::failpoint("handover.released");
        Ok((self.listeners, Taken { stream: self.stream }))
    }
}

/// The old process waits to hear that this one serves. Dropped, it begins again.
#[derive(Debug)]
pub struct Taken {
    stream: UnixStream,
}

impl Taken {
    pub fn serving(self) {
        crate::instance::failpoint("handover.serving");
        // One that is gone does not have to know.
        let _ = send(&self.stream, &Wish::Serving);
    }
}

fn line(value: &impl Serialize) -> Vec<u8> {
    let mut line = serde_json::to_vec(value).expect("these serialise");
    line.push(b'\n');
    line
}

fn send(mut stream: &UnixStream, value: &impl Serialize) -> Result<()> {
    Ok(stream.write_all(&line(value))?)
}

/// `None` at the end.
fn receive<T: DeserializeOwned>(stream: &UnixStream) -> Result<Option<T>> {
    let line = descriptors::receive_line(stream)?;
    line.map(|(line, _)| serde_json::from_slice(&line).with_context(|| format!("{}", String::from_utf8_lossy(&line))))
        .transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_protocol_and_a_downgrade_are_refused_with_a_sentence() {
        let own = env!("CARGO_PKG_VERSION");
        let says = |protocol, version: &str| refusal(&Hello { protocol, version: version.to_owned() });
        assert_eq!(says(PROTOCOL, own), None);
        assert_eq!(says(PROTOCOL, "999.0.0"), None);
        for (protocol, version, words) in [
            (PROTOCOL + 1, own, &["protocol", "Ctrl-C"][..]),
            (0, own, &["protocol"]),
            (PROTOCOL, "0.0.0-alpha", &["is older", "trimtab restore"]),
            (PROTOCOL, "nonsense", &["no version"]),
        ] {
            let why = says(protocol, version).unwrap_or_default();
            assert!(words.iter().all(|word| why.contains(word)), "{protocol} {version}: {why:?}");
        }
    }

    #[test]
    fn sockets_go_to_a_successor_and_one_that_dies_is_noticed() {
        let any = || std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let listeners = Listeners { control: any(), kubernetes: any(), ssh: any() };
        let address = listeners.ssh.local_addr().unwrap();
        let running = Running { simulate: true, allow_exec: vec!["aws".into()], ..Running::default() };
        let (old, new) = UnixStream::pair().unwrap();
        let told = running.clone();
        let old = std::thread::spawn(move || {
            assert!(offer(&old, &told, &listeners).unwrap());
            drop(listeners);
            (release(&old), release(&old))
        });
        let taking = talk(new).unwrap();
        assert_eq!(taking.running, running);
        let (taken, end) = taking.go().unwrap();
        assert_eq!(taken.ssh.local_addr().unwrap(), address);
        std::net::TcpStream::connect(address).unwrap();
        end.serving();
        assert_eq!(old.join().unwrap(), (true, false), "served, then gone");
    }
}
