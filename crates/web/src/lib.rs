//! The HTTP API that the CLI speaks, under `/api/v1`.
//!
//! Every verb that changes something ends in a commit or a Promotion; nothing here holds state. Requests
//! carry a bearer token; who it belongs to is decided by [`People`] and travels on as the actor.

mod api;
mod service;

pub use api::router;
pub use service::{Delivery, Error, Init, InitDone, LogRequest, People, Promote, Result, Rollback, Text, Updates};
