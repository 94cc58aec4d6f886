//! The HTTP API that the CLI speaks, under `/api/v1`, and the pages that people look at.
//!
//! Every verb that changes something ends in a commit or a Promotion; nothing here holds state but who is signed in.
//! Requests to the API carry a bearer token; who it belongs to is decided by [`People`], what
//! they may do by [`model::people::allowed`]; their name travels on as the actor.
//! People in a browser come by a one-time link and stay by a session ([`Sessions`]).

mod api;
mod calls;
mod consent;
mod course;
mod people;
mod policies;
mod reviews;
mod service;
mod sessions;
mod settings;
mod ui;

pub use calls::{Calls, calls_router};
pub use policies::{AddPolicies, Policies, TestPolicies, policies_router};
pub use reviews::Reviews;
pub use service::{
    AddDataPlane, AddKey, AddUser, Backup, Certify, Changes, DataPlaneAdded, Delivery, Error, Init, InitDone, KeyView,
    LogRequest, MadeToken, NewRelease, NewToken, NewWindow, People, Promote, Reason, Result, Rollback, Text, TokenView,
    Updates, UserView,
};
pub use sessions::Sessions;
pub use settings::{RemoveSecret, SetConfig, SetSecret, Settings, settings_router};

use axum::Router;
use std::sync::Arc;

/// The API, each route behind a bearer token, and the pages, each behind a session.
pub fn router(delivery: Arc<dyn Delivery>, people: Arc<dyn People>, sessions: Arc<Sessions>) -> Router {
    api::router(delivery.clone(), people.clone(), sessions.clone()).merge(ui::router(delivery, people, sessions))
}
