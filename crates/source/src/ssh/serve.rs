//! One fetch or push in a channel: bytes both ways, then how it ended.

use super::command::Command;
use super::session::Work;
use crate::Inner;
use crate::transport::{self, BUSY, CHUNKS_MAX, Denial, Running, Service};
use bytes::Bytes;
use model::people::Person;
use russh::server::Msg;
use russh::{Channel, ChannelMsg, ChannelReadHalf, ChannelWriteHalf};
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

/// A process that was started, and its input.
pub struct Served {
    pub running: Running,
    pub input: mpsc::Sender<Bytes>,
}

/// Starts git for this person, or says why not.
pub fn start(inner: &Arc<Inner>, person: &Person, command: &Command, protocol: &str) -> Result<Served, String> {
    let Command { service, project, repository } = command;
    let (repository, directory) = match transport::open(inner, person, *service, project, repository) {
        Ok(found) => found,
        Err(Denial::Absent(text) | Denial::Denied(text) | Denial::Full(text)) => return Err(text),
    };
    let mut process = transport::command(&inner.git, &directory, *service, false);
    let (input, chunks) = mpsc::channel(CHUNKS_MAX);
    let chunks = ReceiverStream::new(chunks);
    let running = match service {
        Service::Upload => {
            let permit = inner.admit_fetch().ok_or(BUSY)?;
            if let Some(protocol) = service.protocol(protocol) {
                process.env("GIT_PROTOCOL", protocol);
            }
            transport::fetch(process, chunks, permit)
        }
        Service::Receive => {
            let permit = inner.admit_push().ok_or(BUSY)?;
            let opened = inner.sessions.open(repository, person.clone());
            transport::push(inner, process, chunks, opened, permit)
        }
    };
    let running = running.map_err(|error| {
        tracing::warn!(%error, "git could not serve a request");
        "git failed on this server; its log says why".to_owned()
    })?;
    Ok(Served { running, input })
}

/// Until git has ended or the client is gone. Dropping git's output tells git that nobody reads.
pub async fn carry(channel: Channel<Msg>, running: Running, input: mpsc::Sender<Bytes>, work: Work) {
    let (mut reading, writing) = channel.split();
    let sent = tokio::select! {
        sent = write(&writing, running, &work) => sent,
        () = read(&mut reading, input, &work) => return,
    };
    // Whoever sends on is not to be waited for.
    drop(reading);
    if let Err(error) = sent {
        tracing::debug!(%error, "an SSH client went away");
    }
}

/// From the client to git. Returns when the client has closed the channel, or is gone.
async fn read(reading: &mut ChannelReadHalf, input: mpsc::Sender<Bytes>, work: &Work) {
    let mut input = Some(input);
    while let Some(message) = reading.wait().await {
        work.progress.touch();
        match message {
            ChannelMsg::Data { data } => {
                // Git may have ended its input before the client did; the rest is of no use to anybody.
                if let Some(open) = &input
                    && open.send(data).await.is_err()
                {
                    input = None;
                }
            }
            ChannelMsg::Eof => input = None,
            ChannelMsg::Close => return,
            _ => {}
        }
    }
}

/// From git to the client, then the exit code. Git's client waits for all of it.
async fn write(writing: &ChannelWriteHalf<Msg>, mut running: Running, work: &Work) -> Result<(), russh::Error> {
    while let Some(Ok(chunk)) = running.output.recv().await {
        work.progress.touch();
        writing.data_bytes(chunk).await?;
        work.progress.touch();
    }
    let code = running.exit.await.ok().flatten();
    writing.eof().await?;
    writing.exit_status(code.map_or(1, |code| u32::try_from(code).unwrap_or(1))).await?;
    writing.close().await
}
