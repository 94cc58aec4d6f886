//! Words in place of what differs from run to run.

use crate::harness::Home;
use regex::{Captures, Regex};
use std::collections::HashMap;

pub struct Words {
    home: String,
    fixed: Vec<(Regex, &'static str)>,
    commits: Regex,
    /// First digits of a commit → its number.
    seen: HashMap<String, usize>,
}

impl Words {
    pub fn of(home: &Home) -> Self {
        let fixed = [
            (r"(127\.0\.0\.1|localhost|://[a-z0-9.-]+):\d{2,5}\b", "$1:PORT"),
            (r"sha256:[0-9a-f]{64}", "sha256:DIGEST"),
            (r"sealed:[0-9a-f]+", "sealed:DIGEST"),
            (r"SHA256:[A-Za-z0-9+/]{43}", "SHA256:FINGERPRINT"),
            (r"age1[0-9a-z]{58}", "age1RECIPIENT"),
            (r"[ \t]+\n", "\n"),
            // The clock goes on by microseconds.
            (r"(\d\d:\d\d:\d\d)\.\d{1,9}Z", "${1}Z"),
        ];
        let pattern = |(pattern, word)| (Regex::new(pattern).unwrap(), word);
        Self {
            home: home.path().display().to_string(),
            fixed: fixed.into_iter().map(pattern).collect(),
            commits: Regex::new(r"\b(?:[0-9a-f]{40}|[0-9a-f]{12}|[0-9a-f]{8})\b").unwrap(),
            seen: HashMap::new(),
        }
    }

    pub fn replace(&mut self, text: &str) -> String {
        let mut text = text.replace(&self.home, "~");
        for (pattern, word) in &self.fixed {
            text = pattern.replace_all(&text, *word).into_owned();
        }
        let seen = &mut self.seen;
        let number = |found: &Captures<'_>| {
            let next = seen.len() + 1;
            let number = seen.entry(found[0][..8].to_owned()).or_insert(next);
            // As wide as the eight digits, so that columns stay where they are.
            format!("commit{number:02}")
        };
        self.commits.replace_all(&text, number).into_owned()
    }
}
