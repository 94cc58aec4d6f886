//! Git over SSH: the same services as over HTTP, for people with registered keys.
//!
//! A connection is in the lobby until it has shown a key, then idle or working. Each of these is bounded in time, and
//! so are the connections in number: in a full lobby the one that has waited longest gives way, so that those who
//! only hold connections open keep nobody out.

mod command;
mod key;
mod serve;
mod session;

pub use key::PublicKey;

use crate::error::Error;
use crate::{GitAuth, Inner, lock};
use russh::keys::PrivateKey;
use russh::server::Config;
use russh::{MethodKind, MethodSet, SshId};
use session::{Phase, Session};
use std::collections::VecDeque;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Rounds of asking for a key. Clients with an agent offer all that it holds, one round each.
const AUTH_TRIES_MAX: usize = 10;
/// A client that answers nothing at all, not even this, is gone after three of them.
const KEEPALIVE: Duration = Duration::from_secs(20);
/// When the server is closing, from then until a key was accepted, and from that until something is asked for.
const LAST_LOGIN: Duration = Duration::from_secs(5);
const LAST_IDLE: Duration = Duration::from_secs(1);
/// A goodbye that is not taken.
const GOODBYE_TIMEOUT: Duration = Duration::from_secs(1);

/// Bounds of connections.
#[derive(Debug, Clone)]
pub struct SshLimits {
    /// All connections at one time; more are closed at once.
    pub connections_max: usize,
    /// Those of them that have shown no key yet.
    pub lobby_max: usize,
    /// From connecting until a key was accepted.
    pub login_time: Duration,
    /// Signed in, and neither fetching nor pushing.
    pub idle_time: Duration,
    /// Fetching or pushing, and not a byte in either direction. Git sends signs of life while hooks run.
    pub silence_time: Duration,
}

impl Default for SshLimits {
    fn default() -> Self {
        Self {
            connections_max: 512,
            lobby_max: 64,
            login_time: Duration::from_secs(20),
            idle_time: Duration::from_secs(30),
            silence_time: Duration::from_secs(600),
        }
    }
}

/// Git over SSH, ready to serve.
pub struct SshServer {
    shared: Arc<Shared>,
    host_key: PublicKey,
}

/// What all connections share.
struct Shared {
    inner: Arc<Inner>,
    config: Arc<Config>,
    limits: SshLimits,
    lobby: Mutex<VecDeque<CancellationToken>>,
}

impl SshServer {
    pub(crate) fn open(inner: Arc<Inner>, host_key: &Path, limits: SshLimits) -> Result<Self, Error> {
        let private = key::host_key(host_key)?;
        let unreadable = |reason: String| Error::Key { path: host_key.to_owned(), reason };
        let public = private.public_key().to_openssh().map_err(|error| unreadable(error.to_string()))?;
        let public = PublicKey::parse(&public).map_err(unreadable)?;
        let shared = Shared { inner, config: Arc::new(config(private, &limits)), limits, lobby: Mutex::default() };
        Ok(Self { shared: Arc::new(shared), host_key: public })
    }

    /// What clients check the host by.
    pub fn host_key(&self) -> &PublicKey {
        &self.host_key
    }

    /// Answers on a listener until `shutdown`, then until the fetches and pushes that are under way have ended.
    pub async fn serve(self, listener: TcpListener, auth: Arc<dyn GitAuth>, shutdown: CancellationToken) {
        self.serve_until(listener, auth, shutdown.clone(), shutdown).await;
    }

    /// Lets clients in until `leaving`. From `closing` on, those who are in and do nothing are sent away; returns when
    /// the last of the others has ended.
    pub async fn serve_until(
        self,
        listener: TcpListener,
        auth: Arc<dyn GitAuth>,
        leaving: CancellationToken,
        closing: CancellationToken,
    ) {
        let connections = TaskTracker::new();
        self.accept(listener, auth, leaving, &closing, &connections).await;
        connections.close();
        connections.wait().await;
    }

    async fn accept(
        self,
        listener: TcpListener,
        auth: Arc<dyn GitAuth>,
        leaving: CancellationToken,
        closing: &CancellationToken,
        connections: &TaskTracker,
    ) {
        let free = Arc::new(Semaphore::new(self.shared.limits.connections_max));
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = leaving.cancelled() => return,
            };
            let stream = match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(%error, "cannot accept an SSH connection");
                    tokio::time::sleep(Duration::from_millis(100)).await; // Out of descriptors: let some be closed.
                    continue;
                }
            };
            let Ok(permit) = free.clone().try_acquire_owned() else {
                tracing::debug!("too many SSH connections: closing one that came");
                continue;
            };
            let (shared, auth, closing) = (self.shared.clone(), auth.clone(), closing.clone());
            connections.spawn(async move {
                if let Err(error) = connection(shared, stream, auth, closing).await {
                    tracing::debug!(%error, "an SSH connection broke off");
                }
                drop(permit);
            });
        }
    }
}

fn config(host_key: PrivateKey, limits: &SshLimits) -> Config {
    Config {
        server_id: SshId::Standard("SSH-2.0-Trimtab".into()),
        // Keys only. The second is a place to say, after the last key was refused, how one is registered.
        methods: MethodSet::from([MethodKind::PublicKey, MethodKind::KeyboardInteractive].as_slice()),
        // Which keys are registered is no secret that a delay could keep; agents offer many of them.
        auth_rejection_time: Duration::ZERO,
        auth_rejection_time_initial: Some(Duration::ZERO),
        max_auth_attempts: AUTH_TRIES_MAX,
        keys: vec![host_key],
        // Also bounds how long a client may take nothing of what is sent to it.
        inactivity_timeout: Some(limits.silence_time),
        keepalive_interval: Some(KEEPALIVE),
        keepalive_max: 3,
        ..Config::default()
    }
}

/// One connection, from its first byte to its last.
async fn connection(
    shared: Arc<Shared>,
    stream: TcpStream,
    auth: Arc<dyn GitAuth>,
    closing: CancellationToken,
) -> Result<(), russh::Error> {
    stream.set_nodelay(true)?;
    let socket = stream.as_fd().try_clone_to_owned()?;
    let login = Instant::now() + shared.limits.login_time;
    let (phase, mut phases) = watch::channel(Phase::Lobby);
    let place = Place::take(&shared);
    let evicted = &place.evicted;
    let session = Session::new(shared.clone(), auth, phase);
    let running = tokio::select! {
        running = russh::server::run_stream(shared.config.clone(), stream, session) => running?,
        () = tokio::time::sleep_until(login) => return Ok(()),
        () = evicted.cancelled() => return Ok(()),
    };
    let handle = running.handle();
    tokio::pin!(running);
    let mut closed: Option<Instant> = None;
    let why = loop {
        let now = phases.borrow_and_update().clone();
        if !matches!(now, Phase::Lobby) {
            place.leave();
        }
        let end = match &now {
            // Whoever was let in a moment ago is about to fetch or push.
            Phase::Lobby => closed.map_or(login, |closed| login.min(closed + LAST_LOGIN)),
            Phase::Idle { since } => *since + closed.map_or(shared.limits.idle_time, |_| LAST_IDLE),
            Phase::Working { progress, .. } => progress.last() + shared.limits.silence_time,
        };
        tokio::select! {
            ended = &mut running => return ended,
            // Its sender lives in the session: when that is gone, `running` has ended.
            _ = phases.changed() => {}
            () = tokio::time::sleep_until(end) => match &now {
                Phase::Lobby | Phase::Idle { .. } if closed.is_some() => break "trimtab is stopping",
                Phase::Lobby => break "no registered key was shown in time",
                Phase::Idle { .. } => break "idle for too long",
                // Bytes may have come since.
                Phase::Working { progress, .. } if progress.last() + shared.limits.silence_time > Instant::now() => {}
                Phase::Working { .. } => break "silent for too long",
            },
            () = evicted.cancelled(), if matches!(now, Phase::Lobby) => break "too many connections wait to sign in",
            () = closing.cancelled(), if closed.is_none() => closed = Some(Instant::now()),
        }
    };
    tracing::debug!(why, "closing an SSH connection");
    let goodbye = handle.disconnect(russh::Disconnect::ByApplication, why.into(), String::new());
    let _ = tokio::time::timeout(GOODBYE_TIMEOUT, async {
        let _ = goodbye.await;
        let _ = (&mut running).await;
    })
    .await;
    close(&socket);
    Ok(())
}

/// Also ends the task that reads from it, whatever that waits for.
fn close(socket: &OwnedFd) {
    let _ = rustix::net::shutdown(socket, rustix::net::Shutdown::Both);
}

/// A place in the lobby, until it is left or dropped.
struct Place {
    shared: Arc<Shared>,
    /// Cancelled when somebody else needs the place; and when it is left, so that it is known which one it was.
    evicted: CancellationToken,
}

impl Place {
    /// In a full lobby, the oldest gives way.
    fn take(shared: &Arc<Shared>) -> Self {
        let mut lobby = lock(&shared.lobby);
        while lobby.len() >= shared.limits.lobby_max.max(1) {
            if let Some(oldest) = lobby.pop_front() {
                oldest.cancel();
            }
        }
        let evicted = CancellationToken::new();
        lobby.push_back(evicted.clone());
        Self { shared: shared.clone(), evicted }
    }

    fn leave(&self) {
        self.evicted.cancel();
        lock(&self.shared.lobby).retain(|other| !other.is_cancelled());
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.leave();
    }
}
