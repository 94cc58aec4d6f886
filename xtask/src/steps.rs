//! Running commands one after the other, and telling in the end what became of them.

use anyhow::Result;
use std::process::Command;
use std::time::Instant;

/// A list of what passed, failed and was left out.
#[derive(Default)]
pub struct Steps {
    passed: Vec<String>,
    failed: Vec<String>,
    left_out: Vec<(String, String)>,
}

impl Steps {
    /// Runs one command. True if it succeeded.
    pub fn run(&mut self, name: &str, command: &mut Command) -> bool {
        println!("\n── {name}");
        let start = Instant::now();
        let outcome = command.status();
        let seconds = start.elapsed().as_secs_f32();
        match outcome {
            Ok(status) if status.success() => {
                println!("── {name}: passed in {seconds:.1} s");
                self.passed.push(name.to_owned());
                true
            }
            Ok(status) => {
                println!("── {name}: FAILED after {seconds:.1} s ({status})");
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
