//! The embedded Kubernetes API: one engine over JSON values and the published schemas.
//!
//! ```text
//! listener ─▶ server ─▶ call ─▶ read · watch · write · patch · delete ─▶ store ─▶ redb
//!   (TLS)    (identity)  (rights,     │                                    │
//!                         resource)   └▶ strategy (tables per kind)        └▶ gc (owners, namespaces)
//! ```
//!
//! There is no handler, route or struct per kind: a built-in kind is a row in [`builtin`], a schema
//! in `object`, and rows in the tables of `strategy`; a custom one comes from its definition.
//! Objects are kept as the JSON that is sent, so getting and listing parse nothing.

mod addresses;
mod admission;
mod body;
mod builtin;
mod call;
mod clock;
mod crd;
mod decode;
mod delete;
mod discovery;
mod door;
mod escalation;
mod expiry;
mod gc;
mod jsonpath;
mod patch;
mod rbac;
mod read;
mod reply;
mod request;
mod resource;
mod review;
mod serve;
mod server;
mod status;
mod store;
mod strategy;
mod subresource;
mod table;
mod watch;
mod write;

pub use addresses::Network;
pub use admission::{Admission, AdmissionRequest, Operation};
pub use door::{Ending, let_in};
pub use reply::{Body, BodyError};
pub use serve::Authenticator;
pub use server::{ApiServer, Config, Error, Identity, InProcess};
pub use store::{Dump, FAILPOINTS, Restore, StoreError};

/// The version of Kubernetes whose API this is.
pub const KUBERNETES_VERSION: &str = object::schema::KUBERNETES_VERSION;
