//! The gateway as a process, with real clients and endpoints on loopback.

mod handover;
mod process;
mod proxy;
mod raw;
mod rollouts;
mod support;
