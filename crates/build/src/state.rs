//! What a stage is at one point: its files, its configuration, its variables. Instructions that only describe the image
//! are carried out here.

use crate::dockerfile::words::{expand, expand_text};
use crate::dockerfile::{Argument, Command, Instruction, Step};
use crate::files::normal;
use crate::image::{Config, Empty, Health, Image};
use crate::images::Root;
use crate::plan::Globals;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Arguments that RUN gets without ARG, and that no cache key or image contains.
const PROXIES: [&str; 10] = [
    "HTTP_PROXY",
    "http_proxy",
    "HTTPS_PROXY",
    "https_proxy",
    "FTP_PROXY",
    "ftp_proxy",
    "NO_PROXY",
    "no_proxy",
    "ALL_PROXY",
    "all_proxy",
];

#[derive(Debug, Clone)]
pub(crate) struct State {
    pub root: Root,
    pub image: Image,
    /// Values of ARG in this stage and those that it is made from.
    arguments: BTreeMap<String, String>,
    escape: char,
    /// CMD came after FROM: ENTRYPOINT does not drop it.
    has_command: bool,
}

impl State {
    pub fn new(root: Root, image: Image, escape: char) -> Self {
        Self { root, image, arguments: BTreeMap::new(), escape, has_command: false }
    }

    /// The beginning of a stage that is made from this one.
    pub fn next_stage(&self) -> Self {
        Self { has_command: false, ..self.clone() }
    }

    fn lookup(&self, name: &str) -> Option<String> {
        // ENV wins over ARG.
        self.image.config.variable(name).map(str::to_owned).or_else(|| self.arguments.get(name).cloned())
    }

    /// A word with its quotes removed and its variables replaced.
    pub fn word(&self, word: &str) -> Result<String, String> {
        expand(word, self.escape, &|name| self.lookup(name))
    }

    /// Text of a heredoc with its variables replaced.
    pub fn text(&self, text: &str) -> Result<String, String> {
        expand_text(text, self.escape, &|name| self.lookup(name))
    }

    /// A path, from the root; relative ones begin in the working directory.
    pub fn path(&self, path: &str) -> PathBuf {
        normal(PathBuf::from(&self.image.config.working_dir).join(path))
    }

    /// The words that a process begins with.
    pub fn argv(&self, command: &Command) -> Vec<String> {
        match command {
            Command::Exec(words) => words.clone(),
            Command::Shell(line) => self.image.config.shell().into_iter().chain([line.clone()]).collect(),
        }
    }

    /// What RUN finds in its environment, apart from proxies.
    pub fn environment(&self) -> Vec<String> {
        let mut env: Vec<_> = self.image.config.env.iter().flatten().cloned().collect();
        let arguments = self.arguments.iter().filter(|(name, _)| self.image.config.variable(name).is_none());
        env.extend(arguments.map(|(name, value)| format!("{name}={value}")));
        env
    }

    /// Notes an instruction that made no layer, or made this one.
    pub fn record(&mut self, step: &Step, diff_id: Option<&str>) {
        self.image.record(&step.text, diff_id);
    }

    /// Carries out an instruction that only describes the image. The caller does ADD, COPY, RUN and WORKDIR's directory.
    pub fn describe(&mut self, step: &Step, globals: &Globals<'_>) -> Result<(), String> {
        match &step.instruction {
            Instruction::Arg(arguments) => return self.declare(arguments, globals),
            Instruction::Env(pairs) => {
                for (name, value) in self.pairs(pairs)? {
                    self.config().set_variable(&name, &value);
                }
            }
            Instruction::Label(pairs) => {
                let pairs = self.pairs(pairs)?;
                self.config().labels.get_or_insert_default().extend(pairs);
            }
            Instruction::Cmd(command) => {
                self.config().cmd = Some(self.argv(command));
                self.has_command = true;
            }
            Instruction::Entrypoint(command) => {
                self.config().entrypoint = Some(self.argv(command));
                if !self.has_command {
                    self.config().cmd = None;
                }
            }
            Instruction::Expose(words) => {
                for word in words {
                    let ports = ports(&self.word(word)?)?;
                    self.config()
                        .exposed_ports
                        .get_or_insert_default()
                        .extend(ports.into_iter().map(|p| (p, Empty {})));
                }
            }
            Instruction::Volume(paths) => {
                for path in paths {
                    let path = self.word(path)?;
                    self.config().volumes.get_or_insert_default().insert(path, Empty {});
                }
            }
            Instruction::User(text) => {
                let user = self.word(text)?;
                if user.is_empty() || user.contains(char::is_whitespace) {
                    return Err(format!("{user:?} must be <user> or <user>:<group>"));
                }
                self.config().user = user;
            }
            Instruction::Workdir(text) => {
                let text = self.word(text)?;
                if text.is_empty() {
                    return Err("the path is empty".into());
                }
                self.config().working_dir = format!("/{}", self.path(&text).display());
            }
            Instruction::Healthcheck(check) => self.config().healthcheck = Some(Health::from(check)),
            Instruction::Shell(words) => self.config().shell = Some(words.clone()),
            Instruction::StopSignal(text) => self.config().stop_signal = signal(&self.word(text)?)?,
            Instruction::Maintainer(text) => self.image.author = text.clone(),
            Instruction::Copy(_) | Instruction::Run(_) => {}
        }
        Ok(())
    }

    fn config(&mut self) -> &mut Config {
        &mut self.image.config
    }

    /// Names and values see the variables as they were before the line.
    fn pairs(&self, pairs: &[(String, String)]) -> Result<Vec<(String, String)>, String> {
        pairs.iter().map(|(name, value)| Ok((self.word(name)?, self.word(value)?))).collect()
    }

    fn declare(&mut self, arguments: &[Argument], globals: &Globals<'_>) -> Result<(), String> {
        for argument in arguments {
            let default = argument.default.as_ref().map(|word| self.word(word)).transpose()?;
            let given = globals.given.get(&argument.name).cloned();
            // A default here wins over one before the first FROM.
            let value = given.or(default).or_else(|| globals.get(&argument.name));
            match value {
                Some(value) => self.arguments.insert(argument.name.clone(), value),
                None => self.arguments.remove(&argument.name),
            };
        }
        Ok(())
    }
}

/// Proxy settings among the given arguments, as environment.
pub(crate) fn proxies(given: &BTreeMap<String, String>) -> impl Iterator<Item = String> {
    given.iter().filter(|(name, _)| PROXIES.contains(&name.as_str())).map(|(name, value)| format!("{name}={value}"))
}

/// True for arguments that are used without being declared.
pub(crate) fn is_proxy(name: &str) -> bool {
    PROXIES.contains(&name)
}

/// `80`, `53/udp`, `8000-8002` → `80/tcp`, …
fn ports(text: &str) -> Result<Vec<String>, String> {
    let bad = || format!("{text:?} is not a port: 80, 53/udp, 8000-8002");
    let (numbers, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let protocol = protocol.to_ascii_lowercase();
    if !["tcp", "udp", "sctp"].contains(&protocol.as_str()) {
        return Err(bad());
    }
    let (first, last) = numbers.split_once('-').unwrap_or((numbers, numbers));
    let (first, last): (u16, u16) = (first.parse().map_err(|_| bad())?, last.parse().map_err(|_| bad())?);
    if first == 0 || last < first {
        return Err(bad());
    }
    Ok((first..=last).map(|port| format!("{port}/{protocol}")).collect())
}

/// `SIGTERM`, `TERM` and `15` are what container runtimes understand.
fn signal(text: &str) -> Result<String, String> {
    let name = text.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'+' || b == b'-');
    let number = text.parse::<u8>().is_ok_and(|n| (1..=64).contains(&n));
    let named = name && text.starts_with(|c: char| c.is_ascii_uppercase());
    if named || number { Ok(text.to_owned()) } else { Err(format!("{text:?} is not a signal: SIGTERM, 15")) }
}
