//! The gateway process: listens for clients and for the control process, keeps the table on disk.

use crate::control::{Envelope, PROTOCOL, Request, Response, Started, Status, receive, send};
use crate::error::Error;
use crate::holder::port_holder;
use crate::proxy::{Guest, Proxy};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use model::RouteTable;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::BufReader;
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore, watch};

/// For the head of a request, and between requests on a connection.
const HEAD_TIMEOUT: Duration = Duration::from_secs(60);
/// Head of a request; more is refused with 431.
const HEAD_BYTES_MAX: usize = 64 * 1024;
/// Clients at the same time, if enough files may be open.
const CONNECTIONS_MAX: usize = 8192;
/// Descriptors that are not connections: listeners, the store, logs.
const DESCRIPTORS_KEPT: u64 = 64;
/// Control processes at the same time; there is one, and perhaps its successor.
const CONTROLS_MAX: usize = 16;

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

/// Serves until it is told to stop. `started` is called once, when it serves or cannot.
pub async fn run(options: Options, started: impl FnOnce(Started)) -> Result<(), Error> {
    let bound = bind(&options).await;
    let (clients, controls, listen) = match bound {
        Ok(bound) => bound,
        Err(error) => {
            started(Started::Failed(error.explain()));
            return Err(error);
        }
    };
    let proxy = Proxy::default();
    proxy.publish(load(&options.state));
    let connections_max = connections_max();
    let connections = Arc::new(Semaphore::new(connections_max));
    let (stop, mut stopped) = watch::channel(false);
    let control = Arc::new(Control {
        proxy: proxy.clone(),
        state: options.state.clone(),
        listen,
        connections: connections.clone(),
        connections_max,
        writing: Mutex::new(()),
        stop,
    });
    started(Started::Listening(listen));
    tracing::info!(%listen, connections_max, "gateway serves");
    tokio::select! {
        () = serve_clients(clients, proxy, connections) => {}
        () = serve_controls(controls, control) => {}
        _ = stopped.wait_for(|stop| *stop) => {}
    }
    let _ = std::fs::remove_file(&options.socket);
    Ok(())
}

async fn bind(options: &Options) -> Result<(TcpListener, UnixListener, SocketAddr), Error> {
    for path in [&options.state, &options.socket] {
        let parent = path.parent().unwrap_or(Path::new("."));
        std::fs::create_dir_all(parent).map_err(Error::file("create", parent))?;
    }
    let clients = TcpListener::bind(options.listen).await.map_err(|source| match source.kind() {
        io::ErrorKind::AddrInUse => Error::Taken { address: options.listen, holder: port_holder(options.listen) },
        _ => Error::Listen { address: options.listen, source },
    })?;
    let listen = clients.local_addr().map_err(|source| Error::Listen { address: options.listen, source })?;
    // Whoever started us found nobody behind this socket, under the lock of the data directory.
    match std::fs::remove_file(&options.socket) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(Error::file("delete", &options.socket)(error));
        }
        _ => {}
    }
    let controls = UnixListener::bind(&options.socket).map_err(Error::file("listen on", &options.socket))?;
    let private = std::fs::Permissions::from_mode(0o600);
    std::fs::set_permissions(&options.socket, private).map_err(Error::file("restrict", &options.socket))?;
    Ok((clients, controls, listen))
}

/// Raises the limit of open files as far as we may; a client costs two: its own and the endpoint's.
fn connections_max() -> usize {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    let _ = setrlimit(Resource::Nofile, limit);
    let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let possible = usize::try_from(files.saturating_sub(DESCRIPTORS_KEPT) / 2).unwrap_or(usize::MAX);
    possible.clamp(1, CONNECTIONS_MAX)
}

async fn serve_clients(listener: TcpListener, proxy: Proxy, connections: Arc<Semaphore>) {
    loop {
        // Taken before accepting: more clients wait in the kernel's queue instead of failing.
        let Ok(permit) = connections.clone().acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, peer)) => drop(tokio::spawn(serve_client(stream, peer, proxy.clone(), permit))),
            Err(error) => refused(error).await,
        }
    }
}

async fn serve_client(stream: TcpStream, peer: SocketAddr, proxy: Proxy, permit: OwnedSemaphorePermit) {
    let _ = stream.set_nodelay(true);
    let guest = Arc::new(Guest { address: peer.ip(), permit });
    let service = service_fn(move |request| {
        let (proxy, guest) = (proxy.clone(), guest.clone());
        async move { Ok::<_, Infallible>(proxy.serve(&guest, request).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    if let Err(error) = connection.await {
        tracing::debug!(%peer, %error, "connection broke off");
    }
}

struct Control {
    proxy: Proxy,
    state: PathBuf,
    listen: SocketAddr,
    connections: Arc<Semaphore>,
    connections_max: usize,
    /// The table that counts and the one on disk change together.
    writing: Mutex<()>,
    stop: watch::Sender<bool>,
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
            Err(error) => refused(error).await,
        }
    }
}

/// Out of descriptors or memory: let some be given back.
async fn refused(error: io::Error) {
    tracing::warn!(%error, "a connection could not be accepted");
    tokio::time::sleep(Duration::from_millis(100)).await;
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
            let response = match serde_json::from_value::<Envelope>(value) {
                Ok(envelope) if envelope.protocol == PROTOCOL => self.answer(envelope.request).await,
                Ok(envelope) => {
                    Response::Refused(format!("this gateway speaks protocol {PROTOCOL}, not {}", envelope.protocol))
                }
                Err(error) => Response::Refused(error.to_string()),
            };
            send(&mut output, &response).await?;
        }
        Ok(())
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
            Request::Status | Request::Stop => Response::Status(Status {
                pid: std::process::id(),
                listen: self.listen,
                routes: self.proxy.published().routes.len(),
                connections: self.connections_max.saturating_sub(self.connections.available_permits()),
                requests: self.proxy.requests(),
            }),
        }
    }
}

/// Whole or not at all. Not synced: after the machine itself went down, the endpoints are other ones anyway.
fn store(path: &Path, table: &RouteTable) -> Result<(), Error> {
    let text = serde_json::to_vec_pretty(table).map_err(io::Error::from).map_err(Error::file("write", path))?;
    let aside = path.with_extension("new");
    std::fs::write(&aside, text).map_err(Error::file("write", &aside))?;
    std::fs::rename(&aside, path).map_err(Error::file("write", path))
}

/// The last table. One that cannot be read is none: the control process publishes soon.
fn load(path: &Path) -> RouteTable {
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
