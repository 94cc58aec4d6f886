//! A project in memory: main as a list of commits, and everything that decisions read and write.

use crate::{Action, Approver, Decision, Facts, Inputs, Reading, State, decide, needs};
use jiff::Timestamp;
use model::config::{EnvironmentFile, PromotionRule, Strategy};
use model::journal::{Entry, EntryKind, detail};
use model::ports::Commit;
use model::records::{BuildPhase, BuildSpec, BuildStatus, Class, PromotionPhase, PromotionSpec, PromotionStatus};
use model::release::{Notes, Release, ReleaseFile, Version};
use model::{
    Build, BuildId, CommitId, Component, DataPlaneName, Digest, Environment, ImageRef, Pin, Project, Promotion, Window,
};
use std::collections::{BTreeMap, BTreeSet};

pub type Tree = BTreeMap<Environment, Reading>;

/// Rounds after which something goes in circles. One movement takes five: intent, commit, journal, status, outcome.
const ROUNDS: usize = 100;

/// Friday, 2027-01-15 08:00 UTC.
const EPOCH: i64 = 1_800_000_000;

pub struct World {
    pub commits: Vec<(Commit, Tree)>,
    /// `windows.yaml` at head.
    pub windows: Vec<Window>,
    /// Files in `releases/`, and the commits that wrote them.
    pub drafts: BTreeMap<Version, (CommitId, ReleaseFile)>,
    pub tags: BTreeMap<Version, CommitId>,
    pub builds: Vec<Build>,
    pub promotions: Vec<Promotion>,
    pub journal: Vec<Entry>,
    pub undescribed: BTreeSet<Component>,
    pub unreachable: BTreeMap<DataPlaneName, String>,
    pub environments: Vec<Environment>,
    pub ticks: i64,
    pub inputs: Inputs,
    pub evidence: crate::Evidence,
}

pub fn env(name: &str) -> Environment {
    name.parse().unwrap()
}
pub fn component(name: &str) -> Component {
    name.parse().unwrap()
}
fn project() -> Project {
    "shop".parse().unwrap()
}

impl World {
    /// dev (Auto) → staging (Manual) → prod (Manual).
    pub fn new() -> Self {
        let rule = |from: &[&str], strategy| EnvironmentFile {
            promotion: PromotionRule {
                from: from.iter().map(|e| env(e)).collect(),
                strategy,
                ..PromotionRule::default()
            },
            ..EnvironmentFile::default()
        };
        let tree = [
            ("dev", rule(&[], Strategy::Auto)),
            ("staging", rule(&["dev"], Strategy::Manual)),
            ("prod", rule(&["staging"], Strategy::Manual)),
        ];
        let tree: Tree =
            tree.into_iter().map(|(name, file)| (env(name), Ok(State { file, ..State::default() }))).collect();
        let mut world = Self {
            commits: Vec::new(),
            windows: Vec::new(),
            drafts: BTreeMap::new(),
            tags: BTreeMap::new(),
            builds: Vec::new(),
            promotions: Vec::new(),
            journal: Vec::new(),
            undescribed: BTreeSet::new(),
            unreachable: BTreeMap::new(),
            environments: ["dev", "staging", "prod"].map(env).to_vec(),
            ticks: 0,
            inputs: Inputs::default(),
            evidence: crate::Evidence::default(),
        };
        world.push("init", tree, Vec::new());
        world
    }

    pub fn now(&self) -> Timestamp {
        Timestamp::from_second(EPOCH + self.ticks).unwrap()
    }

    pub fn head(&self) -> &(Commit, Tree) {
        self.commits.last().expect("init wrote one")
    }

    fn push(&mut self, subject: &str, tree: Tree, trailers: Vec<(String, String)>) -> CommitId {
        let id: CommitId = format!("{:08x}{:032x}", 0xabc0_0000_u32 + self.commits.len() as u32, 0).parse().unwrap();
        let before = self.commits.last().map(|(_, tree)| tree);
        let changed = tree.iter().filter(|(e, now)| before.and_then(|b| b.get(*e)) != Some(*now));
        let commit = Commit {
            id: id.clone(),
            parent: self.commits.last().map(|(c, _)| c.id.clone()),
            author: "ada".into(),
            at: self.now(),
            body: String::new(),
            subject: subject.into(),
            trailers,
            paths: std::iter::once("README.md".to_owned())
                .chain(changed.map(|(e, _)| format!("environments/{e}/any.yaml")))
                .collect(),
        };
        self.commits.push((commit, tree));
        id
    }

    /// A commit by hand.
    pub fn edit(&mut self, environment: &str, change: impl FnOnce(&mut State)) -> CommitId {
        self.ticks += 1;
        let mut tree = self.head().1.clone();
        change(tree.get_mut(&env(environment)).unwrap().as_mut().expect("it is readable"));
        self.push("by hand", tree, Vec::new())
    }

    /// A commit that changes nothing about environments.
    pub fn touch(&mut self, path: &str) -> CommitId {
        self.ticks += 1;
        let id = self.push("configuration", self.head().1.clone(), Vec::new());
        self.commits.last_mut().expect("it was pushed").0.paths = vec![path.to_owned()];
        id
    }

    pub fn break_file(&mut self, environment: &str, problem: &str) {
        let mut tree = self.head().1.clone();
        tree.insert(env(environment), Err(vec![problem.to_owned()]));
        self.push("nonsense", tree, Vec::new());
    }

    /// `git revert` of the latest commit, for one environment.
    pub fn revert(&mut self, environment: &str) {
        let before = &self.commits[self.commits.len() - 2].1;
        let mut tree = self.head().1.clone();
        tree.insert(env(environment), before[&env(environment)].clone());
        self.push("Revert", tree, Vec::new());
    }

    pub fn build(&mut self, name: &str, phase: BuildPhase) -> BuildId {
        let component = component(name);
        let number = self.builds.iter().filter(|b| b.spec.build.component == component).count() as u64 + 1;
        let id = BuildId { component: component.clone(), number };
        let image = ImageRef::recorded(&project(), &component, &Digest::of(id.to_string().as_bytes()));
        self.builds.push(Build {
            spec: BuildSpec {
                project: project(),
                build: id.clone(),
                repository: model::flow::Repository { project: project(), name: name.into() },
                commit: format!("{:040x}", 0xdef0_0000 + self.builds.len()).parse().unwrap(),
                pushed_by: "ada".into(),
                message: "work".into(),
                created: self.now(),
                chart: None,
            },
            status: BuildStatus {
                phase,
                image: (phase == BuildPhase::Succeeded).then_some(image),
                ..BuildStatus::default()
            },
        });
        id
    }

    /// A pin as Trimtab would write it.
    pub fn pin(&self, build: &BuildId) -> Pin {
        let commit = self.builds.iter().find(|b| b.spec.build == *build).map(|b| b.spec.commit.clone());
        Pin {
            build: build.clone(),
            source: commit.unwrap_or_else(|| self.head().0.id.clone()),
            image: Some(ImageRef::recorded(&project(), &build.component, &Digest::of(build.to_string().as_bytes()))),
            chart: None,
            config: self.commits[0].0.id.clone(),
        }
    }

    pub fn ask(&mut self, class: Class, to: &str, what: Option<&str>, build: Option<&BuildId>) -> String {
        self.ticks += 1;
        let name = format!("ask-{}", self.promotions.len());
        let spec = PromotionSpec {
            component: what.map(component),
            build: build.cloned(),
            ..PromotionSpec::new(&project(), &env(to), class, "ada", self.now())
        };
        self.promotions.push(Promotion { name: name.clone(), spec, status: PromotionStatus::default() });
        name
    }

    /// The same for a release.
    pub fn ask_release(&mut self, class: Class, to: &str, version: &str) -> String {
        let name = self.ask(class, to, None, None);
        self.spec(&name).release = Some(version.parse().unwrap());
        name
    }

    /// Of a request that nobody has looked at yet.
    pub fn spec(&mut self, name: &str) -> &mut PromotionSpec {
        &mut self.promotions.iter_mut().find(|p| p.name == name).unwrap().spec
    }

    /// A rule is changed by a commit and in force.
    pub fn rule(&mut self, environment: &str, change: impl FnOnce(&mut PromotionRule)) {
        self.edit(environment, |state| change(&mut state.file.promotion));
        self.settle();
    }

    /// What `release create` commits.
    pub fn draft(&mut self, version: &str, from: &str) {
        self.ticks += 1;
        let pins = self.admitted(from).unwrap().pins;
        let version: Version = version.parse().unwrap();
        let trailers = vec![(crate::TRAILER_RELEASE.to_owned(), version.to_string())];
        let tree = self.head().1.clone();
        let commit = self.push(&format!("release {version}"), tree, trailers);
        self.drafts.insert(version, (commit, ReleaseFile { pins, notes: Notes::default() }));
    }

    pub fn releases(&self) -> BTreeMap<Version, Release> {
        let release = |(version, commit): (&Version, &CommitId)| {
            let file = self.drafts[version].1.clone();
            (version.clone(), Release { commit: commit.clone(), author: "ada".into(), at: self.now(), file })
        };
        self.tags.iter().map(release).collect()
    }

    /// What somebody tells the journal, if it may be told.
    pub fn tell(&mut self, entry: Result<Entry, String>) -> Result<(), String> {
        self.act(&Action::Journal(entry?));
        Ok(())
    }

    pub fn approve(&mut self, promotion: &str, who: &str) -> Result<(), String> {
        self.ticks += 1;
        let entry = crate::approve(&self.facts(), promotion, Approver { name: who, groups: &[] }, "");
        self.tell(entry)
    }

    /// A check of a build (or release) in an environment ended.
    pub fn check(&mut self, check: &str, what: &str, environment: &str, result: &str) {
        self.ticks += 1;
        let mut entry = Entry::new(EntryKind::Checked, format!("checked-{}", self.ticks), self.now(), "ci");
        entry.environment = Some(env(environment));
        match what.parse::<Version>() {
            Ok(version) => drop(entry.details.insert(detail::RELEASE.into(), version.to_string())),
            Err(_) => entry.build = Some(what.parse().unwrap()),
        }
        entry.details.insert(detail::CHECK.into(), check.into());
        entry.details.insert(detail::RESULT.into(), result.into());
        self.act(&Action::Journal(entry));
    }

    /// Nothing happens until it is time; then what is due happens.
    pub fn sleep(&mut self) -> Timestamp {
        let wake = self.decide().wake_at.expect("something is waited for");
        self.ticks = wake.as_second() - EPOCH;
        self.settle();
        wake
    }

    pub fn facts(&self) -> Facts {
        let log: Vec<Commit> = self.commits.iter().rev().map(|(c, _)| c.clone()).collect();
        let head = log[0].id.clone();
        let needed = needs(&head, &log, &self.journal, &self.environments);
        let states = self.commits.iter().filter(|(c, _)| needed.contains(&c.id));
        Facts {
            project: project(),
            now: self.now(),
            head,
            environments: self.environments.clone(),
            states: states.map(|(c, t)| (c.id.clone(), self.resolved(t).into())).collect(),
            texts: self
                .head()
                .1
                .iter()
                .filter_map(|(e, r)| Some((e.clone(), file_text(&r.as_ref().ok()?.file))))
                .collect(),
            windows: Ok(self.windows.clone()),
            releases: self.releases().into(),
            untagged: self.drafts.keys().filter(|v| !self.tags.contains_key(*v)).cloned().collect(),
            log: log.into(),
            builds: self.builds.clone().into(),
            promotions: self.promotions.clone().into(),
            journal: self.journal.clone().into(),
            inputs: self.inputs.clone(),
            evidence: self.evidence.clone(),
            undescribed: self.undescribed.clone(),
            unreachable: self.unreachable.clone(),
        }
    }

    fn resolved(&self, tree: &Tree) -> Tree {
        let releases = self.releases();
        let one = |(e, reading): (&Environment, &Reading)| {
            (e.clone(), reading.clone().and_then(|state| state.resolve(e, &releases)))
        };
        tree.iter().map(one).collect()
    }

    /// What stands on main.
    pub fn standing(&self, environment: &str) -> Reading {
        self.resolved(&self.head().1)[&env(environment)].clone()
    }

    pub fn decide(&self) -> Decision {
        decide(&self.facts())
    }

    pub fn act(&mut self, action: &Action) {
        match action {
            Action::Create(promotion) => {
                if !self.promotions.iter().any(|p| p.name == promotion.name) {
                    self.promotions.push(promotion.clone());
                }
            }
            Action::Journal(entry) => {
                if !self.journal.iter().any(|e| e.id == entry.id) {
                    self.journal.push(entry.clone());
                }
            }
            Action::Update { name, status } => {
                let found = self.promotions.iter_mut().find(|p| p.name == *name).expect("only what exists is updated");
                assert!(!found.status.phase.is_final(), "{name} is final already");
                found.status = status.clone();
            }
            Action::Tag(tag) => {
                let version: Version = tag.name.strip_prefix('v').unwrap().parse().unwrap();
                assert_eq!(self.drafts[&version].0, tag.commit, "the tag is on the commit that holds the file");
                self.tags.insert(version, tag.commit.clone());
            }
            Action::Commit(write) => {
                assert_eq!(write.expect.as_ref(), Some(&self.head().0.id));
                assert!(!write.files.is_empty(), "an empty commit: {}", write.message);
                let mut tree = self.head().1.clone();
                for (path, content) in &write.files {
                    let mut parts = path.trim_end_matches(".yaml").split('/').skip(1);
                    let at = env(parts.next().unwrap());
                    let state = tree.get_mut(&at).unwrap().as_mut().unwrap();
                    let Some(what) = parts.next().map(component) else {
                        let text = std::str::from_utf8(content.as_ref().unwrap()).unwrap();
                        state.file = yaml::from_str(text, path).unwrap();
                        continue;
                    };
                    let pins = &mut state.pins;
                    match content {
                        Some(bytes) => pins.insert(what, parse_pin(std::str::from_utf8(bytes).unwrap())),
                        None => pins.remove(&what),
                    };
                }
                let lines = write.message.lines().filter_map(|l| l.split_once(": "));
                let trailers = lines
                    .filter(|(k, _)| k.starts_with("Trimtab-") || *k == "Change-Ref")
                    .map(|(k, v)| (k.into(), v.into()));
                self.push(write.message.lines().next().unwrap(), tree, trailers.collect());
            }
        }
    }

    /// Until nothing is left to do; then everything that is admitted becomes healthy, and again.
    pub fn settle(&mut self) {
        self.settle_with(|_| Some(EntryKind::Healthy));
    }

    /// `health`: what is told about a build; `None`: it is still starting.
    pub fn settle_with(&mut self, health: impl Fn(&BuildId) -> Option<EntryKind>) {
        for _ in 0..ROUNDS {
            self.ticks += 1;
            let decision = self.decide();
            decision.actions.iter().for_each(|action| super::random::checked(self, action));
            if decision.actions.is_empty() && !self.observe(&decision, &health) {
                return;
            }
        }
        panic!("no end after {ROUNDS} rounds: {:#?}", self.decide().actions);
    }

    /// What the environments' loops tell the journal.
    fn observe(&mut self, decision: &Decision, health: &impl Fn(&BuildId) -> Option<EntryKind>) -> bool {
        let before = self.journal.len();
        for (environment, report) in decision.environments.iter().filter(|(_, r)| !r.suspended) {
            for (component, since) in &report.since {
                let build = self.admitted(environment.as_str()).unwrap().pins[component].build.clone();
                let Some(kind) = health(&build) else { continue };
                let id = format!("{kind}-{environment}-{build}-{since}");
                let mut entry = Entry::new(kind, id, self.now(), "trimtab");
                entry.environment = Some(environment.clone());
                entry.component = Some(component.clone());
                entry.build = Some(build);
                entry.commit = Some(since.clone());
                entry.summary = kind.to_string();
                self.act(&Action::Journal(entry));
            }
        }
        self.journal.len() > before
    }

    /// The state that the journal admits.
    pub fn admitted(&self, environment: &str) -> Option<State> {
        let of_it = |e: &&Entry| e.kind == EntryKind::Admitted && e.environment == Some(env(environment));
        let commit = self.journal.iter().rev().find(of_it)?.commit.clone()?;
        let tree = &self.commits.iter().find(|(c, _)| c.id == commit).unwrap().1;
        Some(self.resolved(tree)[&env(environment)].clone().expect("only what can be read is admitted"))
    }

    /// Builds that run, by environment: `dev web-1 | staging - | prod -`.
    pub fn runs(&self) -> String {
        let one = |e: &Environment| {
            let state = self.admitted(e.as_str()).unwrap_or_default();
            let pins: Vec<String> = state.pins.values().map(|p| p.build.to_string()).collect();
            format!("{e} {}", if pins.is_empty() { "-".to_owned() } else { pins.join(",") })
        };
        self.environments.iter().map(one).collect::<Vec<_>>().join(" | ")
    }

    pub fn promotion(&self, name: &str) -> &Promotion {
        self.promotions.iter().find(|p| p.name == name).unwrap_or_else(|| panic!("no promotion {name}"))
    }

    pub fn phase(&self, name: &str) -> (PromotionPhase, &str) {
        let status = &self.promotion(name).status;
        (status.phase, &status.message)
    }

    pub fn told(&self, kind: EntryKind, environment: &str) -> Vec<&Entry> {
        self.journal.iter().filter(|e| e.kind == kind && e.environment == Some(env(environment))).collect()
    }
}

fn file_text(file: &EnvironmentFile) -> String {
    yaml::to_string(&serde_json::to_value(file).unwrap())
}

fn parse_pin(text: &str) -> Pin {
    let field = |key: &str| {
        let line = text.lines().find_map(|l| l.strip_prefix(&format!("{key}: ")));
        line.unwrap_or_else(|| panic!("no {key} in {text}")).trim_matches('"')
    };
    Pin {
        build: field("build").parse().unwrap(),
        source: field("source").parse().unwrap(),
        image: Some(field("image").parse().unwrap()),
        chart: None,
        config: field("config").parse().unwrap(),
    }
}
