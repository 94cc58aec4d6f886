//! The functions of Go's engine itself.

use crate::exec::{Call, Function};
use crate::fault::Fault;
use crate::format::{print, print_all, printf};
use crate::value::{List, Of, Value, from_bytes, to_bytes};
use std::cmp::Ordering;
use std::fmt::Write;
use std::rc::Rc;
use std::sync::Arc;

/// `and` and `or`, at the beginning of the table, look at their arguments one by one.
pub(crate) const SHORT_CIRCUITS: usize = 2;
/// Index of `or`.
pub(crate) const OR: usize = 1;

type Result = std::result::Result<Value, Fault>;

macro_rules! table {
    ($($name:literal $takes:literal $run:expr;)*) => { &[$(Function { name: $name, takes: $takes, run: $run }),*] };
}

/// All functions that are built in.
pub(crate) const FUNCTIONS: &[Function] = table! {
    "and" "vv*" |call| Ok(call.take(0));
    "or" "vv*" |call| Ok(call.take(0));
    "not" "v" |call| Ok(Value::Bool(!call.args[0].truth()));
    "eq" "vv*" |call| eq(&call.args).map(Value::Bool);
    "ne" "vv" |call| eq(&call.args).map(|equal| Value::Bool(!equal));
    "lt" "vv" |call| Ok(Value::Bool(order(&call.args[0], &call.args[1])?.is_lt()));
    "le" "vv" |call| Ok(Value::Bool(order(&call.args[0], &call.args[1])?.is_le()));
    "gt" "vv" |call| Ok(Value::Bool(!order(&call.args[0], &call.args[1])?.is_le()));
    "ge" "vv" |call| Ok(Value::Bool(!order(&call.args[0], &call.args[1])?.is_lt()));
    "len" "v" length;
    "index" "vv*" index;
    "slice" "vv*" slice;
    "print" "a*" |call| Ok(print_all(&call.args, false).into());
    "println" "a*" |call| Ok(print_all(&call.args, true).into());
    "printf" "sa*" |call| Ok(printf(call.str(0), &call.args[1..]).into());
    "html" "a*" |call| Ok(escape_html(&joined(&call.args)).into());
    "js" "a*" |call| Ok(escape_js(&joined(&call.args)).into());
    "urlquery" "a*" |call| Ok(escape_query(&joined(&call.args)).into());
    "call" "vv*" |call| match &call.args[0] {
        Value::Missing | Value::Nil => Err(Fault::plain("call of nil")),
        other => Err(Fault::plain(format!("non-function of type {}", other.type_name()))),
    };
};

fn joined(args: &[Value]) -> String {
    match args {
        [Value::Text(text)] => text.to_string(),
        args => print_all(args, false),
    }
}

#[derive(PartialEq)]
enum Basic<'v> {
    None,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(&'v str),
}

fn basic(value: &Value) -> Basic<'_> {
    match value {
        Value::Bool(flag) => Basic::Bool(*flag),
        Value::Int(number) | Value::Int64(number) => Basic::Int(*number),
        Value::Byte(byte) => Basic::Int(i64::from(*byte)),
        Value::Float(number) => Basic::Float(*number),
        Value::Text(text) => Basic::Text(text),
        _ => Basic::None,
    }
}

fn incompatible(a: &Value, b: &Value) -> Fault {
    Fault::plain(format!("incompatible types for comparison: {} and {}", a.type_name(), b.type_name()))
}

fn eq(args: &[Value]) -> std::result::Result<bool, Fault> {
    let [first, others @ ..] = args else { return Err(Fault::plain("missing argument for comparison")) };
    if others.is_empty() {
        return Err(Fault::plain("missing argument for comparison"));
    }
    for other in others {
        let (a, b) = (basic(first), basic(other));
        let equal = if std::mem::discriminant(&a) != std::mem::discriminant(&b) {
            if !first.is_nil() && !other.is_nil() {
                return Err(incompatible(first, other));
            }
            false
        } else if a == Basic::None {
            match (first.is_nil(), other.is_nil()) {
                (false, false) => {
                    let (text, kind) = (print(other), other.type_name());
                    return Err(Fault::plain(format!("non-comparable type {text}: {kind}")));
                }
                (a, b) => a == b,
            }
        } else {
            a == b
        };
        if equal {
            return Ok(true);
        }
    }
    Ok(false)
}

fn order(a: &Value, b: &Value) -> std::result::Result<Ordering, Fault> {
    let refused = || Fault::plain("invalid type for comparison");
    match (basic(a), basic(b)) {
        (Basic::None, _) | (_, Basic::None) | (Basic::Bool(_), Basic::Bool(_)) => Err(refused()),
        (Basic::Int(a), Basic::Int(b)) => Ok(a.cmp(&b)),
        (Basic::Float(a), Basic::Float(b)) => Ok(a.partial_cmp(&b).unwrap_or(Ordering::Greater)),
        (Basic::Text(a), Basic::Text(b)) => Ok(a.cmp(b)),
        _ => Err(incompatible(a, b)),
    }
}

fn length(call: &mut Call<'_, '_>) -> Result {
    let value = &call.args[0];
    match value.length() {
        Some(length) => Ok(Value::Int(i64::try_from(length).unwrap_or(i64::MAX))),
        None if value.is_nil() => Err(Fault::plain("len of nil pointer")),
        None => Err(Fault::plain(format!("len of type {}", value.type_name()))),
    }
}

fn position(index: &Value, length: usize) -> std::result::Result<usize, Fault> {
    let number = match index {
        Value::Int(number) | Value::Int64(number) => *number,
        Value::Byte(byte) => i64::from(*byte),
        Value::Missing | Value::Nil => return Err(Fault::plain("cannot index slice/array with nil")),
        other => return Err(Fault::plain(format!("cannot index slice/array with type {}", other.type_name()))),
    };
    match usize::try_from(number) {
        Ok(position) if position <= length => Ok(position),
        _ => Err(Fault::plain(format!("index out of range: {number}"))),
    }
}

fn index(call: &mut Call<'_, '_>) -> Result {
    let mut item = call.take(0);
    if item.is_nil() {
        return Err(Fault::plain("index of untyped nil"));
    }
    for key in &call.args[1..] {
        let at = |length: usize| {
            let position = position(key, length)?;
            if position == length {
                let message = format!("reflect: slice index out of range: {position}");
                return Err(Fault::plain(message.replace(&format!(": {position}"), "")));
            }
            Ok(position)
        };
        if let Value::Object(object) = &item
            && !matches!(object.kind(), "struct" | "ptr")
        {
            let plain = object.plain();
            item = plain;
        }
        item = match &item {
            Value::Missing | Value::Nil => return Err(Fault::plain("index of nil pointer")),
            Value::List(list) => list.items[at(list.items.len())?].clone(),
            Value::Bytes(bytes) => Value::Byte(bytes[at(bytes.len())?]),
            Value::Text(text) => {
                let bytes = to_bytes(text);
                Value::Byte(bytes[at(bytes.len())?])
            }
            Value::Map(map) => match key {
                Value::Text(key) => map.get(key).unwrap_or_else(|| map.zero()),
                Value::Missing | Value::Nil => return Err(Fault::plain("value is nil; should be of type string")),
                other => {
                    let message = format!("value has type {}; should be string", other.type_name());
                    return Err(Fault::plain(message));
                }
            },
            other => return Err(Fault::plain(format!("can't index item of type {}", other.type_name()))),
        };
    }
    Ok(item)
}

fn slice(call: &mut Call<'_, '_>) -> Result {
    let item = call.take(0);
    let keys = &call.args[1..];
    let length = match &item {
        Value::Missing | Value::Nil => return Err(Fault::plain("slice of untyped nil")),
        Value::Text(_) if keys.len() == 3 => return Err(Fault::plain("cannot 3-index slice a string")),
        Value::Text(_) | Value::List(_) | Value::Bytes(_) => item.length().unwrap_or(0),
        other => return Err(Fault::plain(format!("can't slice item of type {}", other.type_name()))),
    };
    if keys.len() > 3 {
        return Err(Fault::plain(format!("too many slice indexes: {}", keys.len())));
    }
    let mut bounds = [0, length, length];
    for (bound, key) in bounds.iter_mut().zip(keys) {
        *bound = position(key, length)?;
    }
    let [from, to, most] = bounds;
    for (a, b) in [(from, to), (to, most)] {
        if a > b {
            return Err(Fault::plain(format!("invalid slice index: {a} > {b}")));
        }
    }
    Ok(match item {
        Value::Text(text) => Value::text(from_bytes(&to_bytes(&text)[from..to])),
        Value::Bytes(bytes) => Value::Bytes(Arc::from(&bytes[from..to])),
        Value::List(list) => Value::List(List { items: Rc::new(list.items[from..to].to_vec()), of: list.of }),
        _ => Value::List(List { items: Rc::default(), of: Of::Any }),
    })
}

/// As `html` escapes.
pub fn escape_html(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\0' => out.push('\u{fffd}'),
            '"' => out.push_str("&#34;"),
            '\'' => out.push_str("&#39;"),
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            other => out.push(other),
        }
    }
    out
}

/// As `js` escapes.
pub fn escape_js(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\\' => out.push_str("\\\\"),
            '\'' => out.push_str("\\'"),
            '"' => out.push_str("\\\""),
            '<' | '>' | '&' | '=' | '\0'..='\x1f' => {
                _ = write!(out, "\\u{:04X}", u32::from(character));
            }
            other if other.is_control() => {
                _ = write!(out, "\\u{:04X}", u32::from(other));
            }
            other => out.push(other),
        }
    }
    out
}

/// As `urlquery` escapes.
pub fn escape_query(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in to_bytes(text).iter() {
        match byte {
            b' ' => out.push('+'),
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(char::from(*byte)),
            other => {
                _ = write!(out, "%{other:02X}");
            }
        }
    }
    out
}
