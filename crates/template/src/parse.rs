//! Tokens → templates.

use crate::ast::{Arg, Branch, Command, Invocation, Node, Operand, Pipe, Source, Template};
use crate::lex::{Kind, Token, lex};
use crate::literal;
use crate::value::Text;
use std::sync::Arc;

/// Controls inside of controls, and parentheses inside of parentheses.
const NESTING_MAX: usize = 500;

/// Names that are shared while they come again: this many at once.
const REMEMBERED: usize = 128;

type Result<T> = std::result::Result<T, String>;

/// What a text defines: the template of its own name, and those of its `define` and `block` actions.
#[derive(Debug)]
pub struct Parsed {
    /// In the order of their ends; the text's own is the last.
    pub templates: Vec<Arc<Template>>,
}

/// Parses a text. `find` gives the index of a function.
///
/// # Errors
/// `template: name:line: what is wrong`, as Go words it.
pub fn parse(name: &str, text: &Text, find: &dyn Fn(&str) -> Option<usize>) -> Result<Parsed> {
    if u32::try_from(text.len()).is_err() {
        return Err(format!("template: {name}: the text is larger than 4 GiB"));
    }
    let source = Arc::new(Source { name: name.into(), text: Text::clone(text) });
    let (tokens, problem) = lex(text);
    let mut parser = Parser {
        source: Arc::clone(&source),
        input: text,
        tokens,
        problem,
        at: 0,
        find,
        scope: Scope::default(),
        depth: 0,
        templates: Vec::new(),
        seen: vec![None; REMEMBERED],
        nodes: Vec::new(),
        commands: Vec::new(),
        args: Vec::new(),
        fields: Vec::new(),
    };
    let (root, _) = parser.list(true)?;
    let slots = parser.scope.most;
    parser.add(Template { name: name.into(), source, root, slots })?;
    Ok(Parsed { templates: parser.templates })
}

/// Variables that are visible.
struct Scope {
    names: Vec<Text>,
    most: usize,
    ranges: usize,
}

impl Default for Scope {
    fn default() -> Self {
        Self { names: vec!["$".into()], most: 1, ranges: 0 }
    }
}

struct Parser<'p> {
    source: Arc<Source>,
    input: &'p str,
    tokens: Vec<Token>,
    problem: Option<String>,
    at: usize,
    find: &'p dyn Fn(&str) -> Option<usize>,
    scope: Scope,
    depth: usize,
    templates: Vec<Arc<Template>>,
    seen: Vec<Option<Text>>,
    // What lists, pipelines, commands and chains consist of, as far as they are read: inner ones stand behind outer ones.
    nodes: Vec<Node>,
    commands: Vec<Command>,
    args: Vec<Arg>,
    fields: Vec<Text>,
}

/// What ended a list.
#[derive(PartialEq, Clone, Copy)]
enum Ended {
    File,
    End,
    Else,
    /// `else if` and `else with`: the word is the next token.
    ElseWith,
}

impl<'p> Parser<'p> {
    fn fail<T>(&self, message: &str) -> Result<T> {
        let at = self.at.min(self.tokens.len() - 1);
        let line = self.source.line(self.tokens[at.saturating_sub(1)].start.max(self.tokens[at].start));
        Err(format!("template: {}:{line}: {message}", self.source.name))
    }

    fn peek(&self) -> Token {
        self.tokens[self.at.min(self.tokens.len() - 1)]
    }

    fn next(&mut self) -> Token {
        let token = self.peek();
        self.at += 1;
        token
    }

    fn skip_space(&mut self) -> Token {
        while self.peek().kind == Kind::Space {
            self.at += 1;
        }
        self.peek()
    }

    fn next_solid(&mut self) -> Token {
        self.skip_space();
        self.next()
    }

    fn text(&self, token: Token) -> &'p str {
        &self.input[token.start as usize..token.end as usize]
    }

    /// A text that other places have, too, as a rule.
    fn shared(&mut self, text: &str) -> Text {
        let mix = |hash: u32, byte: u8| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
        let hash = text.bytes().take(32).fold(0x811c_9dc5, mix);
        let place = &mut self.seen[(hash ^ (hash >> 16)) as usize % REMEMBERED];
        match place {
            Some(seen) if **seen == *text => Text::clone(seen),
            _ => Text::clone(place.insert(text.into())),
        }
    }

    fn is_word(&self, token: Token, word: &str) -> bool {
        token.kind == Kind::Word && self.text(token) == word
    }

    fn unexpected<T>(&self, token: Token, context: &str) -> Result<T> {
        let what = match token.kind {
            Kind::Error => return self.fail(self.problem.as_deref().unwrap_or("unreadable")),
            Kind::End => "EOF".to_owned(),
            Kind::Word if is_keyword(self.text(token)) => format!("<{}>", self.text(token)),
            _ => format!("{:?}", self.text(token)),
        };
        self.fail(&format!("unexpected {what} in {context}"))
    }

    fn close(&mut self, context: &str) -> Result<()> {
        let token = self.next_solid();
        if token.kind == Kind::Close { Ok(()) } else { self.unexpected(token, context) }
    }

    fn enter(&mut self) -> Result<()> {
        self.depth += 1;
        if self.depth > NESTING_MAX {
            return self.fail(&format!("nested deeper than {NESTING_MAX} levels"));
        }
        Ok(())
    }

    fn list(&mut self, is_file: bool) -> Result<(Box<[Node]>, Ended)> {
        self.enter()?;
        let start = self.nodes.len();
        loop {
            let token = self.next();
            match token.kind {
                Kind::Text => self.nodes.push(Node::Text(token.start, token.end)),
                Kind::Open => {
                    if let Some(ended) = self.action(is_file)? {
                        self.depth -= 1;
                        return Ok((self.nodes.drain(start..).collect(), ended));
                    }
                }
                Kind::End if is_file => {
                    self.depth -= 1;
                    return Ok((self.nodes.drain(start..).collect(), Ended::File));
                }
                Kind::End => return self.fail("unexpected EOF"),
                _ => return self.unexpected(token, "input"),
            }
        }
    }

    fn action(&mut self, is_file: bool) -> Result<Option<Ended>> {
        let token = self.skip_space();
        let word = if token.kind == Kind::Word { self.text(token) } else { "" };
        if is_keyword(word) {
            self.at += 1;
        }
        match word {
            "define" if is_file => self.define()?,
            "define" => return self.unexpected(token, "command"),
            "block" => {
                let node = self.block()?;
                self.nodes.push(node);
            }
            "break" | "continue" => {
                self.close(&format!("{{{{{word}}}}}"))?;
                if self.scope.ranges == 0 {
                    return self.fail(&format!("{{{{{word}}}}} outside {{{{range}}}}"));
                }
                self.nodes.push(if word == "break" { Node::Break } else { Node::Continue });
            }
            "else" | "end" if is_file => return self.fail(&format!("unexpected {{{{{word}}}}}")),
            "else" => {
                let next = self.skip_space();
                if self.is_word(next, "if") || self.is_word(next, "with") {
                    return Ok(Some(Ended::ElseWith));
                }
                self.close("else")?;
                return Ok(Some(Ended::Else));
            }
            "end" => {
                self.close("end")?;
                return Ok(Some(Ended::End));
            }
            "if" | "range" | "with" => {
                let branch = self.control(word)?;
                self.nodes.push(wrapped(word, branch));
            }
            "template" => {
                let (pos, name) = self.name("template clause")?;
                let pipe = if self.skip_space().kind == Kind::Close {
                    self.at += 1;
                    None
                } else {
                    Some(self.pipeline("template clause", Kind::Close)?)
                };
                self.nodes.push(Node::Template(Box::new(Invocation { pos, name, pipe })));
            }
            _ => {
                let pipe = self.pipeline("command", Kind::Close)?;
                self.nodes.push(Node::Action(pipe));
            }
        }
        Ok(None)
    }

    fn name(&mut self, context: &str) -> Result<(u32, Text)> {
        let token = self.next_solid();
        if !matches!(token.kind, Kind::Quoted | Kind::Raw) {
            return self.unexpected(token, context);
        }
        match literal::unquote(self.text(token)) {
            Some(name) => Ok((token.start, self.shared(&name))),
            None => self.fail("invalid syntax"),
        }
    }

    fn define(&mut self) -> Result<()> {
        let (_, name) = self.name("define clause")?;
        self.close("define clause")?;
        self.definition(name, "define clause")
    }

    fn definition(&mut self, name: Text, context: &str) -> Result<()> {
        let outer = std::mem::take(&mut self.scope);
        let (root, ended) = self.list(false)?;
        if ended != Ended::End {
            return self.fail(&format!("unexpected {{{{else}}}} in {context}"));
        }
        let slots = std::mem::replace(&mut self.scope, outer).most;
        let source = Arc::clone(&self.source);
        self.add(Template { name, source, root, slots })
    }

    /// Within one text a template is defined once, but for empty ones.
    fn add(&mut self, template: Template) -> Result<()> {
        match self.templates.iter_mut().find(|other| other.name == template.name) {
            Some(other) if other.is_empty() => *other = Arc::new(template),
            Some(_) if template.is_empty() => {}
            Some(_) => {
                return self.fail(&format!("template: multiple definition of template {:?}", template.name));
            }
            None => self.templates.push(Arc::new(template)),
        }
        Ok(())
    }

    fn block(&mut self) -> Result<Node> {
        let (pos, name) = self.name("block clause")?;
        let pipe = self.pipeline("block clause", Kind::Close)?;
        self.definition(Text::clone(&name), "block clause")?;
        Ok(Node::Template(Box::new(Invocation { pos, name, pipe: Some(pipe) })))
    }

    fn control(&mut self, word: &str) -> Result<Branch> {
        self.enter()?;
        let variables = self.scope.names.len();
        let pipe = self.pipeline(word, Kind::Close)?;
        self.scope.ranges += usize::from(word == "range");
        let (list, ended) = self.list(false)?;
        self.scope.ranges -= usize::from(word == "range");
        let otherwise = match ended {
            Ended::End | Ended::File => None,
            Ended::Else => {
                let (list, ended) = self.list(false)?;
                if ended != Ended::End {
                    return self.fail("expected end; found {{else}}");
                }
                Some(list)
            }
            Ended::ElseWith => {
                let next = self.next_solid();
                if !self.is_word(next, word) {
                    return self.unexpected(next, "input");
                }
                let branch = self.control(word)?;
                Some(Box::from([wrapped(word, branch)]))
            }
        };
        self.scope.names.truncate(variables);
        self.depth -= 1;
        Ok(Branch { pos: pipe.pos, pipe, list, otherwise })
    }

    fn pipeline(&mut self, context: &str, end: Kind) -> Result<Pipe> {
        let first = self.skip_space();
        let (mut assigns, start) = (false, self.commands.len());
        let names = self.declarations(context, &mut assigns)?;
        loop {
            let token = self.skip_space();
            match token.kind {
                kind if kind == end => {
                    self.at += 1;
                    break;
                }
                Kind::Word if is_keyword(self.text(token)) => {
                    self.at += 1;
                    return self.unexpected(token, context);
                }
                Kind::Char
                | Kind::Dot
                | Kind::Field
                | Kind::Word
                | Kind::Number
                | Kind::Raw
                | Kind::Quoted
                | Kind::Variable
                | Kind::ParenOpen => {
                    let command = self.command()?;
                    self.commands.push(command);
                }
                _ => {
                    self.at += 1;
                    return self.unexpected(token, context);
                }
            }
        }
        let commands: Box<[Command]> = self.commands.drain(start..).collect();
        if commands.is_empty() {
            return self.fail(&format!("missing value for {context}"));
        }
        // Only now, because what is assigned may name an older variable of the same name.
        let place = |name: Text| self.slot(&name, !assigns).map(|slot| (name, slot));
        let variables = names.into_iter().map(place).collect::<Result<_>>()?;
        for (stage, command) in commands.iter().enumerate().skip(1) {
            let constant = matches!(
                command.args[0].kind,
                Operand::Bool(_) | Operand::Dot | Operand::Nil | Operand::Number(..) | Operand::Text(..)
            );
            if constant {
                return self.fail(&format!("non executable command in pipeline stage {}", stage + 1));
            }
        }
        Ok(Pipe { pos: first.start, variables, assigns, commands })
    }

    /// `$x :=`, `$x =`, and of a range `$i, $e :=`.
    fn declarations(&mut self, context: &str, assigns: &mut bool) -> Result<Vec<Text>> {
        let mut names: Vec<Text> = Vec::new();
        let start = self.at;
        while self.skip_space().kind == Kind::Variable {
            let variable = self.next();
            let name = self.shared(self.text(variable));
            let after = self.skip_space();
            match after.kind {
                Kind::Assign | Kind::Declare => {
                    self.at += 1;
                    names.push(name);
                    *assigns = after.kind == Kind::Assign;
                    return Ok(names);
                }
                Kind::Other if self.text(after) == "," => {
                    self.at += 1;
                    names.push(name);
                    if context != "range" || names.len() > 1 {
                        return self.fail(&format!("too many declarations in {context}"));
                    }
                    if self.skip_space().kind != Kind::Variable {
                        return self.fail("range can only initialize variables");
                    }
                }
                _ => break,
            }
        }
        self.at = start;
        Ok(Vec::new())
    }

    fn slot(&mut self, name: &Text, declares: bool) -> Result<usize> {
        if declares {
            self.scope.names.push(Text::clone(name));
            self.scope.most = self.scope.most.max(self.scope.names.len());
            return Ok(self.scope.names.len() - 1);
        }
        match self.scope.names.iter().rposition(|other| other == name) {
            Some(slot) => Ok(slot),
            None => self.fail(&format!("undefined variable {name:?}")),
        }
    }

    fn command(&mut self) -> Result<Command> {
        let (pos, start) = (self.skip_space().start, self.args.len());
        loop {
            self.skip_space();
            if let Some(arg) = self.operand()? {
                self.args.push(arg);
            }
            let token = self.next();
            match token.kind {
                Kind::Space => {}
                Kind::Close | Kind::ParenClose => {
                    self.at -= 1;
                    break;
                }
                Kind::Pipe => break,
                _ => return self.unexpected(token, "operand"),
            }
        }
        let args: Box<[Arg]> = self.args.drain(start..).collect();
        if args.is_empty() {
            return self.fail("empty command");
        }
        Ok(Command { pos, args })
    }

    fn operand(&mut self) -> Result<Option<Arg>> {
        let Some(arg) = self.term()? else { return Ok(None) };
        let first = self.peek();
        if first.kind != Kind::Field {
            return Ok(Some(arg));
        }
        if matches!(arg.kind, Operand::Bool(_) | Operand::Text(..) | Operand::Number(..) | Operand::Nil | Operand::Dot)
        {
            let _ = self.chain();
            return self.fail(&format!("unexpected . after term {:?}", arg.to_string()));
        }
        let names = self.chain();
        Ok(Some(Arg { pos: first.start, kind: Operand::Chain(Box::new(arg), names) }))
    }

    /// The fields that come, without spaces between.
    fn chain(&mut self) -> Box<[Text]> {
        let start = self.fields.len();
        while self.peek().kind == Kind::Field {
            let token = self.next();
            let name = self.shared(&self.text(token)[1..]);
            self.fields.push(name);
        }
        self.fields.drain(start..).collect()
    }

    fn term(&mut self) -> Result<Option<Arg>> {
        let token = self.skip_space();
        let text = self.text(token);
        let kind = match token.kind {
            Kind::Word => match text {
                "true" => Operand::Bool(true),
                "false" => Operand::Bool(false),
                "nil" => Operand::Nil,
                word if is_keyword(word) => return Ok(None),
                word => match (self.find)(word) {
                    Some(index) => Operand::Function(index, self.shared(word)),
                    None => {
                        let message = format!("function {word:?} not defined");
                        self.at += 1;
                        return self.fail(&message);
                    }
                },
            },
            Kind::Dot => Operand::Dot,
            Kind::Variable => {
                let name = self.shared(text);
                let slot = self.slot(&name, false)?;
                self.at += 1;
                // What is wrong is told of the first field.
                let pos = if self.peek().kind == Kind::Field { self.peek().start } else { token.start };
                let slot = u32::try_from(slot).map_err(|_| "template: too many variables".to_owned())?;
                return Ok(Some(Arg { pos, kind: Operand::Variable(slot, name, self.chain()) }));
            }
            Kind::Field => {
                let names = self.chain();
                let second = token.end;
                let pos = if names.len() > 1 { second } else { token.start };
                return Ok(Some(Arg { pos, kind: Operand::Field(names) }));
            }
            Kind::Char | Kind::Number => match literal::number(text) {
                Some(number) => Operand::Number(Box::new(number), self.shared(text)),
                None => return self.fail(&format!("bad number syntax: {text:?}")),
            },
            Kind::Quoted | Kind::Raw => match literal::unquote(text) {
                Some(value) => Operand::Text(self.shared(&value), self.shared(text)),
                None => return self.fail("invalid syntax"),
            },
            Kind::ParenOpen => {
                self.at += 1;
                self.enter()?;
                let pipe = self.pipeline("parenthesized pipeline", Kind::ParenClose)?;
                self.depth -= 1;
                return Ok(Some(Arg { pos: pipe.pos, kind: Operand::Pipe(Box::new(pipe)) }));
            }
            _ => return Ok(None),
        };
        self.at += 1;
        Ok(Some(Arg { pos: token.start, kind }))
    }
}

fn wrapped(word: &str, branch: Branch) -> Node {
    let branch = Box::new(branch);
    match word {
        "if" => Node::If(branch),
        "with" => Node::With(branch),
        _ => Node::Range(branch),
    }
}

fn is_keyword(word: &str) -> bool {
    matches!(word, "block" | "break" | "continue" | "define" | "else" | "end" | "if" | "range" | "template" | "with")
}

impl Template {
    /// True if it consists of space only: then it never replaces another one of its name.
    pub fn is_empty(&self) -> bool {
        self.root.iter().all(|node| match node {
            Node::Text(start, end) => self.source.text[*start as usize..*end as usize].trim().is_empty(),
            _ => false,
        })
    }
}
