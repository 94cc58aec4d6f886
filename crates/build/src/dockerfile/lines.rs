//! Physical lines → logical lines: parser directives, comments, continuations and heredocs.

use super::words::split;
use super::{Problem, problem};

/// One instruction before its arguments are looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Logical {
    /// Of its first physical line, from 1.
    pub line: usize,
    /// As written.
    pub keyword: String,
    /// What follows the keyword, continuations joined.
    pub rest: String,
    /// In the order in which they are opened.
    pub heredocs: Vec<Heredoc>,
}

/// Text that follows an instruction, up to its delimiter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Heredoc {
    /// The word that opens it, `<<-"EOF"`.
    pub word: String,
    /// Its delimiter, `EOF`.
    pub name: String,
    /// Its lines, each with its newline.
    pub text: String,
    /// False if the delimiter was quoted.
    pub expand: bool,
}

/// The logical lines of a Dockerfile, and its escape character.
pub(crate) fn logical(source: &str) -> Result<(Vec<Logical>, char), Problem> {
    let lines: Vec<&str> = source.trim_start_matches('\u{feff}').lines().collect();
    let (mut at, escape) = directives(&lines)?;
    let mut found = Vec::new();
    while at < lines.len() {
        let first = lines[at].trim_start();
        if first.is_empty() || first.starts_with('#') {
            at += 1;
            continue;
        }
        let line = at + 1;
        let text;
        (text, at) = join(&lines, at, escape);
        let (keyword, rest) = text.split_once(|c: char| c.is_whitespace()).unwrap_or((&text, ""));
        let mut instruction =
            Logical { line, keyword: keyword.to_owned(), rest: rest.trim().to_owned(), heredocs: Vec::new() };
        if takes_heredocs(keyword) {
            at = heredocs(&mut instruction, &lines, at, escape)?;
        }
        found.push(instruction);
    }
    Ok((found, escape))
}

fn takes_heredocs(keyword: &str) -> bool {
    ["RUN", "COPY", "ADD"].iter().any(|k| k.eq_ignore_ascii_case(keyword))
}

/// `# key=value` at the very top; the first line that is none of these ends them.
fn directives(lines: &[&str]) -> Result<(usize, char), Problem> {
    let mut escape = None;
    for (at, line) in lines.iter().enumerate() {
        let directive = line.trim().strip_prefix('#').and_then(|d| d.split_once('='));
        let Some((key, value)) = directive.map(|(k, v)| (k.trim().to_ascii_lowercase(), v.trim())) else {
            return Ok((at, escape.unwrap_or('\\')));
        };
        match key.as_str() {
            "escape" if escape.is_some() => return problem(at + 1, "only one escape directive is allowed"),
            "escape" => match value {
                "\\" | "`" => escape = value.chars().next(),
                _ => return problem(at + 1, format!("escape={value}: only \\ and ` can be escape characters")),
            },
            "syntax" => check_syntax(at + 1, value)?,
            "check" => {}
            // Any other `# a=b` is a comment, and a comment ends the directives.
            _ => return Ok((at, escape.unwrap_or('\\'))),
        }
    }
    Ok((lines.len(), escape.unwrap_or('\\')))
}

fn check_syntax(line: usize, value: &str) -> Result<(), Problem> {
    let name = value.strip_prefix("docker.io/").unwrap_or(value);
    match name.strip_prefix("docker/dockerfile:1") {
        Some(rest) if rest.is_empty() || rest.starts_with(['.', '@', '-']) => Ok(()),
        _ if name == "docker/dockerfile" => Ok(()),
        _ => problem(
            line,
            format!(
                "syntax={value}: only the syntax docker/dockerfile:1 is known; remove the line, or build this image elsewhere and name it with `image:`"
            ),
        ),
    }
}

/// One instruction with its continuation lines, and the index of the line behind it.
fn join(lines: &[&str], first: usize, escape: char) -> (String, usize) {
    let mut text = String::new();
    let mut at = first;
    while at < lines.len() {
        let line = if at == first { lines[at].trim_start() } else { lines[at] };
        let bare = line.trim();
        at += 1;
        // Comments and empty lines inside a continuation vanish.
        if at > first + 1 && (bare.is_empty() || bare.starts_with('#')) {
            continue;
        }
        let trimmed = line.trim_end_matches([' ', '\t']);
        let Some(head) = trimmed.strip_suffix(escape).filter(|head| !head.ends_with(escape)) else {
            text.push_str(line.trim_end());
            break;
        };
        text.push_str(head);
    }
    (text, at)
}

fn heredocs(instruction: &mut Logical, lines: &[&str], mut at: usize, escape: char) -> Result<usize, Problem> {
    // A line that does not split into words is complained about when its instruction is parsed.
    for word in split(&instruction.rest, escape).unwrap_or_default() {
        let Some((name, expand, chomp)) = opens(&word) else { continue };
        let mut text = String::new();
        loop {
            let Some(line) = lines.get(at) else {
                return problem(instruction.line, format!("the text after {word} is never ended by a line {name}"));
            };
            at += 1;
            let line = if chomp { line.trim_start_matches('\t') } else { line };
            if line == name {
                break;
            }
            text.push_str(line);
            text.push('\n');
        }
        instruction.heredocs.push(Heredoc { word, name, text, expand });
    }
    Ok(at)
}

/// `<<EOF`, `<<-EOF`, `<<"EOF"`, `3<<EOF`: delimiter, whether variables are expanded, whether leading tabs go.
fn opens(word: &str) -> Option<(String, bool, bool)> {
    let rest = word.trim_start_matches(|c: char| c.is_ascii_digit()).strip_prefix("<<")?;
    let (rest, chomp) = rest.strip_prefix('-').map_or((rest, false), |r| (r, true));
    let name: String = rest.chars().filter(|c| !matches!(c, '"' | '\'')).collect();
    let allowed = !name.is_empty() && !name.contains(['<', '(', ')']);
    allowed.then(|| (name.clone(), name == rest, chomp))
}
