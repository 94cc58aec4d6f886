//! Lists.

use super::text::{position, texts};
use super::types::{deep_equal, is_empty, text};
use super::{Result, fail, table};
use std::rc::Rc;
use template::{Call, Function, List, Of, Value};

pub(super) const FUNCTIONS: &[Function] = table! {
    "list" "a*" |call| Ok(Value::list(std::mem::take(&mut call.args)));
    "tuple" "a*" |call| Ok(Value::list(std::mem::take(&mut call.args)));
    "append" "aa" push;
    "push" "aa" push;
    "mustAppend" "aa" push;
    "mustPush" "aa" push;
    "prepend" "aa" prepend;
    "mustPrepend" "aa" prepend;
    "first" "a" |call| Ok(items(&call.args[0], "find first on type")?.first().cloned().unwrap_or(Value::Nil));
    "mustFirst" "a" |call| Ok(items(&call.args[0], "find first on type")?.first().cloned().unwrap_or(Value::Nil));
    "last" "a" |call| Ok(items(&call.args[0], "find last on type")?.last().cloned().unwrap_or(Value::Nil));
    "mustLast" "a" |call| Ok(items(&call.args[0], "find last on type")?.last().cloned().unwrap_or(Value::Nil));
    "rest" "a" |call| Ok(Value::list(items(&call.args[0], "find rest on type")?.iter().skip(1).cloned().collect()));
    "mustRest" "a" |call| Ok(Value::list(items(&call.args[0], "find rest on type")?.iter().skip(1).cloned().collect()));
    "initial" "a" initial;
    "mustInitial" "a" initial;
    "reverse" "a" |call| Ok(Value::list(items(&call.args[0], "find reverse on type")?.iter().rev().cloned().collect()));
    "mustReverse" "a" |call| Ok(Value::list(items(&call.args[0], "find reverse on type")?.iter().rev().cloned().collect()));
    "compact" "a" |call| kept(call, "compact on type", |value, _| !is_empty(value));
    "mustCompact" "a" |call| kept(call, "compact on type", |value, _| !is_empty(value));
    "uniq" "a" |call| kept(call, "find uniq on type", |value, before| !is_in(before, value));
    "mustUniq" "a" |call| kept(call, "find uniq on type", |value, before| !is_in(before, value));
    "without" "aa*" without;
    "mustWithout" "aa*" without;
    "has" "aa" has;
    "mustHas" "aa" has;
    "slice" "aa*" slice;
    "mustSlice" "aa*" slice;
    "concat" "a*" concat;
    "chunk" "ia" chunk;
    "mustChunk" "ia" chunk;
    "sortAlpha" "a" |call| Ok(match &call.args[0] {
        list @ Value::List(_) => {
            let mut texts = texts(list);
            texts.sort();
            Value::texts(texts)
        }
        other => Value::texts([text(other)]),
    });
};

/// The elements of a list.
fn items(value: &Value, what: &str) -> Result<Rc<Vec<Value>>> {
    match value {
        Value::List(list) => Ok(Rc::clone(&list.items)),
        Value::Bytes(bytes) => Ok(Rc::new(bytes.iter().map(|byte| Value::Byte(*byte)).collect())),
        Value::Missing | Value::Nil => fail("runtime error: invalid memory address or nil pointer dereference"),
        Value::Object(object) if object.kind() == "slice" => items(&object.plain(), what),
        other => fail(format!("Cannot {what} {}", other.kind())),
    }
}

fn is_in(list: &[Value], needle: &Value) -> bool {
    list.iter().any(|item| deep_equal(needle, item))
}

fn push(call: &mut Call<'_, '_>) -> Result {
    let mut list = items(&call.args[0], "push on type")?.to_vec();
    call.exec.account(list.len() * 24)?;
    list.push(call.take(1));
    Ok(Value::list(list))
}

fn prepend(call: &mut Call<'_, '_>) -> Result {
    let rest = items(&call.args[0], "prepend on type")?;
    call.exec.account(rest.len() * 24)?;
    let mut list = vec![call.take(1)];
    list.extend(rest.iter().cloned());
    Ok(Value::list(list))
}

fn initial(call: &mut Call<'_, '_>) -> Result {
    let all = items(&call.args[0], "find initial on type")?;
    Ok(Value::list(all[..all.len().saturating_sub(1)].to_vec()))
}

fn kept(call: &Call<'_, '_>, what: &str, keep: impl Fn(&Value, &[Value]) -> bool) -> Result {
    let mut list = Vec::new();
    for item in items(&call.args[0], what)?.iter() {
        if keep(item, &list) {
            list.push(item.clone());
        }
    }
    Ok(Value::list(list))
}

fn without(call: &mut Call<'_, '_>) -> Result {
    let all = items(&call.args[0], "find without on type")?;
    Ok(Value::list(all.iter().filter(|item| !is_in(&call.args[1..], item)).cloned().collect()))
}

fn has(call: &mut Call<'_, '_>) -> Result {
    if call.args[1].is_nil() {
        return Ok(Value::Bool(false));
    }
    Ok(Value::Bool(is_in(&items(&call.args[1], "find has on type")?, &call.args[0])))
}

fn slice(call: &mut Call<'_, '_>) -> Result {
    let Value::List(list) = &call.args[0] else {
        return fail(format!("list should be type of slice or array but {}", call.args[0].kind()));
    };
    if list.items.is_empty() {
        return Ok(Value::Nil);
    }
    let from = call.args.get(1).map_or(Ok(0), position)?;
    let to = call.args.get(2).map_or(Ok(list.items.len()), position)?;
    match list.items.get(from..to) {
        Some(part) => Ok(Value::List(List { items: Rc::new(part.to_vec()), of: list.of })),
        None => fail("reflect.Value.Slice: slice index out of bounds"),
    }
}

fn concat(call: &mut Call<'_, '_>) -> Result {
    let mut all = Vec::new();
    for list in &call.args {
        let Value::List(_) = list else {
            return match list {
                Value::Missing | Value::Nil => fail("runtime error: invalid memory address or nil pointer dereference"),
                other => fail(format!("Cannot concat type {} as list", other.kind())),
            };
        };
        all.extend(items(list, "concat type")?.iter().cloned());
    }
    call.exec.account(all.len() * 24)?;
    Ok(Value::list(all))
}

fn chunk(call: &mut Call<'_, '_>) -> Result {
    let all = items(&call.args[1], "chunk type")?;
    let size = usize::try_from(call.int(0)).unwrap_or(0);
    if size == 0 {
        return fail("runtime error: integer divide by zero");
    }
    let chunks = all.chunks(size).map(|chunk| Value::list(chunk.to_vec())).collect();
    Ok(Value::List(List { items: Rc::new(chunks), of: Of::Lists }))
}
