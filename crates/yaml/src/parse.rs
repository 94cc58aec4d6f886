//! Tokens → nodes.

use crate::error::Error;
use crate::node::{Kind, Node, Position, Style};
use crate::scan::{Scanner, Token, TokenKind};
use std::borrow::Cow;
use std::collections::HashMap;

/// The largest text that is read, in bytes: several times the largest manifests known.
pub(crate) const MAX_BYTES: usize = 64 << 20;
/// Values that aliases may add: what they stand for is copied.
const MAX_ALIASED: usize = 200_000;
/// Deeper nesting is an attack, not a manifest.
pub(crate) const MAX_DEPTH: usize = 100;

/// Reads all documents of a text. Documents without any content are left out.
pub fn parse(text: &str, file: &str) -> Result<Vec<Node>, Error> {
    read(text, None).map_err(|error| Error { file: file.to_owned(), ..error })
}

/// As [`parse`], but of maps at the top only these fields are read: the others are there, and null. What cannot be read
/// is found wherever it stands.
pub fn parse_fields(text: &str, file: &str, fields: &[&str]) -> Result<Vec<Node>, Error> {
    // Aliases may lead from one field to another, and errors are to be those of the whole.
    read(text, Some(fields)).or_else(|_| parse(text, file))
}

fn read(text: &str, fields: Option<&[&str]>) -> Result<Vec<Node>, Error> {
    if text.len() > MAX_BYTES {
        let message = format!("the text has {} bytes, at most {MAX_BYTES} are read", text.len());
        return Err(Error::new("", Position::default(), message));
    }
    let text = plain_lines(text.strip_prefix('\u{feff}').unwrap_or(text))?;
    let mut reader = Reader {
        scanner: Scanner::new(&text),
        handles: Vec::new(),
        nodes: 0,
        aliased: 0,
        depth: 0,
        anchors: HashMap::new(),
        fields,
    };
    reader.documents()
}

/// The text with `\n` alone at the ends of its lines; characters that no YAML may have are refused.
pub(crate) fn plain_lines(text: &str) -> Result<Cow<'_, str>, Error> {
    let is_odd = |byte: &u8| (*byte < b' ' && !matches!(byte, b'\t' | b'\n')) || *byte == 0x7f;
    let bytes = text.as_bytes();
    // Most texts have none; nothing but this needs to look at each byte.
    let is_plain = !bytes.iter().fold(false, |found, byte| found | is_odd(byte));
    let has_control = |text: &str| text.contains(|c| matches!(c, '\u{80}'..='\u{9f}' | '\u{fffe}' | '\u{ffff}'));
    if is_plain && (text.is_ascii() || !has_control(text)) {
        return Ok(text.into());
    }
    for (index, line) in text.split('\n').enumerate() {
        let is_control = |c: char| match c {
            '\t' | '\r' | '\u{85}' => false,
            '\u{fffe}' | '\u{ffff}' => true,
            c => c.is_control(),
        };
        if let Some(at) = line.find(is_control) {
            let position = Position { line: index + 1, column: line[..at].chars().count() + 1 };
            let message = "control characters are not allowed: write them as \"\\x1b\" in double quotes";
            return Err(Error::new("", position, message.into()));
        }
    }
    Ok(text.replace("\r\n", "\n").replace(['\r', '\u{85}'], "\n").into())
}

struct Reader<'t> {
    scanner: Scanner<'t>,
    /// What `%TAG` says of this document.
    handles: Vec<(&'t str, String)>,
    nodes: usize,
    aliased: usize,
    depth: usize,
    anchors: HashMap<&'t str, (Node, usize)>,
    /// Of maps at the top, the only ones that are kept.
    fields: Option<&'t [&'t str]>,
}

/// Lists and maps that are read alike.
#[derive(Clone, Copy, PartialEq)]
enum Brackets {
    Square,
    Curly,
}

fn fail<T>(position: Position, message: impl Into<String>) -> Result<T, Error> {
    Err(Error::new("", position, message.into()))
}

fn empty(position: Position) -> Node {
    Node { position, ..Node::null() }
}

/// What stands between two `---`, or behind the last one.
fn is_nothing(node: &Node) -> bool {
    node.tag.is_none() && matches!(&node.kind, Kind::Scalar(text, Style::Plain) if text.is_empty())
}

impl<'t> Reader<'t> {
    /// Takes what comes if it is this.
    fn skip(&mut self, kind: &TokenKind<'_>) -> Result<Option<Position>, Error> {
        if self.scanner.peek()?.kind == *kind { Ok(Some(self.scanner.take()?.position)) } else { Ok(None) }
    }

    fn comes(&mut self, is_it: impl Fn(&TokenKind<'_>) -> bool) -> Result<bool, Error> {
        Ok(is_it(&self.scanner.peek()?.kind))
    }

    fn documents(&mut self) -> Result<Vec<Node>, Error> {
        let mut documents = Vec::new();
        let mut is_implicit = true;
        loop {
            while self.skip(&TokenKind::DocumentEnd)?.is_some() {}
            self.anchors.clear();
            self.handles.clear();
            match self.scanner.peek()?.kind {
                TokenKind::StreamEnd => return Ok(documents),
                TokenKind::Version(_) | TokenKind::Handle(..) | TokenKind::DocumentStart => {}
                _ if is_implicit => {
                    documents.extend(Some(self.node(true, false)?).filter(|node| !is_nothing(node)));
                    is_implicit = false;
                    continue;
                }
                _ => return self.no_document(),
            }
            is_implicit = false;
            self.directives()?;
            let Some(start) = self.skip(&TokenKind::DocumentStart)? else { return self.no_document() };
            let is_empty = self.comes(|kind| {
                matches!(
                    kind,
                    TokenKind::Version(_)
                        | TokenKind::Handle(..)
                        | TokenKind::DocumentStart
                        | TokenKind::DocumentEnd
                        | TokenKind::StreamEnd
                )
            })?;
            let node = if is_empty { empty(start) } else { self.node(true, false)? };
            documents.extend(Some(node).filter(|node| !is_nothing(node)));
        }
    }

    fn no_document<T>(&mut self) -> Result<T, Error> {
        let position = self.scanner.peek()?.position;
        fail(position, "did not find expected <document start>: the document before has ended; `---` begins another")
    }

    fn directives(&mut self) -> Result<(), Error> {
        loop {
            match self.scanner.peek()?.kind {
                TokenKind::Version(_) | TokenKind::Handle(..) => {}
                _ => return Ok(()),
            }
            let Token { position, kind } = self.scanner.take()?;
            match kind {
                TokenKind::Version("1.1") => {}
                TokenKind::Version(_) => return fail(position, "found incompatible YAML document: 1.1 is read"),
                TokenKind::Handle(handle, prefix) => self.handles.push((handle, prefix)),
                _ => {}
            }
        }
    }

    /// A value. In a block it may be a list or map without brackets; `indentless`: a list at the column of its key.
    fn node(&mut self, block: bool, indentless: bool) -> Result<Node, Error> {
        let mut start = None;
        let (mut anchor, mut tag) = (None, None);
        loop {
            let token = self.scanner.peek()?;
            match &token.kind {
                TokenKind::Anchor(name) if anchor.is_none() => anchor = Some(*name),
                TokenKind::Tag(handle, suffix) if tag.is_none() => tag = Some((*handle, suffix.clone())),
                _ => break,
            }
            start.get_or_insert(token.position);
            self.scanner.take()?;
        }
        let before = self.nodes;
        self.nodes += 1;
        let has_properties = start.is_some();
        let token = self.scanner.peek()?;
        let position = start.unwrap_or(token.position);
        let kind = match &token.kind {
            TokenKind::Alias(_) if !has_properties => return self.alias(),
            TokenKind::Scalar(..) => {
                let TokenKind::Scalar(text, style) = self.scanner.take()?.kind else { return Ok(empty(position)) };
                Kind::Scalar(text.into_owned(), style)
            }
            TokenKind::BlockEntry if indentless => self.nested(|reader| reader.block_list(true))?,
            TokenKind::FlowSequence => self.nested(|reader| reader.flow_list())?,
            TokenKind::FlowMapping => self.nested(|reader| reader.flow_map())?,
            TokenKind::BlockSequence if block => self.nested(|reader| reader.block_list(false))?,
            TokenKind::BlockMapping if block => self.nested(|reader| reader.block_map())?,
            _ if has_properties => Kind::Scalar(String::new(), Style::Plain),
            other => {
                let message = format!("did not find expected node content: {}", shown(other));
                return fail(position, message);
            }
        };
        let tag = match tag {
            None => None,
            Some((handle, suffix)) => Some(self.tag(position, handle, &suffix)?),
        };
        let node = Node { position, tag, kind };
        if let Some(anchor) = anchor {
            if self.fields.is_some() {
                return fail(position, "an anchor");
            }
            self.anchors.insert(anchor, (node.clone(), self.nodes - before));
        }
        Ok(node)
    }

    fn tag(&mut self, position: Position, handle: &str, suffix: &str) -> Result<String, Error> {
        let known = self.handles.iter().find(|(known, _)| *known == handle).map(|(_, prefix)| prefix.as_str());
        let prefix = match (known, handle) {
            (Some(prefix), _) => prefix,
            (None, "" | "!") => handle,
            (None, "!!") => "tag:yaml.org,2002:",
            (None, _) => return fail(position, format!("found undefined tag handle {handle}")),
        };
        Ok(format!("{prefix}{suffix}"))
    }

    fn alias(&mut self) -> Result<Node, Error> {
        let Token { position, kind } = self.scanner.take()?;
        let TokenKind::Alias(name) = kind else { return Ok(empty(position)) };
        let Some((node, nodes)) = self.anchors.get(name) else {
            return fail(
                position,
                format!("unknown anchor {name:?} referenced: an alias to itself, or to something unknown"),
            );
        };
        self.nodes += nodes;
        self.aliased += nodes;
        if self.aliased > MAX_ALIASED {
            return fail(position, format!("aliases expand to more than {MAX_ALIASED} values"));
        }
        // Where the alias stands is where a reader looks for what is wrong.
        Ok(Node { position, ..node.clone() })
    }

    /// A list or map: what is inside of it is one level deeper.
    fn nested(&mut self, read: impl FnOnce(&mut Self) -> Result<Kind, Error>) -> Result<Kind, Error> {
        if self.depth >= MAX_DEPTH {
            let position = self.scanner.peek()?.position;
            return fail(position, format!("nested deeper than {MAX_DEPTH} levels"));
        }
        self.depth += 1;
        let result = read(self);
        self.depth -= 1;
        result
    }

    fn block_list(&mut self, indentless: bool) -> Result<Kind, Error> {
        let mut items = Vec::new();
        let start = if indentless { self.scanner.peek()?.position } else { self.scanner.take()?.position };
        while let Some(position) = self.skip(&TokenKind::BlockEntry)? {
            let is_empty = self.comes(|kind| match kind {
                TokenKind::BlockEntry | TokenKind::BlockEnd => true,
                TokenKind::Key | TokenKind::Value => indentless,
                _ => false,
            })?;
            let item = if is_empty { empty(position) } else { self.node(true, false)? };
            items.push(item);
        }
        if !indentless && self.skip(&TokenKind::BlockEnd)?.is_none() {
            return self.unexpected("did not find expected '-' indicator", "list", start);
        }
        Ok(Kind::Sequence(items))
    }

    fn unexpected<T>(&mut self, what: &str, of: &str, start: Position) -> Result<T, Error> {
        let token = self.scanner.peek()?;
        let position = token.position;
        let message = format!("{what}: {} in the {of} that begins in line {}", shown(&token.kind), start.line);
        fail(position, message)
    }

    fn block_map(&mut self) -> Result<Kind, Error> {
        let start = self.scanner.take()?.position;
        let mut pairs = Vec::new();
        let ends = |kind: &TokenKind<'_>| matches!(kind, TokenKind::Key | TokenKind::Value | TokenKind::BlockEnd);
        while let Some(position) = self.skip(&TokenKind::Key)? {
            let key = if self.comes(ends)? { empty(position) } else { self.node(true, true)? };
            let is_kept = self.is_kept(&key);
            let value = match self.skip(&TokenKind::Value)? {
                Some(position) if self.comes(ends)? => empty(position),
                Some(_) if is_kept => self.node(true, true)?,
                Some(_) => self.skipped()?,
                None => empty(self.scanner.peek()?.position),
            };
            pairs.push((key, value));
        }
        if self.skip(&TokenKind::BlockEnd)?.is_none() {
            return self.unexpected("did not find expected key", "map", start);
        }
        Ok(Kind::Mapping(pairs))
    }

    /// False for fields at the top that nobody asked for.
    fn is_kept(&self, key: &Node) -> bool {
        match self.fields {
            Some(fields) if self.depth == 1 => {
                matches!(&key.kind, Kind::Scalar(key, _) if fields.contains(&key.as_str()))
            }
            _ => true,
        }
    }

    /// Passes over a value.
    fn skipped(&mut self) -> Result<Node, Error> {
        let position = self.scanner.peek()?.position;
        match crate::direct::skip(&mut self.scanner, self.depth) {
            true => Ok(empty(position)),
            false => fail(position, "something unusual"),
        }
    }

    /// What separates the parts of brackets; true if they end.
    fn flow_ends(&mut self, brackets: Brackets, is_first: bool, start: Position) -> Result<bool, Error> {
        let end = match brackets {
            Brackets::Square => TokenKind::FlowSequenceEnd,
            Brackets::Curly => TokenKind::FlowMappingEnd,
        };
        if self.skip(&end)?.is_some() {
            return Ok(true);
        }
        if !is_first && self.skip(&TokenKind::FlowEntry)?.is_none() {
            return match brackets {
                Brackets::Square => self.unexpected("did not find expected ',' or ']'", "list", start),
                Brackets::Curly => self.unexpected("did not find expected ',' or '}'", "map", start),
            };
        }
        Ok(!is_first && self.skip(&end)?.is_some())
    }

    fn flow_list(&mut self) -> Result<Kind, Error> {
        let start = self.scanner.take()?.position;
        let mut items = Vec::new();
        while !self.flow_ends(Brackets::Square, items.is_empty(), start)? {
            let item = match self.skip(&TokenKind::Key)? {
                // `[a: b]` is a list of a map.
                Some(position) => {
                    self.nodes += 1;
                    let pair = self.flow_pair(position, Brackets::Square)?;
                    Node { position, tag: None, kind: Kind::Mapping(vec![pair]) }
                }
                None => self.node(false, false)?,
            };
            items.push(item);
        }
        Ok(Kind::Sequence(items))
    }

    fn flow_map(&mut self) -> Result<Kind, Error> {
        let start = self.scanner.take()?.position;
        let mut pairs = Vec::new();
        while !self.flow_ends(Brackets::Curly, pairs.is_empty(), start)? {
            let pair = match self.skip(&TokenKind::Key)? {
                Some(position) => self.flow_pair(position, Brackets::Curly)?,
                None => {
                    let key = self.node(false, false)?;
                    let value = empty(key.position);
                    (key, value)
                }
            };
            pairs.push(pair);
        }
        Ok(Kind::Mapping(pairs))
    }

    /// Behind the place where a key begins.
    fn flow_pair(&mut self, position: Position, brackets: Brackets) -> Result<(Node, Node), Error> {
        let ends = move |kind: &TokenKind<'_>| match kind {
            TokenKind::FlowEntry => true,
            TokenKind::FlowSequenceEnd => brackets == Brackets::Square,
            TokenKind::FlowMappingEnd => brackets == Brackets::Curly,
            _ => false,
        };
        let no_key = self.comes(|kind| *kind == TokenKind::Value || ends(kind))?;
        let key = if no_key { empty(position) } else { self.node(false, false)? };
        let is_kept = self.is_kept(&key);
        let value = match self.skip(&TokenKind::Value)? {
            Some(position) if self.comes(ends)? => empty(position),
            Some(_) if is_kept => self.node(false, false)?,
            Some(_) => self.skipped()?,
            None => empty(key.position),
        };
        Ok((key, value))
    }
}

/// A token, for messages.
fn shown(kind: &TokenKind<'_>) -> &'static str {
    match kind {
        TokenKind::StreamEnd => "the text ends here",
        TokenKind::Version(_) | TokenKind::Handle(..) => "a directive stands here",
        TokenKind::DocumentStart => "`---` stands here",
        TokenKind::DocumentEnd => "`...` stands here",
        TokenKind::BlockSequence | TokenKind::BlockEntry => "`-` stands here",
        TokenKind::BlockMapping => "a map begins here",
        TokenKind::BlockEnd => "what is indented ends here",
        TokenKind::FlowSequence => "`[` stands here",
        TokenKind::FlowSequenceEnd => "`]` stands here",
        TokenKind::FlowMapping => "`{` stands here",
        TokenKind::FlowMappingEnd => "`}` stands here",
        TokenKind::FlowEntry => "`,` stands here",
        TokenKind::Key => "a key stands here",
        TokenKind::Value => "`:` stands here",
        TokenKind::Alias(_) => "an alias stands here",
        TokenKind::Anchor(_) | TokenKind::Tag(..) => "a second anchor or tag stands here",
        TokenKind::Scalar(..) => "a text stands here",
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
