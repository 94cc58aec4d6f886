//! An instance in an empty home, and a repository to push.

use serde_json::Value;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

/// How long anything may take: generous, because a busy machine is no failure.
const PATIENCE: Duration = Duration::from_secs(60);

/// A push is followed for three minutes at most, and every other command ends before.
const COMMAND_LIMIT: Duration = Duration::from_secs(240);

/// Of the control process's log, behind a failure.
const LOG_LINES: usize = 200;

/// What a command printed, and how it ended.
pub struct Said {
    pub code: i32,
    pub text: String,
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        Self { code: output.status.code().unwrap_or(-1), text }
    }
}

impl Said {
    /// Fails the test unless it succeeded.
    pub fn ok(self) -> String {
        assert_eq!(self.code, 0, "{}", self.text);
        self.text
    }
    /// Fails the test unless it failed and said all of this.
    pub fn refused(self, words: &[&str]) -> String {
        assert_ne!(self.code, 0, "it succeeded: {}", self.text);
        for word in words {
            assert!(self.text.contains(word), "{word:?} is missing in: {}", self.text);
        }
        self.text
    }
}

/// A home with one instance. Everything is stopped and deleted with it.
pub struct Home {
    directory: tempfile::TempDir,
    process: Option<Child>,
}

impl Home {
    /// Nothing runs yet.
    pub fn empty() -> Self {
        Self { directory: tempfile::tempdir().unwrap(), process: None }
    }

    /// With a running instance.
    pub fn up() -> Self {
        let mut home = Self::empty();
        home.start(&[]);
        home
    }

    /// With a running instance that runs containers. Needs root.
    pub fn up_with_containers() -> Self {
        let mut home = Self::empty();
        home.start_containers();
        home
    }

    /// As [`Self::start`], with containers. Needs root.
    pub fn start_containers(&mut self) {
        self.spawn(&["up", "--listen", "127.0.0.1:0"], &[]);
    }

    pub fn path(&self) -> &Path {
        self.directory.path()
    }
    pub fn data(&self) -> PathBuf {
        self.path().join(".local/share/trimtab")
    }
    pub fn log(&self) -> String {
        fs::read_to_string(self.path().join("up.log")).unwrap_or_default()
    }

    /// A command with this home and nothing of the person who runs the tests.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        let binary = Path::new(env!("CARGO_BIN_EXE_trimtab")).parent().unwrap();
        let path = format!("{}:{}", binary.display(), std::env::var("PATH").unwrap());
        command.current_dir(self.path()).env("HOME", self.path()).env("PATH", path);
        for name in [
            "XDG_DATA_HOME",
            "TRIMTAB_DATA",
            "TRIMTAB_TOKEN",
            "SSH_AUTH_SOCK",
            "GIT_SSH_COMMAND",
            "GIT_AUTHOR_NAME",
            "GIT_AUTHOR_EMAIL",
            "GIT_DIR",
            "TRIMTAB_FAILPOINT",
        ] {
            command.env_remove(name);
        }
        command.env("GIT_CONFIG_NOSYSTEM", "1").env("GIT_TERMINAL_PROMPT", "0").stdin(Stdio::null());
        command
    }

    pub fn trimtab(&self, arguments: &[&str]) -> Said {
        self.said(self.command("trimtab").args(arguments))
    }

    /// A command that does not end is a failure, and tells what it waited in.
    fn said(&self, command: &mut Command) -> Said {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (pid, shown) = (child.id(), format!("{command:?}"));
        let read = |mut stream: Box<dyn Read + Send>| {
            std::thread::spawn(move || {
                let mut bytes = Vec::new();
                let _ = stream.read_to_end(&mut bytes);
                bytes
            })
        };
        let (out, err) = (read(Box::new(child.stdout.take().unwrap())), read(Box::new(child.stderr.take().unwrap())));
        let deadline = Instant::now() + COMMAND_LIMIT;
        while !(out.is_finished() && err.is_finished()) {
            if Instant::now() > deadline {
                let _ = self.command("pkill").args(["-9", "-P", &pid.to_string()]).status();
                let _ = child.kill();
                let status = child.wait().unwrap();
                let stdout = out.join().unwrap();
                let said: Said = Output { status, stdout, stderr: err.join().unwrap() }.into();
                panic!("{shown} does not end; it said {:?}\n{}", said.text, self.account());
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        let status = child.wait().unwrap();
        Output { status, stdout: out.join().unwrap(), stderr: err.join().unwrap() }.into()
    }

    /// A line for the shell, in a directory below the home.
    pub fn sh(&self, directory: &str, script: &str) -> Said {
        self.said(self.command("bash").current_dir(self.path().join(directory)).args(["-c", script]))
    }

    /// Starts the control process, with simulated Pods, and waits until it answers, or has ended (a failpoint).
    pub fn start(&mut self, environment: &[(&str, &str)]) {
        self.spawn(&["up", "--simulate", "--listen", "127.0.0.1:0"], environment);
    }

    /// As [`Self::start`], with more options of `up`.
    pub fn start_with(&mut self, options: &[&str]) {
        self.spawn(&[&["up", "--simulate", "--listen", "127.0.0.1:0"], options].concat(), &[]);
    }

    fn spawn(&mut self, arguments: &[&str], environment: &[(&str, &str)]) {
        let log = File::options().create(true).append(true).open(self.path().join("up.log")).unwrap();
        let mut command = self.command("trimtab");
        command.args(arguments).envs(environment.iter().copied());
        self.process = Some(command.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap());
        let deadline = Instant::now() + PATIENCE;
        let answers = |home: &Self| {
            // The command would make the token if it came first.
            let begun = ["instance.json", "admin.token"].iter().all(|file| home.data().join(file).exists());
            begun && home.trimtab(&["status", "--project", "none"]).code == 3
        };
        while !self.has_ended() && !answers(self) {
            assert!(Instant::now() < deadline, "up does not answer: {}", self.log());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Of the control process.
    pub fn pid(&self) -> u32 {
        self.process.as_ref().expect("it runs").id()
    }

    /// Starts another program in the place of the control process. False: it does not come to serve.
    pub fn replace(&mut self, program: &Path, environment: &[(&str, &str)]) -> bool {
        let log = File::options().create(true).append(true).open(self.path().join("up.log")).unwrap();
        let mut command = self.command(program.to_str().unwrap());
        command.args(["up", "--replace"]).envs(environment.iter().copied());
        let mut new = command.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
        let deadline = Instant::now() + 2 * PATIENCE;
        loop {
            if new.try_wait().unwrap().is_some() {
                return false;
            }
            if let Some(status) = self.process.as_mut().unwrap().try_wait().unwrap() {
                assert!(status.success(), "{status}: {}", self.log());
                self.process = Some(new);
                return true;
            }
            if Instant::now() > deadline {
                let _ = new.kill();
                panic!("neither serves: {}", self.log());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Of `instance.json`: `control`, `gateway`, `kubernetes`.
    pub fn address(&self, of: &str) -> String {
        let text = fs::read(self.data().join("instance.json")).unwrap();
        serde_json::from_slice::<Value>(&text).unwrap()[of].as_str().unwrap().to_owned()
    }

    /// True when the control process is gone.
    pub fn has_ended(&mut self) -> bool {
        self.process.as_mut().is_none_or(|p| p.try_wait().unwrap().is_some())
    }

    /// What became of the control process, for whoever reads a failure: it may have ended by itself.
    pub fn fate(&self) -> String {
        let Some(process) = &self.process else { return "no control process was started".to_owned() };
        let pid = process.id();
        // Looking takes nothing away: whoever waits for it still can. Behind the name in brackets stands the state, and what
        // `wait` would say is the last field.
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        match (fields.first(), fields.last().and_then(|code| code.parse().ok())) {
            (Some(&"Z"), Some(code)) => {
                format!("the control process {pid} HAS ENDED BY ITSELF: {}", ExitStatus::from_raw(code))
            }
            (Some(state), _) => format!("the control process {pid} runs ({state})"),
            (None, _) => format!("the control process {pid} is gone"),
        }
    }

    /// What there is to know when something is not as it should be: fate of the process, and the end of its log.
    pub fn account(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        format!("{}\n{}", self.fate(), lines[lines.len().saturating_sub(LOG_LINES)..].join("\n"))
    }

    /// `kill -9` of the control process.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    /// Waits for a condition, and tells everything it knows if that never comes.
    pub fn eventually(&self, what: &str, mut condition: impl FnMut() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !condition() {
            if Instant::now() > deadline {
                let said = |arguments: &[&str]| self.trimtab(arguments).text;
                panic!("never: {what}\n{}\n{}\n{}", said(&["status"]), said(&["history"]), self.account());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// `examples/hello` in `hello/`, initialised, with an identity for git.
    pub fn hello(&self) {
        let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/hello");
        self.sh("", &format!("cp -r {} hello", example.display())).ok();
        self.sh("hello", "trimtab init && git config user.name Ada && git config user.email ada@example.com").ok();
    }

    /// Commits everything in `hello/` and pushes it.
    pub fn push(&self, message: &str) -> Said {
        self.sh("hello", &format!("git add -A && git commit -qm '{message}' --allow-empty && git push trimtab main"))
    }

    /// The config repository in `config/`, cloned or pulled.
    pub fn config(&self) -> PathBuf {
        if !self.path().join("config").exists() {
            self.sh("", "git clone -q \"$(trimtab url --config)\" config -c 'credential.helper=!trimtab credential'")
                .ok();
            self.sh("config", "git config user.name Ada && git config user.email ada@example.com").ok();
        }
        self.sh("config", "git pull -q --ff-only").ok();
        self.path().join("config")
    }

    pub fn history(&self) -> Vec<Value> {
        serde_json::from_str(&self.trimtab(&["history", "--output", "json", "-n", "1000"]).ok()).unwrap()
    }

    /// What `status` says of an environment.
    pub fn environment(&self, name: &str) -> Option<Value> {
        let said = self.trimtab(&["status", "--output", "json"]);
        let status: Value = serde_json::from_str(&said.text).ok()?;
        status["environments"].as_array()?.iter().find(|e| e["name"] == name).cloned()
    }

    /// The build that runs in an environment, if it is healthy and can be looked at.
    pub fn healthy(&self, environment: &str) -> Option<String> {
        let status = self.environment(environment)?;
        let component = status["components"].as_array()?.first()?.clone();
        (status["error"].is_null() && component["health"] == "Healthy")
            .then(|| component["build"].as_str().unwrap_or_default().to_owned())
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        let _ = self.command("trimtab").arg("down").output();
        self.kill();
    }
}
