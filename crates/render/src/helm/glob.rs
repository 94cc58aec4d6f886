//! Patterns over paths: those of Go's `filepath.Match`, and those of `.Files.Glob`.

/// `filepath.Match`: `*` and `?` never cross a `/`. A pattern that is no good matches nothing.
pub(super) fn file(pattern: &str, path: &str) -> bool {
    // Most patterns are a name, or the end of one.
    let bytes = pattern.as_bytes();
    let is_special = |byte: &u8| matches!(byte, b'*' | b'?' | b'[' | b'\\');
    let Some(start) = bytes.iter().position(is_special) else { return pattern == path };
    let is_simple = !bytes.iter().any(|byte| matches!(byte, b'[' | b'\\'));
    let end = bytes.iter().rposition(is_special).map_or(0, |at| at + 1);
    if !path.starts_with(&pattern[..start]) || (is_simple && !path.ends_with(&pattern[end..])) {
        return false;
    }
    if is_simple && bytes[start..end] == *b"*" {
        return path.len() + 1 >= bytes.len() && !path[start..path.len() + end - bytes.len()].contains('/');
    }
    let pattern: Vec<char> = pattern.chars().collect();
    let path: Vec<char> = path.chars().collect();
    let mut work = WORK_MAX;
    matches(&pattern, &path, false, &mut work)
}

/// `.Files.Glob`: `**` crosses `/`, and `{a,b}` are alternatives.
pub(super) fn files(pattern: &str, path: &str) -> bool {
    let path: Vec<char> = path.chars().collect();
    let mut work = WORK_MAX;
    alternatives(pattern).iter().any(|pattern| {
        let pattern: Vec<char> = pattern.chars().collect();
        matches(&pattern, &path, true, &mut work)
    })
}

/// Steps of one match; stars inside of stars take many.
const WORK_MAX: usize = 1_000_000;
/// Patterns that alternatives stand for.
const ALTERNATIVES_MAX: usize = 1000;

/// The patterns without braces that one with braces stands for.
fn alternatives(pattern: &str) -> Vec<String> {
    let mut done = Vec::new();
    let mut open = vec![pattern.to_owned()];
    while let Some(pattern) = open.pop() {
        let Some((start, end, commas)) = braces(&pattern) else {
            done.push(pattern);
            continue;
        };
        if done.len() + open.len() > ALTERNATIVES_MAX {
            break;
        }
        let mut from = start + 1;
        for to in commas.into_iter().chain([end]) {
            open.push(format!("{}{}{}", &pattern[..start], &pattern[from..to], &pattern[end + 1..]));
            from = to + 1;
        }
    }
    done
}

/// The first pair of braces, and the commas directly inside.
fn braces(pattern: &str) -> Option<(usize, usize, Vec<usize>)> {
    let (mut depth, mut start, mut commas, mut escaped) = (0, 0, Vec::new(), false);
    for (at, character) in pattern.char_indices() {
        match character {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '{' => {
                if depth == 0 {
                    start = at;
                }
                depth += 1;
            }
            ',' if depth == 1 => commas.push(at),
            '}' if depth == 1 => return Some((start, at, commas)),
            '}' if depth > 1 => depth -= 1,
            _ => {}
        }
    }
    None
}

fn matches(pattern: &[char], path: &[char], deep: bool, work: &mut usize) -> bool {
    if *work == 0 {
        return false;
    }
    *work -= 1;
    let Some((first, rest)) = pattern.split_first() else { return path.is_empty() };
    match first {
        '*' => {
            let double = deep && rest.first() == Some(&'*');
            let rest = if double { &rest[1..] } else { rest };
            for taken in 0..=path.len() {
                if matches(rest, &path[taken..], deep, work) {
                    return true;
                }
                if path.get(taken).is_none_or(|next| *next == '/' && !double) {
                    break;
                }
            }
            false
        }
        '?' => path.first().is_some_and(|next| *next != '/') && matches(rest, &path[1..], deep, work),
        '[' => {
            let Some((next, path)) = path.split_first() else { return false };
            match class(rest, *next) {
                Some((true, rest)) if deep || *next != '/' => matches(rest, path, deep, work),
                _ => false,
            }
        }
        '\\' => match (rest.split_first(), path.split_first()) {
            (Some((wanted, rest)), Some((next, path))) => wanted == next && matches(rest, path, deep, work),
            _ => false,
        },
        wanted => path.first() == Some(wanted) && matches(rest, &path[1..], deep, work),
    }
}

/// Whether a character is in the class, and what follows it; nothing if the class has no end.
fn class(pattern: &[char], character: char) -> Option<(bool, &[char])> {
    let (negated, mut rest) = match pattern.first()? {
        '^' | '!' => (true, &pattern[1..]),
        _ => (false, pattern),
    };
    let (mut found, mut first) = (false, true);
    loop {
        let (mut low, mut after) = rest.split_first()?;
        if *low == ']' && !first {
            return Some((found != negated, after));
        }
        first = false;
        if *low == '\\' {
            (low, after) = after.split_first()?;
        }
        let mut high = low;
        if after.first() == Some(&'-') && after.get(1).is_some_and(|next| *next != ']') {
            (high, after) = after[1..].split_first()?;
            if *high == '\\' {
                (high, after) = after.split_first()?;
            }
        }
        found |= (*low..=*high).contains(&character);
        rest = after;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_a_part_of_a_name() {
        for (pattern, path, fits) in [
            ("*.tmp", "a.tmp", true),
            ("*.tmp", "a/b.tmp", false),
            ("a*a", "a", false),
            ("a*a", "aa", true),
            ("*", "", true),
            ("x/*", "x/y", true),
            ("x/*", "x/y/z", false),
            ("é*ü", "éaü", true),
            ("*a*", "bab", true),
            ("?*", "b", true),
            ("?*", "", false),
        ] {
            assert_eq!(file(pattern, path), fits, "{pattern} {path}");
        }
    }
}
