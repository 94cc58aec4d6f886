//! The git plane with a real git client over HTTP.

mod crash;
mod ports;
mod push;
mod support;
