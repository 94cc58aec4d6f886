//! What must have been shown: built, healthy, for long enough, checked, certified.

use super::{Judge, gate};
use crate::state::{Delta, State};
use jiff::Timestamp;
use model::config::PromotionRule;
use model::journal::{EntryKind, detail};
use model::records::{BuildPhase, Gate, GateName, GateState};
use model::release::Version;
use model::{BuildId, ChartPin, Environment, ImageRef, Pin};

impl Judge<'_> {
    /// Whether what a pin names was built, and is what was built.
    pub fn built(&self, pin: &Pin) -> Gate {
        let known = self.exists(&pin.build);
        let Some(build) = self.case.build(&pin.build).filter(|_| known.state == GateState::Open) else {
            return known;
        };
        let digest = |image: &Option<ImageRef>| image.as_ref().map(ImageRef::digest);
        let chart = |chart: &Option<ChartPin>| chart.as_ref().map(|chart| chart.digest.clone());
        let made = [
            ("image", digest(&build.status.image), digest(&pin.image)),
            ("chart", chart(&build.status.chart), chart(&pin.chart)),
        ];
        for (what, made, pinned) in made {
            if made != pinned {
                let made = made.map_or_else(|| format!("no {what}"), |digest| digest.to_string());
                let message = format!("{} made {made}, the pin names another", pin.build);
                return gate(GateName::Built, GateState::Closed, message);
            }
        }
        if build.spec.commit != pin.source {
            let message = format!("{} is of commit {}, the pin names another", pin.build, build.spec.commit.short());
            return gate(GateName::Built, GateState::Closed, message);
        }
        known
    }

    /// Whether a build of this name succeeded.
    pub fn exists(&self, id: &BuildId) -> Gate {
        let (state, message) = match self.case.build(id).map(|b| b.status.phase) {
            Some(BuildPhase::Succeeded) => (GateState::Open, format!("{id} was built")),
            Some(BuildPhase::Queued | BuildPhase::Running) => (GateState::Waiting, format!("{id} is being built")),
            Some(BuildPhase::Failed) => (GateState::Closed, format!("the build {id} failed")),
            Some(BuildPhase::Superseded) => {
                (GateState::Closed, format!("{id} was never built: a newer commit came first"))
            }
            None => (GateState::Closed, format!("there is no build {id}")),
        };
        gate(GateName::Built, state, message)
    }

    /// Whether it was healthy wherever the rule says. What was healthy here before may always come back.
    pub fn healthy(&self, rule: &PromotionRule, id: &BuildId, pin: Option<&Pin>) -> Gate {
        let stood_here = pin.is_none_or(|pin| self.history.stood(&id.component, pin));
        if stood_here && self.case.was_healthy(self.environment, id) {
            return gate(
                GateName::HealthyIn,
                GateState::Open,
                format!("{id} was healthy in {} before", self.environment),
            );
        }
        let missing: Vec<&str> =
            rule.from.iter().filter(|e| !self.case.was_healthy(e, id)).map(Environment::as_str).collect();
        if !missing.is_empty() {
            let message = format!("{id} has not been healthy in {}", missing.join(", "));
            return gate(GateName::HealthyIn, GateState::Waiting, message);
        }
        let message = match rule.from.is_empty() {
            true => "no environment comes before".to_owned(),
            false => format!("{id} was healthy in {}", names(&rule.from)),
        };
        gate(GateName::HealthyIn, GateState::Open, message)
    }

    /// True if everything that moves was verified healthy here before, and nobody went back from it: such a movement
    /// waits for nothing but what it was made of.
    pub fn goes_back(&self, delta: &Delta<'_>, target: &State) -> bool {
        let verified = |pin: &Pin| {
            self.history.stood(&pin.build.component, pin)
                && self.case.was_healthy(self.environment, &pin.build)
                && !self.history.quarantined.contains_key(&pin.build)
                && !self.history.undone.iter().any(|undone| undone.after == pin)
        };
        let whole = || self.history.steps.iter().any(|s| s.state.pins == target.pins);
        let pins = delta.pins.iter().all(|(_, _, after)| after.map_or_else(whole, verified));
        let release = delta.release.is_none_or(|(_, after)| {
            self.history.steps.iter().any(|s| s.state.file.release.as_ref() == after && s.state.pins == target.pins)
        });
        pins && release
    }

    /// Whether it has run long enough wherever the rule says.
    pub fn soak(&self, rule: &PromotionRule, id: &BuildId, pin: Option<&Pin>) -> Option<Gate> {
        let soak = rule.requires.soak?;
        let mut opens: Option<Timestamp> = None;
        for environment in &rule.from {
            match self.soaked(environment, id, pin, soak.duration()) {
                Soaked::Enough => {}
                Soaked::Until(at) => opens = opens.max(Some(at)),
                Soaked::No(why) => return Some(gate(GateName::Soak, GateState::Waiting, why)),
            }
        }
        let from = names(&rule.from);
        Some(match opens {
            None => gate(GateName::Soak, GateState::Open, format!("{id} was healthy in {from} for {soak}")),
            Some(at) => Gate {
                until: Some(at),
                ..gate(GateName::Soak, GateState::Waiting, format!("{id} soaks in {from} for {soak}, until {at}"))
            },
        })
    }

    /// With a pin it is the build with that configuration; one that never stood there was asked for by name, and then
    /// it is the build.
    fn soaked(&self, environment: &Environment, id: &BuildId, pin: Option<&Pin>, soak: jiff::SignedDuration) -> Soaked {
        let now = self.facts.now;
        let Some(history) = self.before(environment) else {
            return Soaked::No(format!("there is no environment {environment}"));
        };
        let mut best = Soaked::No(format!("{id} has not been healthy in {environment}"));
        let configured = |there: &Pin, pin: &Pin| self.facts.same_input(id, &there.config, &pin.config);
        let alike = |there: &Pin| there.build == *id && pin.is_none_or(|pin| configured(there, pin));
        let stretches = match history.stretches(&id.component, alike) {
            none if none.is_empty() => history.stretches(&id.component, |there| there.build == *id),
            found => found,
        };
        for (first, end) in stretches {
            let places = history.steps[first].place..end.map_or(usize::MAX, |end| history.steps[end].place);
            let told = |kind, after: usize| {
                let entries = self.case.health(kind, environment, id).iter();
                entries.copied().find(|(place, _)| places.contains(place) && *place >= after)
            };
            let Some((place, healthy)) = told(EntryKind::Healthy, 0) else { continue };
            let failed = told(EntryKind::Failed, place).map(|(_, entry)| entry.at);
            let left = end.map(|end| history.steps[end].entry.at);
            let over = [failed, left].into_iter().flatten().min();
            let enough = healthy.at.checked_add(soak).unwrap_or(Timestamp::MAX);
            if over.unwrap_or(now) >= enough {
                return Soaked::Enough;
            }
            best = match (failed, left) {
                (None, None) => Soaked::Until(enough),
                (Some(at), _) => Soaked::No(format!("{id} failed in {environment} at {at}, before it had soaked")),
                (None, Some(at)) => {
                    Soaked::No(format!("{id} was replaced in {environment} at {at}, before it had soaked"))
                }
            };
        }
        best
    }

    /// Whether the checks that the rule names passed wherever it says.
    pub fn checks(&self, rule: &PromotionRule, delta: &Delta<'_>, target: &State) -> Option<Gate> {
        if rule.requires.checks.is_empty() {
            return None;
        }
        let release = target.release().filter(|_| delta.release.is_some());
        let builds: Vec<&BuildId> = delta.pins.iter().filter_map(|(_, _, after)| Some(&(*after)?.build)).collect();
        let mut shut = Vec::new();
        let everywhere: Vec<Option<&Environment>> =
            if rule.from.is_empty() { vec![None] } else { rule.from.iter().map(Some).collect() };
        for check in &rule.requires.checks {
            for environment in &everywhere {
                let missing = match release {
                    Some(version) => self.check_of_release(check, version, *environment),
                    None => builds.iter().find_map(|build| self.check_of_build(check, build, *environment)),
                };
                shut.extend(missing);
            }
        }
        Some(match shut.is_empty() {
            true => gate(GateName::Checks, GateState::Open, format!("passed: {}", rule.requires.checks.join(", "))),
            false => gate(GateName::Checks, GateState::Waiting, shut.join("; ")),
        })
    }

    fn check_of_build(&self, check: &str, build: &BuildId, environment: Option<&Environment>) -> Option<String> {
        let of_it = |e: &model::journal::Entry| e.build.as_ref() == Some(build);
        self.missing_check(check, &build.to_string(), environment, of_it)
    }

    /// What is missing of a check of a release, if it is.
    pub fn check_of_release(
        &self,
        check: &str,
        version: &Version,
        environment: Option<&Environment>,
    ) -> Option<String> {
        let version = version.to_string();
        self.missing_check(check, &version, environment, |e| e.detail(detail::RELEASE) == Some(&version))
    }

    /// The latest result counts.
    fn missing_check(
        &self,
        check: &str,
        what: &str,
        environment: Option<&Environment>,
        of_it: impl Fn(&model::journal::Entry) -> bool,
    ) -> Option<String> {
        let there = |e: &model::journal::Entry| environment.is_none() || e.environment.as_ref() == environment;
        let place = environment.map_or(String::new(), |e| format!(" in {e}"));
        let mut results = self.case.entries(EntryKind::Checked).iter().rev();
        let last = results.find(|e| e.detail(detail::CHECK) == Some(check) && there(e) && of_it(e));
        match last.map(|e| (e.detail(detail::RESULT), &e.reason)) {
            Some((Some("passed"), _)) => None,
            Some((_, reason)) if reason.is_empty() => Some(format!("check {check} of {what} failed{place}")),
            Some((_, reason)) => {
                let first = reason.lines().next().unwrap_or_default();
                Some(format!("check {check} of {what} failed{place}: {first}"))
            }
            None => Some(format!("check {check} of {what} has not passed{place}")),
        }
    }

    /// Whether it is a release, and nothing else, that was certified wherever the rule says.
    pub fn certified(&self, rule: &PromotionRule, target: &State) -> Option<Gate> {
        if !rule.requires.certified {
            return None;
        }
        let environment = self.environment;
        let Some(version) = target.release() else {
            let what =
                target.label().map_or_else(|| "a build by itself".to_owned(), |label| format!("{label} as a whole"));
            let message = format!(
                "{environment} takes certified releases only, {what} is none: trimtab release create VERSION --from {}",
                rule.from.first().map_or("ENVIRONMENT", Environment::as_str)
            );
            return Some(gate(GateName::Certified, GateState::Closed, message));
        };
        let missing: Vec<&str> =
            rule.from.iter().filter(|e| !self.is_certified(version, e)).map(Environment::as_str).collect();
        Some(match missing.is_empty() {
            true => {
                gate(GateName::Certified, GateState::Open, format!("{version} is certified in {}", names(&rule.from)))
            }
            false => gate(
                GateName::Certified,
                GateState::Waiting,
                format!("{version} is not certified in {}", missing.join(", ")),
            ),
        })
    }

    /// Whether the journal says that a release is certified in an environment.
    pub fn is_certified(&self, version: &Version, environment: &Environment) -> bool {
        let version = version.to_string();
        self.case
            .entries(EntryKind::Certified)
            .iter()
            .any(|e| e.environment.as_ref() == Some(environment) && e.detail(detail::RELEASE) == Some(&version))
    }
}

enum Soaked {
    Enough,
    Until(Timestamp),
    No(String),
}

fn names(environments: &[Environment]) -> String {
    environments.iter().map(Environment::as_str).collect::<Vec<_>>().join(", ")
}
