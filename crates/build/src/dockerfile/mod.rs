//! Dockerfiles: text → [`Dockerfile`], with the line of every instruction.
//!
//! Words keep their quotes and variables: what they mean depends on the stage, see [`words::expand`].

mod arguments;
mod lines;
mod parse;
pub(crate) mod words;

#[cfg(test)]
mod tests;

pub(crate) use parse::parse;

/// What is wrong in a Dockerfile, and in which line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    pub line: usize,
    pub text: String,
}

fn problem<T>(line: usize, text: impl Into<String>) -> Result<T, Problem> {
    Err(Problem { line, text: text.into() })
}

/// A whole Dockerfile. There is at least one stage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Dockerfile {
    /// The character that escapes, `\` or a backtick.
    pub escape: char,
    /// ARG before the first FROM: known in FROM, and in stages that repeat their name.
    pub globals: Vec<Argument>,
    pub stages: Vec<Stage>,
}

/// From one FROM to the next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stage {
    pub line: usize,
    /// An image, an earlier stage, `scratch` or `trimtab/static`; not expanded.
    pub base: String,
    pub platform: Option<String>,
    /// Lower case.
    pub name: Option<String>,
    pub steps: Vec<Step>,
}

/// One instruction of a stage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Step {
    pub line: usize,
    /// As written, continuations joined: for people and for the image's history.
    pub text: String,
    pub instruction: Instruction,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Instruction {
    Arg(Vec<Argument>),
    Cmd(Command),
    Copy(Copy),
    Entrypoint(Command),
    Env(Vec<(String, String)>),
    Expose(Vec<String>),
    Healthcheck(Healthcheck),
    Label(Vec<(String, String)>),
    Maintainer(String),
    Run(Run),
    Shell(Vec<String>),
    StopSignal(String),
    User(String),
    Volume(Vec<String>),
    Workdir(String),
}

/// `NAME` or `NAME=default`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Argument {
    pub line: usize,
    pub name: String,
    pub default: Option<String>,
}

/// What RUN, CMD and ENTRYPOINT take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Command {
    /// `["/bin/x", "-v"]`, as it stands.
    Exec(Vec<String>),
    /// A line for the shell of the stage.
    Shell(String),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Run {
    pub command: Command,
    pub mounts: Vec<Mount>,
    /// False for `--network=none`.
    pub network: bool,
}

/// `RUN --mount=…`. Values are not expanded yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mount {
    pub target: String,
    pub kind: MountKind,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum MountKind {
    /// Kept between builds, never part of the image.
    Cache {
        id: Option<String>,
        mode: u32,
    },
    /// Files of the context, of a stage or of an image; what is written there is lost.
    Bind {
        from: Option<String>,
        source: String,
    },
    Tmpfs,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Copy {
    /// ADD: archives are unpacked.
    pub add: bool,
    pub from: Option<String>,
    pub owner: Option<String>,
    /// Permission bits of all files and directories.
    pub mode: Option<String>,
    pub sources: Vec<Source>,
    pub destination: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Source {
    /// A path or a pattern.
    Path(String),
    /// A heredoc: a file of this name.
    Text { name: String, text: String, expand: bool },
}

/// Written into the image's configuration as Docker does; intervals in nanoseconds.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Healthcheck {
    /// `["NONE"]`, `["CMD", …]` or `["CMD-SHELL", …]`.
    pub test: Vec<String>,
    pub interval: Option<u64>,
    pub timeout: Option<u64>,
    pub start_period: Option<u64>,
    pub start_interval: Option<u64>,
    pub retries: Option<u64>,
}
