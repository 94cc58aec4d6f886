//! Objects as rows for people: what `kubectl get` prints.

mod builtin;

use crate::clock;
use crate::reply;
use crate::resource::Resource;
use object::meta;
use serde_json::{Value, json};

/// What a row carries beside its cells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Include {
    /// The metadata.
    #[default]
    Metadata,
    /// The whole object.
    Object,
    /// Nothing.
    Nothing,
}

impl Include {
    /// `includeObject`.
    pub fn parse(text: &str) -> Self {
        match text {
            "Object" => Include::Object,
            "None" => Include::Nothing,
            _ => Include::Metadata,
        }
    }
}

/// A column of a built-in kind.
pub struct Column {
    /// Heading.
    pub name: &'static str,
    /// `string`, `integer`.
    pub type_: &'static str,
    /// 0 is always shown, 1 only with `-o wide`.
    pub priority: u8,
    /// The cell.
    pub cell: fn(&Value) -> Value,
}

/// A column that is always shown.
pub const fn column(name: &'static str, cell: fn(&Value) -> Value) -> Column {
    Column { name, type_: "string", priority: 0, cell }
}

/// A column that `-o wide` adds.
pub const fn wide(name: &'static str, cell: fn(&Value) -> Value) -> Column {
    Column { name, type_: "string", priority: 1, cell }
}

/// A column of numbers.
pub const fn number(name: &'static str, cell: fn(&Value) -> Value) -> Column {
    Column { name, type_: "integer", priority: 0, cell }
}

/// The Table of some objects.
pub fn of(resource: &Resource, objects: &[Value], metadata: &Value, include: Include) -> Value {
    let (definitions, rows): (Vec<Value>, Vec<Vec<Value>>) = match &resource.custom {
        Some(custom) => custom_columns(custom, objects),
        None => {
            let columns = builtin::columns(&resource.id);
            let cells = |object: &Value| columns.iter().map(|column| (column.cell)(object)).collect();
            (columns.iter().map(definition).collect(), objects.iter().map(cells).collect())
        }
    };
    let rows: Vec<Value> = rows
        .into_iter()
        .zip(objects)
        .map(|(cells, object)| match include {
            Include::Nothing => json!({"cells": cells}),
            Include::Metadata => json!({"cells": cells, "object": reply::partial(object)}),
            Include::Object => json!({"cells": cells, "object": object}),
        })
        .collect();
    json!({"kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": metadata, "columnDefinitions": definitions, "rows": rows})
}

fn definition(column: &Column) -> Value {
    let format = if column.name == "Name" { "name" } else { "" };
    json!({"name": column.name, "type": column.type_, "format": format, "description": "", "priority": column.priority})
}

/// Name, the columns of the definition, and Age if it has none.
fn custom_columns(custom: &crate::crd::Custom, objects: &[Value]) -> (Vec<Value>, Vec<Vec<Value>>) {
    let plain = custom.columns.is_empty();
    let mut definitions = vec![definition(&column("Name", name))];
    definitions.extend(custom.columns.iter().map(|column| column.definition.clone()));
    if plain {
        definitions.push(definition(&column("Age", age)));
    }
    let cells = |object: &Value| {
        let mut cells = vec![name(object)];
        cells.extend(custom.columns.iter().map(|column| custom_cell(column, object)));
        if plain {
            cells.push(age(object));
        }
        cells
    };
    (definitions, objects.iter().map(cells).collect())
}

fn custom_cell(column: &crate::crd::Column, object: &Value) -> Value {
    let found = column.path.find(object);
    let Some(first) = found.first() else { return Value::Null };
    match (column.definition["type"].as_str().unwrap_or_default(), first) {
        ("date", Value::String(text)) => ago(text).into(),
        ("integer" | "number" | "boolean", value) => (*value).clone(),
        (_, Value::String(_)) if found.len() == 1 => (*first).clone(),
        _ => {
            let texts: Vec<String> =
                found.iter().map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned)).collect();
            texts.join(",").into()
        }
    }
}

/// `metadata.name`.
pub fn name(object: &Value) -> Value {
    meta(object).name().into()
}

/// How old an object is.
pub fn age(object: &Value) -> Value {
    ago(meta(object).creation_timestamp()).into()
}

/// How long ago a time was, for people: `5s`, `3m20s`, `4h`, `2d3h`, `400d`.
pub fn ago(time: &str) -> String {
    clock::seconds_since(time).map_or_else(|| "<unknown>".into(), duration)
}

/// Seconds for people, in kubectl's steps: the longer, the coarser.
pub fn duration(seconds: i64) -> String {
    if seconds < -1 {
        return "<invalid>".into();
    }
    let seconds = seconds.max(0);
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86400);
    let two = |whole: i64, unit: &str, rest: i64, small: &str| match rest {
        0 => format!("{whole}{unit}"),
        rest => format!("{whole}{unit}{rest}{small}"),
    };
    match seconds {
        0..120 => format!("{seconds}s"),
        120..600 => two(minutes, "m", seconds % 60, "s"),
        600..10_800 => format!("{minutes}m"),
        10_800..28_800 => two(hours, "h", minutes % 60, "m"),
        28_800..172_800 => format!("{hours}h"),
        172_800..691_200 => two(days, "d", hours % 24, "h"),
        691_200..63_072_000 => format!("{days}d"),
        63_072_000..252_288_000 => two(days / 365, "y", days % 365, "d"),
        _ => format!("{}y", days / 365),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (seconds, text) in [
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (200, "3m20s"),
            (3600, "60m"),
            (10_800, "3h"),
            (12_000, "3h20m"),
            (100_000, "27h"),
            (180_000, "2d2h"),
            (8_640_000, "100d"),
            (70_000_000, "2y80d"),
        ] {
            assert_eq!(duration(seconds), text, "{seconds}");
        }
    }
}
