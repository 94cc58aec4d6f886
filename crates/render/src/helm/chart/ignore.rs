//! `.helmignore`: which files of a directory do not belong to the chart.

use crate::helm::glob;

/// The rules of a file and those that always hold.
pub(in crate::helm) struct Rules(Vec<Rule>);

struct Rule {
    pattern: String,
    negated: bool,
    directories: bool,
    scope: Scope,
}

enum Scope {
    /// The whole path, of a pattern that began with `/`.
    Rooted,
    Path,
    Name,
}

impl Rules {
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut rules = Vec::new();
        for line in text.lines() {
            rules.extend(rule(line)?);
        }
        rules.extend(rule("templates/.?*")?);
        Ok(Self(rules))
    }

    /// True if the file, or a directory that it stands in, is ignored.
    pub fn ignores(&self, path: &str) -> bool {
        let directories = path.match_indices('/').map(|(at, _)| (&path[..at], true));
        directories.chain([(path, false)]).any(|(path, is_directory)| self.hits(path, is_directory))
    }

    fn hits(&self, path: &str, is_directory: bool) -> bool {
        let name = path.rsplit('/').next().unwrap_or(path);
        for rule in &self.0 {
            let matches = || match rule.scope {
                Scope::Rooted | Scope::Path => glob::file(&rule.pattern, path),
                Scope::Name => glob::file(&rule.pattern, name),
            };
            if rule.negated {
                if (rule.directories && !is_directory) || !matches() {
                    return true;
                }
            } else if (!rule.directories || is_directory) && matches() {
                return true;
            }
        }
        false
    }
}

fn rule(line: &str) -> Result<Option<Rule>, String> {
    let line = line.trim();
    if line.is_empty() || line.starts_with('#') {
        return Ok(None);
    }
    if line.contains("**") {
        return Err(".helmignore: double-star (**) syntax is not supported".into());
    }
    let (negated, line) = match line.strip_prefix('!') {
        Some(rest) => (true, rest),
        None => (false, line),
    };
    let (directories, line) = match line.strip_suffix('/') {
        Some(rest) => (true, rest),
        None => (false, line),
    };
    let (scope, pattern) = match line.strip_prefix('/') {
        Some(rest) => (Scope::Rooted, rest),
        None if line.contains('/') => (Scope::Path, line),
        None => (Scope::Name, line),
    };
    Ok(Some(Rule { pattern: pattern.to_owned(), negated, directories, scope }))
}
