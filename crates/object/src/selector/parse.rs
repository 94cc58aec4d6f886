//! The words of a label query.

use super::{Operator, Requirement, SelectorError};
use std::fmt;

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

/// All requirements of a query.
pub(super) fn requirements(text: &str) -> Result<Vec<Requirement>, SelectorError> {
    let mut requirements = Vec::new();
    let mut tokens = Tokens(text);
    if tokens.peek() == Token::End {
        return Ok(requirements);
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
    Ok(requirements)
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
