//! The control process' side: starts the gateway, publishes to it, and starts it again when it dies.

use crate::control::{Envelope, PROTOCOL, Request, Response, Started, Status, receive, send};
use crate::error::Error;
use crate::handover;
use crate::server;
use async_trait::async_trait;
use model::RouteTable;
use model::ports::{Gateway, Result as PortResult};
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, BufReader};
use tokio::net::UnixStream;
use tokio::process::Command;
use tokio::sync::{Mutex, Notify};
use tokio::task::JoinHandle;

/// For an answer to anything: all are given from memory.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// Between two questions whether the gateway still answers.
const PULSE: Duration = Duration::from_secs(5);
/// Between two starts of a gateway that does not stay up.
const RESTART_DELAY: Duration = Duration::from_secs(1);

/// How to reach or start the gateway.
#[derive(Debug, Clone)]
pub struct Options {
    /// Our binary; `<exe> gateway …` must call [`crate::main`].
    pub exe: PathBuf,
    /// Where its standard error goes.
    pub log: PathBuf,
    /// Where it serves and what it keeps.
    pub gateway: server::Options,
}

/// A gateway that runs. Dropping the client leaves it running.
pub struct Client {
    link: Arc<Link>,
    guard: JoinHandle<()>,
}

struct Link {
    options: Options,
    listen: SocketAddr,
    state: Mutex<State>,
    /// Another process serves now: it is the one to look after.
    replaced: Notify,
}

#[derive(Default)]
struct State {
    connection: Option<BufReader<UnixStream>>,
    /// What the gateway has acknowledged to us.
    published: Option<RouteTable>,
    stopped: bool,
}

impl Client {
    /// Connects to the gateway that runs, or starts one and waits until it serves. One that serves at another address
    /// than the one asked for is replaced; port 0 is content with any.
    pub async fn ensure(mut options: Options) -> Result<Self, Error> {
        let listen = reach_or_start(&options).await?;
        // A successor must serve where this one does, also when the port was chosen by the kernel.
        options.gateway.listen = listen;
        let link = Arc::new(Link { options, listen, state: Mutex::default(), replaced: Notify::new() });
        let guard = tokio::spawn(guard(link.clone()));
        Ok(Self { link, guard })
    }

    /// Where clients come in.
    pub fn listen_address(&self) -> SocketAddr {
        self.link.listen
    }

    /// How it is doing.
    pub async fn status(&self) -> Result<Status, Error> {
        match self.link.ask(&mut *self.link.state.lock().await, Request::Status).await? {
            Response::Status(status) => Ok(status),
            other => Err(unexpected(other)),
        }
    }

    /// Starts a gateway process of this program, to which the present one hands over: connections, long answers and
    /// tunnels do not notice. On an error the present one goes on.
    pub async fn replace(&self) -> Result<(), Error> {
        let mut state = self.link.state.lock().await;
        start(&self.link.options, true).await?;
        state.connection = None;
        self.link.replaced.notify_one();
        // It has the table from disk; that it is the last one that was acknowledged is made sure of.
        match state.published.take() {
            Some(table) => self.link.publish(&mut state, &table).await,
            None => Ok(()),
        }
    }

    /// Ends the gateway, and returns when its process is gone from the socket.
    pub async fn stop(&self) -> Result<(), Error> {
        let mut state = self.link.state.lock().await;
        state.stopped = true;
        state.connection = None;
        stop(&self.link.options.gateway.socket).await
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.guard.abort();
    }
}

#[async_trait]
impl Gateway for Client {
    async fn publish(&self, table: &RouteTable) -> PortResult<()> {
        let mut state = self.link.state.lock().await;
        if state.published.as_ref() == Some(table) {
            return Ok(());
        }
        Ok(self.link.publish(&mut state, table).await?)
    }

    /// The table that counts and the one on disk change together.
    async fn inherited(&self) -> RouteTable {
        let _turn = self.link.state.lock().await;
        server::load(&self.link.options.gateway.state)
    }
}

impl Link {
    async fn publish(&self, state: &mut State, table: &RouteTable) -> Result<(), Error> {
        match self.ask(state, Request::Publish(table.clone())).await? {
            Response::Published => {
                state.published = Some(table.clone());
                Ok(())
            }
            other => Err(unexpected(other)),
        }
    }

    /// Asks on the connection that is open; if it is broken, once more on a new one.
    async fn ask(&self, state: &mut State, request: Request) -> Result<Response, Error> {
        let envelope = Envelope { protocol: PROTOCOL, request };
        if let Some(mut connection) = state.connection.take()
            && let Ok(response) = ask(&mut connection, &envelope).await
        {
            state.connection = Some(connection);
            return Ok(response);
        }
        if !state.stopped {
            reach_or_start(&self.options).await?;
        }
        let mut connection = connect(&self.options.gateway.socket).await.map_err(Error::Control)?;
        let response = ask(&mut connection, &envelope).await.map_err(Error::Control)?;
        state.connection = Some(connection);
        Ok(response)
    }
}

/// Waits for the end of the gateway, or ends it when it answers no more, and starts it again. It loads the last
/// acknowledged routes itself.
async fn guard(link: Arc<Link>) {
    let socket = &link.options.gateway.socket;
    loop {
        if let Ok(mut connection) = connect(socket).await {
            tokio::select! {
                // Nothing is ever said on this one: it is read for its end.
                _ = connection.read_u8() => {}
                () = link.replaced.notified() => continue,
                () = silence(socket) => {
                    tracing::error!("the gateway does not answer any more; ending it");
                    kill(&connection);
                }
            }
        }
        let mut state = link.state.lock().await;
        if state.stopped {
            return;
        }
        tracing::warn!("the gateway ended; starting it again");
        state.connection = None;
        if let Err(error) = reach_or_start(&link.options).await {
            tracing::error!(error = error.explain(), "the gateway cannot be started again");
        }
        drop(state);
        tokio::time::sleep(RESTART_DELAY).await;
    }
}

/// Returns when the gateway does not answer within [`ANSWER_TIMEOUT`].
async fn silence(socket: &Path) {
    let envelope = Envelope { protocol: PROTOCOL, request: Request::Status };
    loop {
        tokio::time::sleep(PULSE).await;
        // One that is gone hangs up on the other connection.
        let Ok(mut connection) = connect(socket).await else { continue };
        if ask(&mut connection, &envelope).await.is_err_and(|error| error.kind() == io::ErrorKind::TimedOut) {
            return;
        }
    }
}

/// Ends the process behind a connection by force.
fn kill(connection: &BufReader<UnixStream>) {
    let pid = connection.get_ref().peer_cred().ok().and_then(|peer| peer.pid());
    if let Some(pid) = pid.and_then(rustix::process::Pid::from_raw) {
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
    }
}

/// Where the gateway serves that runs here, or that was started now.
async fn reach_or_start(options: &Options) -> Result<SocketAddr, Error> {
    let (socket, listen) = (&options.gateway.socket, options.gateway.listen);
    if let Ok(mut connection) = connect(socket).await {
        let envelope = Envelope { protocol: PROTOCOL, request: Request::Status };
        match ask(&mut connection, &envelope).await {
            Ok(Response::Status(status)) if listen.port() == 0 || listen == status.listen => return Ok(status.listen),
            // Of another version: it hands over, if it knows how.
            Ok(Response::Refused(_)) => match start(options, true).await {
                Ok(address) => return Ok(address),
                Err(error) => {
                    tracing::warn!(error = error.explain(), "the gateway of another version is ended");
                    stop(socket).await?;
                }
            },
            // It serves elsewhere, or hangs: replace it.
            _ => stop(socket).await?,
        }
    }
    start(options, false).await
}

async fn start(options: &Options, take_over: bool) -> Result<SocketAddr, Error> {
    let parent = options.log.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(parent).map_err(Error::file("create", parent))?;
    let mut log = std::fs::OpenOptions::new();
    let log = log.create(true).append(true).open(&options.log).map_err(Error::file("open", &options.log))?;
    let mut command = Command::new(&options.exe);
    // A crash that a test asks for happens once.
    static BEFORE: AtomicBool = AtomicBool::new(false);
    if BEFORE.swap(true, Ordering::Relaxed) {
        command.env_remove(crate::FAILPOINT_VARIABLE);
    }
    let mut child = command
        .args(["gateway", "--listen", &options.gateway.listen.to_string(), "--state"])
        .arg(&options.gateway.state)
        .arg("--socket")
        .arg(&options.gateway.socket)
        .args(["--take-over", if take_over { "true" } else { "false" }])
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(log)
        .spawn()
        .map_err(Error::Start)?;
    let mut output = BufReader::new(child.stdout.take().expect("stdout is piped"));
    let started = tokio::time::timeout(ANSWER_TIMEOUT, receive::<Started>(&mut output));
    match started.await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
        Ok(Some(Started::Listening(address))) => Ok(address),
        Ok(Some(Started::Failed(why))) => Err(Error::Failed(why)),
        Ok(None) => Err(Error::Failed(format!("the gateway ended at once; see {}", options.log.display()))),
        Err(error) => {
            let _ = child.start_kill();
            Err(Error::Start(error))
        }
    }
}

/// Ends the gateway behind a socket, if there is one, and those that handed over to it, and waits until they hang up;
/// one that does not answer is killed.
pub async fn stop(socket: &Path) -> Result<(), Error> {
    for leaving in handover::leaving(socket) {
        end(&leaving).await?;
        // Of one that was killed, only the name is left.
        let _ = std::fs::remove_file(&leaving);
    }
    end(socket).await
}

async fn end(socket: &Path) -> Result<(), Error> {
    let Ok(mut connection) = connect(socket).await else { return Ok(()) };
    let work = async {
        send(&mut connection, &Envelope { protocol: PROTOCOL, request: Request::Stop }).await?;
        // It answers, and hangs up when it no longer listens.
        while receive::<serde_json::Value>(&mut connection).await?.is_some() {}
        Ok(())
    };
    let stopped: Result<io::Result<()>, _> = tokio::time::timeout(ANSWER_TIMEOUT, work).await;
    if let Ok(stopped) = stopped {
        return stopped.map_err(Error::Control);
    }
    kill(&connection);
    let gone = async { while connection.read_u8().await.is_ok() {} };
    tokio::time::timeout(ANSWER_TIMEOUT, gone).await.map_err(|_| Error::Control(io::ErrorKind::TimedOut.into()))
}

async fn connect(socket: &Path) -> io::Result<BufReader<UnixStream>> {
    UnixStream::connect(socket).await.map(BufReader::new)
}

async fn ask(connection: &mut BufReader<UnixStream>, envelope: &Envelope) -> io::Result<Response> {
    let work = async {
        send(connection, envelope).await?;
        receive(connection).await?.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    };
    tokio::time::timeout(ANSWER_TIMEOUT, work).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

fn unexpected(response: Response) -> Error {
    match response {
        Response::Refused(why) => Error::Refused(why),
        other => Error::Refused(format!("it answered {other:?}")),
    }
}
