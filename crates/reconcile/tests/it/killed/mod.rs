//! Pushes as the hook sees them, and `kill -9` at every durable effect: over places that survive it.

mod cluster;
mod crashes;
mod fuse;
mod pushes;
mod repositories;
mod world;
