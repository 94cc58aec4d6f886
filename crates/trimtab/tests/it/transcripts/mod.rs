//! What people read: each file beside this one is a script with the text that it must print.
//!
//! | line | meaning |
//! |---|---|
//! | `# text` | a comment |
//! | `@ 2026-11-02T09:00Z` | sets the clock of the instance, which stands still |
//! | `~ command` | waits until the command succeeds |
//! | `$ command` | runs it; the lines behind are what it prints, and `(exit 4)` if it does not succeed |
//!
//! Ids, digests, ports and the home are replaced by words. `UPDATE=1` writes what was printed into the files.

mod words;

use crate::harness::Home;
use std::fs;
use std::path::{Path, PathBuf};
use words::Words;

macro_rules! played {
    ($($name:ident: $file:literal,)*) => {
        const PLAYED: &[&str] = &[$($file),*];
        $(#[test] fn $name() { play($file); })*
    };
}

played! {
    environments_are_made_stopped_and_taken_away: "environments",
    a_build_moves_through_gates: "promotion",
    a_release_is_certified_and_moves_as_a_set: "releases",
    tests_of_the_repository_certify_or_refuse_the_tag: "acceptance",
    configuration_and_secrets_move_like_code: "configuration",
    windows_and_freezes_hold_until_their_time: "windows",
    a_rollback_goes_back_to_any_kept_state: "rollback",
    the_history_tells_everything: "history",
    every_denial_says_which_right_is_missing: "people",
    bad_input_gets_a_state_and_a_reason: "bad-input",
    a_change_is_planned_commented_approved_and_merged: "changes",
    a_change_of_an_application_is_built_and_pinned_nowhere: "changes-application",
    a_reviewed_environment_is_changed_by_changes_only: "changes-reviewed",
    what_policies_say_of_a_change_is_shown: "policies",
    with_kubectl_people_may_what_their_role_says: "kubectl",
    an_environment_may_have_a_repository_of_its_own: "own-repository",
}

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/transcripts")
}

#[test]
fn every_transcript_is_played() {
    let files = fs::read_dir(directory()).unwrap().flatten().map(|entry| entry.path());
    let transcripts = files.filter(|path| path.extension().is_some_and(|ending| ending == "txt"));
    let mut names: Vec<String> = transcripts.map(|path| path.file_stem().unwrap().to_str().unwrap().into()).collect();
    let mut played: Vec<String> = PLAYED.iter().map(|name| (*name).to_owned()).collect();
    names.sort();
    played.sort();
    assert_eq!(names, played);
}

/// A project `shop` with `web` (in front of `api`) and `api`, both healthy in dev. Alice asks, Olga approves.
struct Stage {
    home: Home,
    words: Words,
}

impl Stage {
    fn set() -> Self {
        let mut home = Home::empty();
        let clock = home.path().join("clock");
        fs::write(&clock, "2026-11-02T09:00:00Z").unwrap();
        home.start(&[("TRIMTAB_CLOCK", clock.to_str().unwrap())]);
        fs::create_dir(home.path().join("shop")).unwrap();
        let words = Words::of(&home);
        let stage = Self { home, words };
        let said = stage.run("given_shop");
        assert!(said.is_ok(), "{}\n{}", said.unwrap_err(), stage.home.account());
        stage
    }

    /// A line for the shell, with what the prelude defines. `Err`: it failed.
    fn run(&self, line: &str) -> Result<String, String> {
        let prelude = directory().join("prelude.sh");
        let said = self.home.sh("", &format!("set -o pipefail; . {}; cd shop; {line}", prelude.display()));
        match said.code {
            0 => Ok(said.text),
            code => {
                let newline = if said.text.is_empty() || said.text.ends_with('\n') { "" } else { "\n" };
                Err(format!("{}{newline}(exit {code})\n", said.text))
            }
        }
    }

    fn clock(&self, time: &str) {
        // A reader sees one time or the other.
        let (new, clock) = (self.home.path().join("clock.new"), self.home.path().join("clock"));
        fs::write(&new, time.trim().replace("Z", ":00Z")).unwrap();
        fs::rename(new, clock).unwrap();
    }
}

fn play(name: &str) {
    let path = directory().join(format!("{name}.txt"));
    let text = fs::read_to_string(&path).unwrap();
    let mut stage = Stage::set();
    let mut played = String::new();
    let mut lines = text.lines().peekable();
    let begins = |line: &str| ["# ", "@ ", "~ ", "$ "].iter().any(|mark| line.starts_with(mark));
    while let Some(line) = lines.next() {
        played.push_str(&format!("{line}\n"));
        let command = line.get(2..).unwrap_or_default();
        match line.get(..2) {
            Some("@ ") => stage.clock(command),
            Some("~ ") => stage.home.eventually(line, || stage.run(command).is_ok() || pause()),
            Some("$ ") => {
                let said = stage.run(command).unwrap_or_else(|failed| failed);
                let said = stage.words.replace(&said);
                played.push_str(said.trim_end());
                if !said.trim_end().is_empty() {
                    played.push('\n');
                }
                let mut expected = Vec::new();
                while let Some(line) = lines.next_if(|line| !begins(line)) {
                    expected.push(line);
                }
                // Empty lines before what comes next are layout.
                let layout = expected.iter().rev().take_while(|line| line.is_empty()).count();
                played.push_str(&"\n".repeat(layout));
            }
            _ => assert!(line.is_empty() || begins(line), "{name}.txt: what is this? {line}"),
        }
    }
    if std::env::var_os("UPDATE").is_some() {
        fs::write(&path, &played).unwrap();
    } else if played != text {
        panic!(
            "{name}.txt: {}\nUPDATE=1 writes what was printed; all of it:\n{played}\n{}",
            first_difference(&text, &played),
            stage.home.account()
        );
    }
}

/// Each look is some processes; the others of this machine shall run too. Never true.
fn pause() -> bool {
    std::thread::sleep(std::time::Duration::from_millis(200));
    false
}

fn first_difference(expected: &str, printed: &str) -> String {
    let mut pairs = expected.lines().zip(printed.lines()).enumerate();
    match pairs.find(|(_, (old, new))| old != new) {
        Some((index, (old, new))) => format!("line {}: expected\n  {old}\nand printed was\n  {new}", index + 1),
        None => "one is longer than the other".to_owned(),
    }
}
