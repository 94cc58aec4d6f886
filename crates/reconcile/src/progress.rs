//! What people who watch a push are told: lines as they come, for whoever listens.

use model::BuildId;
use std::collections::{BTreeMap, VecDeque};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::watch;

/// Lines of one build that are kept in memory for those who come late; the file has all of them.
const LINES_MAX: usize = 20_000;

/// The log of one build: grows, and ends.
#[derive(Debug, Default, Clone)]
pub struct Log {
    /// Number of the first line in `lines`.
    pub first: usize,
    pub lines: VecDeque<Arc<str>>,
    pub ended: bool,
}

impl Log {
    /// Lines from number `next` on, and the number after the last.
    pub fn from(&self, next: usize) -> (Vec<Arc<str>>, usize) {
        let skip = next.saturating_sub(self.first);
        (self.lines.iter().skip(skip).cloned().collect(), self.first + self.lines.len())
    }
}

/// The logs of a project's builds.
pub struct Logs {
    directory: PathBuf,
    open: Mutex<BTreeMap<BuildId, watch::Sender<Log>>>,
}

/// So many logs are kept in memory; older ones are in their files only.
const OPEN_MAX: usize = 16;

impl Logs {
    pub fn new(directory: PathBuf) -> Self {
        Self { directory, open: Mutex::default() }
    }

    /// The log of a build, from its first line; one that never ran here is empty and ended when it ends.
    pub fn follow(&self, build: &BuildId) -> watch::Receiver<Log> {
        self.sender(build).subscribe()
    }

    /// Where the log lies.
    pub fn path(&self, build: &BuildId) -> PathBuf {
        self.directory.join(format!("{build}.log"))
    }

    /// Begins to write.
    pub fn write(&self, build: &BuildId) -> std::io::Result<LogWriter> {
        crate::failpoint("reconcile.log.before");
        std::fs::create_dir_all(&self.directory)?;
        let file = std::fs::File::create(self.path(build))?;
        crate::failpoint("reconcile.log.after");
        Ok(LogWriter { sender: self.sender(build), file: Mutex::new(OnDisk { file, lost: 0 }) })
    }

    /// Of a build that is kept no more.
    pub fn remove(&self, build: &BuildId) {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).remove(build);
        let path = self.path(build);
        if let Err(error) = std::fs::remove_file(&path)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::warn!(path = %path.display(), %error, "the log of a build that is gone stays");
        }
    }

    fn sender(&self, build: &BuildId) -> watch::Sender<Log> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        while open.len() > OPEN_MAX {
            open.pop_first();
        }
        open.entry(build.clone()).or_insert_with(|| watch::Sender::new(Log::default())).clone()
    }
}

/// Writes one log; it ends with its writer.
pub struct LogWriter {
    sender: watch::Sender<Log>,
    file: Mutex<OnDisk>,
}

struct OnDisk {
    file: std::fs::File,
    /// Lines that the disk did not take, since the last that it took.
    lost: usize,
}

impl OnDisk {
    fn line(&mut self, text: &str) {
        if let Err(error) = self.gap().and_then(|()| writeln!(self.file, "{text}")) {
            if self.lost == 0 {
                tracing::warn!(%error, "lines of a build log are not on disk");
            }
            self.lost += 1;
        }
    }

    /// Says, once there is room again, that lines are missing.
    fn gap(&mut self) -> std::io::Result<()> {
        if self.lost > 0 {
            writeln!(self.file, "\n… {} lines are not here: the disk did not take them", self.lost)?;
            self.lost = 0;
        }
        Ok(())
    }
}

impl model::ports::Lines for LogWriter {
    fn line(&self, text: &str) -> bool {
        self.file.lock().unwrap_or_else(PoisonError::into_inner).line(text);
        self.sender.send_modify(|log| {
            log.lines.push_back(text.into());
            if log.lines.len() > LINES_MAX {
                log.lines.pop_front();
                log.first += 1;
            }
        });
        true
    }
}

impl Drop for LogWriter {
    fn drop(&mut self) {
        let _ = self.file.lock().unwrap_or_else(PoisonError::into_inner).gap();
        self.sender.send_modify(|log| log.ended = true);
    }
}

/// Directory of a project's logs.
pub fn directory(logs: &Path, project: &model::Project) -> PathBuf {
    logs.join(project.as_str())
}
