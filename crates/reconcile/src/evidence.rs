//! What is found out for gates: which policies a pin would break, and which signatures it lacks. Worked out over what is
//! described, without a cluster, and kept for as long as nothing that it depends on changes.

mod judging;
mod signing;

pub use judging::{facts_of, reviewed};

use crate::Inner;
use crate::config::{Config, Reader};
use crate::inputs::wanted;
use crate::project::Handle;
use crate::sketch::{Sketch, Values};
use judging::judged;
use model::config::{Keys, Verify};
use model::flow::{Action, Repository};
use model::journal::EntryKind;
use model::ports::PortError;
use model::release::Version;
use model::trust::{Signer, Signers, Unsigned};
use model::views::PolicyResult;
use model::{Build, Digest, Environment, Pin};
use plan::policy::{Item, Part, Place, Policy, judge};
use promote::{Evidence, Facts, Finding, State};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, PoisonError};

/// So many answers of each kind are remembered.
const REMEMBERED_MAX: usize = 20_000;
/// Of a commit's id, in what people read.
const SHORT_DIGITS: usize = 12;
/// Unsigned commits of one movement that are told.
const UNSIGNED_MAX: usize = 20;

/// What was found out, by everything that it depends on.
#[derive(Default)]
pub struct Known {
    findings: HashMap<Digest, Arc<Vec<Finding>>>,
    unsigned: HashMap<Digest, Arc<Vec<Unsigned>>>,
}

/// Policies of a project as they hold.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Law {
    /// Those on main; of one that is broken there, the last good one.
    pub policies: Vec<Policy>,
    /// What is wrong with those on main.
    pub problems: BTreeMap<String, Vec<String>>,
}

/// The policies at head, and for what is broken there what stood before.
pub async fn law(reader: &Reader, facts: &Facts, config: &Config) -> Result<Law, PortError> {
    let repository = Repository::config(&facts.project);
    let mut law = Law::default();
    for (name, read) in &config.policies {
        let problems = match read {
            Ok(policy) => {
                law.policies.push(policy.clone());
                continue;
            }
            Err(problems) => problems,
        };
        let path = format!("{}{name}.yaml", crate::config::policies::DIRECTORY);
        for commit in facts.log.iter().filter(|commit| commit.paths.contains(&path)) {
            let earlier = reader.config(&repository, &commit.id).await?;
            if let Some(Ok(policy)) = earlier.policies.get(name) {
                law.policies.push(policy.clone());
                break;
            }
        }
        law.problems.insert(name.clone(), problems.clone());
    }
    Ok(law)
}

/// The state that is admitted in an environment.
fn admitted<'a>(facts: &'a Facts, environment: &Environment) -> Option<&'a State> {
    let of_it = |entry: &&model::journal::Entry| entry.environment.as_ref() == Some(environment);
    let told = facts.journal.iter().rev().filter(of_it);
    let last = told.into_iter().find(|entry| matches!(entry.kind, EntryKind::Admitted | EntryKind::Removed))?;
    facts.state(last.commit.as_ref().filter(|_| last.kind == EntryKind::Admitted)?, environment)?.as_ref().ok()
}

/// Signers, and what tells them from others.
#[derive(Clone)]
struct Trusted {
    signers: Signers,
    digest: Digest,
}

impl Trusted {
    /// The keys that are named, and those of everybody.
    fn of(keys: &Keys, people: &[Signer]) -> Self {
        // What cannot be read was refused with its file.
        let mut ssh = keys.signers().unwrap_or_default();
        ssh.extend(people.iter().cloned());
        let signers = Signers { ssh, gpg: keys.gpg.clone() };
        let digest = Digest::of(json!(signers).to_string().as_bytes());
        Self { signers, digest }
    }
}

/// How one environment is judged.
struct Court<'a> {
    name: &'a Environment,
    head: &'a State,
    admitted: Option<&'a State>,
    production: bool,
    policies: Vec<Policy>,
    /// All of that, and the policies.
    digest: Digest,
    commits: Option<Trusted>,
    tags: Option<Trusted>,
}

/// Everything that gates may ask.
pub async fn evidence(
    inner: &Inner,
    handle: &Handle,
    facts: &Facts,
    config: &Config,
    law: &Law,
) -> Result<Evidence, PortError> {
    let mut evidence = Evidence::default();
    let people = inner.ports.directory.keys();
    let default = config.project.as_ref().ok().and_then(|file| file.verify.as_ref());
    let signers = |keys: &Keys| Trusted::of(keys, &people);
    let mut courts = Vec::new();
    for name in &facts.environments {
        let admitted = admitted(facts, name);
        let Some(head) = facts.state(&facts.head, name).and_then(|reading| reading.as_ref().ok()).or(admitted) else {
            continue;
        };
        let production = head.file.production || admitted.is_some_and(|state| state.file.production);
        let holds = |policy: &&Policy| policy.holds_in(name, production) && !policy.asks("plan");
        let rule: Option<&Verify> =
            admitted.and_then(|s| s.file.verify.as_ref()).or(head.file.verify.as_ref()).or(default);
        let policies: Vec<Policy> = law.policies.iter().filter(holds).cloned().collect();
        let texts: Vec<_> = policies.iter().map(|policy| json!([policy.name, policy.file])).collect();
        let (chain, layers) = (config.chain(name).steps, config.layers(name));
        let digest = json!([name, production, head.file, head.groups, chain, layers, texts]);
        courts.push(Court {
            name,
            head,
            admitted,
            production,
            policies,
            digest: Digest::of(digest.to_string().as_bytes()),
            commits: rule.and_then(|rule| rule.commits.as_ref()).map(signers),
            tags: rule.and_then(|rule| rule.tags.as_ref()).map(signers),
        });
    }
    evidence.ruled = courts.iter().filter(|c| !c.policies.is_empty()).map(|c| c.name.clone()).collect();
    let guarded = |c: &&Court<'_>| c.commits.is_some() || c.tags.is_some();
    evidence.guarded = courts.iter().filter(guarded).map(|c| c.name.clone()).collect();
    if evidence.ruled.is_empty() && evidence.guarded.is_empty() {
        return Ok(evidence);
    }
    let work = Work { inner, handle, facts, config, people: Trusted::of(&Keys::default(), &people) };
    let newest = promote::newest_configuration(facts);
    for (id, configuration) in wanted(facts, newest.as_ref()) {
        let Some(build) = facts.build(&id) else { continue };
        let (image, chart) = (build.status.image.clone(), build.status.chart.clone());
        if image.is_none() && chart.is_none() {
            continue;
        }
        let source = build.spec.commit.clone();
        let pin = Pin { build: id.clone(), source, image, chart, config: configuration.clone() };
        for court in &courts {
            let key = (court.name.clone(), (id.clone(), configuration.clone()));
            if !court.policies.is_empty() {
                let asked = court.policies.iter().any(|policy| policy.asks("signed"));
                let signed = asked && work.signed(court, build).await?;
                if signed {
                    evidence.signed.insert((court.name.clone(), id.clone()));
                }
                let found = work.findings(court, build, &pin, signed).await?;
                if !found.is_empty() {
                    evidence.findings.insert(key.clone(), found);
                }
            }
            if let Some(signers) = &court.commits {
                let lacks = work.unsigned(court, build, &pin, signers).await?;
                if !lacks.is_empty() {
                    evidence.unsigned.insert(key, Arc::new(lacks));
                }
            }
        }
    }
    for court in &courts {
        if let Some(signers) = &court.commits {
            work.unsigned_commits(court, signers, &mut evidence).await?;
        }
        if let Some(signers) = &court.tags {
            work.unsigned_tags(court, signers, &mut evidence).await?;
        }
    }
    Ok(evidence)
}

struct Work<'a> {
    inner: &'a Inner,
    handle: &'a Handle,
    facts: &'a Facts,
    config: &'a Config,
    /// Who is known without being named.
    people: Trusted,
}

impl Work<'_> {
    fn reader(&self) -> &Reader {
        self.handle.reader(self.inner)
    }

    /// The policies that a pin would break.
    async fn findings(
        &self,
        court: &Court<'_>,
        build: &Build,
        pin: &Pin,
        signed: bool,
    ) -> Result<Arc<Vec<Finding>>, PortError> {
        let asks = |name: &str| court.policies.iter().any(|policy| policy.asks(name));
        let before = court.admitted.and_then(|state| state.pins.get(&pin.build.component));
        let before = before.filter(|_| asks("before") || asks("operation"));
        let actors = if asks("actor") { self.actors(court.name) } else { BTreeSet::new() };
        let releases = if asks("release") { self.releases(pin) } else { vec![None] };
        let key = json!([court.digest, pin, before, actors, releases, signed, build.spec.pushed_by]);
        let key = Digest::of(key.to_string().as_bytes());
        if let Some(known) = self.known().findings.get(&key) {
            return Ok(known.clone());
        }
        let Some(objects) = self.objects(court.name, court.head, pin).await? else {
            // What cannot be rendered is held for that.
            return Ok(Arc::default());
        };
        let stood = match before {
            Some(before) => self.objects(court.name, court.head, before).await?.unwrap_or_default(),
            None => Vec::new(),
        };
        let found = Arc::new(judged(self.facts, court, build, &objects, &stood, &actors, &releases, signed));
        let mut known = self.known();
        if known.findings.len() >= REMEMBERED_MAX {
            known.findings.clear();
        }
        known.findings.insert(key, found.clone());
        Ok(found)
    }

    /// The objects of a pin as they are described, Secrets masked; `None` if they cannot be rendered.
    async fn objects(
        &self,
        environment: &Environment,
        state: &State,
        pin: &Pin,
    ) -> Result<Option<Vec<Value>>, PortError> {
        let Some(build) = self.facts.build(&pin.build) else { return Ok(None) };
        let sketch = Sketch {
            inner: self.inner,
            handle: self.handle,
            environment,
            state,
            config: self.config,
            head: self.config,
            overlays: &render::kustomize::Cache::default(),
        };
        let objects = sketch.objects(pin, &build.spec.repository, build.spec.created, Values::OfPin).await?;
        Ok(objects.ok())
    }

    /// Everybody who asks for something of an environment.
    fn actors(&self, environment: &Environment) -> BTreeSet<String> {
        let open = self.facts.promotions.iter().filter(|p| p.spec.environment == *environment);
        let open = open.filter(|p| !p.status.phase.is_final()).map(|p| p.spec.requested_by.clone());
        let path = format!("environments/{environment}");
        let touching = self.facts.log.iter().filter(|c| c.paths.iter().any(|p| p.starts_with(&path)));
        open.chain(touching.take(UNSIGNED_MAX).map(|c| c.author.clone())).chain([promote::ACTOR.to_owned()]).collect()
    }

    /// Releases that a pin may come with, or none.
    fn releases(&self, pin: &Pin) -> Vec<Option<Version>> {
        let of_it = self.facts.releases.iter().filter(|(_, release)| release.file.pins.values().any(|p| p == pin));
        [None].into_iter().chain(of_it.map(|(version, _)| Some(version.clone()))).collect()
    }

    fn known(&self) -> std::sync::MutexGuard<'_, Known> {
        self.reader().evidence.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// What policies find in what is admitted in an environment, or would be: over what is described, and over the plan
    /// if there is one.
    pub(crate) async fn judge_admitted(
        &self,
        handle: &Handle,
        view: &crate::project::View,
        law: &Law,
        environment: &Environment,
    ) -> Result<Vec<PolicyResult>, crate::requests::Refusal> {
        let (facts, config) = (&*view.facts, &*view.config);
        let keys = self.ports.directory.keys();
        let work = Work { inner: self, handle, facts, config, people: Trusted::of(&Keys::default(), &keys) };
        let Some(state) = admitted(facts, environment) else { return Ok(Vec::new()) };
        let policies: Vec<Policy> =
            law.policies.iter().filter(|policy| policy.holds_in(environment, state.file.production)).cloned().collect();
        let verify = config.project.as_ref().ok().and_then(|file| file.verify.as_ref());
        let rule = state.file.verify.as_ref().or(verify).and_then(|rule| rule.commits.as_ref());
        let mut court = Court {
            name: environment,
            head: state,
            admitted: None,
            production: state.file.production,
            digest: Digest::of(b""),
            commits: None,
            tags: None,
            policies: Vec::new(),
        };
        court.commits = rule.map(|named| Trusted::of(named, &keys));
        let outcome = handle.environment(environment).map(|e| e.outcome()).unwrap_or_default();
        let plan = outcome.plan.as_ref().filter(|_| outcome.error.is_none());
        let mut found = Vec::new();
        for pin in state.pins.values() {
            let Some(build) = facts.build(&pin.build) else { continue };
            let Some(objects) = work.objects(environment, state, pin).await? else { continue };
            let signed = policies.iter().any(|policy| policy.asks("signed")) && work.signed(&court, build).await?;
            let whole = state.base.get(&pin.build.component) == Some(pin);
            let part = Part {
                component: Some(&build.spec.build.component),
                build: facts_of(build),
                release: state.file.release.as_ref().filter(|_| whole).map(ToString::to_string),
                actor: build.spec.pushed_by.clone(),
                signed,
                items: objects
                    .iter()
                    .map(|object| Item { object: Some(object), before: Some(object), operation: Action::Unchanged })
                    .collect(),
            };
            let place = Place {
                project: &facts.project,
                environment,
                production: state.file.production,
                groups: state.groups.iter().map(model::Group::as_str).collect(),
                plan,
            };
            found.extend(judge(&policies, &place, &[part]));
        }
        found.sort();
        found.dedup();
        Ok(found)
    }
}
