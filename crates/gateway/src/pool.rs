//! Connections to endpoints, kept open between requests.
//!
//! Ours instead of a library's client, for two guarantees: a request is handed to a connection under the lock of the
//! table that allows it, and a request that was never sent comes back to be tried elsewhere.

use crate::body::Payload;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};
use tokio::net::TcpStream;

/// One connection.
pub type Sender = SendRequest<Payload>;

/// Endpoints are on this machine or near: one that does not accept in this time will not.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Kept per endpoint; more are closed after their request.
const IDLE_MAX: usize = 64;
/// A connection comes back when its answer was read; if a request is still being sent on it, it is of no use.
const READY_TIMEOUT: Duration = Duration::from_millis(5);
/// Shorter than the 60 s after which many servers close: it is better that we do.
const IDLE_AGE_MAX: Duration = Duration::from_secs(50);

/// Idle connections by endpoint, the latest last.
#[derive(Default)]
pub struct Pool(Mutex<HashMap<SocketAddr, Vec<(Instant, Sender)>>>);

impl Pool {
    /// An idle connection, if there is one.
    pub async fn take(&self, endpoint: SocketAddr) -> Option<Sender> {
        loop {
            let (since, mut sender) = self.idle().get_mut(&endpoint)?.pop()?;
            if since.elapsed() > IDLE_AGE_MAX {
                continue;
            }
            if let Ok(Ok(())) = tokio::time::timeout(READY_TIMEOUT, sender.ready()).await {
                return Some(sender);
            }
        }
    }

    pub fn put(&self, endpoint: SocketAddr, sender: Sender) {
        if sender.is_closed() {
            return;
        }
        let mut idle = self.idle();
        let connections = idle.entry(endpoint).or_default();
        connections.retain(|(since, sender)| !sender.is_closed() && since.elapsed() < IDLE_AGE_MAX);
        if connections.len() < IDLE_MAX {
            connections.push((Instant::now(), sender));
        }
    }

    /// Closes idle connections to endpoints that are not kept.
    pub fn retain(&self, keep: impl Fn(SocketAddr) -> bool) {
        self.idle().retain(|endpoint, _| keep(*endpoint));
    }

    fn idle(&self) -> MutexGuard<'_, HashMap<SocketAddr, Vec<(Instant, Sender)>>> {
        self.0.lock().expect("no code panics while it holds this lock")
    }
}

/// A new connection.
pub async fn connect(endpoint: SocketAddr) -> io::Result<Sender> {
    let work = async {
        let stream = TcpStream::connect(endpoint).await?;
        stream.set_nodelay(true)?;
        let (mut sender, connection) = handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
        tokio::spawn(async move {
            // Its failures reach whoever waits for an answer on it.
            let _ = connection.with_upgrades().await;
        });
        sender.ready().await.map_err(io::Error::other)?;
        Ok(sender)
    };
    tokio::time::timeout(CONNECT_TIMEOUT, work).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}
