//! Who must agree to a Change, and who does.

use super::touch::{reviewed_by, touched};
use super::{about, entries, landing, open};
use crate::config::{Config, parse_config};
use crate::project::{Handle, View};
use crate::requests::Refusal;
use crate::{Inner, Reconciler};
use model::change::Need;
use model::config::{Approvals, Strategy};
use model::journal::{Entry, EntryKind, detail};
use model::policy::PolicyAction;
use model::ports::PortError;
use model::{Change, CommitId, Environment, Project};
use std::collections::BTreeSet;
use std::sync::Arc;

/// A Change, with what it is judged by.
pub struct Matter {
    pub landing: landing::Landing,
    /// Main as it stands, or what the Change builds on if it cannot come to main as it is.
    pub before: Arc<Config>,
    /// The same with the Change. Of an application repository nothing changes here.
    pub after: Arc<Config>,
    pub paths: BTreeSet<String>,
}

/// Reads what a Change is judged by.
pub async fn matter(inner: &Inner, handle: &Handle, change: &Change) -> Result<Matter, PortError> {
    let landing = landing::landing(inner, change).await?;
    // What an application repository holds is nothing that environments are judged by.
    let paths = match change.spec.repository.is_config() {
        true => landing::paths(inner, change).await?,
        false => BTreeSet::new(),
    };
    let (reader, set) = (handle.reader(inner), change.latest());
    let main = inner.main(handle).await?;
    let main = main.ok_or_else(|| PortError::Terminal(format!("{} has no commit on main", handle.config)))?;
    let (before, after) = match (&landing, change.spec.repository.is_config()) {
        (landing::Landing::On(from, to), true) => (from, to),
        (_, true) => (&set.base, &set.commit),
        (_, false) => {
            let config = reader.config(&handle.config, &main).await?;
            return Ok(Matter { landing, before: config.clone(), after: config, paths });
        }
    };
    let before = whole(inner, handle, change, before).await?;
    let after = whole(inner, handle, change, after).await?;
    Ok(Matter { landing, before, after, paths })
}

/// The configuration with a commit of the Change's repository, and with what stands in the others.
async fn whole(inner: &Inner, handle: &Handle, change: &Change, commit: &CommitId) -> Result<Arc<Config>, PortError> {
    let reader = handle.reader(inner);
    if !inner.line(handle).await?.is_some_and(|tip| tip.is_apart()) && change.spec.repository == handle.config {
        return reader.config(&handle.config, commit).await;
    }
    let snapshot = landing::snapshot(inner, change, commit).await?;
    Ok(Arc::new(parse_config(&inner.whole(handle, &snapshot).await?)))
}

impl Matter {
    /// True if there is a policy that may deny something: then it must be known what the Change would do.
    pub fn may_be_denied(&self, view: &View) -> bool {
        let mut policies = view.law.policies.iter().chain(self.after.policies.values().flatten());
        policies.any(|policy| policy.file.action == PolicyAction::Deny)
    }

    /// Environments that get something else by it.
    pub fn environments(&self, change: &Change) -> BTreeSet<Environment> {
        if change.spec.repository.is_config() {
            return touched(&self.before, &self.after, &self.paths);
        }
        // What is merged is built, and these take it by themselves.
        let takes = |name: &&Environment| {
            let state = self.before.environments.get(*name).and_then(|reading| reading.as_ref().ok());
            state.is_some_and(|state| state.file.promotion.strategy == Strategy::Auto)
        };
        self.before.environments.keys().filter(takes).cloned().collect()
    }

    /// Approvals that are asked for, as main's rules have it before the Change.
    fn rules(&self, change: &Change) -> Vec<(Environment, Approvals)> {
        let rule = |name: Environment| {
            let state = self.before.environments.get(&name)?.as_ref().ok()?;
            let mut approvals = state.file.promotion.approvals.clone();
            approvals.count = approvals.count.max(u32::from(reviewed_by(&self.before, &name)));
            (approvals.count > 0).then_some((name, approvals))
        };
        self.environments(change).into_iter().filter_map(rule).collect()
    }

    /// Who wrote some of it: who proposed it, and who pushed the builds that it moves.
    fn authors(&self, change: &Change, view: &View) -> BTreeSet<String> {
        let mut authors: BTreeSet<String> = change.authors().map(str::to_lowercase).collect();
        for (name, reading) in &self.after.environments {
            let Ok(state) = reading else { continue };
            let old = self.before.environments.get(name).and_then(|reading| reading.as_ref().ok());
            let moved = state.pins.iter().filter(|(c, pin)| old.and_then(|old| old.pins.get(*c)) != Some(*pin));
            let builds = moved.filter_map(|(_, pin)| view.facts.build(&pin.build));
            authors.extend(builds.map(|build| build.spec.pushed_by.to_lowercase()));
        }
        authors
    }

    /// Who must agree, and who of these does.
    pub fn needs(&self, change: &Change, view: &View, journal: &[Entry]) -> Vec<Need> {
        let authors = self.authors(change, view);
        let approvals: Vec<(String, Vec<String>)> = approvals(journal, change);
        let one = |(environment, rule): (Environment, Approvals)| {
            let counts = approvals.iter().filter(|(name, groups)| counts(&rule, &authors, name, groups));
            let by: BTreeSet<String> = counts.map(|(name, _)| name.clone()).collect();
            Need { environment, count: rule.count, from: rule.from.clone(), by: by.into_iter().collect() }
        };
        self.rules(change).into_iter().map(one).collect()
    }
}

fn counts(rule: &Approvals, authors: &BTreeSet<String>, name: &str, groups: &[String]) -> bool {
    let named = |who: &String| who == name || groups.contains(who);
    (rule.author_may_approve || !authors.contains(&name.to_lowercase()))
        && (rule.from.is_empty() || rule.from.iter().any(named))
}

/// Who agrees to the last patch set, with the groups that they were in. Another patch set voids what was said of this one.
pub fn approvals(journal: &[Entry], change: &Change) -> Vec<(String, Vec<String>)> {
    let commit = &change.latest().commit;
    let of_it = |entry: &&Entry| entry.kind == EntryKind::Approved && entry.commit.as_ref() == Some(commit);
    let groups = |entry: &Entry| {
        let groups = entry.detail(detail::GROUPS).unwrap_or_default().split(',');
        groups.filter(|group| !group.is_empty()).map(str::to_owned).collect()
    };
    entries(journal, change.number).filter(of_it).map(|entry| (entry.actor.clone(), groups(entry))).collect()
}

impl Reconciler {
    /// A person agrees to the last patch set of a Change.
    pub async fn approve_change(
        &self,
        project: &Project,
        number: u64,
        actor: &str,
        groups: &[String],
        reason: &str,
    ) -> Result<Entry, Refusal> {
        let (handle, view) = self.look(project).await?;
        let _turn = handle.changes.lock().await;
        let change = open(&self.0, project, number).await?;
        let matter = matter(&self.0, &handle, &change).await?;
        let (authors, rules) = (matter.authors(&change, &view), matter.rules(&change));
        let is_author = authors.contains(&actor.to_lowercase());
        if is_author && !rules.iter().any(|(_, rule)| rule.author_may_approve) {
            return Err(Refusal::Refused(format!(
                "{actor} proposed Change {number}, or pushed a build in it: somebody else has to approve it"
            )));
        }
        if !rules.is_empty() && !rules.iter().any(|(_, rule)| counts(rule, &authors, actor, groups)) {
            let who: BTreeSet<&str> = rules.iter().flat_map(|(_, rule)| &rule.from).map(String::as_str).collect();
            let who: Vec<&str> = who.into_iter().collect();
            return Err(Refusal::Refused(format!("{actor} may not approve Change {number}: {} may", who.join(", "))));
        }
        let set = change.latest();
        let id = format!("change-{number}-{}-approved-{actor}", set.number);
        let mut entry = Entry::new(EntryKind::Approved, id, self.0.now(), actor);
        entry.summary = format!("Change {number} is approved: {}", change.title());
        entry.reason = reason.to_owned();
        about(&mut entry, &change, &set.commit);
        if !groups.is_empty() {
            entry.details.insert(detail::GROUPS.to_owned(), groups.join(","));
        }
        self.0.ports.repositories.append(project, &entry).await?;
        handle.wake();
        handle.tick();
        Ok(entry)
    }
}
