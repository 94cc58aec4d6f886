//! `trimtab hook NAME SOCKET`: what git runs during a push. It asks the daemon, shows what that says as it comes,
//! and ends with the daemon's answer. All work happens there, so nothing is lost when this process goes away.

use crate::git::Quarantine;
use crate::proposal;
use serde::{Deserialize, Serialize};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Version of the lines between hook and daemon. Both are the same binary, but an upgrade may replace the file
/// while an old daemon runs.
pub const PROTOCOL: u32 = 2;
/// Names the push: who pushes and where is what the daemon knows of this token, never what the hook says.
pub const TOKEN_VARIABLE: &str = "TRIMTAB_PUSH_TOKEN";
/// More than ten thousand references in one push are refused.
pub const REQUEST_BYTES_MAX: u64 = 2 << 20;

/// The hooks that are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Hook {
    /// References have not moved.
    PreReceive,
    /// References that we move ourselves are to be moved: `refs/for/…`.
    ProcReceive,
    /// References have moved.
    PostReceive,
}

impl Hook {
    pub const ALL: [Self; 3] = [Self::PreReceive, Self::ProcReceive, Self::PostReceive];

    pub fn name(self) -> &'static str {
        match self {
            Self::PreReceive => "pre-receive",
            Self::ProcReceive => "proc-receive",
            Self::PostReceive => "post-receive",
        }
    }
}

/// What a hook asks; one line of JSON.
#[derive(Debug, Serialize, Deserialize)]
pub struct Request {
    pub protocol: u32,
    pub token: String,
    pub hook: Hook,
    pub quarantine: Option<Quarantine>,
    /// `<old> <new> <reference>`, as git gave them.
    pub updates: Vec<String>,
    /// `-o` of the push, for `proc-receive`.
    pub options: Vec<String>,
}

/// What the daemon answers: lines for the pusher, what became of references that we move ourselves, then the exit
/// code. One line of JSON each.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Answer {
    Line(String),
    Moved(Moved),
    Exit(u8),
}

/// What became of one pushed reference.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moved {
    /// As it was pushed: `refs/for/main`.
    pub reference: String,
    /// What stands there now, or why not.
    pub outcome: Result<Stands, String>,
}

/// A reference that was moved instead of the one that was pushed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stands {
    pub reference: String,
    /// 40 digits; zeros if it is new.
    pub old: String,
    pub new: String,
}

/// The whole life of a hook process. `name` is one of [`Hook::ALL`]'s; `socket` is the daemon's.
pub fn hook_main(name: &str, socket: &Path) -> ExitCode {
    let Some(hook) = Hook::ALL.into_iter().find(|hook| hook.name() == name) else {
        say(&format!("trimtab: {name:?} is not a hook of ours"));
        return ExitCode::FAILURE;
    };
    match ask(hook, socket) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            match hook {
                Hook::PreReceive | Hook::ProcReceive => {
                    say(&format!("trimtab did not answer ({error}); nothing was changed, push again"));
                }
                Hook::PostReceive => say(&format!(
                    "trimtab stopped answering ({error}); the push is stored and is worked on when it runs again"
                )),
            }
            ExitCode::from(u8::from(hook != Hook::PostReceive))
        }
    }
}

fn ask(hook: Hook, socket: &Path) -> std::io::Result<u8> {
    if hook == Hook::ProcReceive {
        return proposal::serve(|updates, options| converse(hook, socket, updates, options));
    }
    let mut updates = String::new();
    std::io::stdin().lock().take(REQUEST_BYTES_MAX).read_to_string(&mut updates)?;
    let updates = updates.lines().map(str::to_owned).collect();
    Ok(converse(hook, socket, updates, Vec::new())?.0)
}

/// Asks the daemon; its exit code, and what became of references that we move ourselves.
fn converse(
    hook: Hook,
    socket: &Path,
    updates: Vec<String>,
    options: Vec<String>,
) -> std::io::Result<(u8, Vec<Moved>)> {
    let variable = |name| std::env::var(name).unwrap_or_default();
    let request = Request {
        protocol: PROTOCOL,
        token: variable(TOKEN_VARIABLE),
        hook,
        quarantine: std::env::var_os("GIT_QUARANTINE_PATH").map(|_| Quarantine {
            objects: PathBuf::from(variable("GIT_OBJECT_DIRECTORY")),
            alternates: variable("GIT_ALTERNATE_OBJECT_DIRECTORIES"),
        }),
        updates,
        options,
    };
    let mut stream = UnixStream::connect(socket)?;
    let mut line = serde_json::to_string(&request)?;
    line.push('\n');
    stream.write_all(line.as_bytes())?;
    let mut moved = Vec::new();
    for line in BufReader::new(stream).lines() {
        match serde_json::from_str(&line?)? {
            Answer::Line(text) => say(&text),
            Answer::Moved(one) => moved.push(one),
            Answer::Exit(code) => return Ok((code, moved)),
        }
    }
    Err(std::io::ErrorKind::UnexpectedEof.into())
}

/// To the pusher; one who is gone is no error.
fn say(text: &str) {
    let mut stderr = std::io::stderr().lock();
    let _ = writeln!(stderr, "{text}");
}
