//! The tests of this crate from outside, in one binary.

mod client;
mod golden;
mod support;
