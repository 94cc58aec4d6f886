//! The tests of this crate from outside, in one binary.

mod client;
mod collect;
mod damage;
mod full_disk;
mod golden;
mod kill;
mod kubectl;
mod rights;
mod support;
mod surface;
mod watch;
