//! The binary, as a person uses it: with simulated Pods where that is enough, so that most of it needs no root.

mod backup;
mod bad_input;
mod changes;
mod charts;
mod containers;
mod crashes;
mod full_disk;
mod harness;
mod kills;
mod kubernetes;
mod own;
mod people;
mod planes;
mod policies;
mod recreate;
mod rollouts;
mod settings;
mod survival;
mod transcripts;
mod upgrade;
