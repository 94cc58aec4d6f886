//! A request that was handed to an endpoint: the rest of its body goes there while the answer comes back.

use crate::buffer::{fill, write};
use crate::http::{
    Body, Ending, Framing, HEAD_BYTES_MAX, Refusal, Request, Response, Scan, interim, parse_response, respond, switch,
};
use crate::patience::{Deadline, Patience};
use crate::proxy::{Buffers, Sent};
use std::future::{pending, poll_fn};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::time::Instant;

/// From the end of a request to the first byte of its answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(300);
/// A client's body that stands still for this long is cut off.
const UPLOAD_LIMIT: Duration = Duration::from_secs(60);
/// An answer that stands still for this long is cut off.
const DOWNLOAD_LIMIT: Duration = Duration::from_secs(600);
/// Of a body, read at once.
const PIECE: usize = 32 * 1024;

/// One request on one connection.
pub struct Talk<'t> {
    pub deadline: &'t Deadline,
    pub request: &'t Request,
    /// When its head had come.
    pub begun: Instant,
}

/// How it went well.
pub enum Told {
    /// The answer was passed on.
    Answered {
        /// The connection, if it can take another request.
        endpoint: Option<Sent>,
        /// The client can send another request.
        keep: bool,
    },
    /// Both ends change to another protocol.
    Switched(Sent),
}

/// How it did not. Nothing was passed on to the client, unless it is over.
pub enum Failed {
    /// The endpoint closed the connection without an answer.
    Lost,
    /// It did not answer in time.
    Silent,
    /// Its answer cannot be understood.
    Unreadable(&'static str),
    /// The client's body cannot be understood.
    Malformed(Refusal),
    /// The client has left, or must see that the answer is cut off.
    Over,
}

/// Why the client's side ended first.
enum Cut {
    Left,
    Malformed(Refusal),
}

/// What came down.
enum Down {
    Whole { persistent: bool, keep: bool },
    Switched,
}

impl Talk<'_> {
    pub async fn run(
        &self,
        patience: &mut Patience,
        reader: &mut ReadHalf<'_>,
        writer: &mut WriteHalf<'_>,
        buffers: &mut Buffers,
        body: &mut Body,
        mut sent: Sent,
    ) -> Result<Told, Failed> {
        let Buffers { input, request: out, upload: piece, answer, reply, answer_fields, .. } = buffers;
        let counters = sent.picked.counters.clone();
        let (mut from_endpoint, mut to_endpoint) = sent.stream.split();
        let (mut uploaded, mut headed) = (false, false);
        self.deadline.extend_from(self.begun, if body.is_done() { ANSWER_LIMIT } else { UPLOAD_LIMIT });
        let outcome = {
            let upload = async {
                // An endpoint that stops reading may still answer: that decides.
                if write(&mut to_endpoint, &out[sent.bytes..]).await.is_err() {
                    return pending().await;
                }
                while !body.is_done() {
                    if !matches!(fill(reader, input, PIECE).await, Ok(count) if count > 0) {
                        return Cut::Left;
                    }
                    piece.clear();
                    if let Err(refusal) = body.pump(input, piece) {
                        return Cut::Malformed(refusal);
                    }
                    if write(&mut to_endpoint, piece).await.is_err() {
                        return pending().await;
                    }
                    self.deadline.extend(if body.is_done() { ANSWER_LIMIT } else { UPLOAD_LIMIT });
                }
                uploaded = true;
                // From here on only its leaving is of interest; what else comes is the next request.
                loop {
                    if input.len() >= PIECE {
                        return pending().await;
                    }
                    if !matches!(fill(reader, input, PIECE).await, Ok(count) if count > 0) {
                        return Cut::Left;
                    }
                }
            };
            let download = async {
                answer.clear();
                let response = loop {
                    let mut scan = Scan::default();
                    let response = loop {
                        let found = parse_response(answer.data(), &mut scan, answer_fields, self.request.method);
                        if let Some(response) = found.map_err(|refusal| Failed::Unreadable(refusal.why))? {
                            break response;
                        }
                        match fill(&mut from_endpoint, answer, HEAD_BYTES_MAX).await {
                            Ok(count) if count > 0 => {}
                            _ if headed => return Err(Failed::Over),
                            _ => return Err(Failed::Lost),
                        }
                    };
                    if !response.is_interim() {
                        break response;
                    }
                    if !self.request.old && matches!(response.status, 100 | 103) {
                        reply.clear();
                        interim(answer.data(), &response, answer_fields, reply);
                        headed = true;
                        write(writer, reply).await.map_err(|_| Failed::Over)?;
                    }
                    answer.consume(response.length);
                };
                let now = Instant::now();
                counters.answered(response.status, now - self.begun);
                self.deadline.extend_from(now, DOWNLOAD_LIMIT);
                reply.clear();
                if response.status == 101 {
                    self.check_switch(answer.data(), &response)?;
                    switch(answer.data(), &response, answer_fields, reply);
                    headed = true;
                    write(writer, reply).await.map_err(|_| Failed::Over)?;
                    answer.consume(response.length);
                    return Ok(Down::Switched);
                }
                let ending = self.ending(&response);
                respond(answer.data(), &response, answer_fields, ending, reply);
                answer.consume(response.length);
                let mut left = Body::new(response.body, ending.body == Framing::Chunked);
                headed = true;
                loop {
                    if left.pump(answer, reply).is_err() {
                        return Err(Failed::Over);
                    }
                    write(writer, reply).await.map_err(|_| Failed::Over)?;
                    if left.is_done() {
                        break;
                    }
                    reply.clear();
                    self.deadline.extend(DOWNLOAD_LIMIT);
                    match fill(&mut from_endpoint, answer, PIECE).await {
                        Ok(count) if count > 0 => {}
                        Ok(_) if left.end(reply) => {
                            write(writer, reply).await.map_err(|_| Failed::Over)?;
                            break;
                        }
                        _ => return Err(Failed::Over),
                    }
                }
                Ok(Down::Whole {
                    persistent: response.persistent && response.body != Framing::Close,
                    keep: !ending.close,
                })
            };
            let (mut upload, mut download) = (pin!(upload), pin!(download));
            let both = poll_fn(|context| {
                if let Poll::Ready(down) = download.as_mut().poll(context) {
                    return Poll::Ready(Ok(down));
                }
                upload.as_mut().poll(context).map(Err)
            });
            patience.watch(self.deadline, both).await
        };
        let failed = match outcome {
            Some(Ok(Ok(Down::Whole { persistent, keep }))) => {
                // More than was asked for, or a request that was not read to its end: no use for another one.
                let clean = persistent && uploaded && answer.is_empty();
                return Ok(Told::Answered { endpoint: clean.then_some(sent), keep: keep && body.is_done() });
            }
            Some(Ok(Ok(Down::Switched))) => return Ok(Told::Switched(sent)),
            Some(Ok(Err(failed))) => failed,
            Some(Err(Cut::Left)) => return Err(Failed::Over),
            Some(Err(Cut::Malformed(_))) if headed => return Err(Failed::Over),
            Some(Err(Cut::Malformed(refusal))) => return Err(Failed::Malformed(refusal)),
            None if headed => Failed::Over,
            None if !body.is_done() => Failed::Malformed(STALLED),
            None => Failed::Silent,
        };
        counters.unanswered();
        Err(failed)
    }

    /// Only the protocol that the client asked for.
    fn check_switch(&self, head: &[u8], response: &Response) -> Result<(), Failed> {
        // What was asked stands in the request that was sent; it was refused there if there was none.
        if self.request.upgrade.is_none() {
            return Err(Failed::Unreadable("it changed the protocol unasked"));
        }
        match &response.upgrade {
            Some(protocol) if !head[protocol.clone()].is_empty() => Ok(()),
            _ => Err(Failed::Unreadable("it changed to no protocol")),
        }
    }

    fn ending(&self, response: &Response) -> Ending {
        let old = self.request.old;
        let body = match response.body {
            Framing::Chunked | Framing::Close if old => Framing::Close,
            Framing::Close => Framing::Chunked,
            other => other,
        };
        Ending { body, close: !self.request.persistent || body == Framing::Close, old }
    }
}

/// A body that stopped coming.
const STALLED: Refusal = Refusal { status: 408, why: "the body of the request did not come in time" };
