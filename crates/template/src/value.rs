//! Values with Go's kinds: maps are shared and change in place, nil differs from missing, and types have names.

use crate::frozen::Pairs;
use std::any::Any;
use std::cell::{Ref, RefCell, RefMut};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

/// A text. Bytes that are no UTF-8 are kept as characters of their own, see [`from_bytes`].
pub type Text = Arc<str>;

/// What a template computes with.
#[derive(Clone)]
pub enum Value {
    /// Go's invalid value: a pipeline without a result. Prints as `<no value>`.
    Missing,
    /// An interface that holds nothing: `null`, or what a map does not have.
    Nil,
    /// `bool`.
    Bool(bool),
    /// `int`: literals of templates, lengths.
    Int(i64),
    /// `int64`: results of arithmetic.
    Int64(i64),
    /// `uint8`: a byte of a text.
    Byte(u8),
    /// `float64`: all numbers from YAML and JSON.
    Float(f64),
    /// `string`.
    Text(Text),
    /// `[]uint8`.
    Bytes(Arc<[u8]>),
    /// A slice.
    List(List),
    /// A map with texts as keys.
    Map(Map),
    /// A struct, or something with methods.
    Object(Rc<dyn Object>),
}

/// What the elements of a list or map are to Go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Of {
    /// `interface {}`.
    Any,
    /// `interface {}` in a map of the named type `chartutil.Values`.
    Values,
    /// `string`.
    Text,
    /// `int`.
    Int,
    /// `[]interface {}`.
    Lists,
}

/// A slice. No function of templates changes one in place.
#[derive(Clone)]
pub struct List {
    /// The elements.
    pub items: Rc<Vec<Value>>,
    /// Their type.
    pub of: Of,
}

/// The entries of a map, in the order in which Go ranges over them.
pub type Entries = BTreeMap<Text, Value>;

/// A map; clones share the entries.
#[derive(Clone)]
pub struct Map {
    shared: Rc<RefCell<Held>>,
    /// Type of the values.
    pub of: Of,
}

/// What a map holds: as long as nobody looked into it, what it was made of.
struct Held {
    entries: Entries,
    frozen: Option<Pairs>,
}

/// A struct or a type with methods.
pub trait Object {
    /// `chart.Metadata`, `*semver.Version`.
    fn type_name(&self) -> &'static str;
    /// `struct`, `ptr`, `slice` or `map`.
    fn kind(&self) -> &'static str;
    /// A field, if the type has it.
    fn field(&self, name: &str) -> Option<Value>;
    /// Calls a method, if the type has it.
    fn call(&self, _name: &str, _args: &[Value]) -> Option<Result<Value, String>> {
        None
    }
    /// As `%v` prints it.
    fn print(&self) -> String;
    /// What JSON and YAML see.
    fn plain(&self) -> Value;
    /// The fields of a struct in their order, by JSON's names.
    fn fields(&self) -> Option<Vec<(&'static str, Value)>> {
        None
    }
    /// For functions that know the type.
    fn as_any(&self) -> &dyn Any;
}

impl Value {
    /// A text.
    pub fn text(text: impl Into<Text>) -> Self {
        Self::Text(text.into())
    }

    /// A `[]interface {}`.
    pub fn list(items: Vec<Value>) -> Self {
        Self::List(List { items: Rc::new(items), of: Of::Any })
    }

    /// A `[]string`.
    pub fn texts<T: Into<Text>>(items: impl IntoIterator<Item = T>) -> Self {
        let items = items.into_iter().map(|text| Value::Text(text.into())).collect();
        Self::List(List { items: Rc::new(items), of: Of::Text })
    }

    /// A new `map[string]interface {}`.
    pub fn map(entries: Entries) -> Self {
        Self::Map(Map::new(entries))
    }

    /// True for null and for no value at all.
    pub fn is_nil(&self) -> bool {
        matches!(self, Self::Missing | Self::Nil)
    }

    /// Go's truth: not the zero of its type, not empty.
    pub fn truth(&self) -> bool {
        match self {
            Self::Missing | Self::Nil => false,
            Self::Bool(flag) => *flag,
            Self::Int(number) | Self::Int64(number) => *number != 0,
            Self::Byte(number) => *number != 0,
            Self::Float(number) => *number != 0.0,
            Self::Text(text) => !text.is_empty(),
            Self::Bytes(bytes) => !bytes.is_empty(),
            Self::List(list) => !list.items.is_empty(),
            Self::Map(map) => !map.is_empty(),
            Self::Object(object) => object.length().is_none_or(|length| length > 0),
        }
    }

    /// Name of the type, as `%T` prints it.
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::Missing | Self::Nil => "<nil>",
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Int64(_) => "int64",
            Self::Byte(_) => "uint8",
            Self::Float(_) => "float64",
            Self::Text(_) => "string",
            Self::Bytes(_) => "[]uint8",
            Self::List(list) => match list.of {
                Of::Any | Of::Values => "[]interface {}",
                Of::Text => "[]string",
                Of::Int => "[]int",
                Of::Lists => "[][]interface {}",
            },
            Self::Map(map) => match map.of {
                Of::Values => "chartutil.Values",
                Of::Text => "map[string]string",
                _ => "map[string]interface {}",
            },
            Self::Object(object) => object.type_name(),
        }
    }

    /// Name of the kind, as `kindOf` tells it.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Missing | Self::Nil => "invalid",
            Self::Bytes(_) | Self::List(_) => "slice",
            Self::Map(_) => "map",
            Self::Object(object) => object.kind(),
            _ => self.type_name(),
        }
    }

    /// Number of elements of what has some.
    pub fn length(&self) -> Option<usize> {
        match self {
            Self::Text(text) => Some(byte_length(text)),
            Self::Bytes(bytes) => Some(bytes.len()),
            Self::List(list) => Some(list.items.len()),
            Self::Map(map) => Some(map.len()),
            Self::Object(object) => object.length(),
            _ => None,
        }
    }
}

impl dyn Object {
    fn length(&self) -> Option<usize> {
        if matches!(self.kind(), "struct" | "ptr") { None } else { self.plain().length() }
    }
}

impl Map {
    /// A new `map[string]interface {}`.
    pub fn new(entries: Entries) -> Self {
        Self { shared: Rc::new(RefCell::new(Held { entries, frozen: None })), of: Of::Any }
    }

    /// A new `map[string]interface {}` of what others share.
    pub fn thawed(pairs: &Pairs) -> Self {
        let held = Held { entries: Entries::new(), frozen: Some(Arc::clone(pairs)) };
        Self { shared: Rc::new(RefCell::new(held)), of: Of::Any }
    }

    /// The same map, as one of such values.
    pub fn typed(self, of: Of) -> Self {
        Self { of, ..self }
    }

    /// True if a change of one is a change of the other.
    pub fn is(&self, other: &Self) -> bool {
        Rc::ptr_eq(&self.shared, &other.shared)
    }

    /// The entries. Maps inside of maps are made when they are looked at, too.
    pub fn entries(&self) -> Ref<'_, Entries> {
        self.thaw();
        Ref::map(self.shared.borrow(), |held| &held.entries)
    }

    /// The entries, to change.
    pub fn entries_mut(&self) -> RefMut<'_, Entries> {
        self.thaw();
        RefMut::map(self.shared.borrow_mut(), |held| &mut held.entries)
    }

    fn thaw(&self) {
        if self.shared.borrow().frozen.is_none() {
            return;
        }
        let mut held = self.shared.borrow_mut();
        if let Some(pairs) = held.frozen.take() {
            held.entries = pairs.iter().map(|(key, value)| (Text::clone(key), value.thawed())).collect();
        }
    }

    /// A map of its own, of a map into which nobody has looked.
    pub fn untouched(&self) -> Option<Self> {
        self.shared.borrow().frozen.as_ref().map(|pairs| Self { of: self.of, ..Self::thawed(pairs) })
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        let held = self.shared.borrow();
        held.frozen.as_ref().map_or(held.entries.len(), |pairs| pairs.len())
    }

    /// True without entries.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The value of a key; shares what is in it.
    pub fn get(&self, key: &str) -> Option<Value> {
        self.entries().get(key).cloned()
    }

    /// Sets a key in place.
    pub fn set(&self, key: impl Into<Text>, value: Value) {
        self.entries_mut().insert(key.into(), value);
    }

    /// What Go gives for a key that is not there.
    pub fn zero(&self) -> Value {
        if self.of == Of::Text { Value::text("") } else { Value::Nil }
    }

    /// True for maps whose values are of any type.
    pub fn is_any(&self) -> bool {
        matches!(self.of, Of::Any | Of::Values)
    }
}

impl From<bool> for Value {
    fn from(flag: bool) -> Self {
        Self::Bool(flag)
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text.into())
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.into())
    }
}

/// Where bytes that are no UTF-8 stand: a private plane that no chart uses.
const SMUGGLED: u32 = 0x10_FE00;

/// A text of bytes; those that are no UTF-8 become characters that [`to_bytes`] turns back.
pub fn from_bytes(bytes: &[u8]) -> String {
    if let Ok(text) = std::str::from_utf8(bytes) {
        return text.to_owned();
    }
    let mut out = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        out.push_str(chunk.valid());
        let odd = |byte: &u8| char::from_u32(SMUGGLED + u32::from(*byte)).unwrap_or(char::REPLACEMENT_CHARACTER);
        out.extend(chunk.invalid().iter().map(odd));
    }
    out
}

/// As [`from_bytes`], shared.
pub fn text_of(bytes: &[u8]) -> Text {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.into(),
        Err(_) => from_bytes(bytes).into(),
    }
}

fn smuggled(character: char) -> Option<u8> {
    u32::from(character).checked_sub(SMUGGLED).and_then(|byte| u8::try_from(byte).ok())
}

/// True if a text holds bytes that are no UTF-8.
pub fn is_binary(text: &str) -> bool {
    // The plane's first byte in UTF-8.
    text.as_bytes().contains(&0xF4) && text.chars().any(|character| smuggled(character).is_some())
}

/// The bytes of a text.
pub fn to_bytes(text: &str) -> std::borrow::Cow<'_, [u8]> {
    if !is_binary(text) {
        return text.as_bytes().into();
    }
    let mut out = Vec::with_capacity(text.len());
    for character in text.chars() {
        match smuggled(character) {
            Some(byte) => out.push(byte),
            None => out.extend(character.encode_utf8(&mut [0; 4]).bytes()),
        }
    }
    out.into()
}

fn byte_length(text: &str) -> usize {
    if is_binary(text) { to_bytes(text).len() } else { text.len() }
}
