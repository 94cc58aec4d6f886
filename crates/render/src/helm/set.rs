//! `--set` and its relatives: lines of names and values.

use super::functions::value_of;
use template::{Entries, Map, Value};

/// How values are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reading {
    /// `--set`: true, false, null and integers mean what they say.
    Typed,
    /// `--set-string`.
    Text,
    /// `--set-literal`: the rest of the line as it is.
    Literal,
    /// `--set-json`.
    Json,
}

/// Lists of values that are longer are a mistake.
const INDEX_MAX: usize = 65_536;
/// Names inside of names.
const DEPTH_MAX: usize = 30;

/// Sets what a line says in a map. With `file`, values are names of files, whose content it gives.
pub(super) fn set(
    line: &str,
    reading: Reading,
    file: Option<&dyn Fn(&str) -> Result<String, String>>,
    map: &Map,
) -> Result<(), String> {
    let mut parser = Parser { rest: line, reading, file };
    if reading == Reading::Json && line.trim_start().starts_with('{') {
        let json: serde_json::Value = serde_json::from_str(line).map_err(|error| error.to_string())?;
        if let Value::Map(over) = value_of(&json) {
            let merged = super::values::merged(map, &over);
            *map.entries_mut() = merged.entries().clone();
        }
        return Ok(());
    }
    while !parser.rest.is_empty() {
        parser.key(map, 0)?;
    }
    Ok(())
}

struct Parser<'l> {
    rest: &'l str,
    reading: Reading,
    file: Option<&'l dyn Fn(&str) -> Result<String, String>>,
}

impl Parser<'_> {
    /// What stands before one of the characters, without escapes; and which one, unless the line ended.
    fn until(&mut self, stop: &[char]) -> (String, Option<char>) {
        let mut taken = String::new();
        let mut characters = self.rest.chars();
        while let Some(character) = characters.next() {
            if stop.contains(&character) {
                self.rest = characters.as_str();
                return (taken, Some(character));
            }
            if character == '\\' && self.reading != Reading::Literal {
                taken.extend(characters.next());
            } else {
                taken.push(character);
            }
        }
        self.rest = "";
        (taken, None)
    }

    fn key(&mut self, map: &Map, depth: usize) -> Result<(), String> {
        let stop: &[char] = if self.reading == Reading::Literal { &['=', '[', '.'] } else { &['=', '[', ',', '.'] };
        let (key, last) = self.until(stop);
        match last {
            None if key.is_empty() => Ok(()),
            None => Err(format!("key {key:?} has no value")),
            Some('[') => {
                let index = self.index()?;
                let list = match map.get(&key) {
                    None => Vec::new(),
                    Some(Value::List(list)) => list.items.to_vec(),
                    Some(_) => return Err(format!("unable to parse key: {key} is no list")),
                };
                let list = self.item(list, index, depth)?;
                put(map, &key, Value::list(list));
                Ok(())
            }
            Some('=') => {
                let value = self.value()?;
                put(map, &key, value);
                Ok(())
            }
            Some(',') => {
                put(map, &key, "".into());
                Err(format!("key {key:?} has no value (cannot end with ,)"))
            }
            Some(_) => {
                if depth >= DEPTH_MAX {
                    let message = "value name nested level is greater than maximum supported nested level of";
                    return Err(format!("{message} {DEPTH_MAX}"));
                }
                let inner = match map.get(&key) {
                    None => Map::new(Entries::new()),
                    Some(Value::Map(inner)) => inner,
                    Some(_) => return Err(format!("unable to parse key: {key} is no map")),
                };
                self.key(&inner, depth + 1)?;
                if inner.is_empty() {
                    return Err(format!("key map {key:?} has no value"));
                }
                put(map, &key, Value::Map(inner));
                Ok(())
            }
        }
    }

    fn index(&mut self) -> Result<usize, String> {
        let (digits, last) = self.until(&[']']);
        match digits.parse::<i64>() {
            _ if last.is_none() => Err("error parsing index: EOF".into()),
            Err(_) => Err(format!("error parsing index: strconv.Atoi: parsing {digits:?}: invalid syntax")),
            Ok(index) if index < 0 => Err(format!("negative {index} index not allowed")),
            Ok(index) => match usize::try_from(index) {
                Ok(index) if index <= INDEX_MAX => Ok(index),
                _ => Err(format!("index of {index} is greater than maximum supported index of {INDEX_MAX}")),
            },
        }
    }

    fn item(&mut self, mut list: Vec<Value>, index: usize, depth: usize) -> Result<Vec<Value>, String> {
        if depth >= DEPTH_MAX {
            return Err(format!("lists and maps are nested deeper than {DEPTH_MAX} levels"));
        }
        let (odd, last) = self.until(&['[', '.', '=']);
        if !odd.is_empty() {
            return Err(format!("unexpected data at end of array index: {odd:?}"));
        }
        let value = match last {
            None => return Err("unexpected end after array index".into()),
            Some('=') => self.value()?,
            Some('[') => {
                let next = self.index()?;
                let inner = match list.get(index) {
                    None | Some(Value::Nil) => Vec::new(),
                    Some(Value::List(inner)) => inner.items.to_vec(),
                    Some(_) => return Err("unable to parse key: an element is no list".into()),
                };
                Value::list(self.item(inner, next, depth + 1)?)
            }
            Some(_) => {
                let inner = match list.get(index) {
                    Some(Value::Map(inner)) => inner.clone(),
                    _ => Map::new(Entries::new()),
                };
                self.key(&inner, depth + 1)?;
                Value::Map(inner)
            }
        };
        if list.len() <= index {
            list.resize(index + 1, Value::Nil);
        }
        list[index] = value;
        Ok(list)
    }

    fn value(&mut self) -> Result<Value, String> {
        match self.reading {
            Reading::Literal => Ok(std::mem::take(&mut self.rest).into()),
            Reading::Json => self.json(),
            _ if self.rest.starts_with('{') => {
                self.rest = &self.rest[1..];
                let mut list = Vec::new();
                loop {
                    let (text, last) = self.until(&[',', '}']);
                    match last {
                        None => return Err("list must terminate with '}'".into()),
                        Some(_) => list.push(self.scalar(&text)?),
                    }
                    if last == Some('}') {
                        self.rest = self.rest.strip_prefix(',').unwrap_or(self.rest);
                        return Ok(Value::list(list));
                    }
                }
            }
            _ if self.rest.is_empty() && self.file.is_none() => Ok("".into()),
            _ => {
                let (text, _) = self.until(&[',']);
                self.scalar(&text)
            }
        }
    }

    fn scalar(&self, text: &str) -> Result<Value, String> {
        if let Some(read) = self.file {
            return read(text).map(Value::from);
        }
        Ok(if self.reading == Reading::Text { text.into() } else { typed(text) })
    }

    fn json(&mut self) -> Result<Value, String> {
        let trimmed = self.rest.trim_start();
        if trimmed.is_empty() || trimmed.starts_with(',') {
            self.rest = trimmed.strip_prefix(',').unwrap_or(trimmed);
            return Ok(Value::Nil);
        }
        let mut stream = serde_json::Deserializer::from_str(trimmed).into_iter::<serde_json::Value>();
        let json = stream.next().ok_or("EOF")?.map_err(|error| error.to_string())?;
        let rest = trimmed[stream.byte_offset()..].trim_start();
        self.rest = rest.strip_prefix(',').unwrap_or(rest);
        Ok(value_of(&json))
    }
}

fn put(map: &Map, key: &str, value: Value) {
    if !key.is_empty() {
        map.set(key, value);
    }
}

fn typed(text: &str) -> Value {
    match text {
        _ if text.eq_ignore_ascii_case("true") => Value::Bool(true),
        _ if text.eq_ignore_ascii_case("false") => Value::Bool(false),
        _ if text.eq_ignore_ascii_case("null") => Value::Nil,
        "0" => Value::Int64(0),
        _ if !text.starts_with('0') => text.parse().map_or_else(|_| text.into(), Value::Int64),
        _ => text.into(),
    }
}
