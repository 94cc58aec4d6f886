//! What is written into the config repository: pin files and commit messages.

use crate::{TRAILER_ID, TRAILER_QUARANTINE};
use model::records::Class;
use model::{BuildId, Component, Environment, Pin, Promotion};

/// Where a pin lies in the config repository.
pub fn pin_path(environment: &Environment, component: &Component) -> String {
    format!("environments/{environment}/{component}.yaml")
}

/// The content of a pin file; the order of keys never changes.
pub fn pin_text(pin: &Pin) -> String {
    format!(
        "build: {}\nsource: {}\nimage: {}\nconfig: {}\n",
        pin.build,
        plain(pin.source.as_str()),
        pin.image,
        plain(pin.config.as_str())
    )
}

/// A commit id that YAML would read as a number (`12…e4…` or digits only) is quoted.
fn plain(id: &str) -> String {
    let number = id.bytes().all(|b| b.is_ascii_digit() || b == b'e');
    if number { format!("\"{id}\"") } else { id.to_owned() }
}

/// `hello-1 → hello-2`, `hello-1` for the first, `hello-1 → none` for a removal.
pub fn change_text(before: Option<&BuildId>, after: Option<&BuildId>) -> String {
    match (before, after) {
        (None, Some(after)) => after.to_string(),
        (Some(before), Some(after)) => format!("{before} → {after}"),
        (Some(before), None) => format!("{before} → none"),
        (None, None) => "nothing".to_owned(),
    }
}

/// `web config 3f2a5c01 → 91bc77aa`: the same build with other configuration.
fn configured(component: &Component, before: &Pin, after: &Pin) -> String {
    format!("{component} config {} → {}", before.config.short(), after.config.short())
}

/// The same for several components.
pub(crate) fn changes_text(changes: &[(&Component, Option<&Pin>, Option<&Pin>)]) -> String {
    let one = |(component, before, after): &(&Component, Option<&Pin>, Option<&Pin>)| match (before, after) {
        (Some(before), Some(after)) if before.build == after.build => configured(component, before, after),
        _ => change_text(before.map(|p| &p.build), after.map(|p| &p.build)),
    };
    changes.iter().map(one).collect::<Vec<_>>().join(", ")
}

/// Subject, reason and trailers of the commit that is the effect of a promotion.
pub(crate) fn message(promotion: &Promotion, changes: &[(&Component, Option<&Pin>, Option<&Pin>)]) -> String {
    let environment = &promotion.spec.environment;
    let what = changes
        .iter()
        .map(|(component, before, after)| {
            if let (Some(before), Some(after)) = (before, after)
                && before.build == after.build
            {
                return configured(component, before, after);
            }
            let change = change_text(before.map(|p| &p.build), after.map(|p| &p.build));
            if before.is_some() { format!("{component} {change}") } else { change }
        })
        .collect::<Vec<_>>()
        .join(", ");
    let verb = if promotion.spec.class == Class::Rollback { "rollback " } else { "" };
    let mut text = format!("{environment}: {verb}{what}\n");
    if !promotion.spec.reason.is_empty() {
        text.push('\n');
        // Indented, so that no line of it can be read as a trailer.
        promotion.spec.reason.lines().for_each(|line| text.push_str(&format!("  {line}\n")));
    }
    text.push_str(&format!("\n{TRAILER_ID}: {}\n", promotion.name));
    if promotion.spec.class == Class::Rollback {
        for (_, before, after) in changes {
            let Some(pin) = before else { continue };
            let alone = after.is_some_and(|after| after.build == pin.build);
            let config = if alone { format!("@{}", pin.config) } else { String::new() };
            text.push_str(&format!("{TRAILER_QUARANTINE}: {}={}{config}\n", pin.build.component, pin.build));
        }
    }
    text
}
