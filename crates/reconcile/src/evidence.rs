//! What is found out for gates: which policies a pin would break, and which signatures it lacks. Worked out over what is
//! described, without a cluster, and kept for as long as nothing that it depends on changes.

use crate::Inner;
use crate::config::{Config, Reader};
use crate::inputs::wanted;
use crate::project::Handle;
use crate::sketch::{Sketch, Values};
use model::config::{Keys, Verify};
use model::flow::{Action, ObjectId, Repository};
use model::journal::EntryKind;
use model::ports::PortError;
use model::release::Version;
use model::trust::{Signer, Signers, Unsigned};
use model::views::PolicyResult;
use model::{Build, BuildId, CommitId, Component, Digest, Environment, LABEL_COMPONENT, Pin};
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

    /// Whether all commits that a build brings to an environment are signed by somebody who is known.
    async fn signed(&self, court: &Court<'_>, build: &Build) -> Result<bool, PortError> {
        let signers = court.commits.as_ref().unwrap_or(&self.people);
        Ok(self.source(court, build, signers).await?.is_empty())
    }

    /// Commits of the application that come new with a build and are not signed.
    async fn source(
        &self,
        court: &Court<'_>,
        build: &Build,
        signers: &Trusted,
    ) -> Result<Arc<Vec<Unsigned>>, PortError> {
        let admitted = court.admitted.and_then(|state| state.pins.get(&build.spec.build.component));
        let until = admitted.map(|pin| &pin.source).filter(|until| **until != build.spec.commit);
        self.walk(&build.spec.repository, &build.spec.commit, until, signers).await
    }

    async fn walk(
        &self,
        repository: &Repository,
        tip: &CommitId,
        until: Option<&CommitId>,
        signers: &Trusted,
    ) -> Result<Arc<Vec<Unsigned>>, PortError> {
        let key = Digest::of(json!([repository, tip, until, signers.digest]).to_string().as_bytes());
        if let Some(known) = self.known().unsigned.get(&key) {
            return Ok(known.clone());
        }
        let repositories = &self.inner.ports.repositories;
        let found = match repositories.unsigned(repository, tip, until, &signers.signers, UNSIGNED_MAX).await {
            // Its commits are not here: nothing can be said of them.
            Err(PortError::Terminal(why)) => {
                vec![Unsigned { commit: tip.clone(), author: String::new(), why: format!("it cannot be read ({why})") }]
            }
            found => found?,
        };
        let found = Arc::new(found);
        let mut known = self.known();
        if known.unsigned.len() >= REMEMBERED_MAX {
            known.unsigned.clear();
        }
        known.unsigned.insert(key, found.clone());
        Ok(found)
    }

    /// What a pin brings without a signature that counts: of the application, and of its configuration.
    async fn unsigned(
        &self,
        court: &Court<'_>,
        build: &Build,
        pin: &Pin,
        signers: &Trusted,
    ) -> Result<Vec<String>, PortError> {
        let own = self.source(court, build, signers).await?;
        let mut lacks: Vec<String> = own.iter().map(|one| told(&build.spec.repository, one)).collect();
        let before = court.admitted.and_then(|state| state.pins.get(&pin.build.component)).map(|pin| &pin.config);
        if before == Some(&pin.config) {
            return Ok(lacks);
        }
        // Commits of the config repository that say something of configuration, each by itself.
        let configures =
            |commit: &&model::ports::Commit| commit.paths.iter().any(|path| model::config::configures(path));
        let log = self.facts.log.iter().skip_while(|c| c.id != pin.config);
        let new = log.take_while(|c| Some(&c.id) != before).take(if before.is_some() { usize::MAX } else { 1 });
        for commit in new.filter(configures) {
            let written = self.inner.signed_as(self.handle, commit).await?;
            let found = self.walk(&written.repository, &written.commit, None, signers).await?;
            lacks.extend(found.iter().map(|one| told(&written.repository, one)));
        }
        Ok(lacks)
    }

    /// Commits on main that change an environment: each with everything below it that is not admitted.
    async fn unsigned_commits(
        &self,
        court: &Court<'_>,
        signers: &Trusted,
        evidence: &mut Evidence,
    ) -> Result<(), PortError> {
        let (file, directory) = (format!("environments/{}.yaml", court.name), format!("environments/{}/", court.name));
        let of_it = |entry: &&model::journal::Entry| {
            entry.kind == EntryKind::Admitted && entry.environment.as_ref() == Some(court.name)
        };
        let until = self.facts.journal.iter().rev().find(of_it).and_then(|entry| entry.commit.as_ref());
        // Of what stood before Trimtab was asked, nobody asks for signatures.
        let Some(until) = until else { return Ok(()) };
        let beyond = self.facts.log.iter().take_while(|commit| commit.id != *until);
        let touches =
            |commit: &&model::ports::Commit| commit.paths.iter().any(|p| *p == file || p.starts_with(&directory));
        let mut beyond: Vec<_> = beyond.filter(touches).collect();
        beyond.reverse();
        let mut lack = None;
        for commit in beyond {
            if lack.is_none() {
                let written = self.inner.signed_as(self.handle, commit).await?;
                let found = self.walk(&written.repository, &written.commit, None, signers).await?;
                lack = found.first().map(|one| told(&written.repository, one));
            }
            if let Some(lack) = &lack {
                evidence.unsigned_commits.insert((court.name.clone(), commit.id.clone()), lack.clone());
            }
        }
        Ok(())
    }

    async fn unsigned_tags(
        &self,
        court: &Court<'_>,
        signers: &Trusted,
        evidence: &mut Evidence,
    ) -> Result<(), PortError> {
        for (version, release) in &self.facts.releases {
            let tag = version.tag();
            let key = json!([self.handle.config, "tag", tag, release.commit, signers.digest]);
            let key = Digest::of(key.to_string().as_bytes());
            let known = self.known().unsigned.get(&key).cloned();
            let found = match known {
                Some(known) => known,
                None => {
                    let found =
                        self.inner.ports.repositories.unsigned_tag(&self.handle.config, &tag, &signers.signers).await?;
                    let found: Arc<Vec<Unsigned>> = Arc::new(found.into_iter().collect());
                    self.known().unsigned.insert(key, found.clone());
                    found
                }
            };
            if let Some(one) = found.first() {
                let by = if one.author.is_empty() { String::new() } else { format!(" by {}", one.author) };
                let text = format!(
                    "tag {tag}{by} is not signed: {}. Make a new release (trimtab release create), or name the key in `verify.tags`",
                    one.why
                );
                evidence.unsigned_tags.insert((court.name.clone(), version.clone()), text);
            }
        }
        Ok(())
    }

    fn known(&self) -> std::sync::MutexGuard<'_, Known> {
        self.reader().evidence.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// With commit, author and what to do.
fn told(repository: &Repository, one: &Unsigned) -> String {
    let by = if one.author.is_empty() { String::new() } else { format!(" by {}", one.author) };
    let (commit, why) = (one.commit.short(), &one.why);
    format!(
        "commit {commit} of {repository}{by} is not signed: {why}. Sign it (git commit --amend -S) with a key that is registered (trimtab key add) or named in `verify`, and push again"
    )
}

/// The policies' findings over what is described.
#[allow(clippy::too_many_arguments)]
fn judged(
    facts: &Facts,
    court: &Court<'_>,
    build: &Build,
    objects: &[Value],
    stood: &[Value],
    actors: &BTreeSet<String>,
    releases: &[Option<Version>],
    signed: bool,
) -> Vec<Finding> {
    let place = Place {
        project: &facts.project,
        environment: court.name,
        production: court.production,
        groups: court.head.groups.iter().map(model::Group::as_str).collect(),
        plan: None,
    };
    let before: BTreeMap<ObjectId, &Value> = stood.iter().map(|object| (ObjectId::of(object), object)).collect();
    let described: BTreeSet<ObjectId> = objects.iter().map(ObjectId::of).collect();
    let mut items: Vec<Item<'_>> = objects
        .iter()
        .map(|object| {
            let before = before.get(&ObjectId::of(object)).copied();
            let operation = match before {
                None => Action::Create,
                Some(before) if before == object => Action::Unchanged,
                Some(_) => Action::Configure,
            };
            Item { object: Some(object), before, operation }
        })
        .collect();
    let gone = before.iter().filter(|(id, _)| !described.contains(id));
    items.extend(gone.map(|(_, object)| Item { object: None, before: Some(*object), operation: Action::Delete }));
    let component: Component = build.spec.build.component.clone();
    let mut found = Vec::new();
    for policy in &court.policies {
        let anybody = BTreeSet::from([build.spec.pushed_by.clone()]);
        let actors = if policy.asks("actor") { actors } else { &anybody };
        let releases = if policy.asks("release") { releases } else { &releases[..1] };
        for (actor, release) in actors.iter().flat_map(|actor| releases.iter().map(move |release| (actor, release))) {
            let part = Part {
                component: Some(&component),
                build: facts_of(build),
                release: release.as_ref().map(ToString::to_string),
                actor: actor.clone(),
                signed,
                items: items.clone(),
            };
            let results = judge(std::slice::from_ref(policy), &place, &[part]);
            found.extend(results.into_iter().map(|result| Finding {
                result,
                actor: policy.asks("actor").then(|| actor.clone()),
                release: policy.asks("release").then(|| release.clone()),
            }));
        }
    }
    found
}

/// What a proposed state of an environment would break, objects by their names. Signatures are judged when it moves.
pub fn reviewed(
    facts: &Facts,
    law: &Law,
    environment: &Environment,
    state: &State,
    before: &BTreeMap<String, Value>,
    after: &BTreeMap<String, Value>,
) -> Vec<PolicyResult> {
    let holds = |policy: &&Policy| policy.holds_in(environment, state.file.production);
    let policies: Vec<Policy> =
        law.policies.iter().filter(holds).filter(|policy| !policy.asks("signed")).cloned().collect();
    let mut items: BTreeMap<Option<Component>, Vec<Item<'_>>> = BTreeMap::new();
    let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    for name in names {
        let (old, new) = (before.get(name), after.get(name));
        let operation = match (old, new) {
            (None, _) => Action::Create,
            (_, None) => Action::Delete,
            _ if old == new => Action::Unchanged,
            _ => Action::Configure,
        };
        let label = new.or(old).and_then(|object| object.pointer("/metadata/labels")?.get(LABEL_COMPONENT)?.as_str());
        let component = label.and_then(|label| label.parse().ok());
        items.entry(component).or_default().push(Item { object: new, before: old, operation });
    }
    let parts: Vec<Part<'_>> = items
        .iter()
        .map(|(component, items)| {
            let pin = component.as_ref().and_then(|component| state.pins.get(component));
            let build = pin.and_then(|pin| facts.build(&pin.build));
            let whole = pin.is_some_and(|pin| state.base.get(&pin.build.component) == Some(pin));
            Part {
                component: component.as_ref(),
                build: build.map_or(Value::Null, facts_of),
                release: state.file.release.as_ref().filter(|_| whole).map(ToString::to_string),
                actor: build.map(|build| build.spec.pushed_by.clone()).unwrap_or_default(),
                signed: false,
                items: items.clone(),
            }
        })
        .collect();
    let place = Place {
        project: &facts.project,
        environment,
        production: state.file.production,
        groups: state.groups.iter().map(model::Group::as_str).collect(),
        plan: None,
    };
    let mut broken = judge(&policies, &place, &parts);
    broken.sort();
    broken
}

/// A build as policies see it.
pub fn facts_of(build: &Build) -> Value {
    let BuildId { component, number } = &build.spec.build;
    json!({
        "name": build.spec.build, "component": component, "number": number, "commit": build.spec.commit,
        "shortCommit": build.spec.commit.as_str().get(..SHORT_DIGITS),
        "repository": build.spec.repository.to_string(), "pushedBy": build.spec.pushed_by,
        "message": build.spec.message, "image": build.status.image,
    })
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
