//! From text to an expression that knows its names and its price.

use super::meter::{ENV, PATTERN_COST, metered};
use cel::common::ast::SourceInfo;
use cel::common::ast::{ComprehensionExpr, EntryExpr, Expr, IdedExpr, operators};
use std::collections::BTreeSet;

/// An expression is at most so long.
const EXPRESSION_BYTES_MAX: usize = 4096;
/// Parts of an expression stand in each other at most so deep.
const DEPTH_MAX: usize = 64;

/// The parser and the interpreter call themselves for every part of an expression: with this, in bytes, they may go as
/// deep as is allowed here, however small the caller's stack is.
const STACK_BYTES: usize = 64 << 20;

/// What rules can ask about.
pub(super) const NAMES: [&str; 12] = [
    "object",
    "before",
    "operation",
    "images",
    "project",
    "component",
    "environment",
    "release",
    "build",
    "actor",
    "signed",
    "plan",
];
/// Named parts of a policy.
pub(super) const VARIABLES: &str = "variables";
const TYPES: [&str; 9] = ["bool", "bytes", "double", "int", "list", "map", "null_type", "string", "uint"];
const FUNCTIONS: [&str; 16] = [
    "bool",
    "bytes",
    "contains",
    "double",
    "dyn",
    "endsWith",
    "hasValue",
    "int",
    "matches",
    "orValue",
    "size",
    "startsWith",
    "string",
    "type",
    "uint",
    "value",
];

/// What is wrong with an expression, and where in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// `rules[0].expression`.
    pub field: String,
    /// In the expression, from 1.
    pub line: usize,
    /// In characters, from 1.
    pub column: usize,
    /// For people.
    pub message: String,
}

/// An expression that can be asked.
#[derive(Debug, Clone)]
pub(super) struct Expression {
    pub expr: IdedExpr,
    /// As it was written.
    pub text: String,
}

/// Compiles one expression. `variables`: what stands before it. What it names is added to `uses`.
pub(super) fn compile(
    field: &str,
    text: &str,
    variables: &BTreeSet<String>,
    uses: &mut BTreeSet<&'static str>,
) -> Result<Expression, Mistake> {
    let mistake =
        |(line, column): (usize, usize), message: String| Mistake { field: field.to_owned(), line, column, message };
    if text.trim().is_empty() {
        return Err(mistake((1, 1), "it is empty".to_owned()));
    }
    if text.len() > EXPRESSION_BYTES_MAX {
        return Err(mistake(
            (1, 1),
            format!("it is longer than {EXPRESSION_BYTES_MAX} bytes: name parts as variables"),
        ));
    }
    let mut open = 0_usize;
    let deep = text.chars().any(|c| {
        match c {
            '(' | '[' | '{' => open += 1,
            ')' | ']' | '}' => open = open.saturating_sub(1),
            _ => {}
        }
        open > DEPTH_MAX
    });
    if deep {
        return Err(mistake((1, 1), format!("its brackets stand more than {DEPTH_MAX} deep in each other")));
    }
    let program = ENV.compile(text).map_err(|errors| match errors.errors.first() {
        Some(error) => {
            let place = |n: isize| usize::try_from(n).unwrap_or(1).max(1);
            mistake((place(error.pos.0), place(error.pos.1)), error.msg.clone())
        }
        None => mistake((1, 1), "it is no CEL".to_owned()),
    })?;
    let mut expr = program.expression().clone();
    let mut walk = Walk { variables, uses, scopes: Vec::new(), depth: 0, mistake: None };
    walk.visit(&mut expr);
    match walk.mistake {
        Some((id, message)) => Err(mistake(position(program.source_info(), text, id), message)),
        None => Ok(Expression { expr, text: text.trim().to_owned() }),
    }
}

/// Runs something on a stack that is large enough for every expression.
pub(super) fn with_room<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(STACK_BYTES).spawn_scoped(scope, work);
        match thread.expect("there is memory for a stack").join() {
            Ok(done) => done,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

/// Line and column of a node.
fn position(info: &SourceInfo, text: &str, id: u64) -> (usize, usize) {
    let offset = info.offset_for(id).map_or(0, |(start, _)| start as usize);
    let before: String = text.chars().take(offset).collect();
    let line = before.matches('\n').count() + 1;
    (line, before.rsplit('\n').next().unwrap_or_default().chars().count() + 1)
}

struct Walk<'a> {
    variables: &'a BTreeSet<String>,
    uses: &'a mut BTreeSet<&'static str>,
    /// Names that comprehensions bind.
    scopes: Vec<String>,
    depth: usize,
    /// The first.
    mistake: Option<(u64, String)>,
}

impl Walk<'_> {
    fn wrong(&mut self, id: u64, message: String) {
        self.mistake.get_or_insert((id, message));
    }

    /// Checks names and puts ticks in. Answers with the number of nodes.
    fn visit(&mut self, expr: &mut IdedExpr) -> u64 {
        if self.mistake.is_some() {
            return 1;
        }
        if self.depth >= DEPTH_MAX {
            self.wrong(expr.id, format!("its parts stand more than {DEPTH_MAX} deep in each other"));
            return 1;
        }
        self.depth += 1;
        let count = 1 + self.parts(expr);
        self.depth -= 1;
        count
    }

    fn parts(&mut self, expr: &mut IdedExpr) -> u64 {
        let id = expr.id;
        match &mut expr.expr {
            Expr::Unspecified | Expr::Struct(_) => {
                self.wrong(id, "messages cannot be made here".to_owned());
                0
            }
            Expr::Literal(_) => 0,
            Expr::Ident(name) => {
                self.name(id, &name.clone());
                0
            }
            Expr::Select(select) => {
                if let Expr::Ident(name) = &select.operand.expr
                    && name == VARIABLES
                    && !self.variables.contains(&select.field)
                {
                    let known: Vec<&str> = self.variables.iter().map(String::as_str).collect();
                    let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
                    self.wrong(id, format!("there is no variable {} before this; there is: {known}", select.field));
                }
                self.visit(&mut select.operand)
            }
            Expr::List(list) => list.elements.iter_mut().map(|element| self.priced(element)).sum(),
            Expr::Map(map) => {
                let mut count = 0;
                for entry in &mut map.entries {
                    if let EntryExpr::MapEntry(entry) = &mut entry.expr {
                        count += self.visit(&mut entry.key) + self.priced(&mut entry.value);
                    }
                }
                count
            }
            Expr::Call(call) => {
                let operator = !call.func_name.starts_with(|c: char| c.is_ascii_alphabetic());
                if !operator && !FUNCTIONS.contains(&call.func_name.as_str()) {
                    self.wrong(
                        id,
                        format!("there is no function {}; there is: {}", call.func_name, FUNCTIONS.join(", ")),
                    );
                }
                let chooses = [
                    operators::CONDITIONAL,
                    operators::LOGICAL_AND,
                    operators::LOGICAL_OR,
                    operators::LOGICAL_NOT,
                    operators::NOT_STRICTLY_FALSE,
                    operators::INDEX,
                    operators::OPT_INDEX,
                    operators::OPT_SELECT,
                ];
                let free = chooses.contains(&call.func_name.as_str()) || accumulates(&call.args);
                let regex = call.func_name == "matches";
                let parts = call.target.as_deref_mut().into_iter().chain(call.args.iter_mut());
                let mut count = 0;
                for (index, part) in parts.enumerate() {
                    count += match free {
                        true => self.visit(part),
                        false => self.priced(part),
                    };
                    if regex && index == 0 {
                        metered(part, PATTERN_COST);
                    }
                }
                count
            }
            Expr::Comprehension(comprehension) => self.comprehension(comprehension),
        }
    }

    /// A part that is looked at as a whole, or copied.
    fn priced(&mut self, expr: &mut IdedExpr) -> u64 {
        let count = self.visit(expr);
        metered(expr, 1);
        count
    }

    /// Every iteration pays for what it evaluates, and the beginning for what is iterated over.
    fn comprehension(&mut self, comprehension: &mut ComprehensionExpr) -> u64 {
        let range = self.priced(&mut comprehension.iter_range) + self.visit(&mut comprehension.accu_init);
        let bound = self.scopes.len();
        self.scopes.push(comprehension.iter_var.clone());
        self.scopes.extend(comprehension.iter_var2.clone());
        self.scopes.push(comprehension.accu_var.clone());
        let each = self.visit(&mut comprehension.loop_cond) + self.visit(&mut comprehension.loop_step);
        let after = self.visit(&mut comprehension.result);
        self.scopes.truncate(bound);
        // Where the interpreter knows a shape that it does fast, the shape stays.
        match &mut comprehension.loop_step.expr {
            Expr::Call(step) if step.func_name == operators::CONDITIONAL => metered(&mut step.args[0], each),
            Expr::Call(step)
                if accumulates(&step.args)
                    && matches!(&step.args[1].expr, Expr::List(list) if !list.elements.is_empty()) =>
            {
                if let Expr::List(list) = &mut step.args[1].expr {
                    metered(&mut list.elements[0], each);
                }
            }
            _ => metered(&mut comprehension.loop_cond, each),
        }
        range + each + after
    }

    fn name(&mut self, id: u64, name: &str) {
        let name = name.strip_prefix('.').unwrap_or(name);
        if name.starts_with('@') || self.scopes.iter().any(|bound| bound == name) || TYPES.contains(&name) {
            return;
        }
        if name == VARIABLES {
            return;
        }
        match NAMES.iter().find(|known| **known == name) {
            Some(known) => drop(self.uses.insert(known)),
            None => self.wrong(id, format!("there is no {name}; there is: {}, {VARIABLES}", NAMES.join(", "))),
        }
    }
}

/// `@result + …`: the step of a macro.
fn accumulates(args: &[IdedExpr]) -> bool {
    matches!(args, [first, _] if matches!(&first.expr, Expr::Ident(name) if name.starts_with('@')))
}
