//! A node against the embedded API server, seen through the API as any client sees it.

mod cluster;
mod machine;
mod real;
mod services;
mod simulated;
