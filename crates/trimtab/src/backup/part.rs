//! The names of parts: a closed list, so that nothing else in a file is ever laid down.

use model::flow::Repository;
use std::fmt;
use std::path::{Component, Path};

/// One part of a backup. `usize` counts the pieces of what has no known size when it begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    Header,
    Instance,
    People,
    Objects(usize),
    References(Repository),
    Pack(Repository, usize),
    ImageNames,
    Blob(oci::Digest),
    Chart(model::Digest),
    /// Below the directory of build logs.
    Log(String),
    Identity,
    Secrets(usize),
    Seal,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header => f.write_str("backup.json"),
            Self::Instance => f.write_str("instance.json"),
            Self::People => f.write_str("people.json"),
            Self::Objects(piece) => write!(f, "objects.{piece:06}"),
            Self::References(repository) => write!(f, "git/{repository}/refs"),
            Self::Pack(repository, piece) => write!(f, "git/{repository}/pack.{piece:06}"),
            Self::ImageNames => f.write_str("images/names.json"),
            Self::Blob(digest) => write!(f, "images/sha256/{}", digest.hex()),
            Self::Chart(digest) => write!(f, "charts/sha256/{}", digest.hex()),
            Self::Log(path) => write!(f, "logs/{path}"),
            Self::Identity => f.write_str("identity.age"),
            Self::Secrets(piece) => write!(f, "secrets.{piece:06}"),
            Self::Seal => f.write_str("seal.json"),
        }
    }
}

impl Part {
    /// The part of this name; `None` if there is no such part.
    pub fn parse(name: &str) -> Option<Self> {
        let words: Vec<&str> = name.split('/').collect();
        let repository = |project: &str, name: &str| {
            let repository = Repository { project: project.parse().ok()?, name: name.to_owned() };
            (repository.environment().is_some() || name.parse::<model::Component>().is_ok()).then_some(repository)
        };
        let piece = |word: &str, prefix: &str| -> Option<usize> { word.strip_prefix(prefix)?.parse().ok() };
        match words.as_slice() {
            ["backup.json"] => Some(Self::Header),
            ["instance.json"] => Some(Self::Instance),
            ["people.json"] => Some(Self::People),
            ["identity.age"] => Some(Self::Identity),
            ["seal.json"] => Some(Self::Seal),
            ["images", "names.json"] => Some(Self::ImageNames),
            ["images", "sha256", hex] => Some(Self::Blob(format!("sha256:{hex}").parse().ok()?)),
            ["charts", "sha256", hex] => Some(Self::Chart(format!("sha256:{hex}").parse().ok()?)),
            ["git", project, name, "refs"] => Some(Self::References(repository(project, name)?)),
            ["git", project, name, word] => Some(Self::Pack(repository(project, name)?, piece(word, "pack.")?)),
            ["logs", rest @ ..] => {
                let path = rest.join("/");
                let plain = Path::new(&path).components().all(|c| matches!(c, Component::Normal(_)));
                (plain && !path.is_empty()).then_some(Self::Log(path))
            }
            [word] if word.starts_with("objects.") => Some(Self::Objects(piece(word, "objects.")?)),
            [word] => Some(Self::Secrets(piece(word, "secrets.")?)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Part;

    #[test]
    fn names_are_read_as_they_are_written_and_no_others_are() {
        let hex = "a".repeat(64);
        let good = [
            "backup.json",
            "instance.json",
            "people.json",
            "objects.000000",
            "git/shop/web/refs",
            "git/shop/web/pack.000012",
            "git/shop/config.prod/refs",
            "git/shop/config.prod/pack.000000",
        ];
        let blob = format!("images/sha256/{hex}");
        let more = ["images/names.json", &blob, "logs/shop/web-1.log", "identity.age", "secrets.000003", "seal.json"];
        let chart = format!("charts/sha256/{hex}");
        let chart = chart.as_str();
        for name in good.iter().chain(&more).chain([&chart]) {
            assert_eq!(Part::parse(name).map(|part| part.to_string()).as_deref(), Some(*name));
        }
        let bad = [
            "",
            "x",
            "objects.x",
            "git/../x/refs",
            "git/shop/../refs",
            "git/shop/config./refs",
            "images/sha256/..",
            "logs",
            "logs/../x",
        ];
        for name in bad.iter().chain(&["logs//etc/passwd", "/etc/passwd", "git/shop/web", "secrets."]) {
            assert_eq!(Part::parse(name), None, "{name:?}");
        }
    }
}
