//! `.dockerignore`: which files of the context COPY does not see.

use super::normal;
use super::pattern::pattern;
use regex::Regex;
use std::path::Path;

/// Patterns in order; the last one that matches a path or a directory above it decides.
#[derive(Debug, Default)]
pub(crate) struct Ignore {
    rules: Vec<(Regex, bool)>,
}

impl Ignore {
    /// Reads a file; errors are (line, what is wrong).
    pub fn parse(text: &str) -> Result<Self, (usize, String)> {
        let mut rules = Vec::new();
        for (at, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
            if line.starts_with('#') || line.trim().is_empty() {
                continue;
            }
            let line = line.trim();
            let (exclude, text) = line.strip_prefix('!').map_or((true, line), |rest| (false, rest.trim()));
            let text = normal(text);
            let text = text.to_str().expect("made from a str");
            if text.is_empty() {
                continue;
            }
            rules.push((pattern(text, true).map_err(|why| (at + 1, why))?, exclude));
        }
        Ok(Self { rules })
    }

    pub fn excludes(&self, path: &Path) -> bool {
        let paths: Vec<_> = path.ancestors().filter_map(Path::to_str).filter(|p| !p.is_empty()).collect();
        let matching = self.rules.iter().rev().find(|(rule, _)| paths.iter().any(|p| rule.is_match(p)));
        matching.is_some_and(|(_, exclude)| *exclude)
    }
}
