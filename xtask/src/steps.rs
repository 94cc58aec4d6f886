//! Running commands one after the other, and telling in the end what became of them.

use anyhow::Result;
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

/// What no step takes: something in it waits for ever. The whole of it is to fit into 45 minutes.
const LIMIT: Duration = Duration::from_secs(25 * 60);
/// Between two looks at a command that runs.
const LOOK: Duration = Duration::from_millis(50);

/// A list of what passed, failed and was left out.
#[derive(Default)]
pub struct Steps {
    passed: Vec<String>,
    failed: Vec<String>,
    left_out: Vec<(String, String)>,
    /// How long each took.
    times: Vec<(String, f32)>,
}

impl Steps {
    /// Runs one command. True if it succeeded.
    pub fn run(&mut self, name: &str, command: &mut Command) -> bool {
        println!("\n── {name}");
        let start = Instant::now();
        let outcome = command.spawn().and_then(|child| bounded(child, LIMIT));
        let seconds = start.elapsed().as_secs_f32();
        self.times.push((name.to_owned(), seconds));
        match outcome {
            Ok(Some(status)) if status.success() => {
                println!("── {name}: passed in {seconds:.1} s");
                self.passed.push(name.to_owned());
                true
            }
            Ok(status) => {
                let why = status.map_or_else(|| "it did not end".to_owned(), |status| status.to_string());
                println!("── {name}: FAILED after {seconds:.1} s ({why})");
                self.failed.push(name.to_owned());
                false
            }
            Err(error) => {
                println!("── {name}: FAILED to start: {error}");
                self.failed.push(name.to_owned());
                false
            }
        }
    }

    /// Records the outcome of something that is no command.
    pub fn check(&mut self, name: &str, outcome: Result<()>) -> bool {
        match outcome {
            Ok(()) => {
                println!("── {name}: passed");
                self.passed.push(name.to_owned());
                true
            }
            Err(error) => {
                println!("── {name}: FAILED: {error:#}");
                self.failed.push(name.to_owned());
                false
            }
        }
    }

    /// Says that something is not run, and why.
    pub fn leave_out(&mut self, name: &str, why: &str) {
        self.left_out.push((name.to_owned(), why.to_owned()));
    }

    /// Prints the end of the story. True if nothing failed.
    pub fn finish(self) -> bool {
        println!();
        for (name, seconds) in &self.times {
            println!("{seconds:>7.1} s  {name}");
        }
        for (name, why) in &self.left_out {
            println!("left out: {name} ({why})");
        }
        for name in &self.failed {
            println!("failed: {name}");
        }
        println!("{} passed, {} failed, {} skipped", self.passed.len(), self.failed.len(), self.left_out.len());
        self.failed.is_empty()
    }
}

/// Waits for it, and ends it with all that it has started if that takes too long: then there is no status.
fn bounded(mut child: Child, limit: Duration) -> std::io::Result<Option<ExitStatus>> {
    let end = Instant::now() + limit;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if Instant::now() > end {
            break;
        }
        std::thread::sleep(LOOK);
    }
    let processes = descendants(child.id());
    println!("still running: {}", processes.iter().map(|(_, what)| what.as_str()).collect::<Vec<_>>().join(", "));
    let pids = processes.iter().map(|(pid, _)| pid.to_string());
    Command::new("kill").arg("-KILL").args(pids).status()?;
    child.wait()?;
    Ok(None)
}

/// A process and all that come from it, with their names.
fn descendants(root: u32) -> Vec<(u32, String)> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        let Ok(stat) = std::fs::read_to_string(entry.path().join("stat")) else { continue };
        // `pid (name) state parent …`; a name may hold anything.
        let Some((name, rest)) = stat.split_once('(').and_then(|(_, rest)| rest.rsplit_once(')')) else { continue };
        let parent = rest.split_whitespace().nth(1).and_then(|parent| parent.parse::<u32>().ok());
        all.push((pid, parent.unwrap_or(0), name.to_owned()));
    }
    let mut found: Vec<(u32, String)> =
        all.iter().filter(|(pid, ..)| *pid == root).map(|(p, _, n)| (*p, n.clone())).collect();
    let mut at = 0;
    while at < found.len() {
        let parent = found[at].0;
        found.extend(all.iter().filter(|(_, of, _)| *of == parent).map(|(pid, _, name)| (*pid, name.clone())));
        at += 1;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_end_is_ended_with_all_that_it_started() {
        let child = Command::new("sh").args(["-c", "sleep 1000 & sleep 1000"]).spawn().unwrap();
        let root = child.id();
        // The shell has begun both before the limit, or is ended before; either way nothing of it is left.
        assert_eq!(bounded(child, Duration::from_millis(200)).unwrap(), None);
        assert!(descendants(root).is_empty());
        let quick = Command::new("true").spawn().unwrap();
        assert!(bounded(quick, Duration::from_secs(60)).unwrap().unwrap().success());
    }
}
