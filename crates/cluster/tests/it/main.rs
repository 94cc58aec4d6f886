//! The ports against an API server.

mod data_plane;
mod harness;
mod logs;
mod records;
