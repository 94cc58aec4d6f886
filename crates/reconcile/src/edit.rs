//! Changing one value in a YAML file that people write too: everything else, comments included, stays as it was.
//!
//! The text is changed where the value stands, and then read again: if anything else came out differently, it is refused.

use std::collections::BTreeMap;
use yaml::{Dialect, Kind, Node, Scalar, Style};

/// What a file says, without how it is written.
#[derive(Debug, Clone, PartialEq)]
enum Tree {
    Text(String),
    List(Vec<Tree>),
    Map(BTreeMap<String, Tree>),
}

impl Tree {
    fn of(node: Option<&Node>) -> Self {
        match node.map(|node| &node.kind) {
            None => Self::Map(BTreeMap::new()),
            Some(Kind::Scalar(text, _)) => Self::Text(text.clone()),
            Some(Kind::Sequence(items)) => Self::List(items.iter().map(|item| Self::of(Some(item))).collect()),
            Some(Kind::Mapping(pairs)) => {
                Self::Map(pairs.iter().map(|(key, value)| (key_text(key).to_owned(), Self::of(Some(value)))).collect())
            }
        }
    }

    fn map(&mut self, default: &str) -> &mut BTreeMap<String, Tree> {
        if let Self::Text(text) = self {
            let old = std::mem::take(text);
            // A plain value is the default.
            *self = Self::Map(if old.is_empty() {
                BTreeMap::new()
            } else {
                [(default.to_owned(), Self::Text(old))].into()
            });
        }
        if let Self::List(_) = self {
            *self = Self::Map(BTreeMap::new());
        }
        match self {
            Self::Map(map) => map,
            Self::Text(_) | Self::List(_) => unreachable!("it was made a map"),
        }
    }

    fn set(&mut self, keys: &[&str], value: &str) {
        match keys {
            [model::settings::DEFAULT] if matches!(self, Self::Text(_)) => *self = Self::Text(value.to_owned()),
            [] => *self = Self::Text(value.to_owned()),
            [key, rest @ ..] => {
                let empty = || Self::Map(BTreeMap::new());
                self.map(model::settings::DEFAULT).entry((*key).to_owned()).or_insert_with(empty).set(rest, value);
            }
        }
    }

    /// Maps that become empty go with what was in them.
    fn remove(&mut self, keys: &[&str]) {
        let ([key, rest @ ..], Self::Map(map)) = (keys, self) else { return };
        if !rest.is_empty() {
            let Some(inner) = map.get_mut(*key) else { return };
            inner.remove(rest);
            if !matches!(inner, Self::Map(left) if left.is_empty()) {
                return;
            }
        }
        map.remove(*key);
    }
}

/// True for a plain value, which is the default itself.
fn is_default(node: &Node, keys: &[&str]) -> bool {
    matches!(node.kind, Kind::Scalar(..)) && keys == [model::settings::DEFAULT]
}

fn key_text(node: &Node) -> &str {
    match &node.kind {
        Kind::Scalar(text, _) => text,
        _ => "",
    }
}

/// Sets the value at a path of keys; a plain value on the way becomes the default beside it.
///
/// # Errors
/// For people: the file is no YAML, or is written in a way that only its author can change.
pub fn set(path: &str, text: &str, keys: &[&str], value: &str) -> Result<String, String> {
    let root = document(path, text)?;
    let mut expected = Tree::of(root.as_ref());
    expected.set(keys, value);
    let edited = inserted(text, root.as_ref(), keys, value);
    checked(path, edited, &expected, keys, "set")
}

/// Takes the value at a path of keys out, and what is empty then.
///
/// # Errors
/// As [`set`].
pub fn remove(path: &str, text: &str, keys: &[&str]) -> Result<String, String> {
    let root = document(path, text)?;
    let keys = match keys.split_last() {
        Some((last, first)) => {
            let inner =
                first.iter().try_fold(root.as_ref(), |node, key| Some(node.and_then(|node| Some(entry(node, key)?.1))));
            let plain = inner.flatten().is_some_and(|node| is_default(node, &[*last]));
            if plain { first } else { keys }
        }
        None => keys,
    };
    let before = Tree::of(root.as_ref());
    let mut expected = before.clone();
    expected.remove(keys);
    if expected == before {
        return Ok(text.to_owned());
    }
    // The topmost key that goes.
    let depth = (1..=keys.len())
        .find(|depth| {
            let mut cut = before.clone();
            cut.remove(&keys[..*depth]);
            cut == expected
        })
        .unwrap_or(keys.len());
    let edited = root.as_ref().and_then(|root| cut(text, root, &keys[..depth]));
    checked(path, edited, &expected, keys, "remove")
}

fn document(path: &str, text: &str) -> Result<Option<Node>, String> {
    Ok(yaml::parse(text, path).map_err(|error| error.to_string())?.into_iter().next())
}

fn checked(path: &str, edited: Option<String>, expected: &Tree, keys: &[&str], verb: &str) -> Result<String, String> {
    let same = |text: &String| document(path, text).is_ok_and(|root| Tree::of(root.as_ref()) == *expected);
    edited.filter(same).ok_or_else(|| {
        format!("{path} is written so that one value cannot be changed in it: {verb} {} there by hand", keys.join("."))
    })
}

fn entry<'a>(node: &'a Node, key: &str) -> Option<(&'a Node, &'a Node)> {
    let Kind::Mapping(pairs) = &node.kind else { return None };
    pairs.iter().find(|(name, _)| key_text(name) == key).map(|(name, value)| (name, value))
}

/// The text with the value in its place.
fn inserted(text: &str, root: Option<&Node>, keys: &[&str], value: &str) -> Option<String> {
    let Some(mut node) = root else {
        let line = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
        return Some(format!("{text}{line}{}", block(keys, value, 0)));
    };
    for (depth, key) in keys.iter().enumerate() {
        match entry(node, key) {
            Some((_, inner)) => node = inner,
            None if is_default(node, &keys[depth..]) => break,
            None => return beside(text, node, &keys[depth..], value),
        }
    }
    replaced(text, node, &scalar(value))
}

/// Adds an entry to what is a map, or becomes one.
fn beside(text: &str, node: &Node, keys: &[&str], value: &str) -> Option<String> {
    let at = offset(text, node)?;
    match &node.kind {
        Kind::Mapping(_) if text[at..].starts_with('{') => {
            let comma = if text[at + 1..].trim_start().starts_with('}') { "" } else { ", " };
            Some(format!("{}{}{comma}{}", &text[..=at], flow(keys, value), &text[at + 1..]))
        }
        Kind::Mapping(pairs) => {
            let first = &pairs.first()?.0;
            let start = line_start(text, first)?;
            let indent = offset(text, first)? - start;
            let after = end_of_block(text, start, indent);
            let gap = if text[..after].ends_with('\n') { "" } else { "\n" };
            Some(format!("{}{gap}{}{}", &text[..after], block(keys, value, indent), &text[after..]))
        }
        Kind::Scalar(old, _) if old.is_empty() => None,
        Kind::Scalar(..) => {
            let length = token(&text[at..], node)?;
            let both = format!("{{{}: {}, {}}}", model::settings::DEFAULT, &text[at..at + length], flow(keys, value));
            Some(format!("{}{both}{}", &text[..at], &text[at + length..]))
        }
        Kind::Sequence(_) => None,
    }
}

fn replaced(text: &str, node: &Node, new: &str) -> Option<String> {
    let at = offset(text, node)?;
    let length = token(&text[at..], node)?;
    Some(format!("{}{new}{}", &text[..at], &text[at + length..]))
}

/// Length of a scalar that stands on one line.
fn token(rest: &str, node: &Node) -> Option<usize> {
    let Kind::Scalar(text, style) = &node.kind else { return None };
    let line = rest.lines().next()?;
    match style {
        Style::Plain => line.starts_with(text.as_str()).then_some(text.len()),
        Style::SingleQuoted => {
            closing(line, |rest| if rest.starts_with("''") { 2 } else { usize::from(!rest.starts_with('\'')) })
        }
        Style::DoubleQuoted => {
            closing(line, |rest| if rest.starts_with('\\') { 2 } else { usize::from(!rest.starts_with('"')) })
        }
        Style::Literal | Style::Folded => None,
    }
}

/// Behind the quote that ends what begins here; `step` says how many characters belong to the text.
fn closing(line: &str, step: impl Fn(&str) -> usize) -> Option<usize> {
    let mut at = 1;
    loop {
        let rest = line.get(at..).filter(|rest| !rest.is_empty())?;
        match step(rest) {
            0 => return Some(at + 1),
            2 => at += 2,
            _ => at += rest.chars().next()?.len_utf8(),
        }
    }
}

/// The text without an entry of a map in block style.
fn cut(text: &str, root: &Node, keys: &[&str]) -> Option<String> {
    let mut node = root;
    let mut name = None;
    for key in keys {
        let (found, inner) = entry(node, key)?;
        (name, node) = (Some(found), inner);
    }
    let start = line_start(text, name?)?;
    let indent = offset(text, name?)? - start;
    let own = text[start..].find('\n').map_or(text.len(), |end| start + end + 1);
    let end = end_of_deeper(text, own, indent);
    Some(format!("{}{}", &text[..start], &text[end..]))
}

/// Where the lines end that are indented more than this.
fn end_of_deeper(text: &str, from: usize, indent: usize) -> usize {
    let mut end = from;
    for line in text[from..].split_inclusive('\n') {
        if line.trim().is_empty() || line.len() - line.trim_start().len() <= indent {
            break;
        }
        end += line.len();
    }
    end
}

/// Where the lines of a map end whose first key is indented by this.
fn end_of_block(text: &str, from: usize, indent: usize) -> usize {
    let (mut end, mut at) = (from, from);
    for line in text[from..].split_inclusive('\n') {
        at += line.len();
        let depth = line.len() - line.trim_start().len();
        if line.trim().is_empty() || (depth < indent && line.trim_start().starts_with('#')) {
            continue;
        }
        if depth < indent || line.starts_with("---") || line.starts_with("...") {
            break;
        }
        end = at;
    }
    end
}

/// Where a node begins.
fn offset(text: &str, node: &Node) -> Option<usize> {
    let start: usize = text.split_inclusive('\n').take(node.position.line.checked_sub(1)?).map(str::len).sum();
    let line = text.get(start..)?.lines().next().unwrap_or_default();
    let column = line.char_indices().nth(node.position.column.checked_sub(1)?).map_or(line.len(), |(at, _)| at);
    Some(start + column)
}

/// Where the line of a key begins, if only blanks are before it.
fn line_start(text: &str, node: &Node) -> Option<usize> {
    let at = offset(text, node)?;
    let start = text[..at].rfind('\n').map_or(0, |end| end + 1);
    text[start..at].trim().is_empty().then_some(start)
}

fn block(keys: &[&str], value: &str, indent: usize) -> String {
    let lines = keys.iter().enumerate().map(|(depth, key)| {
        let blanks = " ".repeat(indent + 2 * depth);
        let last = if depth + 1 == keys.len() { format!(" {}", scalar(value)) } else { String::new() };
        format!("{blanks}{}:{last}\n", scalar(key))
    });
    lines.collect()
}

fn flow(keys: &[&str], value: &str) -> String {
    match keys {
        [] => scalar(value),
        [key] => format!("{}: {}", scalar(key), scalar(value)),
        [key, rest @ ..] => format!("{}: {{{}}}", scalar(key), flow(rest, value)),
    }
}

/// Plain where nothing can be mistaken, else in double quotes.
fn scalar(text: &str) -> String {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || b"_./+=-".contains(&byte);
    let simple = text.bytes().all(inner) && text.as_bytes().first().is_some_and(u8::is_ascii_alphanumeric);
    match simple && yaml::resolve(text, Dialect::V3) != Scalar::Null {
        true => text.to_owned(),
        false => serde_json::Value::from(text).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::{remove, set};

    #[test]
    fn one_value_is_set_and_the_rest_stays() {
        let cases = [
            ("", &["data", "LEVEL", "prod"][..], "warn", "data:\n  LEVEL:\n    prod: warn\n"),
            (
                "# mine\ndata:\n  LEVEL: info # loud\n",
                &["data", "LEVEL", "prod"],
                "warn",
                "# mine\ndata:\n  LEVEL: {default: info, prod: warn} # loud\n",
            ),
            (
                "data:\n  LEVEL: {default: info, prod: warn}\n",
                &["data", "LEVEL", "prod"],
                "error",
                "data:\n  LEVEL: {default: info, prod: error}\n",
            ),
            (
                "data:\n  LEVEL: {default: 'it''s', prod: \"a\\\"b\"} # x\n",
                &["data", "LEVEL", "prod"],
                "a: b",
                "data:\n  LEVEL: {default: 'it''s', prod: \"a: b\"} # x\n",
            ),
            (
                "data:\n  LEVEL: {default: 'it''s', prod: x}\n",
                &["data", "LEVEL", "default"],
                "1",
                "data:\n  LEVEL: {default: 1, prod: x}\n",
            ),
            (
                "data:\n  LEVEL:\n    # loud\n    dev: x\n\nfiles: {}\n",
                &["data", "LEVEL", "prod"],
                "null",
                "data:\n  LEVEL:\n    # loud\n    dev: x\n    prod: \"null\"\n\nfiles: {}\n",
            ),
            (
                "data:\n  LEVEL: x\n# end\n",
                &["data", "TITLE", "default"],
                "Größe",
                "data:\n  LEVEL: x\n  TITLE:\n    default: \"Größe\"\n# end\n",
            ),
            (
                "schema: {A: {type: int}}",
                &["data", "A", "default"],
                "3",
                "schema: {A: {type: int}}\ndata:\n  A:\n    default: 3\n",
            ),
            ("{}\n", &["data", "A", "default"], "3", "{data: {A: {default: 3}}}\n"),
            ("A: {}\n", &["A", "prod"], "x==", "A: {prod: x==}\n"),
            ("A: old # it\nB: c\n", &["A", "default"], "new", "A: new # it\nB: c\n"),
        ];
        for (text, keys, value, expected) in cases {
            assert_eq!(set("config/a.yaml", text, keys, value).as_deref(), Ok(expected), "{text:?}");
        }
    }

    #[test]
    fn a_value_is_taken_out_with_what_is_empty_then() {
        let cases = [
            ("A:\n  prod: x # old\n  dev: y\nB: z\n", &["A", "prod"][..], "A:\n  dev: y\nB: z\n"),
            ("A:\n  prod: x\nB: z\n", &["A", "prod"], "B: z\n"),
            ("A:\n  prod: |\n    x\n    y\nB: z\n", &["A"], "B: z\n"),
            ("B: z\n", &["A", "prod"], "B: z\n"),
            ("A: x\nB: z\n", &["A", "default"], "B: z\n"),
        ];
        for (text, keys, expected) in cases {
            assert_eq!(remove("secrets/a.yaml", text, keys).as_deref(), Ok(expected), "{text:?}");
        }
    }

    #[test]
    fn what_cannot_be_changed_alone_is_left_to_its_author() {
        for (text, keys) in
            [("A: |\n  x\n  y\n", &["A"][..]), ("A: &a x\nB: *a\n", &["B", "prod"]), ("A: [x]\n", &["A", "prod"])]
        {
            let error = set("config/a.yaml", text, keys, "v").unwrap_err();
            assert!(error.contains("config/a.yaml") && error.contains("by hand"), "{error}");
        }
        assert!(remove("secrets/a.yaml", "A: {prod: x, dev: y}\n", &["A", "prod"]).unwrap_err().contains("by hand"));
        assert!(set("config/a.yaml", "a: [", &["A"], "v").unwrap_err().contains("config/a.yaml:"));
    }
}
