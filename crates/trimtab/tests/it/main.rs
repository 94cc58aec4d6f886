//! The binary, as a person uses it, with simulated Pods: no root needed.

mod bad_input;
mod crashes;
mod harness;
