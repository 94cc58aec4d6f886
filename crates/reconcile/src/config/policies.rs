//! What `policies/` of a config repository says.

use super::parse;
use model::flow::Snapshot;
use model::policy::PolicyFile;
use plan::policy::{Mistake, Policy};
use std::collections::BTreeMap;
use yaml::{Kind, Node, Position, Style};

/// Where policies stand.
pub const DIRECTORY: &str = "policies/";
/// So many policies a project may have.
const POLICIES_MAX: usize = 200;

/// `policies/<name>.yaml`, or what is wrong with each.
pub type Policies = BTreeMap<String, Result<Policy, Vec<String>>>;

/// Parses and compiles.
pub(super) fn policies(snapshot: &Snapshot) -> Policies {
    let mut found = Policies::new();
    for path in snapshot.files.keys() {
        let Some(name) = path.strip_prefix(DIRECTORY).and_then(|rest| rest.strip_suffix(".yaml")) else { continue };
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        let read = match parse::<PolicyFile>(snapshot, path) {
            _ if name.is_empty() || name.len() > 63 || !name.chars().all(plain) => {
                Err(vec![format!("{path}: the name of a policy has a-z, 0-9 and '-' only, 63 at most")])
            }
            _ if found.len() >= POLICIES_MAX => Err(vec![format!("{path}: {POLICIES_MAX} policies at most")]),
            None => continue,
            Some(Err(problem)) => Err(vec![problem]),
            Some(Ok(file)) => Policy::compile(name, &file).map_err(|mistakes| {
                let text = snapshot.text(path).and_then(Result::ok).unwrap_or_default();
                mistakes.iter().map(|mistake| told(path, text, mistake)).collect()
            }),
        };
        found.insert(name.to_owned(), read);
    }
    found
}

/// `policies/a.yaml:7:15: rules[0].expression: there is no objekt`.
fn told(path: &str, text: &str, mistake: &Mistake) -> String {
    let nodes = yaml::parse(text, path).unwrap_or_default();
    let place = nodes.first().and_then(|root| place(root, &mistake.field));
    let Position { line, column } = match place {
        Some((position, style)) => within(text, position, style, mistake),
        None => Position { line: 1, column: 1 },
    };
    format!("{path}:{line}:{column}: {}: {}", mistake.field, mistake.message)
}

/// The node of a field such as `rules[0].expression`.
fn place(root: &Node, field: &str) -> Option<(Position, Option<Style>)> {
    let mut at = root;
    for part in field.split('.') {
        let (key, index) = match part.split_once('[') {
            Some((key, rest)) => (key, rest.trim_end_matches(']').parse::<usize>().ok()),
            None => (part, None),
        };
        let Kind::Mapping(pairs) = &at.kind else { return None };
        at = pairs
            .iter()
            .find(|(name, _)| matches!(&name.kind, Kind::Scalar(text, _) if text == key))
            .map(|(_, v)| v)?;
        if let Some(index) = index {
            let Kind::Sequence(items) = &at.kind else { return None };
            at = items.get(index)?;
        }
    }
    let style = match &at.kind {
        Kind::Scalar(_, style) => Some(*style),
        _ => None,
    };
    Some((at.position, style))
}

/// From a place in an expression to the place in the file. Of folded text, where line breaks are gone, only the line where
/// it begins is known. The position of text in a block is that of its `|`, and the text begins a line below.
fn within(text: &str, position: Position, style: Option<Style>, mistake: &Mistake) -> Position {
    let (line, column) = (mistake.line.max(1), mistake.column.max(1));
    let indent = |line: usize| {
        let line = text.lines().nth(line - 1).unwrap_or_default();
        line.chars().take_while(|c| c.is_whitespace()).count()
    };
    match style {
        Some(Style::Literal) => {
            let line = position.line + line;
            Position { line, column: indent(line) + column }
        }
        Some(Style::Folded) => Position { line: position.line + 1, column: indent(position.line + 1) + 1 },
        Some(Style::SingleQuoted | Style::DoubleQuoted) if line == 1 => {
            Position { line: position.line, column: position.column + column }
        }
        _ if line == 1 => Position { line: position.line, column: position.column + column - 1 },
        _ => position,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::flow::{File, FileMode, Repository, Revision};

    fn read(text: &str) -> Result<Policy, Vec<String>> {
        let file = File { mode: FileMode::Regular, bytes: text.as_bytes().into() };
        let repository = Repository { project: "shop".parse().unwrap(), name: "config".into() };
        let revision = Revision { repository, commit: "0".repeat(40).parse().unwrap() };
        let snapshot = Snapshot { revision, files: BTreeMap::from([("policies/it.yaml".to_owned(), file)]) };
        policies(&snapshot).remove("it").unwrap()
    }

    #[test]
    fn a_policy_that_does_not_compile_is_told_with_file_line_and_column() {
        for (text, told) in [
            ("rules:\n- expression: objekt.x == 1\n", "policies/it.yaml:2:15: rules[0].expression: there is no objekt"),
            (
                "rules:\n- expression: 'signed && nothing'\n",
                "policies/it.yaml:2:26: rules[0].expression: there is no nothing",
            ),
            (
                "rules:\n- expression: |\n    signed\n    && nothing\n",
                "policies/it.yaml:4:8: rules[0].expression: there is no nothing",
            ),
            (
                "rules:\n- expression: >-\n    signed\n    && nothing\n",
                "policies/it.yaml:3:5: rules[0].expression: there is no",
            ),
            ("action: forbid\nrules: []\n", "policies/it.yaml:1:9: action: unknown value `forbid`"),
            ("rules: []\n", "policies/it.yaml:1:8: rules: there must be one"),
            ("rule: []\n", "policies/it.yaml:1:1:"),
        ] {
            let problems = read(text).expect_err(text);
            assert!(problems[0].starts_with(told), "{text}: {problems:?}");
        }
        assert!(read("rules: [{expression: signed}]\n").is_ok());
    }
}
