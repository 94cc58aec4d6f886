//! Runs templates over values.

use crate::ast::{Arg, Branch, Command, Invocation, Node, Operand, Pipe, Template};
use crate::builtin;
use crate::fault::Fault;
use crate::format;
use crate::parse::Parsed;
use crate::value::{Map, Of, Text, Value};
use std::any::Any;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

/// What happens in a template when a function is called.
pub type Run = fn(&mut Call<'_, '_>) -> std::result::Result<Value, Fault>;

/// A function of templates.
#[derive(Clone, Copy)]
pub struct Function {
    /// Its name.
    pub name: &'static str,
    /// A letter per parameter: `a` any, `v` any as it is, `s` string, `i` int, `l` int64, `f` float64, `b` bool,
    /// `m` map, `L` list; a `*` behind the last one if it repeats.
    pub takes: &'static str,
    /// What it does.
    pub run: Run,
}

/// A call: arguments of the kinds that the function asked for.
pub struct Call<'c, 't> {
    /// The arguments.
    pub args: Vec<Value>,
    /// Who calls.
    pub exec: &'c mut Exec<'t>,
}

/// Templates by name, and the functions that they call.
#[derive(Clone)]
pub struct Library {
    templates: HashMap<Text, Arc<Template>>,
    functions: &'static [Function],
}

/// What a run may use up.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Actions and pipelines.
    pub steps: u64,
    /// Of all that is written, parts that are thrown away included.
    pub bytes: usize,
    /// Lists and maps that functions give. It bounds how deep values can be nested, too.
    pub containers: u32,
    /// Actions inside of actions, over all templates that call each other; each level takes up to some KiB of the stack.
    pub depth: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { steps: 30_000_000, bytes: 512 << 20, containers: 250_000, depth: 12_000 }
    }
}

impl Library {
    /// Without templates.
    pub fn new(functions: &'static [Function]) -> Self {
        Self { templates: HashMap::new(), functions }
    }

    /// Adds what a text defines; a later definition replaces an earlier one, unless it is empty.
    pub fn add(&mut self, parsed: &Parsed) {
        for template in &parsed.templates {
            add(&mut self.templates, template);
        }
    }
}

fn add(templates: &mut HashMap<Text, Arc<Template>>, template: &Arc<Template>) {
    if !(template.is_empty() && templates.contains_key(&template.name)) {
        templates.insert(Text::clone(&template.name), Arc::clone(template));
    }
}

/// A run.
pub struct Exec<'t> {
    library: &'t Library,
    /// What texts that were given as values define, the innermost last.
    overlays: Vec<HashMap<Text, Arc<Template>>>,
    /// For functions: facts about the run.
    pub host: &'t dyn Any,
    out: String,
    variables: Vec<Value>,
    frame: usize,
    template: Arc<Template>,
    left: Limits,
    depth: usize,
}

/// How a list of nodes ended.
#[derive(PartialEq, Clone, Copy)]
enum Flow {
    Through,
    Break,
    Continue,
}

type Result<T> = std::result::Result<T, Fault>;

const TOO_MUCH: &str = "the templates write too much; is there an endless loop?";

impl<'t> Exec<'t> {
    /// A run over a library; `host` is what functions know of the world.
    pub fn new(library: &'t Library, host: &'t dyn Any, limits: Limits) -> Self {
        let source = Arc::new(crate::ast::Source { name: "".into(), text: "".into() });
        let template = Arc::new(Template { name: "".into(), source, root: Vec::new(), slots: 1 });
        Self {
            library,
            overlays: Vec::new(),
            host,
            out: String::new(),
            variables: Vec::new(),
            frame: 0,
            template,
            left: limits,
            depth: 0,
        }
    }

    /// The template that a name means here.
    pub fn lookup(&self, name: &str) -> Option<Arc<Template>> {
        let overlay = self.overlays.iter().rev().find_map(|overlay| overlay.get(name));
        overlay.or_else(|| self.library.templates.get(name)).cloned()
    }

    /// The name of the template that runs.
    pub fn current(&self) -> &Text {
        &self.template.name
    }

    /// Indices of functions, by their names: of these, and of those that the engine has.
    pub fn functions(functions: &[Function]) -> HashMap<&'static str, usize> {
        let own = builtin::FUNCTIONS.iter();
        own.chain(functions).enumerate().map(|(index, function)| (function.name, index)).collect()
    }

    /// Runs the template of a name and gives what it wrote.
    ///
    /// # Errors
    /// What went wrong, with the places that led there.
    pub fn run(&mut self, name: &str, data: Value) -> Result<String> {
        let Some(template) = self.lookup(name) else {
            return Err(Fault::plain(format!("template: no template {name:?} associated with template \"gotpl\"")));
        };
        let outer = std::mem::take(&mut self.out);
        let result = self.invoke(&template, data);
        let written = std::mem::replace(&mut self.out, outer);
        result.map(|()| written)
    }

    /// Runs a text that was parsed; what it defines is visible while it runs.
    ///
    /// # Errors
    /// As [`Exec::run`].
    pub fn run_parsed(&mut self, parsed: &Parsed, data: Value) -> Result<String> {
        let Some((main, defined)) = parsed.templates.split_last() else { return Ok(String::new()) };
        let mut overlay = HashMap::new();
        defined.iter().for_each(|template| add(&mut overlay, template));
        let has_overlay = !overlay.is_empty();
        if has_overlay {
            self.overlays.push(overlay);
        }
        let outer = std::mem::take(&mut self.out);
        let result = self.invoke(main, data);
        let written = std::mem::replace(&mut self.out, outer);
        if has_overlay {
            self.overlays.pop();
        }
        result.map(|()| written)
    }

    fn invoke(&mut self, template: &Arc<Template>, data: Value) -> Result<()> {
        let (frame, base) = (self.frame, self.variables.len());
        self.frame = base;
        self.variables.resize(base + template.slots, Value::Missing);
        self.variables[base] = data.clone();
        let caller = std::mem::replace(&mut self.template, Arc::clone(template));
        let result = self.list(&template.root, &data);
        self.template = caller;
        self.variables.truncate(base);
        self.frame = frame;
        result.map(drop)
    }

    fn fail<T>(&self, pos: u32, context: &dyn std::fmt::Display, message: &str) -> Result<T> {
        let location = self.template.source.location(pos);
        let name = format::quoted(&self.template.name);
        Err(Fault::exec(format!("template: {location}: executing {name} at <{context}>: {message}")))
    }

    fn at<T>(&self, arg: &Arg, message: &str) -> Result<T> {
        self.fail(arg.pos, arg, message)
    }

    fn step(&mut self) -> Result<()> {
        match self.left.steps.checked_sub(1) {
            Some(left) => self.left.steps = left,
            None => return Err(Fault::limit("the templates take too many steps; is there an endless loop?")),
        }
        Ok(())
    }

    fn write(&mut self, text: &str) -> Result<()> {
        match self.left.bytes.checked_sub(text.len()) {
            Some(left) => self.left.bytes = left,
            None => return Err(Fault::limit(TOO_MUCH)),
        }
        self.out.push_str(text);
        Ok(())
    }

    /// Accounts for what a function makes.
    ///
    /// # Errors
    /// When it is more than a run may write.
    pub fn account(&mut self, bytes: usize) -> Result<()> {
        match self.left.bytes.checked_sub(bytes) {
            Some(left) => self.left.bytes = left,
            None => return Err(Fault::limit("the templates make too large values; is there an endless loop?")),
        }
        Ok(())
    }

    /// Accounts for what a function gave.
    fn charge(&mut self, value: &Value) -> Result<()> {
        match value {
            Value::Text(text) if text.len() > 256 => self.account(text.len()),
            Value::List(_) | Value::Map(_) => match self.left.containers.checked_sub(1) {
                Some(left) => {
                    self.left.containers = left;
                    Ok(())
                }
                None => Err(Fault::limit("the templates make too many lists and maps; is there an endless loop?")),
            },
            _ => Ok(()),
        }
    }

    fn list(&mut self, nodes: &[Node], dot: &Value) -> Result<Flow> {
        self.depth += 1;
        if self.depth > self.left.depth {
            return Err(Fault::limit("the templates are nested too deeply; does one include itself?"));
        }
        for node in nodes {
            self.step()?;
            let flow = match node {
                Node::Text(start, end) => {
                    let text = &self.template.source.text[*start as usize..*end as usize];
                    match self.left.bytes.checked_sub(text.len()) {
                        Some(left) => self.left.bytes = left,
                        None => return Err(Fault::limit(TOO_MUCH)),
                    }
                    self.out.push_str(text);
                    Flow::Through
                }
                Node::Action(pipe) => {
                    let value = self.pipe(pipe, dot)?;
                    if pipe.variables.is_empty() {
                        self.print(&value)?;
                    }
                    Flow::Through
                }
                Node::If(branch) => self.if_or_with(branch, dot, false)?,
                Node::With(branch) => self.if_or_with(branch, dot, true)?,
                Node::Range(branch) => self.range(branch, dot)?,
                Node::Template(invocation) => {
                    self.template(invocation, dot)?;
                    Flow::Through
                }
                Node::Break => Flow::Break,
                Node::Continue => Flow::Continue,
            };
            if flow != Flow::Through {
                self.depth -= 1;
                return Ok(flow);
            }
        }
        self.depth -= 1;
        Ok(Flow::Through)
    }

    fn print(&mut self, value: &Value) -> Result<()> {
        match value {
            Value::Text(text) => self.write(text),
            Value::Missing | Value::Nil => self.write("<no value>"),
            other => {
                let text = format::print(other);
                self.write(&text)
            }
        }
    }

    fn if_or_with(&mut self, branch: &Branch, dot: &Value, is_with: bool) -> Result<Flow> {
        let value = self.pipe(&branch.pipe, dot)?;
        if value.truth() {
            self.list(&branch.list, if is_with { &value } else { dot })
        } else if let Some(otherwise) = &branch.otherwise {
            self.list(otherwise, dot)
        } else {
            Ok(Flow::Through)
        }
    }

    fn range(&mut self, branch: &Branch, dot: &Value) -> Result<Flow> {
        let value = self.pipe(&branch.pipe, dot)?;
        let frame = self.frame;
        let set = |exec: &mut Self, index: Value, element: &Value| match branch.pipe.variables.as_slice() {
            [] => {}
            [(_, slot)] => exec.variables[frame + slot] = element.clone(),
            [(_, first), (_, second), ..] => {
                exec.variables[frame + first] = index;
                exec.variables[frame + second] = element.clone();
            }
        };
        let mut ran = false;
        let mut one = |exec: &mut Self, index: Value, element: &Value| {
            ran = true;
            set(exec, index, element);
            exec.list(&branch.list, element)
        };
        let value = match value {
            Value::Object(object) if !matches!(object.kind(), "struct" | "ptr") => object.plain(),
            other => other,
        };
        match &value {
            Value::Int(count) | Value::Int64(count) => {
                if branch.pipe.variables.len() > 1 {
                    let message = format!("can't use {count} to iterate over more than one variable");
                    return self.fail(branch.pos, &branch.pipe, &message);
                }
                for number in 0..*count {
                    let element =
                        if matches!(value, Value::Int(_)) { Value::Int(number) } else { Value::Int64(number) };
                    if one(self, Value::Missing, &element)? == Flow::Break {
                        break;
                    }
                }
            }
            Value::List(list) => {
                let items = Rc::clone(&list.items);
                for (index, element) in (0..).zip(items.iter()) {
                    if one(self, Value::Int(index), element)? == Flow::Break {
                        break;
                    }
                }
            }
            Value::Map(map) => {
                // The body may change the map.
                let entries: Vec<(Text, Value)> =
                    map.entries().iter().map(|(key, value)| (Text::clone(key), value.clone())).collect();
                for (key, element) in entries {
                    if one(self, Value::Text(key), &element)? == Flow::Break {
                        break;
                    }
                }
            }
            Value::Bytes(bytes) => {
                for (index, byte) in (0..).zip(bytes.iter()) {
                    if one(self, Value::Int(index), &Value::Byte(*byte))? == Flow::Break {
                        break;
                    }
                }
            }
            Value::Missing | Value::Nil => {}
            other => {
                let message = format!("range can't iterate over {}", format::print(other));
                return self.fail(branch.pos, &branch.pipe, &message);
            }
        }
        match &branch.otherwise {
            Some(otherwise) if !ran => self.list(otherwise, dot),
            _ => Ok(Flow::Through),
        }
    }

    fn template(&mut self, invocation: &Invocation, dot: &Value) -> Result<()> {
        let name = &invocation.name;
        let Some(template) = self.lookup(name) else {
            let context = format!("{{{{template {} ...}}}}", format::quoted(name));
            return self.fail(invocation.pos, &context, &format!("template {} not defined", format::quoted(name)));
        };
        let data = match &invocation.pipe {
            Some(pipe) => self.pipe(pipe, dot)?,
            None => Value::Missing,
        };
        self.invoke(&template, data)
    }

    fn pipe(&mut self, pipe: &Pipe, dot: &Value) -> Result<Value> {
        let mut value = None;
        for command in &pipe.commands {
            value = match self.command(command, dot, value)? {
                Value::Nil => Some(Value::Missing),
                other => Some(other),
            };
        }
        let value = value.unwrap_or(Value::Missing);
        for (_, slot) in &pipe.variables {
            let slot = self.frame + slot;
            self.variables[slot] = value.clone();
        }
        Ok(value)
    }

    fn command(&mut self, command: &Command, dot: &Value, last: Option<Value>) -> Result<Value> {
        self.step()?;
        let (first, rest) = (&command.args[0], &command.args[1..]);
        match &first.kind {
            Operand::Function(index, name) => {
                self.function_call((command.pos, command), first, *index, name, rest, dot, last)
            }
            Operand::Field(names) => self.chain(dot.clone(), first, names, rest, dot, last),
            Operand::Variable(slot, _, names) if !names.is_empty() => {
                let value = self.variables[self.frame + slot].clone();
                self.chain(value, first, names, rest, dot, last)
            }
            Operand::Chain(arg, names) => {
                let value = self.inner(arg, first, dot)?;
                self.chain(value, first, names, rest, dot, last)
            }
            _ if !rest.is_empty() || last.is_some() => {
                self.at(first, &format!("can't give argument to non-function {first}"))
            }
            Operand::Nil => self.at(first, "nil is not a command"),
            Operand::Pipe(pipe) => self.nested(pipe, dot),
            _ => self.constant(first, dot),
        }
    }

    fn nested(&mut self, pipe: &Pipe, dot: &Value) -> Result<Value> {
        self.depth += 1;
        if self.depth > self.left.depth {
            return Err(Fault::limit("the templates are nested too deeply; does one include itself?"));
        }
        let value = self.pipe(pipe, dot)?;
        self.depth -= 1;
        Ok(value)
    }

    /// What a chain of fields begins with.
    fn inner(&mut self, arg: &Arg, chain: &Arg, dot: &Value) -> Result<Value> {
        match &arg.kind {
            Operand::Nil => self.at(chain, &format!("indirection through explicit nil in {chain}")),
            Operand::Pipe(pipe) => self.nested(pipe, dot),
            Operand::Function(index, name) => self.function_call((arg.pos, arg), arg, *index, name, &[], dot, None),
            _ => self.constant(arg, dot),
        }
    }

    fn constant(&mut self, arg: &Arg, dot: &Value) -> Result<Value> {
        Ok(match &arg.kind {
            Operand::Dot => dot.clone(),
            Operand::Bool(flag) => Value::Bool(*flag),
            Operand::Text(text, _) => Value::Text(Text::clone(text)),
            Operand::Number(number, written) => match (number.is_float, number.float, number.int) {
                (true, Some(float), _) => Value::Float(float),
                (_, _, Some(int)) => Value::Int(int),
                _ => return self.at(arg, &format!("{written} overflows int")),
            },
            Operand::Variable(slot, _, _) => self.variables[self.frame + slot].clone(),
            _ => Value::Nil,
        })
    }

    fn chain(
        &mut self,
        mut value: Value,
        node: &Arg,
        names: &[Text],
        rest: &[Arg],
        dot: &Value,
        last: Option<Value>,
    ) -> Result<Value> {
        let Some((end, path)) = names.split_last() else { return Ok(value) };
        for name in path {
            value = self.field(&value, name, node, &[], dot, None)?;
        }
        self.field(&value, end, node, rest, dot, last)
    }

    fn field(
        &mut self,
        value: &Value,
        name: &Text,
        node: &Arg,
        rest: &[Arg],
        dot: &Value,
        last: Option<Value>,
    ) -> Result<Value> {
        let has_args = !rest.is_empty() || last.is_some();
        match value {
            Value::Missing => Ok(Value::Missing),
            Value::Nil => self.at(node, &format!("nil pointer evaluating interface {{}}.{name}")),
            Value::Map(map) => {
                if map.of == Of::Values && &**name == "AsMap" {
                    return Ok(Value::Map(map.clone().typed(Of::Any)));
                }
                if has_args {
                    return self.at(node, &format!("{name} is not a method but has arguments"));
                }
                Ok(map.entries().get(&**name).cloned().unwrap_or_else(|| map.zero()))
            }
            Value::Object(object) => {
                let mut args = Vec::with_capacity(rest.len() + 1);
                for arg in rest {
                    args.push(self.arg(arg, b'a', dot)?);
                }
                args.extend(last);
                match object.call(name, &args) {
                    Some(Ok(value)) => return Ok(value),
                    Some(Err(message)) => return self.at(node, &message),
                    None => {}
                }
                match object.field(name) {
                    Some(_) if has_args => {
                        self.at(node, &format!("{name} has arguments but cannot be invoked as function"))
                    }
                    Some(value) => Ok(value),
                    None => self.at(node, &format!("can't evaluate field {name} in type {}", object.type_name())),
                }
            }
            other => self.at(node, &format!("can't evaluate field {name} in type {}", other.type_name())),
        }
    }

    #[allow(clippy::too_many_arguments)] // A call has that many sides.
    fn function_call(
        &mut self,
        (pos, call): (u32, &dyn std::fmt::Display),
        node: &Arg,
        index: usize,
        name: &str,
        rest: &[Arg],
        dot: &Value,
        last: Option<Value>,
    ) -> Result<Value> {
        let own = builtin::FUNCTIONS.len();
        let function = if index < own { builtin::FUNCTIONS[index] } else { self.library.functions[index - own] };
        let takes = function.takes.as_bytes();
        let given = rest.len() + usize::from(last.is_some());
        let variadic = takes.last() == Some(&b'*');
        let fixed = if variadic { takes.len() - 2 } else { takes.len() };
        if variadic && given < fixed {
            return self
                .at(node, &format!("wrong number of args for {name}: want at least {fixed} got {}", rest.len()));
        }
        if !variadic && given != fixed {
            return self.at(node, &format!("wrong number of args for {name}: want {fixed} got {given}"));
        }
        let kind = |at: usize| if at < fixed { takes[at] } else { takes[takes.len() - 2] };
        if index < builtin::SHORT_CIRCUITS {
            return self.and_or(index == builtin::OR, rest, dot, last);
        }
        let mut args = Vec::with_capacity(given);
        for (at, arg) in rest.iter().enumerate() {
            args.push(self.arg(arg, kind(at), dot)?);
        }
        if let Some(last) = last {
            let last = match converted(last, kind(rest.len())) {
                Ok(value) => value,
                Err(message) => return self.fail(pos, &call, &message),
            };
            args.push(last);
        }
        match (function.run)(&mut Call { args, exec: self }) {
            Ok(value) => {
                self.charge(&value)?;
                Ok(value)
            }
            Err(fault) if fault.is_limit() => Err(fault),
            Err(fault) => self.fail(pos, &call, &format!("error calling {name}: {}", fault.text())),
        }
    }

    fn and_or(&mut self, is_or: bool, rest: &[Arg], dot: &Value, last: Option<Value>) -> Result<Value> {
        let mut value = Value::Missing;
        for arg in rest {
            value = self.arg(arg, b'v', dot)?;
            if value.truth() == is_or {
                return Ok(value);
            }
        }
        Ok(last.unwrap_or(value))
    }

    fn arg(&mut self, arg: &Arg, kind: u8, dot: &Value) -> Result<Value> {
        let value = match &arg.kind {
            Operand::Text(text, _) if matches!(kind, b's' | b'a' | b'v') => {
                return Ok(Value::Text(Text::clone(text)));
            }
            Operand::Text(..) | Operand::Number(..) | Operand::Bool(_) => return self.literal(arg, kind),
            Operand::Nil => match kind {
                b'a' | b'v' | b'm' | b'L' => return Ok(zero(kind)),
                _ => return self.at(arg, &format!("cannot assign nil to {}", type_of(kind))),
            },
            Operand::Dot => dot.clone(),
            Operand::Field(names) => self.chain(dot.clone(), arg, names, &[], dot, None)?,
            Operand::Variable(slot, _, names) => {
                let value = self.variables[self.frame + slot].clone();
                self.chain(value, arg, names, &[], dot, None)?
            }
            Operand::Pipe(pipe) => self.nested(pipe, dot)?,
            Operand::Function(index, name) => self.function_call((arg.pos, arg), arg, *index, name, &[], dot, None)?,
            Operand::Chain(inner, names) => {
                let value = self.inner(inner, arg, dot)?;
                self.chain(value, arg, names, &[], dot, None)?
            }
        };
        match converted(value, kind) {
            Ok(value) => Ok(value),
            Err(message) => self.at(arg, &message),
        }
    }

    fn literal(&mut self, arg: &Arg, kind: u8) -> Result<Value> {
        let expected = |what: &str| format!("expected {what}; found {arg}");
        match (&arg.kind, kind) {
            (_, b'a' | b'v') => self.constant(arg, &Value::Missing),
            (Operand::Number(number, _), b'i' | b'l') => match number.int {
                Some(int) => Ok(if kind == b'i' { Value::Int(int) } else { Value::Int64(int) }),
                None => self.at(arg, &expected("integer")),
            },
            (Operand::Number(number, _), b'f') => match number.float {
                Some(float) => Ok(Value::Float(float)),
                None => self.at(arg, &expected("float")),
            },
            (Operand::Bool(flag), b'b') => Ok(Value::Bool(*flag)),
            (_, b's') => self.at(arg, &expected("string")),
            (_, b'i' | b'l') => self.at(arg, &expected("integer")),
            (_, b'f') => self.at(arg, &expected("float")),
            (_, b'b') => self.at(arg, &expected("bool")),
            _ => self.at(arg, &format!("can't handle {arg} for arg of type {}", type_of(kind))),
        }
    }
}

fn type_of(kind: u8) -> &'static str {
    match kind {
        b's' => "string",
        b'i' => "int",
        b'l' => "int64",
        b'f' => "float64",
        b'b' => "bool",
        b'm' => "map[string]interface {}",
        b'L' => "[]interface {}",
        b'v' => "reflect.Value",
        _ => "interface {}",
    }
}

fn zero(kind: u8) -> Value {
    match kind {
        b'm' => Value::map(crate::value::Entries::new()),
        b'L' => Value::list(Vec::new()),
        b'v' => Value::Missing,
        _ => Value::Nil,
    }
}

/// A value as a parameter of a kind takes it.
fn converted(value: Value, kind: u8) -> std::result::Result<Value, String> {
    let fits = match kind {
        b'v' => true,
        b'a' => return Ok(if matches!(value, Value::Missing) { Value::Nil } else { value }),
        b's' => matches!(value, Value::Text(_)),
        b'i' => matches!(value, Value::Int(_)),
        b'l' => matches!(value, Value::Int64(_)),
        b'f' => matches!(value, Value::Float(_)),
        b'b' => matches!(value, Value::Bool(_)),
        b'm' => matches!(&value, Value::Map(map) if map.is_any()),
        _ => matches!(&value, Value::List(list) if list.of == Of::Any),
    };
    if fits {
        return Ok(value);
    }
    match value {
        Value::Missing if matches!(kind, b'm' | b'L') => Ok(zero(kind)),
        Value::Missing => Err(format!("invalid value; expected {}", type_of(kind))),
        Value::Nil => Err(format!("wrong type for value; expected {}; got interface {{}}", type_of(kind))),
        other => Err(format!("wrong type for value; expected {}; got {}", type_of(kind), other.type_name())),
    }
}

impl Call<'_, '_> {
    /// A text argument.
    pub fn text(&self, at: usize) -> Text {
        match self.args.get(at) {
            Some(Value::Text(text)) => Text::clone(text),
            _ => "".into(),
        }
    }

    /// A text argument, to look at.
    pub fn str(&self, at: usize) -> &str {
        match self.args.get(at) {
            Some(Value::Text(text)) => text,
            _ => "",
        }
    }

    /// An integer argument.
    pub fn int(&self, at: usize) -> i64 {
        match self.args.get(at) {
            Some(Value::Int(number) | Value::Int64(number)) => *number,
            _ => 0,
        }
    }

    /// A float argument.
    pub fn float(&self, at: usize) -> f64 {
        match self.args.get(at) {
            Some(Value::Float(number)) => *number,
            _ => 0.0,
        }
    }

    /// A map argument; shares the entries.
    pub fn map(&self, at: usize) -> Map {
        match self.args.get(at) {
            Some(Value::Map(map)) => map.clone(),
            _ => Map::new(crate::value::Entries::new()),
        }
    }

    /// Any argument, moved out.
    pub fn take(&mut self, at: usize) -> Value {
        self.args.get_mut(at).map_or(Value::Nil, |value| std::mem::replace(value, Value::Nil))
    }
}
