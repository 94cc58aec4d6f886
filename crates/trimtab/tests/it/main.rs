//! The binary, as a person uses it: with simulated Pods where that is enough, so that most of it needs no root.

mod bad_input;
mod containers;
mod crashes;
mod harness;
mod kubernetes;
mod planes;
