//! Whether a window lets a movement through now, and when one will.

use super::{Ask, Judge, gate};
use crate::state::Delta;
use crate::windows::{Until, next_open};
use model::Window;
use model::config::PromotionRule;
use model::records::{Gate, GateName, GateState};
use model::window::{Manual, WindowKind};

impl<'a> Judge<'a> {
    /// The windows that have a say; `Err`: what is wrong with `windows.yaml`.
    pub fn windows(&self, rule: &PromotionRule, delta: &Delta<'_>) -> Result<Vec<&'a Window>, String> {
        let all = self.facts.windows.as_ref().map_err(|problems| problems.join("; "))?;
        let missing: Vec<&str> =
            rule.windows.iter().filter(|name| !all.iter().any(|w| w.name == **name)).map(String::as_str).collect();
        if !missing.is_empty() {
            return Err(format!("{} names no window {}", crate::WINDOWS, missing.join(", ")));
        }
        Ok(all.iter().filter(|w| w.applies(self.environment, &rule.windows, delta.components())).collect())
    }

    /// The gate, and whether it is open only for what somebody else approved.
    pub fn window(&self, rule: &PromotionRule, delta: &Delta<'_>, ask: &Ask<'_>) -> (Option<Gate>, bool) {
        let shut = |message: String| (Some(gate(GateName::Window, GateState::Waiting, message)), false);
        let windows = match self.windows(rule, delta) {
            Ok(windows) => windows,
            Err(why) => return shut(why),
        };
        if windows.is_empty() {
            return (None, false);
        }
        if ask.moves_windows {
            return shut(format!("it changes {} too: commit that first, by itself", crate::WINDOWS));
        }
        let until = next_open(&windows, self.facts.now);
        if let Until::Open(closes) = until {
            let names = names(&windows);
            let message = closes.map_or(names.clone(), |at| format!("{names} until {at}"));
            return (Some(Gate { until: closes, ..gate(GateName::Window, GateState::Open, message) }), false);
        }
        if ask.manual
            && let Some(approval) = self.for_people(&windows)
        {
            let message = match approval {
                true => format!("{} is shut; a person's request needs an approval", names(&windows)),
                false => format!("{} is shut; a person may ask nevertheless", names(&windows)),
            };
            return (Some(gate(GateName::Window, GateState::Open, message)), approval);
        }
        match until {
            Until::Opens(at) => {
                let frozen = windows.iter().all(|w| w.kind == WindowKind::Deny);
                let message = format!("{} {} at {at}", names(&windows), if frozen { "ends" } else { "opens" });
                (Some(Gate { until: Some(at), ..gate(GateName::Window, GateState::Waiting, message) }), false)
            }
            Until::Never(why) => shut(why),
            Until::Open(_) => (None, false),
        }
    }

    /// Whether a person's request passes without those windows that let people through: `Some(true)` with an approval.
    fn for_people(&self, windows: &[&'a Window]) -> Option<bool> {
        let lenient = |w: &&&Window| w.manual != Manual::Denied;
        let mut skipped: Vec<&Window> = windows.iter().filter(lenient).copied().collect();
        let mut strict: Vec<&Window> = windows.iter().filter(|w| w.manual == Manual::Denied).copied().collect();
        // Windows that allow are alternatives: one that lets people through stands for all.
        if skipped.iter().any(|w| w.kind == WindowKind::Allow) {
            strict.retain(|w| w.kind == WindowKind::Deny);
        }
        if skipped.is_empty() || !matches!(next_open(&strict, self.facts.now), Until::Open(_)) {
            return None;
        }
        // Only those that are in the way ask for something.
        skipped.retain(|w| w.kind == WindowKind::Allow || !matches!(next_open(&[*w], self.facts.now), Until::Open(_)));
        Some(skipped.iter().any(|w| w.manual == Manual::NeedsApproval))
    }
}

fn names(windows: &[&Window]) -> String {
    let one = |w: &&Window| match w.kind {
        WindowKind::Allow => format!("window {}", w.name),
        WindowKind::Deny => format!("freeze {}", w.name),
    };
    windows.iter().map(one).collect::<Vec<_>>().join(", ")
}
