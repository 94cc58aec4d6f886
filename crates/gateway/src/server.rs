//! The gateway process: listens for clients and for the control process, keeps the table on disk.

use crate::control::{Envelope, PROTOCOL, Request, Response, Started, Status, receive, send};
use crate::error::Error;
use crate::holder::port_holder;
use crate::proxy::Proxy;
use crate::serve::{Admission, Workers};
use model::RouteTable;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Mutex, Semaphore, watch};

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
    let threads = crate::serve::threads();
    let proxy = Arc::new(Proxy::new(threads));
    proxy.publish(load(&options.state));
    let admission = Arc::new(Admission::new());
    let (stop, mut stopped) = watch::channel(false);
    let workers = match Workers::start(&clients, threads, &proxy, &admission) {
        Ok(workers) => workers,
        Err(error) => {
            started(Started::Failed(error.explain()));
            return Err(error);
        }
    };
    tracing::info!(%listen, threads, connections_max = admission.most(), "gateway serves");
    let control =
        Arc::new(Control { proxy, state: options.state.clone(), listen, admission, writing: Mutex::new(()), stop });
    started(Started::Listening(listen));
    tokio::select! {
        () = serve_controls(controls, control) => {}
        _ = stopped.wait_for(|stop| *stop) => {}
    }
    // No listener is left when whoever told us to stop sees our end.
    drop(clients);
    tokio::task::spawn_blocking(move || workers.stop()).await.map_err(io::Error::other).map_err(Error::Start)?;
    let _ = std::fs::remove_file(&options.socket);
    Ok(())
}

async fn bind(options: &Options) -> Result<(std::net::TcpListener, UnixListener, SocketAddr), Error> {
    for path in [&options.state, &options.socket] {
        let parent = path.parent().unwrap_or(Path::new("."));
        std::fs::create_dir_all(parent).map_err(Error::file("create", parent))?;
    }
    let clients = tokio::net::TcpListener::bind(options.listen).await.map_err(|source| match source.kind() {
        io::ErrorKind::AddrInUse => Error::Taken { address: options.listen, holder: port_holder(options.listen) },
        _ => Error::Listen { address: options.listen, source },
    })?;
    // The threads that serve have runtimes of their own.
    let clients = clients.into_std().map_err(|source| Error::Listen { address: options.listen, source })?;
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

struct Control {
    proxy: Arc<Proxy>,
    state: PathBuf,
    listen: SocketAddr,
    admission: Arc<Admission>,
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
            Request::Status | Request::Stop => Response::Status(Status {
                pid: std::process::id(),
                listen: self.listen,
                routes: self.proxy.published().routes.len(),
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
