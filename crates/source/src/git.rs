//! Running the git binary with nobody's configuration but ours.

use crate::error::Error;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

/// A short command that takes longer than this is stopped: it hangs on a lock or a dying disk.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(60);

/// Marks our children, so that orphans of a killed process are found; the value is the repositories' root.
pub const MARK: &str = "TRIMTAB_GIT_ROOT";

/// How git is run.
#[derive(Debug, Clone)]
pub struct Git {
    root: PathBuf,
    home: PathBuf,
    path: OsString,
    /// With its directory: a name that is looked for in a PATH of its own makes the standard library copy the whole
    /// process for each git, where it would spawn one.
    program: PathBuf,
}

/// Where the objects of a push lie before it is accepted.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Quarantine {
    /// `GIT_OBJECT_DIRECTORY`.
    pub objects: PathBuf,
    /// `GIT_ALTERNATE_OBJECT_DIRECTORIES`.
    pub alternates: String,
}

impl Git {
    /// Writes our configuration into `home` and checks that git is there and young enough.
    pub async fn prepare(root: &Path, home: &Path, hooks: &Path, push_bytes_max: u64) -> Result<Self, Error> {
        std::fs::create_dir_all(home).map_err(Error::file("create", home))?;
        let file = home.join("gitconfig");
        std::fs::write(&file, configuration(hooks, push_bytes_max)).map_err(Error::file("write", &file))?;
        let git = Self::new(root, home);
        let version = git.run(root, ["version"], &[]).await?;
        check_version(&String::from_utf8_lossy(&version))?;
        Ok(git)
    }

    /// With nobody's configuration, not even ours: for a directory that goes again.
    pub fn alone(directory: &Path) -> Self {
        Self::new(directory, directory)
    }

    fn new(root: &Path, home: &Path) -> Self {
        let path = std::env::var_os("PATH").unwrap_or_else(|| "/usr/local/bin:/usr/bin:/bin".into());
        let found = std::env::split_paths(&path).map(|directory| directory.join("git")).find(|file| file.is_file());
        let program = found.unwrap_or_else(|| "git".into());
        Self { root: root.to_owned(), home: home.to_owned(), path, program }
    }

    /// A command in a repository, with pipes; it is killed when its handle is dropped.
    pub fn command(&self, directory: &Path) -> Command {
        let mut command = Command::new(&self.program);
        command
            .env_clear()
            .env("PATH", &self.path)
            .env("HOME", &self.home)
            .env("LC_ALL", "C")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_CONFIG_GLOBAL", self.home.join("gitconfig"))
            .env("GIT_TERMINAL_PROMPT", "0")
            .env(MARK, &self.root)
            .current_dir(directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    }

    /// Runs to the end and returns its output; a code other than 0 is an error.
    pub async fn run<const N: usize>(&self, directory: &Path, args: [&str; N], input: &[u8]) -> Result<Vec<u8>, Error> {
        let output = self.output(directory, args, input, None).await?;
        if output.status.success() {
            return Ok(output.stdout);
        }
        Err(failure(args[0], directory, &output))
    }

    /// True or false by exit code 0 or 1; anything else is an error.
    pub async fn test<const N: usize>(
        &self,
        directory: &Path,
        args: [&str; N],
        quarantine: Option<&Quarantine>,
    ) -> Result<bool, Error> {
        let output = self.output(directory, args, &[], quarantine).await?;
        match output.status.code() {
            Some(0) => Ok(true),
            Some(1) => Ok(false),
            _ => Err(failure(args[0], directory, &output)),
        }
    }

    async fn output<const N: usize>(
        &self,
        directory: &Path,
        args: [&str; N],
        input: &[u8],
        quarantine: Option<&Quarantine>,
    ) -> Result<std::process::Output, Error> {
        let mut command = self.command(directory);
        command.args(args);
        if let Some(quarantine) = quarantine {
            quarantine.enter(&mut command);
        }
        let mut child = command.spawn().map_err(Error::Spawn)?;
        let mut stdin = child.stdin.take().expect("stdin is piped");
        let write = async move {
            // A command that fails early does not read its input; its message is worth more than EPIPE.
            let _ = stdin.write_all(input).await;
        };
        let work = async { tokio::join!(write, child.wait_with_output()).1 };
        match tokio::time::timeout(COMMAND_TIMEOUT, work).await {
            Ok(output) => output.map_err(Error::Spawn),
            Err(_) => Err(Error::Git {
                command: args[0].to_owned(),
                directory: directory.to_owned(),
                message: format!("no end after {} s", COMMAND_TIMEOUT.as_secs()),
            }),
        }
    }
}

impl Quarantine {
    /// Lets a command see the objects of the push.
    pub fn enter(&self, command: &mut Command) {
        command.env("GIT_OBJECT_DIRECTORY", &self.objects).env("GIT_ALTERNATE_OBJECT_DIRECTORIES", &self.alternates);
    }
}

fn failure(command: &str, directory: &Path, output: &std::process::Output) -> Error {
    let said = String::from_utf8_lossy(&output.stderr);
    let message = if said.trim().is_empty() { output.status.to_string() } else { said.trim().to_owned() };
    Error::Git { command: command.to_owned(), directory: directory.to_owned(), message }
}

fn check_version(text: &str) -> Result<(), Error> {
    let mut numbers = text.trim().trim_start_matches("git version ").split('.').map_while(|n| n.parse::<u32>().ok());
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if version < (2, 36) { Err(Error::Version(text.trim().to_owned())) } else { Ok(()) }
}

/// Everything that we ask of git differently from its defaults.
fn configuration(hooks: &Path, push_bytes_max: u64) -> String {
    let hooks = quote(hooks.as_os_str());
    // Objects and refs are on disk before a push or write is acknowledged. Nothing is packed or pruned behind our
    // back: a cleaning run would have to know which commits pins and builds name.
    format!(
        "[core]\n\thooksPath = {hooks}\n\tfsync = objects,derived-metadata,reference\n\tfsyncMethod = fsync\n\
         \twarnAmbiguousRefs = false\n\
         [safe]\n\tdirectory = *\n\
         [init]\n\tdefaultBranch = main\n\
         [gc]\n\tauto = 0\n[maintenance]\n\tauto = false\n\
         [transfer]\n\tfsckObjects = true\n\
         [receive]\n\thideRefs = refs/trimtab\n\thideRefs = refs/changes\n\tprocReceiveRefs = refs/for\n\tfsckObjects = true\n\
         \tautogc = false\n\tadvertisePushOptions = true\n\
         \tmaxInputSize = {push_bytes_max}\n\tdenyDeleteCurrent = true\n\
         [uploadpack]\n\tallowFilter = true\n"
    )
}

/// A path in a git configuration file.
fn quote(text: &OsStr) -> String {
    let text = text.to_string_lossy().replace('\\', "\\\\").replace('"', "\\\"");
    format!("\"{text}\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_as_numbers() {
        for (text, good) in [
            ("git version 2.36.0\n", true),
            ("git version 2.39.5 (Debian)\n", true),
            ("git version 3.0\n", true),
            ("git version 2.9.1\n", false),
            ("nonsense", false),
        ] {
            assert_eq!(check_version(text).is_ok(), good, "{text:?}");
        }
    }
}
