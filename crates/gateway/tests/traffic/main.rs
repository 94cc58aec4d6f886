//! The gateway as a process, with real clients and endpoints on loopback.

mod process;
mod proxy;
mod raw;
mod rollouts;
mod support;
