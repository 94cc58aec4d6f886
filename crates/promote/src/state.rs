//! What stands about one environment at one commit, and how two of these differ.

use crate::configuration;
use crate::text::{configured, pin_change, pin_path, pin_text};
use model::release::{Release, Version};
use model::{Component, Digest, Environment, EnvironmentFile, Group, Pin};
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

/// What stands in the config repository about one environment at one commit.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct State {
    /// `environments/<env>.yaml`.
    pub file: EnvironmentFile,
    /// What runs: the release's pins, if it has one, and over them `environments/<env>/<component>.yaml`.
    pub pins: BTreeMap<Component, Pin>,
    /// The pins of the release; none if it has no release.
    pub base: BTreeMap<Component, Pin>,
    /// With a release: components that have a pin file nevertheless.
    pub beside: BTreeSet<Component>,
    /// Per secret a digest of the sealed values that hold here.
    pub secrets: BTreeMap<Group, Digest>,
    /// Groups of `project.yaml` that hold it.
    pub groups: BTreeSet<Group>,
}

/// A state, or what is wrong with its files: lines such as `environments/dev.yaml:3:1: …`.
pub type Reading = Result<State, Vec<String>>;

impl State {
    /// What was read, with the pins of its release under its own.
    pub fn resolve(&self, environment: &Environment, releases: &BTreeMap<Version, Release>) -> Reading {
        let Some(version) = &self.file.release else { return Ok(self.clone()) };
        let Some(release) = releases.get(version) else {
            let known: Vec<String> = releases.keys().rev().take(5).map(ToString::to_string).collect();
            let known = if known.is_empty() { "none yet".to_owned() } else { known.join(", ") };
            return Err(vec![format!(
                "environments/{environment}.yaml: release: there is no release {version} (a tag {} on a commit that holds {}); there is: {known}",
                version.tag(),
                version.path()
            )]);
        };
        Ok(self.on(version, release, self.pins.clone()))
    }

    /// Pin files over this release.
    fn on(&self, version: &Version, release: &Release, own: BTreeMap<Component, Pin>) -> Self {
        let mut state = Self {
            file: EnvironmentFile { release: Some(version.clone()), ..self.file.clone() },
            pins: release.file.pins.clone(),
            base: release.file.pins.clone(),
            beside: own.keys().cloned().collect(),
            secrets: self.secrets.clone(),
            groups: self.groups.clone(),
        };
        state.pins.extend(own);
        state
    }

    /// What it is once a release is promoted: the pin files of its components are gone.
    pub(crate) fn released(&self, version: &Version, release: &Release) -> Self {
        let mut kept = self.pins.clone();
        kept.retain(|component, _| self.has_file(component) && !release.file.pins.contains_key(component));
        self.on(version, release, kept)
    }

    /// What it is once a component has this pin.
    pub(crate) fn pinned(&self, component: &Component, pin: Option<&Pin>) -> Self {
        let mut state = self.clone();
        state.pin(component, pin);
        state
    }

    /// Gives a component this pin.
    pub(crate) fn pin(&mut self, component: &Component, pin: Option<&Pin>) {
        match pin {
            Some(pin) => drop(self.pins.insert(component.clone(), pin.clone())),
            None => drop(self.pins.remove(component)),
        }
        if self.file.release.is_some() {
            match pin {
                Some(pin) if self.base.get(component) != Some(pin) => self.beside.insert(component.clone()),
                _ => self.beside.remove(component),
            };
        }
    }

    /// Of a component what another state has.
    pub(crate) fn take_back(&mut self, component: &Component, other: &Self) {
        match other.pins.get(component) {
            Some(pin) => drop(self.pins.insert(component.clone(), pin.clone())),
            None => drop(self.pins.remove(component)),
        }
        match other.beside.contains(component) {
            true => self.beside.insert(component.clone()),
            false => self.beside.remove(component),
        };
    }

    /// True if both run the same.
    pub(crate) fn runs(&self, other: &Self) -> bool {
        self.file.release == other.file.release && self.pins == other.pins
    }

    /// Whether a component has a pin file.
    pub(crate) fn has_file(&self, component: &Component) -> bool {
        match self.file.release {
            Some(_) => self.beside.contains(component),
            None => self.pins.contains_key(component),
        }
    }

    /// Pins that are not those of the release.
    pub fn overrides(&self) -> impl Iterator<Item = &Pin> {
        self.pins.iter().filter(|(component, pin)| self.base.get(*component) != Some(*pin)).map(|(_, pin)| pin)
    }

    /// The release that it runs, and nothing else.
    pub fn release(&self) -> Option<&Version> {
        self.file.release.as_ref().filter(|_| self.overrides().next().is_none())
    }

    /// `1.4.0`, `1.4.0 + web-44`; `None` if it follows pins.
    pub fn label(&self) -> Option<String> {
        let version = self.file.release.as_ref()?;
        Some(self.overrides().fold(version.to_string(), |label, pin| format!("{label} + {}", pin.build)))
    }

    /// Pin files that must be written to get from here to there.
    pub(crate) fn files(&self, to: &Self, environment: &Environment) -> BTreeMap<String, Option<Vec<u8>>> {
        let own = |state: &Self, component: &Component| {
            state.pins.get(component).filter(|_| state.has_file(component)).cloned()
        };
        let names: BTreeSet<&Component> =
            self.pins.keys().chain(&self.beside).chain(to.pins.keys()).chain(&to.beside).collect();
        let changed = names.into_iter().filter(|c| own(self, c) != own(to, c) || (self.has_file(c) && !to.has_file(c)));
        changed.map(|c| (pin_path(environment, c), own(to, c).map(|pin| pin_text(&pin).into_bytes()))).collect()
    }
}

/// How a pin changed: component, before, after.
pub(crate) type PinChange<'s> = (&'s Component, Option<&'s Pin>, Option<&'s Pin>);

/// What moves between two states. Rules and overrides of the file do not count.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Delta<'s> {
    /// Pins that differ.
    pub pins: Vec<PinChange<'s>>,
    /// Releases, if they differ.
    pub release: Option<(Option<&'s Version>, Option<&'s Version>)>,
    /// Secrets whose values differ: these wait for nothing.
    pub secrets: BTreeSet<&'s Group>,
}

impl<'s> Delta<'s> {
    pub fn between(before: Option<&'s State>, after: &'s State) -> Self {
        Self { pins: differing(before.map(|s| &s.pins), &after.pins), ..Self::beside_pins(before, after) }
    }

    /// The same of one component, without its release: there may be many of them.
    pub fn of(component: &'s Component, before: Option<&'s State>, after: &'s State) -> Self {
        let (old, new) = (before.and_then(|s| s.pins.get(component)), after.pins.get(component));
        let pins = if old == new { Vec::new() } else { vec![(component, old, new)] };
        Self { pins, release: None, ..Self::beside_pins(before, after) }
    }

    fn beside_pins(before: Option<&'s State>, after: &'s State) -> Self {
        let releases = (before.and_then(|s| s.file.release.as_ref()), after.file.release.as_ref());
        let secrets = configuration::rotated(before, after);
        Self { pins: Vec::new(), release: (releases.0 != releases.1).then_some(releases), secrets }
    }

    /// No pin and no release moves; secrets may.
    pub fn is_empty(&self) -> bool {
        self.pins.is_empty() && self.release.is_none()
    }

    /// Only these components (or all but these), and the release if asked for.
    pub fn part(mut self, of_it: impl Fn(&Component) -> bool, release: bool) -> Self {
        self.pins.retain(|(component, _, _)| of_it(component));
        self.release = self.release.filter(|_| release);
        self
    }

    pub fn components(&self) -> impl Iterator<Item = &'s Component> {
        self.pins.iter().map(|(component, _, _)| *component)
    }

    /// `1.3.0 → 1.4.0`, else what [`crate::change_text`] says of each component; `secret db` if only secrets differ.
    pub fn text(&self) -> String {
        if let Some((before, after)) = self.release {
            return versions(before, after);
        }
        if self.pins.is_empty() && !self.secrets.is_empty() {
            return configuration::rotation_text(&self.secrets);
        }
        let one = |(component, before, after): &PinChange<'_>| {
            configured(component, *before, *after).unwrap_or_else(|| pin_change(*before, *after))
        };
        self.pins.iter().map(one).collect::<Vec<_>>().join(", ")
    }

    /// The same with the names of components that were there before, as subjects of commits have it.
    pub fn subject(&self) -> String {
        if let Some((before, after)) = self.release {
            return versions(before, after);
        }
        self.lines().join(", ")
    }

    /// A line for each component.
    pub fn lines(&self) -> Vec<String> {
        let one = |(component, before, after): &PinChange<'_>| {
            if let Some(configured) = configured(component, *before, *after) {
                return configured;
            }
            let change = pin_change(*before, *after);
            if before.is_some() { format!("{component} {change}") } else { change }
        };
        self.pins.iter().map(one).collect()
    }
}

/// Pins that differ. Both are in order, so one walk finds them.
fn differing<'s>(
    before: Option<&'s BTreeMap<Component, Pin>>,
    after: &'s BTreeMap<Component, Pin>,
) -> Vec<PinChange<'s>> {
    let (mut old, mut new) = (before.into_iter().flatten().peekable(), after.iter().peekable());
    let mut found = Vec::new();
    loop {
        let order = match (old.peek(), new.peek()) {
            (None, None) => return found,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some((before, _)), Some((after, _))) => before.cmp(after),
        };
        let before = if order.is_le() { old.next() } else { None };
        let after = if order.is_ge() { new.next() } else { None };
        if let Some((component, _)) = before.or(after)
            && before.map(|(_, pin)| pin) != after.map(|(_, pin)| pin)
        {
            found.push((component, before.map(|(_, pin)| pin), after.map(|(_, pin)| pin)));
        }
    }
}

fn versions(before: Option<&Version>, after: Option<&Version>) -> String {
    match (before, after) {
        (None, Some(after)) => after.to_string(),
        (Some(before), Some(after)) => format!("{before} → {after}"),
        (Some(before), None) => format!("{before} → pins"),
        (None, None) => "nothing".to_owned(),
    }
}
