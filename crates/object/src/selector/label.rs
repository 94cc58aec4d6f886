//! Selecting by labels.

use super::SelectorError;
use super::names::{check_key, check_value};
use super::parse::requirements;
use serde_json::Value;
use std::fmt;

/// Requirements on labels, all of which must hold. Without any it matches everything.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LabelSelector {
    requirements: Vec<Requirement>,
    nothing: bool,
}

/// One requirement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Requirement {
    /// Label.
    pub key: String,
    /// What must hold of its value.
    pub operator: Operator,
    /// Values that the operator compares with; sorted.
    pub values: Vec<String>,
}

/// What must hold of a label's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operator {
    /// It is one of the values (`=`, `==`, `in`).
    In,
    /// It is none of the values, or absent (`!=`, `notin`).
    NotIn,
    /// It is there.
    Exists,
    /// It is absent (`!key`).
    DoesNotExist,
    /// It is a larger number.
    GreaterThan,
    /// It is a smaller number.
    LessThan,
}

impl LabelSelector {
    /// Matches no object: what an absent selector means in most specs.
    pub fn nothing() -> Self {
        Self { requirements: Vec::new(), nothing: true }
    }

    /// All of its requirements.
    pub fn requirements(&self) -> &[Requirement] {
        &self.requirements
    }

    /// True if it matches everything.
    pub fn is_empty(&self) -> bool {
        self.requirements.is_empty() && !self.nothing
    }

    /// Parses a query: `app=web,tier!=db,env in (a,b),env notin (c),fresh,!old,n>3`.
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        Ok(Self { requirements: requirements(text)?, nothing: false })
    }

    /// From `{matchLabels, matchExpressions}`; null or absent matches nothing, `{}` everything.
    pub fn from_value(value: &Value) -> Result<Self, SelectorError> {
        if value.is_null() {
            return Ok(Self::nothing());
        }
        let mut requirements = Vec::new();
        for (key, value) in value.get("matchLabels").and_then(Value::as_object).into_iter().flatten() {
            requirements.push(Requirement::new(key, Operator::In, vec![text(value)?])?);
        }
        for expression in value.get("matchExpressions").and_then(Value::as_array).into_iter().flatten() {
            let operator = match expression.get("operator").and_then(Value::as_str).unwrap_or_default() {
                "In" => Operator::In,
                "NotIn" => Operator::NotIn,
                "Exists" => Operator::Exists,
                "DoesNotExist" => Operator::DoesNotExist,
                other => {
                    return Err(SelectorError::Syntax(format!("{other:?} is not a valid label selector operator")));
                }
            };
            let values = expression.get("values").and_then(Value::as_array).into_iter().flatten();
            let values = values.map(text).collect::<Result<_, _>>()?;
            requirements.push(Requirement::new(
                expression.get("key").and_then(Value::as_str).unwrap_or_default(),
                operator,
                values,
            )?);
        }
        Ok(Self { requirements, nothing: false })
    }

    /// From a plain map of labels, as Services and old ReplicationControllers have. Empty or absent matches nothing.
    pub fn from_map(value: &Value) -> Result<Self, SelectorError> {
        let Some(map) = value.as_object().filter(|map| !map.is_empty()) else { return Ok(Self::nothing()) };
        let requirement = |(key, value): (&String, &Value)| Requirement::new(key, Operator::In, vec![text(value)?]);
        Ok(Self { requirements: map.iter().map(requirement).collect::<Result<_, _>>()?, nothing: false })
    }

    /// True if all requirements hold of the labels that `label` looks up.
    pub fn matches_with<'a>(&self, label: impl Fn(&str) -> Option<&'a str>) -> bool {
        !self.nothing && self.requirements.iter().all(|requirement| requirement.holds(label(&requirement.key)))
    }

    /// True if all requirements hold of an object's labels.
    pub fn matches(&self, object: &Value) -> bool {
        let meta = crate::meta(object);
        self.matches_with(|key| meta.label(key))
    }

    /// True if all requirements hold of a map of labels.
    pub fn matches_labels(&self, labels: &Value) -> bool {
        self.matches_with(|key| labels.get(key).and_then(Value::as_str))
    }
}

fn text(value: &Value) -> Result<String, SelectorError> {
    value.as_str().map(str::to_owned).ok_or_else(|| SelectorError::Label(format!("{value} is no label value")))
}

impl Requirement {
    pub(super) fn new(key: &str, operator: Operator, mut values: Vec<String>) -> Result<Self, SelectorError> {
        let problem = |why: String| SelectorError::Label(why);
        check_key(key).map_err(problem)?;
        match operator {
            Operator::In | Operator::NotIn if values.is_empty() => {
                return Err(problem(
                    "values: Invalid value: []: for 'in', 'notin' operators, values set can't be empty".into(),
                ));
            }
            Operator::Exists | Operator::DoesNotExist if !values.is_empty() => {
                return Err(problem(
                    "values: Invalid value: values set must be empty for exists and does not exist".into(),
                ));
            }
            Operator::GreaterThan | Operator::LessThan if values.iter().any(|v| v.parse::<i64>().is_err()) => {
                return Err(problem("for 'Gt', 'Lt' operators, the value must be an integer".into()));
            }
            _ => {}
        }
        for value in &values {
            check_value(key, value).map_err(problem)?;
        }
        values.sort();
        values.dedup();
        Ok(Self { key: key.to_owned(), operator, values })
    }

    fn holds(&self, value: Option<&str>) -> bool {
        let listed = |value: &str| self.values.binary_search_by(|v| v.as_str().cmp(value)).is_ok();
        let number = |value: Option<&str>| value.and_then(|v| v.parse::<i64>().ok());
        let limit = number(self.values.first().map(String::as_str));
        match self.operator {
            Operator::In => value.is_some_and(listed),
            Operator::NotIn => value.is_none_or(|value| !listed(value)),
            Operator::Exists => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
            Operator::GreaterThan => number(value).zip(limit).is_some_and(|(value, limit)| value > limit),
            Operator::LessThan => number(value).zip(limit).is_some_and(|(value, limit)| value < limit),
        }
    }
}

/// In the form that [`LabelSelector::parse`] reads, keys in order.
impl fmt::Display for LabelSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut requirements: Vec<&Requirement> = self.requirements.iter().collect();
        requirements.sort_by(|a, b| a.key.cmp(&b.key));
        for (index, requirement) in requirements.iter().enumerate() {
            if index > 0 {
                f.write_str(",")?;
            }
            let Requirement { key, values, .. } = requirement;
            match (requirement.operator, values.as_slice()) {
                (Operator::In, [only]) => write!(f, "{key}={only}")?,
                (Operator::In, _) => write!(f, "{key} in ({})", values.join(","))?,
                (Operator::NotIn, [only]) => write!(f, "{key}!={only}")?,
                (Operator::NotIn, _) => write!(f, "{key} notin ({})", values.join(","))?,
                (Operator::Exists, _) => f.write_str(key)?,
                (Operator::DoesNotExist, _) => write!(f, "!{key}")?,
                (Operator::GreaterThan, _) => write!(f, "{key}>{}", values.join(","))?,
                (Operator::LessThan, _) => write!(f, "{key}<{}", values.join(","))?,
            }
        }
        Ok(())
    }
}
