//! The tests of this crate from outside, in one binary.

mod client;
mod collect;
mod golden;
mod kill;
mod kubectl;
mod support;
mod watch;
