//! What templates may call: Helm's functions and Sprig's.

mod certificate;
mod collection;
mod crypto;
mod data;
mod date;
mod der;
mod draft;
mod engine;
mod json;
mod keys;
mod list;
mod merge;
mod number;
mod path;
mod pattern;
mod random;
mod text;
mod toml;
mod types;
mod url;
mod version;

pub(super) use data::{Go, json_of, to_yaml, value_of};
pub(super) use engine::{Host, NO_VALUE, WARNING_END, WARNING_START};
pub(super) use version::{Constraint, Version};

use std::collections::HashMap;
use std::sync::LazyLock;
use template::{Call, Exec, Fault, Function, Value};

type Result<T = Value> = std::result::Result<T, Fault>;

/// Lines of a table of functions: name, parameters, what it does.
macro_rules! table {
    ($($name:literal $takes:literal $run:expr;)*) => {
        &[$(template::Function { name: $name, takes: $takes, run: $run }),*]
    };
}
use table;

const TABLES: &[&[Function]] = &[
    certificate::FUNCTIONS,
    collection::FUNCTIONS,
    crypto::FUNCTIONS,
    data::FUNCTIONS,
    date::FUNCTIONS,
    engine::FUNCTIONS,
    list::FUNCTIONS,
    number::FUNCTIONS,
    path::FUNCTIONS,
    pattern::FUNCTIONS,
    random::FUNCTIONS,
    text::FUNCTIONS,
    types::FUNCTIONS,
    url::FUNCTIONS,
    version::FUNCTIONS,
];

static ALL: LazyLock<(Vec<Function>, HashMap<&'static str, usize>)> = LazyLock::new(|| {
    let functions: Vec<Function> = TABLES.iter().flat_map(|table| table.iter().copied()).collect();
    let index = Exec::functions(&functions);
    (functions, index)
});

/// All functions beside those of the engine.
pub(super) fn all() -> &'static [Function] {
    &ALL.0
}

/// Index of a function, for the parser.
pub(super) fn find(name: &str) -> Option<usize> {
    ALL.1.get(name).copied()
}

/// What a run knows of the world.
fn host<'c>(call: &'c Call<'_, '_>) -> &'c Host {
    call.exec.host.downcast_ref::<Host>().expect("templates run with a host")
}

fn fail<T>(message: impl Into<String>) -> Result<T> {
    Err(Fault::plain(message))
}
