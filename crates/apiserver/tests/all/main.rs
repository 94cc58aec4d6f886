//! The tests of this crate from outside, in one binary.

mod client;
mod collect;
mod damage;
mod golden;
mod kill;
mod kubectl;
mod rights;
mod support;
mod surface;
mod watch;
