//! Letting clients in: so many at one time, until the server leaves.

use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Out of descriptors, most likely: they come back when connections close.
const PAUSE: Duration = Duration::from_millis(100);

/// How a server ends: a client that keeps its connection hears with its next answer that it is the last, and none is cut
/// off between two requests.
#[derive(Debug, Clone)]
pub struct Ending {
    /// Nobody is let in any more, and each answer says that it is the last one.
    pub leaving: CancellationToken,
    /// Connections that are still open end with what is under way.
    pub closing: CancellationToken,
}

/// Serves each client that comes until `leaving`, at most `limit` at one time; others wait to be accepted. Answers with
/// the connections that are still open.
pub async fn let_in<F>(
    listener: &TcpListener,
    limit: usize,
    leaving: &CancellationToken,
    serve: impl Fn(TcpStream) -> F,
) -> TaskTracker
where
    F: Future<Output = ()> + Send + 'static,
{
    let free = Arc::new(Semaphore::new(limit));
    let connections = TaskTracker::new();
    while let Some(accepted) = leaving.run_until_cancelled(accept(listener, &free)).await {
        let Some((stream, permit)) = accepted else { continue };
        let served = serve(stream);
        connections.spawn(async move {
            served.await;
            drop(permit);
        });
    }
    connections.close();
    connections
}

async fn accept(listener: &TcpListener, free: &Arc<Semaphore>) -> Option<(TcpStream, OwnedSemaphorePermit)> {
    let permit = free.clone().acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, _)) => {
            if let Err(error) = stream.set_nodelay(true) {
                tracing::debug!(%error, "TCP_NODELAY");
            }
            Some((stream, permit))
        }
        Err(error) => {
            tracing::warn!(%error, "cannot accept a connection");
            tokio::time::sleep(PAUSE).await;
            None
        }
    }
}
