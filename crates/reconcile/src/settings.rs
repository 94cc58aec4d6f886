//! What people ask about configuration and secrets, and how they change them: by one commit each, written by the one
//! writer with them as author.

use crate::Reconciler;
use crate::config::{Config, parse_config};
use crate::edit;
use crate::project::{Handle, View};
use crate::requests::Refusal;
use crate::write;
use model::flow::{File, FileMode, Revision, Snapshot};
use model::ports::PortError;
use model::release::Version;
use model::settings::{Chain, Ciphertext};
use model::views::{SecretRow, SettingCell, SettingRow};
use model::{CommitId, Component, Environment, Group, Project};
use std::collections::{BTreeMap, BTreeSet};

/// Trailer of a commit that sets values of a secret, one per value: `db/PASSWORD/prod`.
const TRAILER_SECRET: &str = "Trimtab-Secret";

/// Path → new content, `None` to delete; with the message. `None`: there is nothing to change.
type Edit = Option<(BTreeMap<String, Option<String>>, String)>;

impl Reconciler {
    /// Every key of every ConfigGroup and secret at head, with what holds in each environment.
    pub async fn settings(&self, project: &Project) -> Result<Vec<SettingRow>, Refusal> {
        let (_, view) = self.look(project).await?;
        let chains: Vec<Chain> = view.facts.environments.iter().map(|name| view.config.chain(name)).collect();
        let mut rows = Vec::new();
        for group in view.config.groups.values().flatten() {
            for (key, values) in group.entries() {
                let environments = cells(&chains, values, |value| Ok(value.text.clone()))?;
                rows.push(SettingRow { group: group.name.clone(), key: key.to_owned(), secret: false, environments });
            }
        }
        let port = &self.0.ports.secrets;
        for secret in view.config.secrets.values().flatten() {
            for (key, values) in &secret.keys {
                let shown = |value: &render::settings::SecretValue| match port.open(&value.sealed) {
                    Ok(plain) => Ok(port.digest(plain.expose())?.to_string()),
                    Err(PortError::Terminal(why)) => Ok(why),
                    Err(error) => Err(error),
                };
                let environments = cells(&chains, values, shown)?;
                rows.push(SettingRow { group: secret.name.clone(), key: key.clone(), secret: true, environments });
            }
        }
        Ok(rows)
    }

    /// Sets values of a ConfigGroup for one place (an environment, a group of environments, or `default`). `None`: they
    /// stood so already.
    pub async fn set_config(
        &self,
        project: &Project,
        group: &Group,
        place: &str,
        values: &BTreeMap<String, String>,
        actor: &str,
    ) -> Result<Option<CommitId>, Refusal> {
        let path = format!("config/{group}.yaml");
        self.rewrite(project, actor, |snapshot| {
            let before = text(snapshot, &path)?;
            let mut after = before.clone();
            for (key, value) in values {
                after = edit::set(&path, &after, &["data", key, place], value).map_err(Refusal::Refused)?;
            }
            let keys: Vec<&str> = values.keys().map(String::as_str).collect();
            let message = format!("config {group}: {} for {place}\n", keys.join(", "));
            Ok((after != before).then(|| (BTreeMap::from([(path.clone(), Some(after))]), message)))
        })
        .await
    }

    /// To whom secrets are encrypted.
    pub fn recipient(&self) -> Result<String, Refusal> {
        Ok(self.0.ports.secrets.recipient()?)
    }

    /// All values of secrets at head: where they are set, when and by whom.
    pub async fn secrets(&self, project: &Project) -> Result<Vec<SecretRow>, Refusal> {
        let (_, view) = self.look(project).await?;
        let mut rows = Vec::new();
        for secret in view.config.secrets.values().flatten() {
            let used_by: BTreeSet<Component> =
                users(&view, &secret.name).into_iter().map(|(component, _)| component).collect();
            for (key, values) in &secret.keys {
                for place in values.keys() {
                    let told = format!("{}/{key}/{place}", secret.name);
                    let of_it = |commit: &&model::ports::Commit| {
                        commit.trailers.iter().any(|(name, value)| name == TRAILER_SECRET && *value == told)
                    };
                    let path = format!("secrets/{}.yaml", secret.name);
                    let log = &view.facts.log;
                    let commit = log.iter().find(of_it).or_else(|| log.iter().find(|c| c.paths.contains(&path)));
                    rows.push(SecretRow {
                        name: secret.name.clone(),
                        key: key.clone(),
                        place: place.clone(),
                        at: commit.map(|c| c.at),
                        by: commit.map(|c| c.author.clone()),
                        used_by: used_by.clone(),
                    });
                }
            }
        }
        Ok(rows)
    }

    /// Sets one value of a secret; it comes encrypted and is only looked at to see that it can be opened.
    pub async fn set_secret(
        &self,
        project: &Project,
        secret: &Group,
        key: &str,
        place: &str,
        sealed: &Ciphertext,
        actor: &str,
    ) -> Result<Option<CommitId>, Refusal> {
        self.0.ports.secrets.open(sealed).map_err(|error| match error {
            PortError::Terminal(why) => Refusal::Refused(format!("secret {secret}: {key}: {why}")),
            error => error.into(),
        })?;
        let (path, value) = (format!("secrets/{secret}.yaml"), sealed.to_string());
        self.rewrite(project, actor, |snapshot| {
            let after = edit::set(&path, &text(snapshot, &path)?, &[key, place], &value).map_err(Refusal::Refused)?;
            let message = format!("secret {secret}: {key} for {place}\n\n{TRAILER_SECRET}: {secret}/{key}/{place}\n");
            Ok(Some((BTreeMap::from([(path.clone(), Some(after))]), message)))
        })
        .await
    }

    /// Removes a secret, a key of it, or its value for one place. Refused while a pin names what would be missing.
    pub async fn remove_secret(
        &self,
        project: &Project,
        secret: &Group,
        key: Option<&str>,
        place: Option<&str>,
        actor: &str,
    ) -> Result<Option<CommitId>, Refusal> {
        let (handle, view) = self.look(project).await?;
        let path = format!("secrets/{secret}.yaml");
        let used = users(&view, secret);
        let released = self.releases_with(&handle, &view, secret).await?;
        self.rewrite(project, actor, |snapshot| {
            let config = parse_config(snapshot);
            let file = config.secrets.get(secret).ok_or_else(|| {
                let known: Vec<&str> = config.secrets.keys().map(Group::as_str).collect();
                let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
                Refusal::NotFound(format!("there is no secret {secret}; there is: {known}"))
            })?;
            if let (Ok(file), Some(key)) = (file, key)
                && file.keys.get(key).is_none_or(|values| place.is_some_and(|place| !values.contains_key(place)))
            {
                let known: Vec<&str> = file.keys.keys().map(String::as_str).collect();
                let known = known.join(", ");
                return Err(Refusal::NotFound(format!("secret {secret} has no such value; its keys are: {known}")));
            }
            let keys: Vec<&str> = key.into_iter().chain(place).collect();
            let after = match keys.is_empty() {
                true => String::new(),
                false => edit::remove(&path, &text(snapshot, &path)?, &keys).map_err(Refusal::Refused)?,
            };
            let empty = after.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#'));
            let content = (!empty).then_some(after);
            still_there(snapshot, &path, content.as_deref(), secret, key, &used).map_err(Refusal::Refused)?;
            still_released(snapshot, &path, content.as_deref(), secret, key, &released).map_err(Refusal::Refused)?;
            let what = if keys.is_empty() { "removed".to_owned() } else { format!("{} removed", keys.join(" for ")) };
            Ok(Some((BTreeMap::from([(path.clone(), content)]), format!("secret {secret}: {what}\n"))))
        })
        .await
    }

    /// Releases whose components name a secret: a rollback may bring each of them back.
    async fn releases_with(
        &self,
        handle: &Handle,
        view: &View,
        secret: &Group,
    ) -> Result<Vec<(Version, Component)>, Refusal> {
        let reader = handle.reader(&self.0);
        let mut found = Vec::new();
        for (version, release) in view.facts.releases.iter() {
            for pin in release.file.pins.values() {
                let Some(build) = view.facts.build(&pin.build) else { continue };
                let source = Revision { repository: build.spec.repository.clone(), commit: pin.source.clone() };
                let described = match reader.described(&source, &pin.config, Some(&pin.build.component)).await {
                    // Its source is not here: it cannot come back as it is.
                    Err(PortError::Terminal(_)) => continue,
                    described => described?,
                };
                if let Some(Ok(described)) = described
                    && crate::given::named(&described.file).contains(secret)
                {
                    found.push((version.clone(), pin.build.component.clone()));
                }
            }
        }
        Ok(found)
    }

    /// Makes a new key and encrypts every secret of a project to it. The values stay, so nothing is rolled.
    pub async fn renew_secrets(&self, project: &Project, actor: &str) -> Result<(String, Option<CommitId>), Refusal> {
        self.look(project).await?;
        let port = self.0.ports.secrets.clone();
        let recipient = port.renew()?;
        let commit = self
            .rewrite(project, actor, |snapshot| {
                let config = parse_config(snapshot);
                let mut files = BTreeMap::new();
                for secret in config.secrets.values().flatten() {
                    let path = format!("secrets/{}.yaml", secret.name);
                    let mut content = text(snapshot, &path)?;
                    for (key, values) in &secret.keys {
                        for (place, value) in values {
                            let plain = port.open(&value.sealed).map_err(|why| {
                                Refusal::Refused(value.problem(key, place, why.to_string()).to_string())
                            })?;
                            let sealed = port.seal(&plain)?.to_string();
                            content = edit::set(&path, &content, &[key, place], &sealed).map_err(Refusal::Refused)?;
                        }
                    }
                    files.insert(path, Some(content));
                }
                let message = "secrets: encrypted to a new key\n".to_owned();
                Ok((!files.is_empty()).then_some((files, message)))
            })
            .await?;
        Ok((recipient, commit))
    }

    /// One commit on main: decided again whenever somebody was faster, and never one that breaks a file.
    async fn rewrite(
        &self,
        project: &Project,
        actor: &str,
        decide: impl Fn(&Snapshot) -> Result<Edit, Refusal>,
    ) -> Result<Option<CommitId>, Refusal> {
        self.look(project).await?;
        let decide = |snapshot: &_| {
            let Some((files, message)) = decide(snapshot)? else { return Ok(None) };
            sound(snapshot, &files)?;
            let files = files.into_iter().map(|(path, content)| (path, content.map(String::into_bytes))).collect();
            Ok(Some(write::Edit { files, message }))
        };
        self.edit(project, actor, decide).await
    }
}

/// What holds in each environment, as it may be shown.
fn cells<T: PartialEq>(
    chains: &[Chain],
    values: &BTreeMap<String, T>,
    shown: impl Fn(&T) -> Result<String, PortError>,
) -> Result<BTreeMap<Environment, SettingCell>, Refusal> {
    let mut cells = BTreeMap::new();
    for chain in chains {
        if let Ok(Some((place, value))) = chain.find(values) {
            cells.insert(chain.environment.clone(), SettingCell { value: shown(value)?, place: place.to_owned() });
        }
    }
    Ok(cells)
}

/// Whose pins name a secret, and where: at head, and admitted.
fn users(view: &View, secret: &Group) -> BTreeSet<(Component, Environment)> {
    let mut users = BTreeSet::new();
    for (environment, commit) in promote::compared(&view.facts).standing {
        let Some(Ok(state)) = view.facts.state(&commit, &environment) else { continue };
        for pin in state.pins.values() {
            let input = view.facts.inputs.get(&pin.build, &pin.config);
            if input.is_some_and(|input| input.secrets.contains(secret)) {
                users.insert((pin.build.component.clone(), environment.clone()));
            }
        }
    }
    users
}

fn text(snapshot: &Snapshot, path: &str) -> Result<String, Refusal> {
    match snapshot.text(path) {
        Some(Ok(text)) => Ok(text.to_owned()),
        Some(Err(_)) => Err(Refusal::Refused(format!("{path}: it is not UTF-8"))),
        None => Ok(String::new()),
    }
}

fn edited(snapshot: &Snapshot, files: &BTreeMap<String, Option<String>>) -> Config {
    let mut after = snapshot.clone();
    for (path, content) in files {
        match content {
            Some(text) => {
                after.files.insert(path.clone(), File { mode: FileMode::Regular, bytes: text.as_bytes().into() });
            }
            None => drop(after.files.remove(path)),
        }
    }
    parse_config(&after)
}

/// Refuses what brings a problem that was not there before.
fn sound(snapshot: &Snapshot, files: &BTreeMap<String, Option<String>>) -> Result<(), Refusal> {
    let before = parse_config(snapshot).problems();
    let mut problems = edited(snapshot, files).problems();
    problems.retain(|problem| !before.contains(problem));
    match problems.is_empty() {
        true => Ok(()),
        false => Err(Refusal::Refused(format!("nothing was changed: {}", problems.join("; ")))),
    }
}

/// Refuses to take away what a release names: in every environment that has it before, it is there afterwards.
fn still_released(
    snapshot: &Snapshot,
    path: &str,
    content: Option<&str>,
    secret: &Group,
    key: Option<&str>,
    released: &[(Version, Component)],
) -> Result<(), String> {
    let Some((version, component)) = released.last() else { return Ok(()) };
    let before = parse_config(snapshot);
    let after = edited(snapshot, &BTreeMap::from([(path.to_owned(), content.map(str::to_owned))]));
    let has = |config: &Config, environment: &Environment| {
        let file = config.secrets.get(secret).and_then(|secret| secret.as_ref().ok());
        file.and_then(|file| file.resolve(&config.chain(environment)).ok()).is_some_and(|found| match key {
            None => true,
            Some(key) => found.contains_key(key),
        })
    };
    match before.environments.keys().find(|environment| has(&before, environment) && !has(&after, environment)) {
        None => Ok(()),
        Some(environment) => {
            let what = key.map_or_else(|| format!("secret {secret}"), |key| format!("{key} of secret {secret}"));
            Err(format!(
                "{what} for {environment} is used by {component} in release {version}, which may be brought back: it stays"
            ))
        }
    }
}

/// Refuses to take away what a pin names.
fn still_there(
    snapshot: &Snapshot,
    path: &str,
    content: Option<&str>,
    secret: &Group,
    key: Option<&str>,
    used: &BTreeSet<(Component, Environment)>,
) -> Result<(), String> {
    let after = edited(snapshot, &BTreeMap::from([(path.to_owned(), content.map(str::to_owned))]));
    let left = after.secrets.get(secret).and_then(|secret| secret.as_ref().ok());
    for (component, environment) in used {
        let has = |file: &render::settings::SecretFile| match key {
            None => false,
            Some(key) => file.resolve(&after.chain(environment)).is_ok_and(|found| found.contains_key(key)),
        };
        if !left.is_some_and(has) {
            let what = key.map_or_else(|| format!("secret {secret}"), |key| format!("{key} of secret {secret}"));
            return Err(format!(
                "{what} is used by {component} in {environment}: take it out of the component's description and promote that first"
            ));
        }
    }
    Ok(())
}
