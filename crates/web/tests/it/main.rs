//! The pages through the router, with a delivery made of values.

mod browser;
mod cdp;
mod fake;
mod pages;
mod rights;
mod security;
