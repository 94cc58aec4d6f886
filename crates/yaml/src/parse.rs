//! Text → nodes.

use crate::error::Error;
use crate::node::{Kind, Node, Position, Style};
use saphyr_parser::{Event, Parser, ScalarStyle, Span, Tag};
use std::borrow::Cow;
use std::collections::HashMap;

/// The largest text that is read, in bytes: several times the largest manifests known.
const MAX_BYTES: usize = 64 << 20;
/// Values that aliases may add: what they stand for is copied.
const MAX_ALIASED: usize = 200_000;
/// Deeper nesting is an attack, not a manifest.
const MAX_DEPTH: usize = 100;

/// Reads all documents of a text. Documents without any content are left out.
pub fn parse(text: &str, file: &str) -> Result<Vec<Node>, Error> {
    if text.len() > MAX_BYTES {
        let message = format!("the text has {} bytes, at most {MAX_BYTES} are read", text.len());
        return Err(Error::new(file, Position::default(), message));
    }
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut padded: Option<String> = None;
    for _ in 0..(PADDED_MAX / (text.len() + 1)).min(LINES_PADDED_MAX) {
        match parse_strictly(padded.as_deref().unwrap_or(text), file) {
            Err(error) if INDENTATION.contains(&error.message.as_str()) => {
                let seen = padded.as_deref().unwrap_or(text);
                let is_quoted = error.message == INDENTATION[1];
                padded = Some(if is_quoted { pad_quoted(seen, &error) } else { pad(seen, error.line) });
            }
            result => return result,
        }
    }
    parse_strictly(padded.as_deref().unwrap_or(text), file)
}

/// As [`parse`], but of maps at the top only these fields are read: the others are there, and null. What cannot be read
/// is found wherever it stands.
pub fn parse_fields(text: &str, file: &str, fields: &[&str]) -> Result<Vec<Node>, Error> {
    let short = text.strip_prefix('\u{feff}').unwrap_or(text);
    if text.len() <= MAX_BYTES
        && let Ok(Some(documents)) = read(short, file, Some(fields))
    {
        return Ok(documents);
    }
    parse(text, file)
}

/// What the library says of lines inside of brackets or quotes that stand further left than what is around. To Go's they are
/// fine: spaces before them mean nothing there, so that more of them help.
const INDENTATION: [&str; 3] =
    ["invalid indentation", "invalid indentation in quoted scalar", "invalid indentation in flow construct"];
/// Lines that are moved.
const LINES_PADDED_MAX: usize = 200;
/// Bytes that are read again for that.
const PADDED_MAX: usize = 128 << 20;

/// The text with a line moved to the right of all that may be around it.
fn pad(text: &str, line: usize) -> String {
    let start = text.match_indices('\n').nth(line.saturating_sub(2)).map_or(text.len(), |(at, _)| at + 1);
    let start = if line < 2 { 0 } else { start };
    format!("{}{}{}", &text[..start], " ".repeat(MAX_DEPTH), &text[start..])
}

/// The text with the lines of a quoted scalar moved to the right; the error says where it begins.
fn pad_quoted(text: &str, error: &Error) -> String {
    let line = text.match_indices('\n').nth(error.line.saturating_sub(2)).map_or(0, |(at, _)| at + 1);
    let line = if error.line < 2 { 0 } else { line };
    let start = text[line..].char_indices().nth(error.column.saturating_sub(1)).map_or(text.len(), |(at, _)| line + at);
    let mut out = String::with_capacity(text.len() + 1024);
    out.push_str(&text[..start]);
    let mut characters = text[start..].chars();
    let Some(quote) = characters.next() else { return text.to_owned() };
    out.push(quote);
    while let Some(character) = characters.next() {
        out.push(character);
        match character {
            '\n' => out.extend(std::iter::repeat_n(' ', MAX_DEPTH)),
            '\\' if quote == '"' => {
                let next = characters.next();
                out.extend(next);
                if next == Some('\n') {
                    out.extend(std::iter::repeat_n(' ', MAX_DEPTH));
                }
            }
            _ if character == quote => break,
            _ => {}
        }
    }
    out.push_str(characters.as_str());
    out
}

fn parse_strictly(text: &str, file: &str) -> Result<Vec<Node>, Error> {
    Ok(read(text, file, None)?.unwrap_or_default())
}

/// `None` if only some fields were asked for, and aliases may lead from one to another.
fn read(text: &str, file: &str, fields: Option<&[&str]>) -> Result<Option<Vec<Node>>, Error> {
    let mut builder = Builder {
        file,
        text,
        length: None,
        nodes: 0,
        aliased: 0,
        open: Vec::new(),
        anchors: HashMap::new(),
        fields,
        skipped: 0,
    };
    let mut documents = Vec::new();
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|problem| {
            let marker = problem.marker();
            let position = Position { line: marker.line(), column: marker.col() + 1 };
            Error::new(file, position, problem.info().to_owned())
        })?;
        if fields.is_some() && has_anchor(&event) {
            return Ok(None);
        }
        if builder.skips(&event, span)? {
            continue;
        }
        if let Some(document) = builder.take(event, span)? {
            documents.push(document);
        }
    }
    documents.retain(|document| !is_nothing(document));
    Ok(Some(documents))
}

fn has_anchor(event: &Event<'_>) -> bool {
    match event {
        Event::Alias(_) => true,
        Event::Scalar(_, _, anchor, _) | Event::SequenceStart(anchor, _) | Event::MappingStart(anchor, _) => {
            *anchor > 0
        }
        _ => false,
    }
}

/// What stands between two `---`, or behind the last one.
fn is_nothing(node: &Node) -> bool {
    node.tag.is_none() && matches!(&node.kind, Kind::Scalar(text, Style::Plain) if text.is_empty())
}

struct Builder<'t> {
    file: &'t str,
    text: &'t str,
    /// Of the text in characters, once somebody asked.
    length: Option<usize>,
    nodes: usize,
    aliased: usize,
    open: Vec<Open>,
    anchors: HashMap<usize, (Node, usize)>,
    /// Of maps at the top, the only ones that are kept.
    fields: Option<&'t [&'t str]>,
    /// Levels that are open below a field that is not.
    skipped: usize,
}

/// A list or map that is being read.
struct Open {
    position: Position,
    tag: Option<String>,
    anchor: usize,
    nodes_before: usize,
    children: Vec<Node>,
    is_mapping: bool,
}

impl Builder<'_> {
    fn fail(&self, span: Span, message: String) -> Error {
        Error::new(self.file, position(span), message)
    }

    /// True if the event belongs to a field that nobody asked for.
    fn skips(&mut self, event: &Event<'_>, span: Span) -> Result<bool, Error> {
        if self.skipped == 0 && !self.is_unwanted() {
            return Ok(false);
        }
        match event {
            Event::SequenceStart(..) | Event::MappingStart(..) => {
                self.skipped += 1;
                if self.open.len() + self.skipped > MAX_DEPTH {
                    return Err(self.fail(span, format!("nested deeper than {MAX_DEPTH} levels")));
                }
            }
            Event::SequenceEnd | Event::MappingEnd => self.skipped -= 1,
            Event::Scalar(..) => {}
            _ => return Ok(false),
        }
        if self.skipped == 0 {
            let null = Node { position: position(span), ..Node::null() };
            self.add(null, 0, 1);
        }
        Ok(true)
    }

    /// True if the value of a field at the top comes next that nobody asked for.
    fn is_unwanted(&self) -> bool {
        let (Some(fields), [top]) = (self.fields, self.open.as_slice()) else { return false };
        let key = top.children.last().filter(|_| top.is_mapping && top.children.len() % 2 == 1);
        key.is_some_and(|key| !matches!(&key.kind, Kind::Scalar(key, _) if fields.contains(&key.as_str())))
    }

    /// The document, when the event ends one.
    fn take(&mut self, event: Event<'_>, span: Span) -> Result<Option<Node>, Error> {
        match event {
            Event::DocumentStart(_) => self.anchors.clear(),
            Event::Scalar(value, style, anchor, tag) => {
                self.nodes += 1;
                let value = self.chomped(value, style, span);
                let node =
                    Node { position: position(span), tag: tag_text(tag), kind: Kind::Scalar(value, style_of(style)) };
                return Ok(self.add(node, anchor, 1));
            }
            Event::SequenceStart(anchor, tag) => self.begin(span, anchor, tag, false)?,
            Event::MappingStart(anchor, tag) => self.begin(span, anchor, tag, true)?,
            Event::SequenceEnd | Event::MappingEnd => {
                let Some(open) = self.open.pop() else { return Ok(None) };
                let nodes = self.nodes - open.nodes_before;
                let kind =
                    if open.is_mapping { Kind::Mapping(pairs(open.children)) } else { Kind::Sequence(open.children) };
                return Ok(self.add(Node { position: open.position, tag: open.tag, kind }, open.anchor, nodes));
            }
            Event::Alias(anchor) => {
                let Some(&(ref node, nodes)) = self.anchors.get(&anchor) else {
                    return Err(self.fail(span, "an alias to itself, or to something unknown".into()));
                };
                self.nodes += nodes;
                self.aliased += nodes;
                if self.aliased > MAX_ALIASED {
                    return Err(self.fail(span, format!("aliases expand to more than {MAX_ALIASED} values")));
                }
                // Where the alias stands is where a reader looks for what is wrong.
                let node = Node { position: position(span), ..node.clone() };
                return Ok(self.add(node, 0, nodes));
            }
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => {}
        }
        Ok(None)
    }

    fn begin(&mut self, span: Span, anchor: usize, tag: Option<Cow<'_, Tag>>, is_mapping: bool) -> Result<(), Error> {
        if self.open.len() >= MAX_DEPTH {
            return Err(self.fail(span, format!("nested deeper than {MAX_DEPTH} levels")));
        }
        let nodes_before = self.nodes;
        self.nodes += 1;
        let open = Open {
            position: position(span),
            tag: tag_text(tag),
            anchor,
            nodes_before,
            children: Vec::new(),
            is_mapping,
        };
        self.open.push(open);
        Ok(())
    }

    fn add(&mut self, node: Node, anchor: usize, nodes: usize) -> Option<Node> {
        if anchor > 0 {
            self.anchors.insert(anchor, (node.clone(), nodes));
        }
        match self.open.last_mut() {
            Some(open) => {
                open.children.push(node);
                None
            }
            None => Some(node),
        }
    }

    /// A block scalar at the end of a text that has no last line break gets none.
    fn chomped(&mut self, value: Cow<'_, str>, style: ScalarStyle, span: Span) -> String {
        let mut value = value.into_owned();
        let block = matches!(style, ScalarStyle::Literal | ScalarStyle::Folded);
        if block && value.ends_with('\n') && !self.text.ends_with('\n') {
            let text = self.text;
            let length = *self.length.get_or_insert_with(|| text.chars().count());
            if span.end.index() >= length {
                value.pop();
            }
        }
        value
    }
}

fn pairs(children: Vec<Node>) -> Vec<(Node, Node)> {
    let mut pairs = Vec::with_capacity(children.len() / 2);
    let mut children = children.into_iter();
    while let (Some(key), Some(value)) = (children.next(), children.next()) {
        pairs.push((key, value));
    }
    pairs
}

fn position(span: Span) -> Position {
    Position { line: span.start.line(), column: span.start.col() + 1 }
}

fn tag_text(tag: Option<Cow<'_, Tag>>) -> Option<String> {
    tag.map(|tag| format!("{}{}", tag.handle, tag.suffix))
}

fn style_of(style: ScalarStyle) -> Style {
    match style {
        ScalarStyle::Plain => Style::Plain,
        ScalarStyle::SingleQuoted => Style::SingleQuoted,
        ScalarStyle::DoubleQuoted => Style::DoubleQuoted,
        ScalarStyle::Literal => Style::Literal,
        ScalarStyle::Folded => Style::Folded,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Dialect, to_json};

    #[test]
    fn single_fields_are_read_as_among_all() {
        for text in [
            "kind: A\nspec: {a: [1, {b: 2}], c: d}\nmetadata: {name: x, list: [1]}\n",
            "spec: text\nkind: A\n---\nspec:\n- kind: B\n- [c]\nkind: C\n",
            "spec: &a {name: x}\nkind: A\nmetadata: *a\n",
            "[kind, A]\n",
            "{kind: A, ? [complex] : value, metadata: {name: x}}\n",
            "kind: A\nspec: [\n1\n]\n",
            "kind: A\nkind: B\nspec: |\n  kind: C\n",
            "",
        ] {
            let (all, some) = (parse(text, "f").unwrap(), parse_fields(text, "f", &["kind", "metadata"]).unwrap());
            assert_eq!(all.len(), some.len(), "{text}");
            for (all, some) in all.iter().zip(&some) {
                let Kind::Mapping(pairs) = &all.kind else {
                    assert_eq!(all, some, "{text}");
                    continue;
                };
                let Kind::Mapping(found) = &some.kind else { panic!("{text}: {some:?}") };
                for ((key, value), (other, found)) in pairs.iter().zip(found) {
                    assert_eq!(key, other, "{text}");
                    if matches!(&key.kind, Kind::Scalar(key, _) if key == "kind" || key == "metadata") {
                        assert_eq!(value, found, "{text}");
                    }
                }
            }
        }
        for text in ["kind: A\nspec: {a\n", "kind: A\nspec: *none\n", "kind: A\nspec: \"\n"] {
            assert_eq!(parse(text, "f"), parse_fields(text, "f", &["kind"]), "{text}");
        }
        let deep = format!("kind: A\nspec: {}{}\n", "[".repeat(200), "]".repeat(200));
        assert_eq!(parse(&deep, "f"), parse_fields(&deep, "f", &["kind"]));
    }

    #[test]
    fn lines_in_brackets_and_quotes_may_stand_anywhere() {
        let text = "a:\n  b: [\n    x,\n  z\n]\n  c: \"one\ntwo\"\n  d: {\ne: 1,\nf: 2 }\n";
        let nodes = parse(text, "file").unwrap();
        let json = to_json(&nodes[0], Dialect::V2).unwrap();
        assert_eq!(json, serde_json::json!({"a": {"b": ["x", "z"], "c": "one two", "d": {"e": 1, "f": 2}}}));
    }
}
