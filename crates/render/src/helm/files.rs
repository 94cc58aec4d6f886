//! `.Files`: what a chart has beside its templates.

use super::chart::File;
use super::functions::to_yaml;
use super::glob;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::any::Any;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use template::{Object, Value, from_bytes};

struct Files(BTreeMap<String, Arc<[u8]>>);

/// The files of a chart as templates see them.
pub(super) fn value(files: &[File]) -> Value {
    let files = files.iter().map(|file| (file.name.clone(), Arc::clone(&file.bytes)));
    Value::Object(Rc::new(Files(files.collect())))
}

impl Files {
    fn text(&self, name: &str) -> String {
        self.0.get(name).map(|bytes| from_bytes(bytes)).unwrap_or_default()
    }

    /// By the last part of their paths.
    fn named(&self, write: impl Fn(&[u8]) -> String) -> Value {
        let name = |path: &str| path.rsplit('/').next().unwrap_or(path).to_owned();
        let entries = self.0.iter().map(|(path, bytes)| (name(path).into(), write(bytes).into()));
        to_yaml(&Value::map(entries.collect())).into()
    }
}

impl Object for Files {
    fn type_name(&self) -> &'static str {
        "engine.files"
    }

    fn kind(&self) -> &'static str {
        "map"
    }

    fn field(&self, name: &str) -> Option<Value> {
        Some(Value::Bytes(self.0.get(name).cloned().unwrap_or_else(|| Arc::from([]))))
    }

    fn call(&self, name: &str, args: &[Value]) -> Option<Result<Value, String>> {
        let wanted = match name {
            "Get" | "GetBytes" | "Glob" | "Lines" => 1,
            "AsConfig" | "AsSecrets" => 0,
            _ => return None,
        };
        if args.len() != wanted {
            return Some(Err(format!("wrong number of args for {name}: want {wanted} got {}", args.len())));
        }
        let arg = match args.first() {
            None => "",
            Some(Value::Text(text)) => text,
            Some(Value::Nil | Value::Missing) => return Some(Err("invalid value; expected string".into())),
            Some(other) => {
                return Some(Err(format!("wrong type for value; expected string; got {}", other.type_name())));
            }
        };
        Some(Ok(match name {
            "Get" => self.text(arg).into(),
            "GetBytes" => Value::Bytes(self.0.get(arg).cloned().unwrap_or_else(|| Arc::from([]))),
            "Glob" => {
                let kept = self.0.iter().filter(|(path, _)| glob::files(arg, path));
                let kept = kept.map(|(path, bytes)| (path.clone(), Arc::clone(bytes)));
                Value::Object(Rc::new(Files(kept.collect())))
            }
            "AsConfig" => self.named(from_bytes),
            "AsSecrets" => self.named(|bytes| STANDARD.encode(bytes)),
            _ => {
                let text = self.text(arg);
                let body = text.strip_suffix('\n').unwrap_or(&text);
                if text.is_empty() { Value::texts(Vec::<String>::new()) } else { Value::texts(body.split('\n')) }
            }
        }))
    }

    fn print(&self) -> String {
        template::print(&self.plain())
    }

    fn plain(&self) -> Value {
        let entries = self.0.iter().map(|(path, bytes)| (path.as_str().into(), Value::Bytes(Arc::clone(bytes))));
        Value::map(entries.collect())
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
