//! What people and systems say of movements: approvals, cancellations, checks, certificates.

use crate::Reconciler;
use crate::project::{Handle, View};
use crate::requests::{Refusal, known_environment};
use crate::settle::until;
use model::journal::{Entry, EntryKind, detail};
use model::release::Version;
use model::{Check, Environment, Project};
use promote::{Approver, Facts};
use std::sync::Arc;
use std::time::Duration;

/// The loop has looked at an answer within this.
const TAKEN: Duration = Duration::from_secs(10);

impl Reconciler {
    /// A person agrees to a promotion as it stands.
    pub async fn approve(
        &self,
        project: &Project,
        promotion: &str,
        actor: &str,
        groups: &[String],
        reason: &str,
    ) -> Result<Entry, Refusal> {
        let approver = Approver { name: actor, groups };
        self.say(project, |facts| promote::approve(facts, promotion, approver, reason)).await
    }

    /// A person takes a request back.
    pub async fn cancel(
        &self,
        project: &Project,
        promotion: &str,
        actor: &str,
        reason: &str,
    ) -> Result<Entry, Refusal> {
        self.say(project, |facts| promote::cancel(facts, promotion, actor, reason)).await
    }

    /// A person says that a release is good where it runs.
    pub async fn certify(
        &self,
        project: &Project,
        version: &Version,
        environment: &Environment,
        actor: &str,
        reason: &str,
    ) -> Result<Entry, Refusal> {
        self.say(project, |facts| promote::certify(facts, version, environment, actor, reason)).await
    }

    /// A check of a build or a release has ended.
    pub async fn checked(&self, project: &Project, checked: &Check, actor: &str) -> Result<Entry, Refusal> {
        let (_, view) = self.look(project).await?;
        known_environment(&view, &checked.environment)?;
        self.say(project, |facts| check(facts, checked, actor)).await
    }

    /// Tells the journal what `decide` makes of the facts, and returns when the loop has looked at it.
    async fn say(&self, project: &Project, decide: impl Fn(&Facts) -> Result<Entry, String>) -> Result<Entry, Refusal> {
        let (handle, view) = self.fresh(project).await?;
        let mut facts = (*view.facts).clone();
        facts.now = self.0.now();
        let entry = decide(&facts).map_err(Refusal::Refused)?;
        self.0.ports.repositories.append(project, &entry).await?;
        handle.told();
        let taken = || {
            let view = handle.view().filter(|view| view.settled)?;
            view.facts.journal.iter().any(|e| e.id == entry.id).then_some(())
        };
        until(&handle, TAKEN, taken).await;
        Ok(entry)
    }

    /// The latest look in which nothing was left to do.
    async fn fresh(&self, project: &Project) -> Result<(Arc<Handle>, View), Refusal> {
        let (handle, view) = self.look(project).await?;
        let settled = until(&handle, TAKEN, || handle.view().filter(|view| view.settled)).await;
        Ok((handle, settled.unwrap_or(view)))
    }
}

fn check(facts: &Facts, checked: &Check, actor: &str) -> Result<Entry, String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if checked.check.is_empty() || !checked.check.chars().all(plain) {
        return Err(format!("{:?} is no name of a check: letters, digits, - _ .", checked.check));
    }
    let what = match (&checked.build, &checked.release) {
        (Some(build), None) => {
            facts.build(build).ok_or_else(|| format!("there is no build {build}"))?;
            build.to_string()
        }
        (None, Some(version)) => {
            facts.releases.get(version).ok_or_else(|| format!("there is no release {version}"))?;
            version.to_string()
        }
        _ => return Err("a check is of a build or of a release".to_owned()),
    };
    let Check { check, environment, .. } = checked;
    let result = if checked.passed { "passed" } else { "failed" };
    let id = format!("checked-{environment}-{check}-{what}-{}", facts.now.as_millisecond());
    let mut entry = Entry::new(EntryKind::Checked, id, facts.now, actor);
    entry.environment = Some(environment.clone());
    entry.component = checked.build.as_ref().map(|build| build.component.clone());
    entry.build.clone_from(&checked.build);
    entry.summary = format!("{environment}: check {check} of {what} {result}");
    entry.reason.clone_from(&checked.reason);
    entry.details.insert(detail::CHECK.to_owned(), check.clone());
    entry.details.insert(detail::RESULT.to_owned(), result.to_owned());
    if let Some(version) = &checked.release {
        entry.details.insert(detail::RELEASE.to_owned(), version.to_string());
    }
    Ok(entry)
}
