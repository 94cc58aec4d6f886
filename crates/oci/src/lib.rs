//! Images: a content-addressed store on disk, its layers unpacked for overlayfs, and the registry protocol in both directions.
//!
//! ```text
//!  <root>/blobs/sha256/<hex>    manifests, configurations, layers as they travel
//!  <root>/refs/<name>.json      the tags and manifests of a repository; `/` in its name is written `+`
//!  <root>/layers/<diff id>/fs   a layer unpacked once, with overlayfs' whiteouts, shared by all containers that use it
//!  <root>/temporary/            what is being written; emptied on open
//! ```
//!
//! Nothing from outside is believed: a blob has its name only after its content was hashed, a layer is unpacked inside its own
//! directory whatever its names and links say, and every size has a limit ([`Limits`]).

mod archive;
mod artifact;
mod client;
mod digest;
mod error;
mod gc;
mod image;
mod layer;
mod reference;
mod refs;
pub mod registry;
mod store;
mod transfer;
mod types;

pub use archive::Imported;
pub use artifact::Artifact;
pub use client::Credentials;
pub use digest::Digest;
pub use error::{Error, Result};
pub use gc::Swept;
pub use image::{Image, Layer};
pub use layer::CommitOptions;
pub use reference::{Reference, ReferenceError};
pub use store::{BlobWriter, FAILPOINTS, Lease, Limits, Store};
pub use transfer::{Closure, Named};
pub use types::{Descriptor, ImageConfig, Manifest, Platform, RunConfig, media_type};
