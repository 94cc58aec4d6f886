//! The controllers against an API server, with a kubelet that starts nothing and says that it did.

mod deployments;
mod harness;
mod jobs;
mod pods;
mod refusals;
mod services;
