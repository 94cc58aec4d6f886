//! The git plane with a real git client over HTTP and SSH.

mod crash;
mod ports;
mod push;
mod remote;
mod ssh;
mod support;
