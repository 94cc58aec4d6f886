//! Go's text/template: parsed once to a compiled tree, run over values with Go's kinds.
//!
//! [`parse`] makes templates of a text, a [`Library`] holds them with the functions that they may call, and an [`Exec`]
//! runs them. A run is bounded in steps, depth and bytes; it reads nothing but its arguments.

mod ast;
mod builtin;
mod exec;
mod fault;
mod format;
mod frozen;
mod lex;
mod literal;
mod parse;
mod value;

pub use ast::Template;
pub use builtin::{escape_html, escape_js, escape_query};
pub use exec::{Call, Exec, Function, Library, Limits, Run};
pub use fault::Fault;
pub use format::{float, print, print_all, printf, quoted};
pub use frozen::{Frozen, Pairs};
pub use literal::integer;
pub use parse::{Parsed, parse};
pub use value::{Entries, List, Map, Object, Of, Text, Value, from_bytes, is_binary, text_of, to_bytes};
