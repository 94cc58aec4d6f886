//! What tests of the repository found: a check of what they ran against, in the journal.

use super::{Rendered, Target, Work};
use model::config::ComponentType;
use model::flow::Observation;
use model::journal::{EntryKind, detail};
use model::ports::{Placement, PortError};
use model::{BuildId, Digest, ObjectId};
use promote::State;
use serde_json::Value;

/// Digits of the Job's uid that tell one run from the next.
const RUN_DIGITS: usize = 8;

/// What tests are told of an environment: the release that stands there and nothing else, all builds, and what tells this
/// state from others.
pub(crate) fn tested(state: &State) -> (Option<String>, String, String) {
    let release = state.release().map(ToString::to_string);
    let builds: Vec<String> = state.pins.values().map(|pin| pin.build.to_string()).collect();
    let pins = serde_json::to_string(&(&release, &state.pins)).expect("pins serialise");
    (release, builds.join(" "), Digest::of(pins.as_bytes()).hex().to_owned())
}

/// The Job, if the component is one that tests and runs here.
pub(super) fn job(one: &Rendered) -> Option<&Value> {
    let tests = one.file.kind == ComponentType::TestRunner;
    one.manifests.objects.iter().find(|object| tests && object["kind"] == "Job")
}

/// Whether a Job has ended, and with which result; `Err`: why it failed.
fn result(live: &Value) -> Option<Result<(), String>> {
    let conditions = live.pointer("/status/conditions").and_then(Value::as_array)?;
    let holds = |kind: &str| conditions.iter().find(|c| c["type"] == kind && c["status"] == "True");
    if holds("Complete").is_some() {
        return Some(Ok(()));
    }
    let failed = holds("Failed")?;
    let text = |key: &str| failed[key].as_str().unwrap_or_default();
    Some(Err(format!("{}: {}", text("reason"), text("message"))))
}

impl Work {
    /// A run that has ended tells what it found: of the release, if nothing else stands here, else of each build. That it
    /// has ended is all that its own movement waits for: tests that fail refuse a certificate and move nothing.
    pub(super) async fn tell_tests(
        &mut self,
        target: &Target,
        rendered: &[Rendered],
        one: &Rendered,
        job: &Value,
        observation: &Observation,
        placement: &Placement,
    ) -> Result<(), PortError> {
        let Some(live) = observation.get(&ObjectId::of(job)) else { return Ok(()) };
        let Some(result) = result(live) else { return Ok(()) };
        let uid: String = live["metadata"]["uid"].as_str().unwrap_or_default().chars().take(RUN_DIGITS).collect();
        let ended = self.about(target, &one.pin, EntryKind::Healthy, "has run", &format!("-{uid}"));
        if self.told.contains(&ended.id) {
            return Ok(());
        }
        let (word, reason) = match result {
            Ok(()) => ("passed", String::new()),
            Err(why) => {
                let log = self.last_words(one, observation, placement).await;
                ("failed", log.map_or(why.clone(), |log| format!("{why}\n{log}")))
            }
        };
        let (handle, check) = (self.handle.clone(), &one.pin.build.component);
        let environment = &handle.name;
        let release = target.state.release();
        let builds: Vec<Option<&BuildId>> = match release {
            Some(_) => vec![None],
            None => {
                let others = rendered.iter().filter(|other| other.file.kind != ComponentType::TestRunner);
                others.map(|other| Some(&other.pin.build)).collect()
            }
        };
        for build in builds {
            let what = build.map_or_else(|| release.map(ToString::to_string), |build| Some(build.to_string()));
            let what = what.unwrap_or_default();
            let mut entry = self.entry(EntryKind::Checked, format!("checked-{environment}-{check}-{what}-{uid}"));
            entry.component = build.map(|build| build.component.clone());
            entry.build = build.cloned();
            entry.commit = Some(target.commit.clone());
            entry.summary = format!("{environment}: check {check} of {what} {word}");
            entry.reason.clone_from(&reason);
            entry.details.insert(detail::CHECK.to_owned(), check.to_string());
            entry.details.insert(detail::RESULT.to_owned(), word.to_owned());
            if build.is_none() {
                entry.details.insert(detail::RELEASE.to_owned(), what);
            }
            self.tell_once(entry).await?;
        }
        self.tell_once(ended).await
    }
}

#[cfg(test)]
mod tests {
    use super::result;
    use serde_json::json;

    #[test]
    fn a_job_has_a_result_when_it_has_ended() {
        let job = |kind: &str, status: &str| json!({"status": {"conditions": [{"type": kind, "status": status, "reason": "BackoffLimitExceeded", "message": "m"}]}});
        assert_eq!(result(&json!({})), None);
        assert_eq!(result(&job("Complete", "False")), None);
        assert_eq!(result(&job("Complete", "True")), Some(Ok(())));
        assert_eq!(result(&job("Failed", "True")), Some(Err("BackoffLimitExceeded: m".to_owned())));
    }
}
