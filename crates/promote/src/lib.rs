//! What moves where: facts in, next actions out.
//!
//! [`decide`] is a pure function of everything that is known: the config repository, the journal, builds and
//! promotions. The caller executes the actions in order, reads everything again and calls it again, until there are
//! none; then it sleeps until something changes, or until [`Decision::wake_at`]. Every action is idempotent by an id,
//! so that a crash between any two of them changes nothing: the next call sees how far it came. The order of effects
//! is always the same: the Promotion (intent) → the commit on main with the trailer `Trimtab-Id` → the journal → the
//! Promotion's status.

mod auto;
mod case;
mod configuration;
mod decide;
mod evidence;
mod facts;
mod gates;
mod history;
mod movement;
mod phase;
mod proposal;
mod revisions;
mod state;
mod text;
pub mod windows;

pub use configuration::{Compared, Input, Inputs, compared, newest_configuration};
pub use decide::{Action, Decision, Report, cancel, certify, decide, draft};
pub use evidence::{Evidence, Finding};
pub use facts::{Builds, Facts, States, needs};
pub use gates::{Approver, approve, prospect, prospects};
pub use proposal::{change_between, proposal};
pub use revisions::{Revisions, revisions};
pub use state::{Reading, State};
pub use text::{change_text, pin_path, pin_text};

/// Trailer of a commit: name of the Promotion whose effect it is.
pub const TRAILER_ID: &str = "Trimtab-Id";
/// Trailer of a rollback's commit, one per build: Auto does not take it again before the time it names.
pub const TRAILER_QUARANTINE: &str = "Trimtab-Quarantine";
/// Trailer of a commit that passed shut gates: why.
pub const TRAILER_OVERRIDE: &str = "Trimtab-Override";
/// Trailer of the commit that holds a release's file: its version. Such a commit gets its tag.
pub const TRAILER_RELEASE: &str = "Trimtab-Release";
/// Trailer, also of commits by hand: the change that it belongs to.
pub const TRAILER_CHANGE: &str = "Change-Ref";
/// Where windows stand in the config repository.
pub const WINDOWS: &str = "windows.yaml";
/// Who acts when nobody asked.
pub const ACTOR: &str = "trimtab";

#[cfg(test)]
mod tests;
