//! TOML, as Helm writes and reads it.

use template::{Entries, Value};

type Result<T> = std::result::Result<T, String>;

/// A map as TOML: plain keys first, then tables, both by name.
pub(super) fn write(value: &Value) -> Result<String> {
    let mut out = String::new();
    match plain(value) {
        Value::Map(map) => table(&mut out, &map.entries(), &mut Vec::new())?,
        Value::Missing | Value::Nil => return Err("toml: top-level values must be Go maps or structs".into()),
        _ => return Err("toml: top-level values must be Go maps or structs".into()),
    }
    Ok(out)
}

fn plain(value: &Value) -> Value {
    match value {
        Value::Object(object) => object.plain(),
        other => other.clone(),
    }
}

fn is_table_list(value: &Value) -> bool {
    match value {
        Value::List(list) => !list.items.is_empty() && list.items.iter().all(|item| matches!(item, Value::Map(_))),
        _ => false,
    }
}

fn key_text(key: &str) -> String {
    let bare = !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte));
    if bare { key.to_owned() } else { quoted(key) }
}

fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\t' => out.push_str("\\t"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\x08' => out.push_str("\\b"),
            '\x0c' => out.push_str("\\f"),
            '\0'..='\x1f' | '\x7f' => out.push_str(&format!("\\u{:04x}", u32::from(character))),
            other => out.push(other),
        }
    }
    out.push('"');
    out
}

fn table(out: &mut String, entries: &Entries, path: &mut Vec<String>) -> Result<()> {
    if path.len() > 100 {
        return Err("toml: nested too deeply".into());
    }
    let entries: Vec<(String, Value)> =
        entries.iter().map(|(key, value)| (key_text(key), plain(value))).filter(|(_, value)| !value.is_nil()).collect();
    let is_table = |value: &Value| matches!(value, Value::Map(_)) || is_table_list(value);
    for (key, value) in entries.iter().filter(|(_, value)| !is_table(value)) {
        out.extend(std::iter::repeat_n(' ', path.len() * 2));
        out.push_str(&format!("{key} = {}\n", inline(value, 0)?));
    }
    for (key, value) in entries.iter().filter(|(_, value)| is_table(value)) {
        path.push(key.clone());
        let indent = " ".repeat((path.len() - 1) * 2);
        let name = path.join(".");
        match value {
            Value::Map(map) => {
                if path.len() == 1 && !out.is_empty() {
                    out.push('\n');
                }
                out.push_str(&format!("{indent}[{name}]\n"));
                table(out, &map.entries(), path)?;
            }
            Value::List(list) => {
                for item in list.items.iter() {
                    if !out.is_empty() {
                        out.push('\n');
                    }
                    out.push_str(&format!("{indent}[[{name}]]\n"));
                    if let Value::Map(map) = item {
                        table(out, &map.entries(), path)?;
                    }
                }
            }
            _ => {}
        }
        path.pop();
    }
    Ok(())
}

fn inline(value: &Value, depth: usize) -> Result<String> {
    if depth > 100 {
        return Err("toml: nested too deeply".into());
    }
    Ok(match value {
        Value::Text(text) => quoted(text),
        Value::Bool(flag) => flag.to_string(),
        Value::Int(number) | Value::Int64(number) => number.to_string(),
        Value::Byte(number) => number.to_string(),
        Value::Float(number) if number.is_nan() => "nan".into(),
        Value::Float(number) if number.is_infinite() => if *number > 0.0 { "inf" } else { "-inf" }.into(),
        Value::Float(number) => {
            let text = format!("{number}");
            if text.contains('.') { text } else { format!("{text}.0") }
        }
        Value::List(list) => {
            let parts: Result<Vec<String>> = list.items.iter().map(|item| inline(item, depth + 1)).collect();
            format!("[{}]", parts?.join(", "))
        }
        Value::Map(map) => {
            let entries = map.entries();
            let parts: Result<Vec<String>> = entries
                .iter()
                .filter(|(_, value)| !value.is_nil())
                .map(|(key, value)| Ok(format!("{} = {}", key_text(key), inline(value, depth + 1)?)))
                .collect();
            format!("{{{}}}", parts?.join(", "))
        }
        Value::Missing | Value::Nil => return Err("toml: cannot encode array with nil element".into()),
        other => quoted(&super::types::text(other)),
    })
}

/// A TOML text as a map.
pub(super) fn read(text: &str) -> Result<Value> {
    let table: ::toml::Table = text.parse().map_err(|error: ::toml::de::Error| format!("toml: {}", error.message()))?;
    Ok(table_value(&table))
}

fn table_value(table: &::toml::Table) -> Value {
    Value::map(table.iter().map(|(key, value)| (key.as_str().into(), value_of(value))).collect())
}

fn value_of(value: &::toml::Value) -> Value {
    match value {
        ::toml::Value::String(text) => text.as_str().into(),
        ::toml::Value::Integer(number) => Value::Int64(*number),
        ::toml::Value::Float(number) => Value::Float(*number),
        ::toml::Value::Boolean(flag) => Value::Bool(*flag),
        ::toml::Value::Datetime(time) => time.to_string().into(),
        ::toml::Value::Array(items) => Value::list(items.iter().map(value_of).collect()),
        ::toml::Value::Table(table) => table_value(table),
    }
}
