//! Patterns of COPY and .dockerignore.

use regex::Regex;

/// `*` and `?` stay within one name, `[a-z]` is a class, `\` escapes; `**` crosses names if `deep`, else it is `*`.
pub(crate) fn pattern(text: &str, deep: bool) -> Result<Regex, String> {
    let mut out = String::from("^");
    let mut chars = text.chars().peekable();
    let bad = |why: &str| format!("the pattern {text:?} {why}");
    while let Some(c) = chars.next() {
        match c {
            '*' if chars.next_if_eq(&'*').is_some() && deep => match chars.next_if_eq(&'/') {
                Some(_) => out.push_str("(.*/)?"),
                None => out.push_str(".*"),
            },
            '*' => out.push_str("[^/]*"),
            '?' => out.push_str("[^/]"),
            '[' => class(&mut chars, &mut out).ok_or_else(|| bad("has a [ without ]"))?,
            '\\' => {
                let next = chars.next().ok_or_else(|| bad("ends with \\"))?;
                out.push_str(&regex::escape(&next.to_string()));
            }
            _ => out.push_str(&regex::escape(&c.to_string())),
        }
    }
    out.push('$');
    Regex::new(&out).map_err(|_| bad("is not valid"))
}

/// True if the text means more than one path.
pub(crate) fn is_pattern(text: &str) -> bool {
    text.contains(['*', '?', '['])
}

/// Behind a `[`: `^` or `!` negates; `None` if it is not closed.
fn class(chars: &mut impl Iterator<Item = char>, out: &mut String) -> Option<()> {
    out.push('[');
    let mut first = true;
    loop {
        match chars.next()? {
            ']' => break,
            '^' | '!' if first => out.push('^'),
            '\\' => out.push_str(&regex::escape(&chars.next()?.to_string())),
            '-' => out.push('-'),
            c => out.push_str(&regex::escape(&c.to_string())),
        }
        first = false;
    }
    out.push(']');
    Some(())
}
