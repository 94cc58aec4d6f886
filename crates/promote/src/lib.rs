//! What moves where: facts in, next actions out.
//!
//! [`decide`] is a pure function of everything that is known: the config repository, the journal, builds and
//! promotions. The caller executes the actions in order, reads everything again and calls it again, until there are
//! none. Every action is idempotent by an id, so that a crash between any two of them changes nothing: the next call
//! sees how far it came. The order of effects is always the same: the Promotion (intent) → the commit on main with the
//! trailer `Trimtab-Id` → the journal → the Promotion's status.

mod auto;
mod configuration;
mod decide;
mod facts;
mod gates;
mod history;
mod movement;
mod phase;
mod text;

pub use configuration::{Input, Inputs, newest_configuration, retracted, standing};
pub use decide::{Action, Decision, Report, decide};
pub use facts::{Facts, Reading, State, needs};
pub use gates::prospect;
pub use text::{change_text, pin_path, pin_text};

/// Trailer of a commit: name of the Promotion whose effect it is.
pub const TRAILER_ID: &str = "Trimtab-Id";
/// Trailer of a rollback's commit, one per build: Auto does not take it again.
pub const TRAILER_QUARANTINE: &str = "Trimtab-Quarantine";
/// Who acts when nobody asked.
pub const ACTOR: &str = "trimtab";

#[cfg(test)]
mod tests;
