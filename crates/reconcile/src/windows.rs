//! Windows, for people: when they open, and adding one.

use crate::Reconciler;
use crate::config::parse_config;
use crate::requests::Refusal;
use crate::write::{Edit, after};
use model::views::{WindowState, WindowStatus};
use model::{CommitId, Component, Environment, Project, Window};
use promote::WINDOWS;
use promote::windows::{Until, next_open};
use serde_json::{Value, json};
use std::collections::BTreeMap;

impl Reconciler {
    /// All windows, in the order of `windows.yaml`.
    pub async fn windows(&self, project: &Project) -> Result<Vec<WindowStatus>, Refusal> {
        let (_, view) = self.look(project).await?;
        let facts = &view.facts;
        let windows = facts.windows.as_ref().map_err(|problems| Refusal::Refused(problems.join("; ")))?;
        let now = self.0.now();
        let components: Vec<&Component> = facts.builds.iter().map(|b| &b.spec.build.component).collect();
        let one = |window: &Window| {
            let (state, until, message) = match next_open(&[window], now) {
                Until::Open(until) => (WindowState::Open, until, String::new()),
                Until::Opens(at) => (WindowState::Shut, Some(at), String::new()),
                Until::Never(why) => (WindowState::Never, None, why),
            };
            let has_a_say = |name: &&Environment| {
                let head = facts.state(&facts.head, name).and_then(|reading| reading.as_ref().ok());
                let named = head.map(|state| state.file.promotion.windows.as_slice()).unwrap_or_default();
                window.applies(name, named, components.iter().copied())
            };
            let environments = facts.environments.iter().filter(has_a_say).cloned().collect();
            WindowStatus { window: window.clone(), state, until, message, environments }
        };
        Ok(windows.iter().map(one).collect())
    }

    /// Adds a window, and its name to the rules of these environments, by one commit.
    pub async fn add_window(
        &self,
        project: &Project,
        window: &Window,
        environments: &[Environment],
        actor: &str,
    ) -> Result<CommitId, Refusal> {
        promote::windows::check(window).map_err(Refusal::Refused)?;
        let decide = |snapshot: &_| {
            let config = parse_config(snapshot);
            let known = config.windows.map_err(|problems| Refusal::Refused(problems.join("; ")))?;
            let mut files = BTreeMap::new();
            for name in environments {
                let path = format!("environments/{name}.yaml");
                let text = crate::write::text(snapshot, &path)?;
                let named = name_window(&path, text, &window.name)?;
                if named != text {
                    files.insert(path, Some(named.into_bytes()));
                }
            }
            // Of two commits the first may stand: what was broken off is finished.
            let begun = known.contains(window) && !files.is_empty();
            if known.iter().any(|other| other.name == window.name) && !begun {
                return Err(Refusal::Refused(format!("{WINDOWS} has a window {} already", window.name)));
            }
            let item = yaml::to_string_in_order(&json!([plain(window)]));
            if !begun {
                let text = snapshot.text(WINDOWS).and_then(Result::ok).unwrap_or_default();
                let newline = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
                files.insert(WINDOWS.to_owned(), Some(format!("{text}{newline}{item}").into_bytes()));
            }
            let made = parse_config(&after(snapshot, &files));
            let stands = made.windows.as_ref().is_ok_and(|windows| windows.contains(window));
            if !stands {
                return Err(Refusal::Refused(format!(
                    "{WINDOWS} is written so that nothing can be added behind it: add this there by hand\n{item}"
                )));
            }
            Ok(Some(Edit { files, message: format!("{WINDOWS}: window {}\n", window.name) }))
        };
        let commit = self.edit(project, actor, decide).await?;
        commit.ok_or_else(|| Refusal::Refused(format!("{WINDOWS} did not change")))
    }
}

/// Without what is as if it were not there.
fn plain(window: &Window) -> Value {
    let mut value = serde_json::to_value(window).expect("windows serialise");
    if let Some(fields) = value.as_object_mut() {
        fields.retain(|key, value| {
            !matches!((key.as_str(), value.as_str()), ("timeZone", Some("UTC")) | ("manual", Some("denied")))
        });
    }
    value
}

/// The environment's file with one more window named in its rule. Comments are kept where the rule has a line of its
/// own for windows; else the file is written anew if it has none to lose.
fn name_window(path: &str, text: &str, window: &str) -> Result<String, Refusal> {
    use model::EnvironmentFile;
    let mut file: EnvironmentFile = yaml::from_str(text, path).map_err(|error| Refusal::Refused(error.to_string()))?;
    if file.promotion.windows.iter().any(|name| name == window) {
        return Ok(text.to_owned());
    }
    file.promotion.windows.push(window.to_owned());
    let line = format!("windows: [{}]", file.promotion.windows.join(", "));
    let reads = |edited: &String| yaml::from_str::<EnvironmentFile>(edited, path).is_ok_and(|read| read == file);
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let replaced: String = lines
        .iter()
        .map(|l| match l.trim_start().starts_with("windows:") {
            true => format!("{}{line}\n", &l[..l.len() - l.trim_start().len()]),
            false => (*l).to_owned(),
        })
        .collect();
    let inserted: String = lines
        .iter()
        .map(|l| match l.trim_end() == "promotion:" {
            true => format!("{}\n  {line}\n", l.trim_end()),
            false => (*l).to_owned(),
        })
        .collect();
    let anew = (!text.contains('#'))
        .then(|| yaml::to_string_in_order(&serde_json::to_value(&file).expect("files of environments serialise")));
    [Some(replaced), Some(inserted), anew].into_iter().flatten().find(reads).ok_or_else(|| {
        Refusal::Refused(format!(
            "{path} is written so that one line cannot be changed in it: set {line} under promotion there by hand"
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::name_window;

    #[test]
    fn a_window_is_named_where_people_wrote_the_rule() {
        for (before, after) in [
            ("promotion:\n  from: [dev] # first\n", "promotion:\n  windows: [nights]\n  from: [dev] # first\n"),
            ("promotion:\n  windows: [days] # x\n", "promotion:\n  windows: [days, nights]\n"),
            ("promotion: {strategy: Auto}\n", "promotion:\n  strategy: Auto\n  windows:\n  - nights\n"),
        ] {
            assert_eq!(name_window("e.yaml", before, "nights").unwrap(), after);
        }
        let refused = name_window("e.yaml", "# mine\npromotion: {strategy: Auto}\n", "nights").unwrap_err();
        assert!(refused.to_string().contains("set windows: [nights] under promotion there by hand"), "{refused}");
    }
}
