//! The pages through the router, with a delivery made of values.

mod browser;
mod cdp;
mod fake;
mod fake_changes;
mod pages;
mod rights;
mod security;
