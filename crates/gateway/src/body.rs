//! Bodies on their way through.

use crate::pool::{Pool, Sender};
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;
use hyper::body::Incoming;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::{Instant, Sleep};

/// A body that stands still for this long is cut off: its other end is gone.
const IDLE_TIMEOUT: Duration = Duration::from_secs(600);

type Error = Box<dyn std::error::Error + Send + Sync>;

/// A body that may not stand still.
pub struct Moving {
    body: Incoming,
    deadline: Pin<Box<Sleep>>,
}

impl Moving {
    pub fn new(body: Incoming) -> Self {
        Self { body, deadline: Box::pin(tokio::time::sleep(IDLE_TIMEOUT)) }
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        match Pin::new(&mut self.body).poll_frame(context) {
            Poll::Ready(frame) => {
                self.deadline.as_mut().reset(Instant::now() + IDLE_TIMEOUT);
                Poll::Ready(frame.map(|frame| frame.map_err(Error::from)))
            }
            Poll::Pending => match self.deadline.as_mut().poll(context) {
                Poll::Ready(()) => Poll::Ready(Some(Err("the body stood still for too long".into()))),
                Poll::Pending => Poll::Pending,
            },
        }
    }
}

/// From the client to an endpoint.
pub enum Payload {
    Moving(Moving),
    Empty,
}

impl Body for Payload {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        match self.get_mut() {
            Self::Moving(moving) => moving.poll(context),
            Self::Empty => Poll::Ready(None),
        }
    }
    fn is_end_stream(&self) -> bool {
        match self {
            Self::Moving(moving) => moving.body.is_end_stream(),
            Self::Empty => true,
        }
    }
    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Moving(moving) => moving.body.size_hint(),
            Self::Empty => SizeHint::with_exact(0),
        }
    }
}

/// From an endpoint to the client, or said by the gateway itself.
pub enum Answer {
    Moving(Moving, Lease),
    Text(Full<Bytes>),
}

/// A connection that goes back to the pool when the body on it has been read to its end.
pub struct Lease {
    pub sender: Option<Sender>,
    pub endpoint: SocketAddr,
    pub pool: Arc<Pool>,
}

impl Lease {
    pub fn give_back(&mut self) {
        if let Some(sender) = self.sender.take() {
            self.pool.put(self.endpoint, sender);
        }
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        match self.get_mut() {
            Self::Moving(moving, lease) => {
                let frame = moving.poll(context);
                match &frame {
                    Poll::Ready(Some(Err(_))) => lease.sender = None,
                    Poll::Ready(None) => lease.give_back(),
                    Poll::Ready(Some(Ok(_))) if moving.body.is_end_stream() => lease.give_back(),
                    _ => {}
                }
                frame
            }
            Self::Text(text) => Pin::new(text).poll_frame(context).map_err(|never| match never {}),
        }
    }
    fn is_end_stream(&self) -> bool {
        match self {
            Self::Moving(moving, _) => moving.body.is_end_stream(),
            Self::Text(text) => text.is_end_stream(),
        }
    }
    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Moving(moving, _) => moving.body.size_hint(),
            Self::Text(text) => text.size_hint(),
        }
    }
}
