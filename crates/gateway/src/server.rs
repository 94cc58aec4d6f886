//! The gateway process: listens for clients and for the control process, keeps the table on disk.

use crate::control::{Envelope, PROTOCOL, Request, Response, Started, Status, receive, send};
use crate::descriptors;
use crate::error::Error;
use crate::handover::{self, Taken, Taking};
use crate::holder::port_holder;
use crate::proxy::Proxy;
use crate::serve::{Admission, Workers};
use model::RouteTable;
use std::io;
use std::net::SocketAddr;
use std::net::TcpListener;
use std::os::fd::AsFd as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError};
use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader, Interest};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Mutex, Semaphore, mpsc, watch};

/// Control processes at the same time; there is one, and perhaps its successor. Each Pod that leaves is a connection
/// that waits for it to come to rest.
const CONTROLS_MAX: usize = 512;

/// Where a gateway serves and what it keeps.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where clients come in; port 0 picks a free one.
    pub listen: SocketAddr,
    /// `<data>/gateway/routes.json`.
    pub state: PathBuf,
    /// `<data>/run/gateway.sock`.
    pub socket: PathBuf,
}

/// Serves until it is told to stop, or until what was under way has ended after a successor took over. With `take_over`,
/// it is the successor of the gateway that serves now. `started` is called once, when it serves or cannot.
pub async fn run(options: Options, take_over: bool, started: impl FnOnce(Started)) -> Result<(), Error> {
    match begin(&options, take_over).await {
        Ok(gateway) => {
            started(Started::Listening(gateway.control.listen));
            gateway.serve().await
        }
        Err(error) => {
            started(Started::Failed(error.explain()));
            Err(error)
        }
    }
}

/// A gateway that serves.
struct Running {
    control: Arc<Control>,
    workers: Workers,
    stopped: watch::Receiver<bool>,
    successors: mpsc::Receiver<std::os::unix::net::UnixStream>,
}

async fn begin(options: &Options, take_over: bool) -> Result<Running, Error> {
    let Bound { clients, controls, listen, taking } = bind(options, take_over).await?;
    let threads = crate::serve::threads();
    let proxy = Arc::new(Proxy::new(threads));
    proxy.publish(load(&options.state));
    let admission = Arc::new(Admission::new());
    let (stop, stopped) = watch::channel(false);
    let workers = Workers::start(&clients, threads, &proxy, &admission)?;
    if let Some(taking) = taking {
        // From here on, whoever asks for the gateway finds this one.
        let (aside, socket) = (unnamed(&options.socket), &options.socket);
        std::fs::rename(&aside, socket).map_err(Error::file("listen on", socket))?;
        taking.taken(workers.arrivals())?;
    }
    tracing::info!(%listen, threads, connections_max = admission.most(), "gateway serves");
    let (successor, successors) = mpsc::channel(1);
    let control = Arc::new(Control {
        proxy,
        state: options.state.clone(),
        socket: options.socket.clone(),
        listen,
        clients: std::sync::Mutex::new(Some(clients)),
        admission,
        writing: Mutex::new(()),
        stop,
        handing_over: AtomicBool::new(false),
        successor,
    });
    tokio::spawn(serve_controls(controls, control.clone()));
    Ok(Running { control, workers, stopped, successors })
}

impl Running {
    async fn serve(mut self) -> Result<(), Error> {
        let mut departing = None;
        let mut socket = self.control.socket.clone();
        let successor = tokio::select! {
            _ = self.stopped.wait_for(|stop| *stop) => None,
            successor = self.successors.recv() => successor,
        };
        if let Some(successor) = successor {
            socket = handover::aside(&socket, std::process::id());
            self.control.close();
            let (departures, thread) = handover::depart(successor)?;
            self.workers.leave(&departures);
            tokio::select! {
                () = self.control.admission.empty() => {}
                () = tokio::time::sleep(handover::DRAIN_LIMIT) => {}
                _ = self.stopped.wait_for(|stop| *stop) => {}
            }
            departing = Some((departures, thread));
        }
        // No listener is left when whoever told us to stop sees our end.
        self.control.close();
        let workers = self.workers;
        let ended = tokio::task::spawn_blocking(move || {
            workers.stop();
            if let Some((departures, thread)) = departing {
                // The last of them are on their way.
                let _ = departures.blocking_send(None);
                let _ = thread.join();
            }
        });
        ended.await.map_err(io::Error::other).map_err(Error::Start)?;
        let _ = std::fs::remove_file(&socket);
        Ok(())
    }
}

/// What a gateway listens on.
struct Bound {
    clients: TcpListener,
    controls: UnixListener,
    listen: SocketAddr,
    taking: Option<Taking>,
}

async fn bind(options: &Options, take_over: bool) -> Result<Bound, Error> {
    for path in [&options.state, &options.socket] {
        let parent = path.parent().unwrap_or(Path::new("."));
        std::fs::create_dir_all(parent).map_err(Error::file("create", parent))?;
    }
    if take_over {
        let taking = handover::take(&options.socket)?;
        let clients = taking.clients.try_clone().map_err(Error::Start)?;
        let controls = listen_at(&unnamed(&options.socket))?;
        return Ok(Bound { clients, controls, listen: taking.listen, taking: Some(taking) });
    }
    let clients = tokio::net::TcpListener::bind(options.listen).await.map_err(|source| match source.kind() {
        io::ErrorKind::AddrInUse => Error::Taken { address: options.listen, holder: port_holder(options.listen) },
        _ => Error::Listen { address: options.listen, source },
    })?;
    // The threads that serve have runtimes of their own.
    let clients = clients.into_std().map_err(|source| Error::Listen { address: options.listen, source })?;
    let listen = clients.local_addr().map_err(|source| Error::Listen { address: options.listen, source })?;
    // Whoever started us found nobody behind this socket, under the lock of the data directory.
    let controls = listen_at(&options.socket)?;
    Ok(Bound { clients, controls, listen, taking: None })
}

/// Where a successor listens until the name is its own.
fn unnamed(socket: &Path) -> PathBuf {
    socket.with_extension("new")
}

fn listen_at(socket: &Path) -> Result<UnixListener, Error> {
    match std::fs::remove_file(socket) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(Error::file("delete", socket)(error)),
        _ => {}
    }
    let controls = UnixListener::bind(socket).map_err(Error::file("listen on", socket))?;
    let private = std::fs::Permissions::from_mode(0o600);
    std::fs::set_permissions(socket, private).map_err(Error::file("restrict", socket))?;
    Ok(controls)
}

struct Control {
    proxy: Arc<Proxy>,
    state: PathBuf,
    socket: PathBuf,
    listen: SocketAddr,
    /// `None` once it is closed.
    clients: std::sync::Mutex<Option<TcpListener>>,
    admission: Arc<Admission>,
    /// The table that counts and the one on disk change together.
    writing: Mutex<()>,
    stop: watch::Sender<bool>,
    /// There is one successor.
    handing_over: AtomicBool,
    successor: mpsc::Sender<std::os::unix::net::UnixStream>,
}

async fn serve_controls(listener: UnixListener, control: Arc<Control>) {
    let permits = Arc::new(Semaphore::new(CONTROLS_MAX));
    loop {
        let Ok(permit) = permits.clone().acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let control = control.clone();
                tokio::spawn(async move {
                    let _permit = permit;
                    if let Err(error) = control.serve(stream).await {
                        tracing::debug!(%error, "a control connection broke off");
                    }
                });
            }
            Err(error) => crate::serve::refused(error).await,
        }
    }
}

impl Control {
    async fn serve(&self, stream: UnixStream) -> io::Result<()> {
        let (input, mut output) = stream.into_split();
        let mut input = BufReader::new(input);
        while let Some(value) = receive::<serde_json::Value>(&mut input).await? {
            // A stop is understood in any version, so that every successor can end us.
            if value.pointer("/request").and_then(serde_json::Value::as_str) == Some("stop") {
                send(&mut output, &Response::Stopping).await?;
                let _ = self.stop.send(true);
                // Whoever asked reads until the end of this connection: it must come after that of the listeners.
                return std::future::pending().await;
            }
            // Neither does a successor have to know more of this version than how it asks for that.
            if let Some(version) = value.pointer("/request/handOver") {
                return self.hand_over(version.as_u64(), input, output).await;
            }
            let response = match serde_json::from_value::<Envelope>(value) {
                Ok(envelope) if envelope.protocol == PROTOCOL => tokio::select! {
                    response = self.answer(envelope.request) => response,
                    // Whoever asks waits for the answer: what comes before it is their end.
                    () = hung_up(&mut input) => return Ok(()),
                },
                Ok(envelope) => {
                    Response::Refused(format!("this gateway speaks protocol {PROTOCOL}, not {}", envelope.protocol))
                }
                Err(error) => Response::Refused(error.to_string()),
            };
            send(&mut output, &response).await?;
        }
        Ok(())
    }

    /// Gives the listening socket to a successor, and leaves once that says that it serves. One that does not is forgotten.
    async fn hand_over(
        &self,
        version: Option<u64>,
        mut input: BufReader<OwnedReadHalf>,
        mut output: OwnedWriteHalf,
    ) -> io::Result<()> {
        if let Some(why) = handover::refusal(version, output.as_ref()) {
            return send(&mut output, &Response::Refused(why)).await;
        }
        if self.handing_over.swap(true, Ordering::SeqCst) {
            return send(&mut output, &Response::Refused("another process is taking over already".into())).await;
        }
        let aside = handover::aside(&self.socket, std::process::id());
        match self.offer(&aside, &mut input, &output).await {
            Ok(()) => {
                let stream = input.into_inner().reunite(output).map_err(io::Error::other)?.into_std()?;
                stream.set_nonblocking(false)?;
                let _ = self.successor.send(stream).await;
                Ok(())
            }
            Err(error) => {
                tracing::warn!(%error, "the gateway that was to take over does not; this one goes on");
                let _ = std::fs::remove_file(&aside);
                self.handing_over.store(false, Ordering::SeqCst);
                Err(error)
            }
        }
    }

    /// Returns when the successor has taken what is offered.
    async fn offer(
        &self,
        aside: &Path,
        input: &mut BufReader<OwnedReadHalf>,
        output: &OwnedWriteHalf,
    ) -> io::Result<()> {
        let clients = match &*self.clients() {
            Some(clients) => clients.try_clone()?,
            None => return Err(io::ErrorKind::NotConnected.into()),
        };
        // The name goes to the successor; under this one, what goes on here can still be asked for.
        match std::fs::hard_link(&self.socket, aside) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        let mut line = serde_json::to_vec(&Response::HandingOver(self.listen))?;
        line.push(b'\n');
        let socket: &UnixStream = output.as_ref();
        let give = || descriptors::send(socket, &line, &[clients.as_fd()]);
        socket.async_io(Interest::WRITABLE, give).await?;
        match tokio::time::timeout(handover::TAKE_LIMIT, receive::<Taken>(input)).await {
            Ok(Ok(Some(Taken::Taken))) => Ok(()),
            Ok(Ok(None)) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        }
    }

    fn clients(&self) -> std::sync::MutexGuard<'_, Option<TcpListener>> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Listens for clients no more.
    fn close(&self) {
        *self.clients() = None;
    }

    async fn answer(&self, request: Request) -> Response {
        match request {
            Request::Publish(table) => {
                let _turn = self.writing.lock().await;
                match store(&self.state, &table) {
                    Ok(()) => {
                        self.proxy.publish(table);
                        Response::Published
                    }
                    Err(error) => Response::Refused(error.explain()),
                }
            }
            Request::Measures => Response::Measures(self.proxy.measures()),
            Request::AtRest(address) => {
                self.proxy.at_rest(address).await;
                Response::AtRest
            }
            Request::Status | Request::Stop | Request::HandOver(_) => Response::Status(Status {
                pid: std::process::id(),
                listen: self.listen,
                routes: self.proxy.routes(),
                connections: self.admission.taken(),
                requests: self.proxy.requests(),
            }),
        }
    }
}

async fn hung_up(input: &mut BufReader<impl AsyncRead + Unpin>) {
    if matches!(input.fill_buf().await, Ok(more) if !more.is_empty()) {
        std::future::pending().await
    }
}

/// Whole or not at all. Not synced: after the machine itself went down, the endpoints are other ones anyway.
fn store(path: &Path, table: &RouteTable) -> Result<(), Error> {
    let text = serde_json::to_vec_pretty(table).map_err(io::Error::from).map_err(Error::file("write", path))?;
    let aside = path.with_extension("new");
    std::fs::write(&aside, text).map_err(Error::file("write", &aside))?;
    crate::failpoint("gateway.routes.before");
    std::fs::rename(&aside, path).map_err(Error::file("write", path))?;
    crate::failpoint("gateway.routes.after");
    Ok(())
}

/// The last table. One that cannot be read is none: the control process publishes soon.
pub fn load(path: &Path) -> RouteTable {
    let text = match std::fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return RouteTable::default(),
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "the last routes cannot be read");
            return RouteTable::default();
        }
    };
    serde_json::from_slice(&text).unwrap_or_else(|error| {
        tracing::warn!(path = %path.display(), %error, "the last routes cannot be understood");
        RouteTable::default()
    })
}
