//! Templates, compiled: variables are slots, functions are numbers.

use crate::value::Text;
use std::fmt;
use std::sync::Arc;

/// A text that was parsed, and the name under which errors cite it.
#[derive(Debug)]
pub struct Source {
    /// `chart/templates/file.yaml`.
    pub name: Text,
    /// What was parsed.
    pub text: Text,
}

/// A named template.
#[derive(Debug)]
pub struct Template {
    /// Its name.
    pub name: Text,
    /// Where it stands.
    pub source: Arc<Source>,
    pub(crate) root: Box<[Node]>,
    /// Variables that live at once, `$` included.
    pub(crate) slots: usize,
}

#[derive(Debug)]
pub(crate) enum Node {
    /// Bytes of the source, from and to.
    Text(u32, u32),
    Action(Pipe),
    If(Box<Branch>),
    With(Box<Branch>),
    Range(Box<Branch>),
    Template(Box<Invocation>),
    Break,
    Continue,
}

#[derive(Debug)]
pub(crate) struct Branch {
    pub pos: u32,
    pub pipe: Pipe,
    pub list: Box<[Node]>,
    pub otherwise: Option<Box<[Node]>>,
}

#[derive(Debug)]
pub(crate) struct Invocation {
    pub pos: u32,
    pub name: Text,
    pub pipe: Option<Pipe>,
}

#[derive(Debug)]
pub(crate) struct Pipe {
    pub pos: u32,
    pub variables: Box<[(Text, usize)]>,
    pub assigns: bool,
    pub commands: Box<[Command]>,
}

#[derive(Debug)]
pub(crate) struct Command {
    pub pos: u32,
    pub args: Box<[Arg]>,
}

#[derive(Debug)]
pub(crate) struct Arg {
    pub pos: u32,
    pub kind: Operand,
}

#[derive(Debug)]
pub(crate) enum Operand {
    Dot,
    Nil,
    Bool(bool),
    /// The number, and how it is written.
    Number(Box<Number>, Text),
    /// The text, and how it is written.
    Text(Text, Text),
    Field(Box<[Text]>),
    /// Slot, name, fields.
    Variable(u32, Text, Box<[Text]>),
    Chain(Box<Arg>, Box<[Text]>),
    Pipe(Box<Pipe>),
    /// Index in the table of functions, name.
    Function(usize, Text),
}

/// A literal can be several kinds of numbers at once.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Number {
    pub int: Option<i64>,
    pub float: Option<f64>,
    /// Written as a float.
    pub is_float: bool,
}

impl fmt::Display for Pipe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (name, _)) in self.variables.iter().enumerate() {
            f.write_str(if index > 0 { ", " } else { "" })?;
            f.write_str(name)?;
        }
        if !self.variables.is_empty() {
            f.write_str(if self.assigns { " = " } else { " := " })?;
        }
        for (index, command) in self.commands.iter().enumerate() {
            f.write_str(if index > 0 { " | " } else { "" })?;
            command.fmt(f)?;
        }
        Ok(())
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, arg) in self.args.iter().enumerate() {
            f.write_str(if index > 0 { " " } else { "" })?;
            arg.fmt(f)?;
        }
        Ok(())
    }
}

impl fmt::Display for Arg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fields = |f: &mut fmt::Formatter<'_>, fields: &[Text]| {
            fields.iter().try_for_each(|field| f.write_str(".").and_then(|()| f.write_str(field)))
        };
        match &self.kind {
            Operand::Dot => f.write_str("."),
            Operand::Nil => f.write_str("nil"),
            Operand::Bool(flag) => flag.fmt(f),
            Operand::Number(_, written) | Operand::Text(_, written) => f.write_str(written),
            Operand::Field(names) => fields(f, names),
            Operand::Variable(_, name, names) => f.write_str(name).and_then(|()| fields(f, names)),
            Operand::Chain(arg, names) => {
                match &arg.kind {
                    Operand::Pipe(_) => arg.fmt(f)?,
                    _ => write!(f, "{arg}")?,
                }
                fields(f, names)
            }
            Operand::Pipe(pipe) => write!(f, "({pipe})"),
            Operand::Function(_, name) => f.write_str(name),
        }
    }
}

impl Source {
    /// `name:line:column` of a place, as Go tells it: lines from 1, columns in bytes from 0.
    pub(crate) fn location(&self, pos: u32) -> String {
        let before = self.text.get(..pos as usize).unwrap_or(&self.text);
        let column = before.len() - before.rfind('\n').map_or(0, |at| at + 1);
        format!("{}:{}:{column}", self.name, self.line(pos))
    }

    pub(crate) fn line(&self, pos: u32) -> usize {
        let before = self.text.as_bytes().get(..pos as usize).unwrap_or(self.text.as_bytes());
        1 + before.iter().filter(|byte| **byte == b'\n').count()
    }
}
