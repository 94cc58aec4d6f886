//! Maps.

use super::merge::merge;
use super::types::text;
use super::{Result, fail, table};
use template::{Call, Entries, Function, Value};

pub(super) const FUNCTIONS: &[Function] = table! {
    "dict" "a*" dict;
    "get" "ms" |call| Ok(call.map(0).get(call.str(1)).unwrap_or_else(|| "".into()));
    "set" "msa" |call| {
        let (map, key, value) = (call.map(0), call.text(1), call.take(2));
        call.exec.account(64 + key.len())?;
        map.set(key, value);
        Ok(plain_map(map))
    };
    "unset" "ms" |call| {
        let map = call.map(0);
        map.entries_mut().remove(call.str(1));
        Ok(plain_map(map))
    };
    "hasKey" "ms" |call| Ok(Value::Bool(call.map(0).entries().contains_key(call.str(1))));
    "pluck" "sm*" |call| {
        let key = call.text(0);
        Ok(Value::list((1..call.args.len()).filter_map(|at| call.map(at).get(&key)).collect()))
    };
    "keys" "m*" |call| {
        let maps = (0..call.args.len()).map(|at| call.map(at));
        Ok(Value::texts(maps.flat_map(|map| map.entries().keys().cloned().collect::<Vec<_>>())))
    };
    "values" "m" |call| Ok(Value::list(call.map(0).entries().values().cloned().collect()));
    "pick" "ms*" |call| {
        let map = call.map(0);
        let keys = (1..call.args.len()).map(|at| call.text(at));
        Ok(Value::map(keys.filter_map(|key| map.get(&key).map(|value| (key, value))).collect()))
    };
    "omit" "ms*" |call| {
        let omitted: Vec<_> = (1..call.args.len()).map(|at| call.text(at)).collect();
        let mut entries = call.map(0).entries().clone();
        entries.retain(|key, _| !omitted.contains(key));
        Ok(Value::map(entries))
    };
    "dig" "a*" dig;
    "merge" "mm*" |call| merged(call, false);
    "mustMerge" "mm*" |call| merged(call, false);
    "mergeOverwrite" "mm*" |call| merged(call, true);
    "mustMergeOverwrite" "mm*" |call| merged(call, true);
};

/// The parameter's type is a map without a name of its own.
fn plain_map(map: template::Map) -> Value {
    Value::Map(map.typed(template::Of::Any))
}

fn dict(call: &mut Call<'_, '_>) -> Result {
    let mut entries = Entries::new();
    let mut args = std::mem::take(&mut call.args).into_iter();
    while let Some(key) = args.next() {
        let key = match key {
            Value::Text(key) => key,
            other => text(&other).into(),
        };
        entries.insert(key, args.next().unwrap_or_else(|| "".into()));
    }
    Ok(Value::map(entries))
}

fn dig(call: &mut Call<'_, '_>) -> Result {
    let conversion = |value: &Value, wanted: &str| {
        let found = if value.is_nil() { "nil" } else { value.type_name() };
        fail(format!("interface conversion: interface {{}} is {found}, not {wanted}"))
    };
    let [keys @ .., default, map] = call.args.as_slice() else { return fail("dig needs at least three arguments") };
    if keys.is_empty() {
        return fail("dig needs at least three arguments");
    }
    let mut current = map.clone();
    for key in keys {
        let Value::Map(map) = &current else { return conversion(&current, "map[string]interface {}") };
        if map.of != template::Of::Any {
            return conversion(&current, "map[string]interface {}");
        }
        let Value::Text(key) = key else { return conversion(key, "string") };
        let Some(next) = map.get(key) else { return Ok(default.clone()) };
        current = next;
    }
    Ok(current)
}

fn merged(call: &mut Call<'_, '_>, overwrite: bool) -> Result {
    let target = call.map(0);
    for at in 1..call.args.len() {
        merge(&target, &call.map(at), overwrite, 0)?;
    }
    Ok(plain_map(target))
}
