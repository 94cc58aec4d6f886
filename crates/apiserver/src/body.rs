//! Request bodies: bytes → JSON values, with what is suspicious about them.

use crate::status::{Refusal, Result};
use bytes::Bytes;
use flate2::read::GzDecoder;
use http::HeaderMap;
use http_body_util::{BodyExt, Limited};
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use std::fmt;
use std::io::Read;

/// As kube-apiserver: 3 MiB, after decompression too.
pub const BODY_BYTES_MAX: usize = 3 << 20;

/// The media type that a body is said to be, without parameters; lower case.
pub fn media_type(headers: &HeaderMap) -> String {
    let text = headers.get(http::header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// Reads a body whole.
pub async fn read<B>(body: B, headers: &HeaderMap) -> Result<Bytes>
where
    B: http_body::Body<Data = Bytes>,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let collected = Limited::new(body, BODY_BYTES_MAX).collect().await;
    let bytes = collected.map_err(|error| match error.is::<http_body_util::LengthLimitError>() {
        true => Refusal::too_large(BODY_BYTES_MAX),
        false => Refusal::bad_request(format!("the body of the request cannot be read: {error}")),
    })?;
    let bytes = bytes.to_bytes();
    match headers.get(http::header::CONTENT_ENCODING).map(|value| value.as_bytes()) {
        None | Some(b"identity") => Ok(bytes),
        Some(b"gzip") => inflate(&bytes),
        Some(other) => {
            let other = String::from_utf8_lossy(other);
            Err(Refusal::new(
                415,
                "UnsupportedMediaType",
                format!("content encoding {other} is not supported; send gzip or none"),
            ))
        }
    }
}

fn inflate(bytes: &[u8]) -> Result<Bytes> {
    let mut plain = Vec::new();
    let read = GzDecoder::new(bytes).take(BODY_BYTES_MAX as u64 + 1).read_to_end(&mut plain);
    read.map_err(|error| Refusal::bad_request(format!("the body of the request is not gzip: {error}")))?;
    if plain.len() > BODY_BYTES_MAX { Err(Refusal::too_large(BODY_BYTES_MAX)) } else { Ok(plain.into()) }
}

/// A value and the fields that stand in it twice, as `duplicate field "spec.replicas"`.
#[derive(Debug)]
pub struct Decoded {
    /// What was sent; of a field that stands there twice, the last; maps that do add up.
    pub value: Value,
    /// In the order of the body.
    pub duplicates: Vec<String>,
}

/// Decodes JSON or YAML; `Err` is what is wrong with it.
pub fn decode(bytes: &[u8], yaml: bool) -> Result<Decoded, String> {
    let json = from_json(bytes);
    match json {
        // JSON is YAML, and most of what is called YAML on this wire is JSON.
        Err(_) if yaml => from_yaml(bytes),
        other => other.map_err(|error| error.to_string()),
    }
}

fn from_json(bytes: &[u8]) -> Result<Decoded, serde_json::Error> {
    let mut found = Found::default();
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let value = Seed(&mut found).deserialize(&mut deserializer)?;
    deserializer.end()?;
    Ok(Decoded { value, duplicates: found.duplicates })
}

fn from_yaml(bytes: &[u8]) -> Result<Decoded, String> {
    let text = std::str::from_utf8(bytes).map_err(|_| "the YAML is not UTF-8".to_owned())?;
    let documents = yaml::parse(text, "").map_err(|error| error.to_string())?;
    let [document] = documents.as_slice() else {
        return Err(format!("one YAML document is expected, and {} were sent", documents.len()));
    };
    let value = yaml::to_json(document, yaml::Dialect::V2).map_err(|error| error.to_string())?;
    Ok(Decoded { value, duplicates: Vec::new() })
}

#[derive(Default)]
struct Found {
    path: String,
    duplicates: Vec<String>,
}

/// Builds a [`Value`] and keeps track of where it is.
struct Seed<'a>(&'a mut Found);

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }
    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }
    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }
    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }
    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }
    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }
    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }
    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let length = self.0.path.len();
        let mut list = Vec::new();
        loop {
            self.0.path.push_str(&format!("[{}]", list.len()));
            let item = items.next_element_seed(Seed(self.0))?;
            self.0.path.truncate(length);
            match item {
                Some(item) => list.push(item),
                None => return Ok(list.into()),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let length = self.0.path.len();
        let mut map = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            if length > 0 {
                self.0.path.push('.');
            }
            self.0.path.push_str(&key);
            let value = entries.next_value_seed(Seed(self.0))?;
            if let Some(before) = map.remove(&key) {
                self.0.duplicates.push(format!("duplicate field {:?}", self.0.path));
                map.insert(key, over(before, value));
            } else {
                map.insert(key, value);
            }
            self.0.path.truncate(length);
        }
        Ok(map.into())
    }
}

/// The second of two values under one key over the first: maps add up, as Go's decoder has it.
fn over(before: Value, value: Value) -> Value {
    match (before, value) {
        (Value::Object(mut map), Value::Object(more)) => {
            map.extend(more);
            Value::Object(map)
        }
        (_, value) => value,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn duplicates_are_found_where_they_stand() {
        let decoded = decode(br#"{"a": 1, "b": [{"c": 1, "c": 2}], "a": {"d": null}}"#, false).expect("it is JSON");
        assert_eq!(decoded.value, json!({"a": {"d": null}, "b": [{"c": 2}]}));
        assert_eq!(decoded.duplicates, ["duplicate field \"b[0].c\"", "duplicate field \"a\""]);
        assert!(decode(b"{\"a\": 1} x", false).is_err());
    }
}
