//! Functions that call templates, and what they know of the run.

use super::{Result, fail, find, host, table};
use crate::helm::chart::Texts;
use jiff::Timestamp;
use regex::Regex;
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use template::{Call, Entries, Fault, Function, Text, Value};

pub(super) const FUNCTIONS: &[Function] = table! {
    "include" "sa" include;
    "tpl" "sa" tpl;
    "required" "sa" |call| match &call.args[1] {
        Value::Missing | Value::Nil => fail(format!("{WARNING_START}{}{WARNING_END}", call.str(0))),
        Value::Text(text) if text.is_empty() => fail(format!("{WARNING_START}{}{WARNING_END}", call.str(0))),
        _ => Ok(call.take(1)),
    };
    "fail" "s" |call| fail(format!("{WARNING_START}{}{WARNING_END}", call.str(0)));
    "lookup" "ssss" |call| match &host(call).lookup {
        None => Ok(Value::map(Entries::new())),
        Some(lookup) => match lookup(call.str(0), call.str(1), call.str(2), call.str(3)) {
            Ok(json) => Ok(super::value_of(&json)),
            Err(error) => fail(error),
        },
    };
    "getHostByName" "s" |_| Ok("".into());
};

/// What stands around the words of `fail` and `required` on their way out.
pub(in crate::helm) const WARNING_START: &str = "HELM_ERR_START";
/// Its end.
pub(in crate::helm) const WARNING_END: &str = "HELM_ERR_END";
/// A template that is included inside of itself this often includes itself without end.
const INCLUDES_MAX: u32 = 1000;

/// What a run knows of the world.
pub(in crate::helm) struct Host {
    /// What randomness follows from.
    pub seed: [u8; 32],
    /// Calls of random functions so far, by kind and template.
    pub draws: RefCell<HashMap<String, u64>>,
    /// The time.
    pub now: Timestamp,
    /// Patterns that were compiled.
    pub patterns: RefCell<HashMap<Text, Rc<Regex>>>,
    /// How often templates are being included.
    pub includes: RefCell<HashMap<Text, u32>>,
    /// Texts that were parsed, in this render or an earlier one.
    pub texts: Arc<Texts>,
    /// The cluster, if one is asked.
    pub lookup: Option<crate::helm::Lookup>,
}

fn include(call: &mut Call<'_, '_>) -> Result {
    let name = call.text(0);
    let count = {
        let mut includes = host(call).includes.borrow_mut();
        let count = includes.entry(Text::clone(&name)).or_insert(0);
        *count += 1;
        *count
    };
    if count > INCLUDES_MAX + 1 {
        let message = format!("rendering template has a nested reference name: {name}: unable to execute template");
        return Err(Fault::plain(message));
    }
    let data = call.take(1);
    let result = call.exec.run(&name, data);
    if let Some(count) = host(call).includes.borrow_mut().get_mut(&name) {
        *count -= 1;
    }
    result.map(Value::from)
}

fn tpl(call: &mut Call<'_, '_>) -> Result {
    let text = call.text(0);
    if !text.contains("{{") {
        return Ok(if text.contains(NO_VALUE) { text.replace(NO_VALUE, "").into() } else { Value::Text(text) });
    }
    let quoted = || template::quoted(&text);
    let parsed = host(call).texts.parsed(&text, &|text: &Text| template::parse("gotpl", text, &find));
    let parsed = match parsed {
        Ok(parsed) => parsed,
        Err(error) => return fail(format!("cannot parse template {}: {error}", quoted())),
    };
    let data = call.take(1);
    match call.exec.run_parsed(&parsed, data) {
        Ok(written) if written.contains(NO_VALUE) => Ok(written.replace(NO_VALUE, "").into()),
        Ok(written) => Ok(written.into()),
        Err(fault) if fault.is_limit() => Err(fault),
        Err(fault) => fail(format!("error during tpl function execution for {}: {}", quoted(), fault.text())),
    }
}

/// What the engine writes for nothing; Helm takes it out again.
pub(in crate::helm) const NO_VALUE: &str = "<no value>";
