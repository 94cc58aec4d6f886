//! Two connections that have become one, for another protocol.

use crate::proxy::Sent;
use std::time::Duration;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

/// A tunnel may be silent for as long as it likes, but its client must exist: the kernel asks.
const KEEP_ALIVE: Duration = Duration::from_secs(60);

/// Passes bytes both ways until both ends are done, first those that have come already.
pub async fn join(mut client: TcpStream, sent: Sent, to_client: &[u8], to_endpoint: &[u8]) {
    let Sent { stream: mut endpoint, picked, .. } = sent;
    let _ = rustix::net::sockopt::set_socket_keepalive(&client, true);
    let _ = rustix::net::sockopt::set_tcp_keepidle(&client, KEEP_ALIVE);
    if client.write_all(to_client).await.is_ok() && endpoint.write_all(to_endpoint).await.is_ok() {
        let _ = tokio::io::copy_bidirectional(&mut client, &mut endpoint).await;
    }
    drop(picked);
}
