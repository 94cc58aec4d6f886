//! HTTP/1.1 as a proxy needs it: heads are read strictly, and written anew from what was understood.
//!
//! Ours instead of a library's, for two reasons. What cannot be read in exactly one way is refused here, so that no
//! endpoint can read it in another (request smuggling). And a request costs one read and one write on each side, which
//! is what makes a proxy fast.

mod body;
mod emit;
mod fields;
#[cfg(test)]
mod properties;
mod request;
mod response;

pub use body::Body;
pub use emit::{Ending, Say, forward, interim, respond, say, switch};
pub use fields::{Field, HEAD_BYTES_MAX, Scan};
pub use request::{Method, Request, parse as parse_request};
pub use response::{Response, parse as parse_response};

/// Why a head or a body is not passed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refusal {
    /// 400, 405, 417, 431 or 505.
    pub status: u16,
    /// For people.
    pub why: &'static str,
}

impl Refusal {
    pub(crate) const fn bad(why: &'static str) -> Self {
        Self { status: 400, why }
    }
}

/// How the end of a body is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// There is none.
    Nothing,
    /// After so many bytes.
    Length(u64),
    /// Chunks tell.
    Chunked,
    /// With the connection; only in responses.
    Close,
}
