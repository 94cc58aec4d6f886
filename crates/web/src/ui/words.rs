//! The words and signs of states. A state is never shown by colour alone.

use jiff::Timestamp;
use maud::{Markup, Render, html};
use model::change::{ChangeState, CheckState};
use model::config::Strategy;
use model::flow::{Action, Health};
use model::journal::EntryKind;
use model::records::{BuildPhase, Class, GateName, GateState, PromotionPhase};

/// How a state is coloured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    Good,
    Busy,
    /// Something went from one place to another.
    Moved,
    Warn,
    Bad,
    Quiet,
}

impl Tone {
    pub fn class(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Busy | Self::Moved => "busy",
            Self::Warn => "warn",
            Self::Bad => "bad",
            Self::Quiet => "quiet",
        }
    }
    /// A shape for each, on a field of 16 by 16.
    fn path(self) -> &'static str {
        match self {
            Self::Good => "M3.5 8.5l3 3 6-7",
            Self::Busy => "M3 8h.01M8 8h.01M13 8h.01",
            Self::Moved => "M3 8h9.5M8.5 4l4 4-4 4",
            Self::Warn => "M6 4v8M10 4v8",
            Self::Bad => "M4 4l8 8M12 4l-8 8",
            Self::Quiet => "M4 8h8",
        }
    }
}

/// Anything with a word and a tone.
pub trait State: Copy {
    fn state(self) -> (&'static str, Tone);
}

impl State for Health {
    fn state(self) -> (&'static str, Tone) {
        match self {
            Self::Healthy => ("Healthy", Tone::Good),
            Self::Suspended => ("Suspended", Tone::Warn),
            Self::Progressing => ("Progressing", Tone::Busy),
            Self::Missing => ("Missing", Tone::Quiet),
            Self::Degraded => ("Degraded", Tone::Bad),
        }
    }
}
impl State for BuildPhase {
    fn state(self) -> (&'static str, Tone) {
        match self {
            Self::Queued => ("Queued", Tone::Quiet),
            Self::Running => ("Running", Tone::Busy),
            Self::Succeeded => ("Succeeded", Tone::Good),
            Self::Failed => ("Failed", Tone::Bad),
            Self::Superseded => ("Superseded", Tone::Quiet),
        }
    }
}
impl State for PromotionPhase {
    fn state(self) -> (&'static str, Tone) {
        match self {
            Self::Pending => ("Pending", Tone::Quiet),
            Self::Waiting => ("Waiting", Tone::Warn),
            Self::Admitted => ("Admitted", Tone::Moved),
            Self::Succeeded => ("Succeeded", Tone::Good),
            Self::Failed => ("Failed", Tone::Bad),
            Self::Superseded => ("Superseded", Tone::Quiet),
            Self::Cancelled => ("Cancelled", Tone::Quiet),
        }
    }
}
impl State for GateState {
    fn state(self) -> (&'static str, Tone) {
        match self {
            Self::Open => ("Open", Tone::Good),
            Self::Waiting => ("Waiting", Tone::Warn),
            Self::Closed => ("Closed", Tone::Bad),
        }
    }
}
impl State for EntryKind {
    fn state(self) -> (&'static str, Tone) {
        match self {
            Self::Admitted => ("Admitted", Tone::Moved),
            Self::Held => ("Held", Tone::Warn),
            Self::Healthy => ("Healthy", Tone::Good),
            Self::Failed => ("Failed", Tone::Bad),
            Self::Repaired => ("Repaired", Tone::Busy),
            Self::Refused => ("Refused", Tone::Bad),
            Self::RolledBack => ("Rolled back", Tone::Warn),
            Self::Approved => ("Approved", Tone::Good),
            Self::Cancelled => ("Cancelled", Tone::Quiet),
            Self::Overridden => ("Overridden", Tone::Bad),
            Self::Removed => ("Removed", Tone::Warn),
            Self::Released => ("Released", Tone::Moved),
            Self::Checked => ("Checked", Tone::Busy),
            Self::Certified => ("Certified", Tone::Good),
            Self::Hooked => ("Hooks", Tone::Busy),
            Self::Opened => ("Opened", Tone::Busy),
            Self::Merged => ("Merged", Tone::Moved),
            Self::Abandoned => ("Abandoned", Tone::Quiet),
        }
    }
}
impl State for ChangeState {
    fn state(self) -> (&'static str, Tone) {
        match self {
            Self::Open => ("Open", Tone::Busy),
            Self::Merged => ("Merged", Tone::Good),
            Self::Abandoned => ("Abandoned", Tone::Quiet),
        }
    }
}
impl State for CheckState {
    fn state(self) -> (&'static str, Tone) {
        match self {
            Self::Running => ("Running", Tone::Busy),
            Self::Passed => ("Passed", Tone::Good),
            Self::Failed => ("Failed", Tone::Bad),
        }
    }
}
impl State for Action {
    fn state(self) -> (&'static str, Tone) {
        match self {
            Self::Create => ("Create", Tone::Good),
            Self::Configure => ("Configure", Tone::Busy),
            Self::Unchanged => ("Unchanged", Tone::Quiet),
            Self::Delete => ("Delete", Tone::Bad),
        }
    }
}

/// A state as people see it.
pub fn badge(state: impl State) -> Markup {
    let (word, tone) = state.state();
    sign(word, tone)
}

/// A word with its sign.
pub fn sign(word: &str, tone: Tone) -> Markup {
    html! { (Sign { word, tone }) }
}

/// The same, to be written straight into a page.
pub struct Sign<'w> {
    pub word: &'w str,
    pub tone: Tone,
}

impl Sign<'_> {
    pub fn of(state: impl State) -> Self {
        let (word, tone) = state.state();
        Self { word, tone }
    }
}

impl Render for Sign<'_> {
    fn render_to(&self, page: &mut String) {
        for part in [
            "<span class=\"badge ",
            self.tone.class(),
            "\"><svg viewBox=\"0 0 16 16\" aria-hidden=\"true\"><path d=\"",
            self.tone.path(),
            "\"/></svg>",
        ] {
            page.push_str(part);
        }
        self.word.render_to(page);
        page.push_str("</span>");
    }
}

/// Who moves builds into an environment.
pub fn strategy(strategy: Strategy) -> &'static str {
    match strategy {
        Strategy::Auto => "automatic",
        Strategy::Manual => "by hand",
        Strategy::Never => "by commit only",
    }
}

/// Why a promotion exists.
pub fn class(class: Class) -> &'static str {
    match class {
        Class::Auto => "automatic promotion",
        Class::Promote => "promotion",
        Class::Rollback => "rollback",
        Class::Commit => "commit by hand",
        Class::Secret => "change of secrets",
    }
}

/// What a gate asks.
pub fn gate(name: GateName) -> &'static str {
    match name {
        GateName::Built => "Built",
        GateName::HealthyIn => "Healthy before",
        GateName::Suspend => "Not suspended",
        GateName::Strategy => "Strategy",
        GateName::Quarantine => "Not rolled back",
        GateName::Configuration => "Configured",
        GateName::DataPlane => "Data plane answers",
        GateName::Soak => "Soaked",
        GateName::Checks => "Checks",
        GateName::Certified => "Certified",
        GateName::Window => "Window",
        GateName::Approvals => "Approvals",
        GateName::ChangeRef => "Change reference",
        GateName::Policy => "Policies",
        GateName::Signed => "Signed",
        GateName::Review => "Review",
    }
}

/// A point in time; the script turns it into "4 min ago" and keeps that current.
pub fn time(at: Timestamp) -> Markup {
    let whole = at.strftime("%Y-%m-%dT%H:%M:%SZ");
    html! { time datetime=(whole) { (at.strftime("%-d %b %Y, %H:%M UTC")) } }
}

/// From one to the other.
pub fn duration(from: Timestamp, to: Timestamp) -> String {
    let milliseconds = (to.as_millisecond() - from.as_millisecond()).max(0);
    match milliseconds {
        0..1_000 => format!("{milliseconds} ms"),
        1_000..10_000 => format!("{}.{} s", milliseconds / 1000, milliseconds % 1000 / 100),
        10_000..120_000 => format!("{} s", milliseconds / 1000),
        _ => format!("{} min", milliseconds / 60_000),
    }
}

#[cfg(test)]
mod tests {
    use super::duration;
    use jiff::Timestamp;

    #[test]
    fn durations_are_read_at_a_glance() {
        for (milliseconds, text) in
            [(0, "0 ms"), (999, "999 ms"), (8_140, "8.1 s"), (59_900, "59 s"), (605_000, "10 min"), (-5, "0 ms")]
        {
            let to = Timestamp::from_millisecond(1_000_000 + milliseconds).unwrap();
            assert_eq!(duration(Timestamp::from_millisecond(1_000_000).unwrap(), to), text);
        }
    }
}
