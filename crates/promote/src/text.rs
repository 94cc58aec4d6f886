//! What is written into the config repository: pin files and commit messages.

use crate::state::Delta;
use crate::{TRAILER_CHANGE, TRAILER_ID, TRAILER_OVERRIDE, TRAILER_QUARANTINE};
use jiff::Timestamp;
use model::records::Class;
use model::{BuildId, ChartPin, Component, Environment, Pin, Promotion};

/// Where a pin lies in the config repository.
pub fn pin_path(environment: &Environment, component: &Component) -> String {
    format!("environments/{environment}/{component}.yaml")
}

/// The content of a pin file; the order of keys never changes.
pub fn pin_text(pin: &Pin) -> String {
    let mut text = format!("build: {}\nsource: {}\n", pin.build, plain(pin.source.as_str()));
    if let Some(image) = &pin.image {
        text.push_str(&format!("image: {image}\n"));
    }
    if let Some(chart) = &pin.chart {
        // Versions are quoted: YAML reads some of them as numbers.
        let ChartPin { name, version, digest } = chart;
        text.push_str(&format!("chart:\n  name: {name}\n  version: \"{version}\"\n  digest: {digest}\n"));
    }
    text.push_str(&format!("config: {}\n", plain(pin.config.as_str())));
    text
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
        (Some(before), Some(after)) if before == after => format!("{after} (configuration)"),
        (Some(before), Some(after)) => format!("{before} → {after}"),
        (Some(before), None) => format!("{before} → none"),
        (None, None) => "nothing".to_owned(),
    }
}

/// What [`change_text`] says of two pins, with the versions of their charts: `web-1 → web-2 (podinfo 6.6.0 → 6.7.0)`.
pub(crate) fn pin_change(before: Option<&Pin>, after: Option<&Pin>) -> String {
    let text = change_text(before.map(|pin| &pin.build), after.map(|pin| &pin.build));
    let chart = |pin: Option<&Pin>| pin.and_then(|pin| pin.chart.clone());
    match (chart(before), chart(after)) {
        (Some(before), Some(after)) if before.name == after.name && before.version != after.version => {
            format!("{text} ({before} → {})", after.version)
        }
        (before, Some(after)) if before.as_ref() != Some(&after) => format!("{text} ({after})"),
        _ => text,
    }
}

/// `web config 3f2a5c01 → 91bc77aa`, if it is the same build with other configuration.
pub(crate) fn configured(component: &Component, before: Option<&Pin>, after: Option<&Pin>) -> Option<String> {
    let (before, after) = (before?, after?);
    let alone = before.build == after.build && before.config != after.config;
    alone.then(|| format!("{component} config {} → {}", before.config.short(), after.config.short()))
}

/// Subject, what a release changes, reason and trailers of the commit that is the effect of a promotion.
/// `quarantine`: until when what a rollback leaves is not taken by itself.
pub(crate) fn message(promotion: &Promotion, delta: &Delta<'_>, quarantine: Option<Timestamp>) -> String {
    let spec = &promotion.spec;
    let back = spec.class == Class::Rollback;
    let verb = if back { "rollback " } else { "" };
    let mut text = format!("{}: {verb}{}\n", spec.environment, delta.subject());
    // Indented, so that no line of it can be read as a trailer.
    let mut paragraph = |lines: &mut dyn Iterator<Item = String>| {
        lines.enumerate().for_each(|(index, line)| {
            let gap = if index == 0 { "\n" } else { "" };
            text.push_str(&format!("{gap}  {line}\n"));
        });
    };
    if delta.release.is_some() {
        paragraph(&mut delta.lines().into_iter());
    }
    paragraph(&mut spec.reason.lines().map(str::to_owned));
    text.push('\n');
    if !promotion.name.is_empty() {
        text.push_str(&format!("{TRAILER_ID}: {}\n", promotion.name));
    }
    if let Some(change) = &spec.change_ref {
        text.push_str(&format!("{TRAILER_CHANGE}: {}\n", one_line(change)));
    }
    if let Some(reason) = &spec.overriding {
        text.push_str(&format!("{TRAILER_OVERRIDE}: {}\n", one_line(reason)));
    }
    if back {
        let until = quarantine.map_or(String::new(), |until| format!(" until {until}"));
        for (_, before, after) in &delta.pins {
            let Some(pin) = before else { continue };
            // Where only the configuration goes back, the build is not to blame.
            let alone = after.is_some_and(|after| after.build == pin.build);
            let config = if alone { format!("@{}", pin.config) } else { String::new() };
            text.push_str(&format!("{TRAILER_QUARANTINE}: {}={}{config}{until}\n", pin.build.component, pin.build));
        }
    }
    text
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
