//! What a client may ask to run: git's two services on one repository, and nothing else.

use crate::transport::Service;

/// A command that is served.
#[derive(Debug, PartialEq, Eq)]
pub struct Command {
    pub service: Service,
    pub project: String,
    /// As it was given, with or without `.git`.
    pub repository: String,
}

impl Command {
    /// Reads `git-upload-pack '/shop/web.git'`. The error is for the person.
    pub fn parse(line: &[u8]) -> Result<Self, String> {
        let line = std::str::from_utf8(line).map_err(|_| "the command is not UTF-8".to_owned())?.trim();
        let (name, rest) = line.split_once(' ').unwrap_or((line, ""));
        let (name, rest) = match (name, rest.trim_start().split_once(' ')) {
            ("git", Some((verb, rest))) => (format!("git-{verb}"), rest),
            _ => (name.to_owned(), rest),
        };
        if name == "git-upload-archive" {
            return Err("git archive --remote is not served here: clone the repository and archive that".into());
        }
        let Some(service) = Service::parse(&name) else {
            return Err("only git fetches and pushes here: there is no shell and no other command".into());
        };
        let path = unquote(rest.trim()).ok_or("the path of the repository is not quoted as git does")?;
        let bad = || format!("{path:?} is no repository: its address ends in /<project>/<repository>.git");
        let relative = path.strip_prefix('/').unwrap_or(&path);
        let relative = relative.strip_suffix('/').unwrap_or(relative);
        let (project, repository) = relative.split_once('/').ok_or_else(bad)?;
        if project.is_empty() || repository.is_empty() || repository.contains('/') {
            return Err(bad());
        }
        Ok(Self { service, project: project.to_owned(), repository: repository.to_owned() })
    }
}

/// What git's client made of a path: single quotes, with `'\''` and `'\!'` for what they cannot hold.
fn unquote(text: &str) -> Option<String> {
    if !text.starts_with('\'') {
        // Typed by hand. What a shell would do with it is not done.
        let plain = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
        return (!text.is_empty() && text.chars().all(plain)).then(|| text.to_owned());
    }
    let mut out = String::new();
    let mut rest = text;
    loop {
        let (part, after) = rest.strip_prefix('\'')?.split_once('\'')?;
        out.push_str(part);
        if after.is_empty() {
            return Some(out);
        }
        let escaped = after.strip_prefix('\\')?;
        let c = escaped.chars().next().filter(|c| matches!(c, '\'' | '!'))?;
        out.push(c);
        rest = &escaped[c.len_utf8()..];
        if rest.is_empty() {
            return Some(out);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn git_s_own_commands_are_read() {
        for (line, service, project, repository) in [
            ("git-upload-pack '/shop/web.git'", Service::Upload, "shop", "web.git"),
            ("git-receive-pack 'shop/web.git'", Service::Receive, "shop", "web.git"),
            ("git upload-pack '/shop/web'", Service::Upload, "shop", "web"),
            ("git-upload-pack /shop/web.git/", Service::Upload, "shop", "web.git"),
            (r"git-upload-pack '/shop/a'\''b'\!''", Service::Upload, "shop", "a'b!"),
        ] {
            let found = Command::parse(line.as_bytes()).unwrap();
            let expected = Command { service, project: project.into(), repository: repository.into() };
            assert_eq!(found, expected, "{line}");
        }
    }

    #[test]
    fn nothing_else_is() {
        for (line, words) in [
            (b"".as_slice(), "only git"),
            (b"ls -l", "only git"),
            (b"git-shell", "only git"),
            (b"git-upload-archive '/shop/web.git'", "git archive"),
            (b"git-upload-pack", "quoted"),
            (b"git-upload-pack '/shop/web.git'; rm -rf /", "quoted"),
            (b"git-upload-pack '/shop/web.git' x", "quoted"),
            (b"git-upload-pack $(id)", "quoted"),
            (b"git-upload-pack '/shop'", "no repository"),
            (b"git-upload-pack '/'", "no repository"),
            (b"git-upload-pack '/../../etc/passwd'", "no repository"),
            (b"git-upload-pack '/a/b/c.git'", "no repository"),
            (b"git-upload-pack '/shop/\xff'", "UTF-8"),
        ] {
            let error = Command::parse(line).unwrap_err();
            assert!(error.contains(words), "{:?}: {error}", String::from_utf8_lossy(line));
        }
    }
}
