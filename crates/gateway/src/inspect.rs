//! Questions to a gateway that may wait for their answer, each on a connection of its own.

use crate::control::{Envelope, PROTOCOL, Request, Response, receive, send};
use crate::error::Error;
use crate::handover;
use model::routes::Measure;
use std::io;
use std::net::IpAddr;
use std::path::Path;
use tokio::io::BufReader;
use tokio::net::UnixStream;

/// What went through the gateway behind this socket, by route and backend, since its process began.
pub async fn measures(socket: &Path) -> Result<Vec<Measure>, Error> {
    match ask(socket, Request::Measures).await? {
        Response::Measures(measures) => Ok(measures),
        other => Err(Error::Refused(format!("it answered {other:?}"))),
    }
}

/// Returns when no request is in flight to this address and no tunnel leads to it. That may take for ever: the caller
/// knows how long to wait. A gateway that has handed over, and has not ended, is asked too.
pub async fn at_rest(socket: &Path, address: IpAddr) -> Result<(), Error> {
    let there = rests(socket, address).await;
    for leaving in handover::leaving(socket) {
        // One that is gone has nothing under way.
        if let Err(error) = rests(&leaving, address).await {
            tracing::debug!(socket = %leaving.display(), error = error.explain(), "a gateway that left");
        }
    }
    there
}

async fn rests(socket: &Path, address: IpAddr) -> Result<(), Error> {
    match ask(socket, Request::AtRest(address)).await? {
        Response::AtRest => Ok(()),
        other => Err(Error::Refused(format!("it answered {other:?}"))),
    }
}

async fn ask(socket: &Path, request: Request) -> Result<Response, Error> {
    let mut connection = UnixStream::connect(socket).await.map(BufReader::new).map_err(Error::Control)?;
    send(&mut connection, &Envelope { protocol: PROTOCOL, request }).await.map_err(Error::Control)?;
    let answer = receive(&mut connection).await.map_err(Error::Control)?;
    answer.ok_or_else(|| Error::Control(io::ErrorKind::UnexpectedEof.into()))
}
