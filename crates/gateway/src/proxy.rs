//! What the threads that serve share: the latest table, the endpoints, the counters.

use crate::buffer::Buffer;
use crate::endpoint::Endpoint;
use crate::handover::Departures;
use crate::http::{Field, HEAD_BYTES_MAX};
use crate::table::{Pick, Picked, Table};
use model::RouteTable;
use model::routes::Measure;
use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, RwLock, RwLockReadGuard};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::Notify;

/// Endpoints are on this machine or near: one that does not accept in this time will not.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Sets of buffers that a thread keeps for the next requests.
const BUFFERS_KEPT: usize = 64;
/// A buffer that has grown beyond this is not kept.
const KEPT_BYTES_MAX: usize = HEAD_BYTES_MAX;

/// Serves requests by the latest table.
pub struct Proxy {
    table: RwLock<Table>,
    /// All that were ever named and are still known to somebody.
    endpoints: Mutex<HashMap<SocketAddr, Arc<Endpoint>>>,
    requests: AtomicU64,
    threads: usize,
}

impl Proxy {
    /// For so many threads that serve.
    pub fn new(threads: usize) -> Self {
        Self { table: RwLock::default(), endpoints: Mutex::default(), requests: AtomicU64::new(0), threads }
    }

    /// Replaces the table. When this returns, no request is handed to an endpoint that it does not name.
    pub fn publish(&self, published: RouteTable) {
        let mut endpoints = self.endpoints();
        let mut named = HashSet::new();
        let table = Table::new(published, &self.read(), |address| {
            let endpoint = endpoints.entry(address).or_insert_with(|| Arc::new(Endpoint::new(address, self.threads)));
            named.insert(address);
            endpoint.join();
            endpoint.clone()
        });
        *self.table.write().expect("no code panics while it holds this lock") = table;
        endpoints.retain(|address, endpoint| {
            let stays = named.contains(address);
            if !stays {
                endpoint.leave();
            }
            // Those that leave are kept until their last request has ended.
            stays || Arc::strong_count(endpoint) > 1
        });
    }

    /// Hosts that the table has.
    pub fn routes(&self) -> usize {
        self.read().len()
    }

    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// Of every backend of every route.
    pub fn measures(&self) -> Vec<Measure> {
        self.read().counters().map(|counters| counters.measure()).collect()
    }

    /// Returns when no endpoint at this address works on a request, and no tunnel leads to it.
    pub async fn at_rest(&self, address: IpAddr) {
        let there: Vec<_> = self.endpoints().values().filter(|endpoint| endpoint.is(address)).cloned().collect();
        for endpoint in there {
            endpoint.at_rest().await;
        }
    }

    fn read(&self) -> RwLockReadGuard<'_, Table> {
        self.table.read().expect("no code panics while it holds this lock")
    }

    fn endpoints(&self) -> MutexGuard<'_, HashMap<SocketAddr, Arc<Endpoint>>> {
        self.endpoints.lock().expect("no code panics while it holds this lock")
    }
}

/// What one request needs while it is on its way. Used again for others.
#[derive(Default)]
pub struct Buffers {
    /// From the client.
    pub input: Buffer,
    /// To the endpoint: the head, and what of the body came with it.
    pub request: Vec<u8>,
    /// To the endpoint: the rest of the body.
    pub upload: Vec<u8>,
    /// From the endpoint.
    pub answer: Buffer,
    /// To the client.
    pub reply: Vec<u8>,
    pub fields: Vec<Field>,
    pub answer_fields: Vec<Field>,
    pub host: String,
}

/// Boxed once: they go from here to a connection and back, and an idle connection has only room for the pointer.
type Kept = Vec<Box<Buffers>>;

/// One thread that serves, with its own runtime and its own connections to endpoints.
pub struct Worker {
    pub proxy: Arc<Proxy>,
    index: usize,
    buffers: Mutex<Kept>,
    /// Where connections at rest go, once a successor serves.
    departures: OnceLock<Departures>,
    leaving: Notify,
}

/// What became of a request that was to be sent.
pub enum Begun {
    /// So many of its bytes were handed over.
    Sent(Sent),
    /// There is no idle connection.
    Connect(Picked),
    Unknown,
    Nobody {
        label: String,
    },
}

/// A request that an endpoint has.
pub struct Sent {
    pub stream: TcpStream,
    pub picked: Picked,
    pub bytes: usize,
    /// The connection had idled: the endpoint may have closed it unseen.
    pub reused: bool,
}

impl Worker {
    pub fn new(proxy: Arc<Proxy>, index: usize) -> Self {
        Self { proxy, index, buffers: Mutex::default(), departures: OnceLock::new(), leaving: Notify::new() }
    }

    /// From now on connections go to a successor when they come to rest.
    pub fn leave(&self, departures: Departures) {
        let _ = self.departures.set(departures);
        self.leaving.notify_waiters();
    }

    /// Returns when they do.
    pub async fn left(&self) {
        let leaving = self.leaving.notified();
        if !self.is_leaving() {
            leaving.await;
        }
    }

    pub fn is_leaving(&self) -> bool {
        self.departures.get().is_some()
    }

    /// Hands a connection on on which nothing is under way.
    pub async fn hand_on(&self, stream: TcpStream) {
        if let (Some(departures), Ok(stream)) = (self.departures.get(), stream.into_std()) {
            let _ = departures.send(Some(stream)).await;
        }
    }

    /// Picks an endpoint and sends on an idle connection, under the lock of the table that allows it: a table that is
    /// published now waits, and the next request sees it. `replay`: the request could be sent again.
    pub fn begin(&self, host: &str, tried: &[SocketAddr], request: &[u8], replay: bool) -> Begun {
        let table = self.proxy.read();
        let picked = match table.pick(host, tried) {
            Pick::Endpoint(picked) => picked,
            Pick::Unknown => return Begun::Unknown,
            Pick::Nobody { label } => return Begun::Nobody { label },
        };
        while let Some(stream) = picked.endpoint.take(self.index, replay) {
            // One that takes nothing was closed just now, or is of no use: the next.
            if let Ok(bytes) = stream.try_write(request) {
                return Begun::Sent(Sent { stream, picked, bytes, reused: true });
            }
        }
        Begun::Connect(picked)
    }

    /// Sends on a new connection. `Err`: not sent, and whether the endpoint is to blame; otherwise the table changed
    /// meanwhile and does not allow it any more.
    pub async fn connect(&self, host: &str, picked: Picked, request: &[u8]) -> Result<Sent, bool> {
        let address = picked.endpoint.address;
        let connected = tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await;
        let stream = match connected.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into())) {
            Ok(stream) => stream,
            Err(error) => {
                tracing::debug!(%address, %error, "no connection");
                return Err(true);
            }
        };
        let _ = stream.set_nodelay(true);
        let table = self.proxy.read();
        if !table.allows(host, &picked.endpoint) {
            return Err(false);
        }
        match stream.try_write(request) {
            Ok(bytes) => Ok(Sent { stream, picked, bytes, reused: false }),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                Ok(Sent { stream, picked, bytes: 0, reused: false })
            }
            Err(_) => Err(true),
        }
    }

    /// A connection on which all was said.
    pub fn keep(&self, endpoint: &Endpoint, stream: TcpStream) {
        endpoint.put(self.index, stream);
    }

    /// Closes idle connections that have become useless.
    pub fn sweep(&self) {
        for endpoint in self.proxy.endpoints().values() {
            endpoint.sweep(self.index);
        }
    }

    pub fn count(&self) {
        self.proxy.requests.fetch_add(1, Ordering::Relaxed);
    }

    pub fn lend(&self) -> Box<Buffers> {
        self.buffers().pop().unwrap_or_default()
    }

    pub fn give_back(&self, lent: Box<Buffers>) {
        let capacities =
            [lent.request.capacity(), lent.upload.capacity(), lent.reply.capacity(), lent.input.capacity()];
        let mut kept = self.buffers();
        if kept.len() < BUFFERS_KEPT && capacities.into_iter().all(|bytes| bytes <= KEPT_BYTES_MAX) {
            kept.push(lent);
        }
    }

    fn buffers(&self) -> MutexGuard<'_, Kept> {
        self.buffers.lock().expect("no code panics while it holds this lock")
    }
}
