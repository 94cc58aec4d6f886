//! What the control process and the gateway say to each other: one JSON value a line, over a unix socket that only
//! its owner may open.

use model::RouteTable;
use model::routes::Measure;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::io;
use std::net::{IpAddr, SocketAddr};
use tokio::io::{AsyncBufRead, AsyncBufReadExt as _, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

/// Version of everything but [`Request::Stop`] and [`Request::HandOver`], which every gateway understands.
pub const PROTOCOL: u32 = 1;
/// A table of more than twenty thousand routes.
const LINE_BYTES_MAX: u64 = 16 << 20;

/// A request with its version.
#[derive(Debug, Serialize, Deserialize)]
pub struct Envelope {
    pub protocol: u32,
    pub request: Request,
}

/// What is asked.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Request {
    /// Replace the table; answered when it counts and is stored.
    Publish(RouteTable),
    /// How it is doing.
    Status,
    /// What went through, by route and backend.
    Measures,
    /// Answered when no request is in flight to this address, and no tunnel leads to it.
    AtRest(IpAddr),
    /// Give the listening socket to this process; see `handover`. With the version of that.
    HandOver(u32),
    /// End now.
    Stop,
}

/// What is answered.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Response {
    /// The table counts and is stored.
    Published,
    /// How it is doing.
    Status(Status),
    /// What went through.
    Measures(Vec<Measure>),
    /// Nothing is in flight there.
    AtRest,
    /// The listening socket comes with this; where it listens.
    HandingOver(SocketAddr),
    /// It ends.
    Stopping,
    /// Why not.
    Refused(String),
}

/// How a gateway is doing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// Its process.
    pub pid: u32,
    /// Where it serves.
    pub listen: SocketAddr,
    /// Hosts in the table.
    pub routes: usize,
    /// Clients that are connected.
    pub connections: usize,
    /// Requests since it began.
    pub requests: u64,
}

/// The first line of a gateway's output.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Started {
    /// It serves, here.
    Listening(SocketAddr),
    /// It does not, and ends.
    Failed(String),
}

/// The next value, `None` at the end.
pub async fn receive<T: DeserializeOwned>(input: &mut (impl AsyncBufRead + Unpin)) -> io::Result<Option<T>> {
    let mut line = Vec::new();
    if input.take(LINE_BYTES_MAX).read_until(b'\n', &mut line).await? == 0 {
        return Ok(None);
    }
    Ok(Some(serde_json::from_slice(&line)?))
}

/// Sends one value.
pub async fn send(output: &mut (impl AsyncWrite + Unpin), value: &impl Serialize) -> io::Result<()> {
    let mut line = serde_json::to_vec(value)?;
    line.push(b'\n');
    output.write_all(&line).await?;
    output.flush().await
}
