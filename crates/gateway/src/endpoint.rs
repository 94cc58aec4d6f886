//! One address behind the gateway: its idle connections, and what it works on.

use std::net::{IpAddr, SocketAddr};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::net::TcpStream;
use tokio::sync::Notify;

/// Kept per thread; more are closed after their request.
const IDLE_MAX: usize = 64;
/// Shorter than the 60 s after which many servers close: it is better that we do.
const IDLE_AGE_MAX: Duration = Duration::from_secs(50);
/// A server that closes an idle connection while a request is on its way to it leaves open whether it acted on it. What
/// may not be sent twice goes only where that is improbable: many servers close after 5 s.
const FRESH_AGE_MAX: Duration = Duration::from_secs(2);

/// Shared by all routes that name the address. It outlives them while it works on a request.
#[derive(Debug)]
pub struct Endpoint {
    pub address: SocketAddr,
    /// By thread, whose runtime they belong to; the latest last.
    idle: Vec<Mutex<Vec<Idle>>>,
    /// The table names it.
    named: AtomicBool,
    in_flight: AtomicUsize,
    rest: Notify,
}

#[derive(Debug)]
struct Idle {
    since: Instant,
    stream: TcpStream,
}

impl Idle {
    /// Neither too old nor closed by the other end, as far as is known here.
    fn is_good(&self, age: Duration) -> bool {
        let quiet = self.stream.try_read(&mut [0]).is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock);
        quiet && self.since.elapsed() < age
    }
}

impl Endpoint {
    pub fn new(address: SocketAddr, threads: usize) -> Self {
        Self {
            address,
            idle: (0..threads).map(|_| Mutex::default()).collect(),
            named: AtomicBool::new(true),
            in_flight: AtomicUsize::new(0),
            rest: Notify::new(),
        }
    }

    /// An idle connection, if there is one. `replay`: what is sent on it could be sent again.
    pub fn take(&self, thread: usize, replay: bool) -> Option<TcpStream> {
        loop {
            let idle = lock(&self.idle[thread]).pop()?;
            let good = match replay {
                true => idle.is_good(IDLE_AGE_MAX),
                false => idle.is_good(FRESH_AGE_MAX) && is_open(&idle.stream),
            };
            if good {
                return Some(idle.stream);
            }
        }
    }

    pub fn put(&self, thread: usize, stream: TcpStream) {
        let mut idle = lock(&self.idle[thread]);
        // Asked under the lock under which `leave` closes them.
        if self.named.load(Ordering::SeqCst) && idle.len() < IDLE_MAX {
            idle.push(Idle { since: Instant::now(), stream });
        }
    }

    /// Closes the connections of a thread that have become useless.
    pub fn sweep(&self, thread: usize) {
        lock(&self.idle[thread]).retain(|idle| idle.is_good(IDLE_AGE_MAX));
    }

    /// A table names it (again).
    pub fn join(&self) {
        self.named.store(true, Ordering::SeqCst);
    }

    /// No table names it any more: closes its idle connections.
    pub fn leave(&self) {
        self.named.store(false, Ordering::SeqCst);
        for idle in &self.idle {
            lock(idle).clear();
        }
    }

    pub fn begin(&self) {
        self.in_flight.fetch_add(1, Ordering::SeqCst);
    }

    pub fn end(&self) {
        if self.in_flight.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.rest.notify_waiters();
        }
    }

    pub fn is(&self, address: IpAddr) -> bool {
        self.address.ip() == address
    }

    /// Returns when it works on nothing.
    pub async fn at_rest(&self) {
        loop {
            let mut told = std::pin::pin!(self.rest.notified());
            told.as_mut().enable();
            if self.in_flight.load(Ordering::SeqCst) == 0 {
                return;
            }
            told.await;
        }
    }
}

/// The kernel knows more than the runtime has been told.
fn is_open(stream: &TcpStream) -> bool {
    use rustix::net::{RecvFlags, recv};
    recv(stream, &mut [0u8; 1][..], RecvFlags::PEEK | RecvFlags::DONTWAIT).is_err_and(|e| e == rustix::io::Errno::AGAIN)
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().expect("no code panics while it holds this lock")
}
