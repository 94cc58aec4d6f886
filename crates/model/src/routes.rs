//! What the gateway is told.

use serde::{Deserialize, Serialize};
use std::net::SocketAddr;

/// All routes. Each publication replaces the one before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RouteTable {
    /// By host.
    pub routes: Vec<Route>,
}

/// One host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Route {
    /// `hello.dev.hello.localhost`, lower case, without port.
    pub host: String,
    /// What people see when no endpoint is ready: "hello in dev: Progressing".
    pub label: String,
    /// Where requests go, by weight.
    pub backends: Vec<Backend>,
}

/// One set of equal endpoints.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Backend {
    /// For measures: `stable`, `canary`.
    pub name: String,
    /// Share of the requests, relative to the other backends of the route.
    pub weight: u32,
    /// Ready addresses only.
    pub endpoints: Vec<SocketAddr>,
}
