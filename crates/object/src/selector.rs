//! Label and field selectors: parsing them and matching objects.

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

/// Why a selector was not understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SelectorError {
    /// The text is no selector.
    #[error("unable to parse requirement: {0}")]
    Syntax(String),
    /// A label's key or value breaks the rules for labels.
    #[error("{0}")]
    Label(String),
    /// A field selector is not of the form `path=value`.
    #[error("invalid selector: '{0}'; can't understand '{1}'")]
    Field(String, String),
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
        let mut requirements = Vec::new();
        let mut tokens = Tokens(text);
        if tokens.peek() == Token::End {
            return Ok(Self::default());
        }
        loop {
            requirements.push(requirement(&mut tokens)?);
            match tokens.next() {
                Token::End => break,
                Token::Comma => {}
                other => {
                    return Err(SelectorError::Syntax(format!("found '{other}', expected: ',' or 'end of string'")));
                }
            }
        }
        Ok(Self { requirements, nothing: false })
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
    fn new(key: &str, operator: Operator, mut values: Vec<String>) -> Result<Self, SelectorError> {
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

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token<'a> {
    Word(&'a str),
    Equal,
    NotEqual,
    Not,
    Greater,
    Less,
    Open,
    Close,
    Comma,
    End,
}

impl fmt::Display for Token<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Token::Word(word) => word,
            Token::Equal => "=",
            Token::NotEqual => "!=",
            Token::Not => "!",
            Token::Greater => ">",
            Token::Less => "<",
            Token::Open => "(",
            Token::Close => ")",
            Token::Comma => ",",
            Token::End => "",
        })
    }
}

#[derive(Clone, Copy)]
struct Tokens<'a>(&'a str);

impl<'a> Tokens<'a> {
    fn peek(&self) -> Token<'a> {
        Tokens(self.0).next()
    }

    fn next(&mut self) -> Token<'a> {
        let text = self.0.trim_start();
        let special = [
            ("==", Token::Equal),
            ("=", Token::Equal),
            ("!=", Token::NotEqual),
            ("!", Token::Not),
            (">", Token::Greater),
            ("<", Token::Less),
            ("(", Token::Open),
            (")", Token::Close),
            (",", Token::Comma),
        ];
        for (sign, token) in special {
            if let Some(rest) = text.strip_prefix(sign) {
                self.0 = rest;
                return token;
            }
        }
        let end = text.find(|c: char| c.is_whitespace() || "=!<>(),".contains(c)).unwrap_or(text.len());
        let (word, rest) = text.split_at(end);
        self.0 = rest;
        if word.is_empty() { Token::End } else { Token::Word(word) }
    }
}

fn requirement(tokens: &mut Tokens<'_>) -> Result<Requirement, SelectorError> {
    let key = match tokens.next() {
        Token::Not => {
            let Token::Word(key) = tokens.next() else {
                return Err(SelectorError::Syntax("found '', expected: identifier".into()));
            };
            return Requirement::new(key, Operator::DoesNotExist, Vec::new());
        }
        Token::Word(key) => key,
        other => {
            return Err(SelectorError::Syntax(format!("found '{other}', expected: !, identifier, or 'end of string'")));
        }
    };
    let operator = match tokens.peek() {
        Token::End | Token::Comma => return Requirement::new(key, Operator::Exists, Vec::new()),
        token => {
            tokens.next();
            token
        }
    };
    let value = |tokens: &mut Tokens<'_>| match tokens.peek() {
        Token::Word(word) => {
            tokens.next();
            Ok(word.to_owned())
        }
        // `app=` asks for the empty value.
        Token::End | Token::Comma => Ok(String::new()),
        other => Err(SelectorError::Syntax(format!("found '{other}', expected: identifier"))),
    };
    match operator {
        Token::Equal => Requirement::new(key, Operator::In, vec![value(tokens)?]),
        Token::NotEqual => Requirement::new(key, Operator::NotIn, vec![value(tokens)?]),
        Token::Greater => Requirement::new(key, Operator::GreaterThan, vec![value(tokens)?]),
        Token::Less => Requirement::new(key, Operator::LessThan, vec![value(tokens)?]),
        Token::Word("in") => Requirement::new(key, Operator::In, listed(tokens)?),
        Token::Word("notin") => Requirement::new(key, Operator::NotIn, listed(tokens)?),
        other => Err(SelectorError::Syntax(format!("found '{other}', expected: in, notin, =, ==, !=, gt, lt"))),
    }
}

fn listed(tokens: &mut Tokens<'_>) -> Result<Vec<String>, SelectorError> {
    let unexpected =
        |token: Token<'_>, expected: &str| SelectorError::Syntax(format!("found '{token}', expected: {expected}"));
    match tokens.next() {
        Token::Open => {}
        other => return Err(unexpected(other, "'('")),
    }
    let mut values = Vec::new();
    let mut word = None;
    loop {
        match tokens.next() {
            Token::Word(found) if word.is_none() => word = Some(found.to_owned()),
            Token::Comma => values.push(word.take().unwrap_or_default()),
            Token::Close => {
                values.push(word.take().unwrap_or_default());
                return Ok(values);
            }
            other => return Err(unexpected(other, "',', or ')'")),
        }
    }
}

const NAME_RULE: &str =
    "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character";

/// A label's or annotation's key: an optional DNS prefix with `/`, and a name of at most 63 characters.
pub fn check_key(key: &str) -> Result<(), String> {
    let (prefix, name) = match key.split_once('/') {
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, key),
    };
    let is_domain = |text: &str| {
        text.len() <= 253
            && text
                .split('.')
                .all(|label| is_name(label, 253) && !label.contains(|c: char| c == '_' || c.is_ascii_uppercase()))
    };
    if prefix.is_some_and(|prefix| !is_domain(prefix)) || !is_name(name, 63) {
        return Err(format!(
            "key: Invalid value: {key:?}: name part {NAME_RULE} (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
        ));
    }
    Ok(())
}

/// A label's value: empty, or at most 63 characters.
pub fn check_value(key: &str, value: &str) -> Result<(), String> {
    if value.is_empty() || is_name(value, 63) {
        return Ok(());
    }
    if value.len() > 63 {
        return Err(format!("values[0][{key}]: Invalid value: {value:?}: must be no more than 63 bytes"));
    }
    Err(format!(
        "values[0][{key}]: Invalid value: {value:?}: a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
    ))
}

fn is_name(text: &str, limit: usize) -> bool {
    let bytes = text.as_bytes();
    let edge = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    bytes.len() <= limit
        && edge(bytes.first())
        && edge(bytes.last())
        && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(byte))
}

/// `path=value` and `path!=value` terms, all of which must hold.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FieldSelector {
    terms: Vec<FieldTerm>,
}

/// One term of a field selector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldTerm {
    /// `metadata.name`.
    pub path: String,
    /// What it must be, or must not be.
    pub value: String,
    /// True for `!=`.
    pub negated: bool,
}

impl FieldSelector {
    /// Parses a query: `metadata.name=web,status.phase!=Running`. `\\`, `\,` and `\=` stand for the characters.
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        let mut terms = Vec::new();
        for part in split_escaped(text).into_iter().filter(|part| !part.is_empty()) {
            terms.push(field_term(part).ok_or_else(|| SelectorError::Field(text.to_owned(), part.to_owned()))?);
        }
        Ok(Self { terms })
    }

    /// All of its terms: which fields a kind can be selected by is for the caller to say.
    pub fn terms(&self) -> &[FieldTerm] {
        &self.terms
    }

    /// True if it matches everything.
    pub fn is_empty(&self) -> bool {
        self.terms.is_empty()
    }

    /// The value that a path must have, if the selector names exactly one.
    pub fn exact(&self, path: &str) -> Option<&str> {
        self.terms.iter().find(|term| term.path == path && !term.negated).map(|term| term.value.as_str())
    }

    /// True if all terms hold of an object; an absent field is the empty text.
    pub fn matches(&self, object: &Value) -> bool {
        self.terms.iter().all(|term| (field_text(object, &term.path) == term.value) != term.negated)
    }
}

/// The value at a dotted path as text; empty if it is absent.
fn field_text(object: &Value, path: &str) -> String {
    let found = path.split('.').try_fold(object, |value, name| value.get(name));
    match found {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

fn split_escaped(text: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut start = 0;
    let mut escaped = false;
    for (at, character) in text.char_indices() {
        match character {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            ',' => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}

fn field_term(part: &str) -> Option<FieldTerm> {
    let sign = part.find(['=', '!'])?;
    let (path, rest) = part.split_at(sign);
    let (rest, negated) = match rest.strip_prefix("!=") {
        Some(rest) => (rest, true),
        None => (rest.strip_prefix("==").or_else(|| rest.strip_prefix('='))?, false),
    };
    let mut value = String::new();
    let mut characters = rest.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => value.push(characters.next().filter(|next| "\\,=".contains(*next))?),
            '=' | ',' => return None,
            other => value.push(other),
        }
    }
    Some(FieldTerm { path: path.trim().to_owned(), value, negated })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn label_queries_select() {
        let object = json!({"metadata": {"labels": {"app": "web", "tier": "", "n": "5"}}});
        let cases = [
            ("", true),
            ("app=web", true),
            ("app==web", true),
            ("app = web", true),
            ("app!=web", false),
            ("app!=db,tier=", true),
            ("app in (db, web)", true),
            ("app in (db)", false),
            ("app notin (db,cache)", true),
            ("none notin (db)", true),
            ("none!=x", true),
            ("none", false),
            ("!none", true),
            ("! app", false),
            ("tier in (,x)", true),
            ("n>4", true),
            ("n<5", false),
            ("app>4", false),
            ("in in (x)", false),
        ];
        for (query, matches) in cases {
            let selector = LabelSelector::parse(query).unwrap_or_else(|error| panic!("{query}: {error}"));
            assert_eq!(selector.matches(&object), matches, "{query}");
            assert_eq!(LabelSelector::parse(&selector.to_string()), Ok(selector), "{query}");
        }
    }

    #[test]
    fn broken_label_queries_are_refused() {
        for query in
            ["a b", "a=b,", "a in b", "a in (b", "a=b=c", "=x", "a=b c", "-a", "a=/", "x/y/z", "n>x", "a in ()b"]
        {
            assert!(LabelSelector::parse(query).is_err(), "{query}");
        }
    }

    #[test]
    fn selectors_of_specs() {
        let labels = json!({"app": "web"});
        let cases = [
            (json!(null), false),
            (json!({}), true),
            (json!({"matchLabels": {"app": "web"}}), true),
            (json!({"matchLabels": {"app": "web"}, "matchExpressions": [{"key": "x", "operator": "Exists"}]}), false),
            (json!({"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["db"]}]}), true),
        ];
        for (value, matches) in cases {
            assert_eq!(LabelSelector::from_value(&value).map(|s| s.matches_labels(&labels)), Ok(matches), "{value}");
        }
        assert!(!LabelSelector::from_map(&json!({})).expect("an empty map").matches_labels(&labels));
        assert!(LabelSelector::from_value(&json!({"matchExpressions": [{"key": "a", "operator": "In"}]})).is_err());
    }

    #[test]
    fn field_queries_select() {
        let object = json!({"metadata": {"name": "a,b"}, "status": {"phase": "Running"}, "spec": {"n": 1}});
        for (query, matches) in [
            ("", true),
            ("metadata.name=a\\,b", true),
            ("metadata.name==x", false),
            ("status.phase!=Running", false),
            ("spec.nodeName=", true),
            ("spec.n=1,status.phase=Running", true),
        ] {
            assert_eq!(FieldSelector::parse(query).map(|s| s.matches(&object)), Ok(matches), "{query}");
        }
        for query in ["x", "a=b=c", "a=\\x"] {
            assert!(FieldSelector::parse(query).is_err(), "{query}");
        }
    }
}
