//! What values may be: a small closed language.

use super::list;
use super::read::At;
use regex::Regex;
use yaml::Error as Problem;

/// What the values of one key may be.
#[derive(Debug, Clone, Default)]
pub struct Rule {
    kind: Kind,
    /// One of these; empty: any.
    choices: Vec<String>,
    pattern: Option<Regex>,
    min: Option<f64>,
    max: Option<f64>,
    /// Must have a value in every environment.
    optional: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Kind {
    #[default]
    String,
    Int,
    Number,
    Bool,
}

const KINDS: [(&str, Kind); 4] =
    [("string", Kind::String), ("int", Kind::Int), ("number", Kind::Number), ("bool", Kind::Bool)];

impl Rule {
    pub(super) fn read(at: &At<'_>) -> Result<Self, Problem> {
        let mut rule = Self::default();
        let fields = at.map("a rule: {type, enum, pattern, min, max, required}")?;
        for (name, value) in &fields {
            match name.as_str() {
                "type" => {
                    let text = value.text()?;
                    let found = KINDS.iter().find(|(word, _)| *word == text);
                    let unknown =
                        || value.fail(format!("unknown type {text:?}; there is: {}", list(KINDS.map(|(w, _)| w))));
                    rule.kind = found.ok_or_else(unknown)?.1;
                }
                "enum" => {
                    rule.choices =
                        value.list()?.iter().map(|item| item.text().map(str::to_owned)).collect::<Result<_, _>>()?;
                    if rule.choices.is_empty() {
                        return Err(value.fail("it needs one value at least"));
                    }
                }
                "pattern" => {
                    let whole = format!("^(?:{})$", value.text()?);
                    rule.pattern = Some(Regex::new(&whole).map_err(|_| value.fail("it is no regular expression"))?);
                }
                "min" => rule.min = Some(value.parsed()?),
                "max" => rule.max = Some(value.parsed()?),
                "required" => rule.optional = !value.parsed::<bool>()?,
                _ => return Err(value.fail("unknown field; a rule has: type, enum, pattern, min, max, required")),
            }
        }
        let numeric = matches!(rule.kind, Kind::Int | Kind::Number);
        if let Some((_, value)) = fields.iter().find(|(name, _)| !numeric && matches!(name.as_str(), "min" | "max")) {
            return Err(value.fail("only an int or a number has bounds"));
        }
        Ok(rule)
    }

    pub(super) fn required(&self) -> bool {
        !self.optional
    }

    /// What is wrong with a value.
    pub(super) fn check(&self, text: &str) -> Result<(), String> {
        let number = match self.kind {
            Kind::String => None,
            Kind::Bool if matches!(text, "true" | "false") => None,
            Kind::Bool => return Err(format!("expected true or false, found {text:?}")),
            #[allow(clippy::cast_precision_loss)]
            Kind::Int => Some(text.parse::<i64>().map_err(|_| format!("expected an int, found {text:?}"))? as f64),
            Kind::Number => match text.parse::<f64>() {
                Ok(number) if number.is_finite() => Some(number),
                _ => return Err(format!("expected a number, found {text:?}")),
            },
        };
        match (number, self.min, self.max) {
            (Some(number), Some(min), _) if number < min => return Err(format!("{text} is less than {min}")),
            (Some(number), _, Some(max)) if number > max => return Err(format!("{text} is more than {max}")),
            _ => {}
        }
        if !self.choices.is_empty() && !self.choices.iter().any(|choice| choice == text) {
            return Err(format!("expected one of {}, found {text:?}", self.choices.join(", ")));
        }
        match &self.pattern {
            Some(pattern) if !pattern.is_match(text) => Err(format!("{text:?} does not match {}", pattern.as_str())),
            _ => Ok(()),
        }
    }
}
