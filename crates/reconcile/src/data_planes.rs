//! Data planes on request: describing them in the config repository, and how they stand.

use crate::Reconciler;
use crate::config::parse_config;
use crate::project::View;
use crate::requests::{Refusal, known_environment};
use crate::write::Edit;
use model::views::DataPlaneStatus;
use model::{CommitId, DataPlaneFile, DataPlaneName, Environment, Project};

impl Reconciler {
    /// Writes `dataplanes/<name>.yaml`, or deletes it, by a commit. `None`: it stood so already.
    pub async fn describe_data_plane(
        &self,
        project: &Project,
        name: &DataPlaneName,
        file: Option<&DataPlaneFile>,
        actor: &str,
    ) -> Result<Option<CommitId>, Refusal> {
        let (_, view) = self.look(project).await?;
        if file.is_none() {
            if !view.config.data_planes.contains_key(name) {
                return Err(unknown(&view, name));
            }
            let users = users(&view, name);
            if let Some(first) = users.first() {
                let names: Vec<&str> = users.iter().map(Environment::as_str).collect();
                return Err(Refusal::Refused(format!(
                    "{} still runs on {name}: change dataPlane in environments/{first}.yaml first",
                    names.join(", ")
                )));
            }
        }
        let path = format!("dataplanes/{name}.yaml");
        let decide = |snapshot: &_| {
            let config = parse_config(snapshot);
            let there = config.data_planes.get(name);
            if there.map(|read| read.as_ref().ok()) == file.map(Some) {
                return Ok(None);
            }
            let verb = match (there, file) {
                (_, None) => "remove",
                (None, _) => "add",
                (Some(_), _) => "change",
            };
            let files = [(path.clone(), file.map(|file| text(file).into_bytes()))].into();
            Ok(Some(Edit { files, message: format!("dataplanes: {verb} {name}\n") }))
        };
        self.edit(project, actor, decide).await
    }

    /// All that the config repository describes. `registry` is empty where it does not say one.
    pub async fn data_planes(&self, project: &Project) -> Result<Vec<DataPlaneStatus>, Refusal> {
        let (_, view) = self.look(project).await?;
        let status = |(name, read): (&DataPlaneName, &Result<DataPlaneFile, String>)| {
            let file = read.clone().unwrap_or_default();
            DataPlaneStatus {
                name: name.clone(),
                registry: file.registry.map(|registry| registry.to_string()).unwrap_or_default(),
                reachable: file.reachable,
                environments: users(&view, name),
                problem: read.clone().err().or_else(|| view.facts.unreachable.get(name).cloned()),
            }
        };
        Ok(view.config.data_planes.iter().map(status).collect())
    }

    /// Where an environment runs now; `None` on the embedded data plane.
    pub async fn data_plane(
        &self,
        project: &Project,
        environment: &Environment,
    ) -> Result<Option<(DataPlaneName, DataPlaneFile)>, Refusal> {
        let (handle, view) = self.look(project).await?;
        known_environment(&view, environment)?;
        let target = handle.environment(environment).and_then(|environment| environment.target());
        let Some(plane) = target.as_ref().and_then(|target| target.plane.as_ref()) else { return Ok(None) };
        let file = plane.file.clone().map_err(Refusal::Refused)?;
        Ok(Some((plane.name.clone(), file)))
    }

    /// A credential of a data plane has changed: everything on it is looked at again.
    pub fn data_plane_changed(&self, project: &Project) {
        if let Some(handle) = self.project(project) {
            handle.environments().iter().for_each(|environment| environment.wake());
            handle.wake();
        }
    }
}

/// Environments that name it on main, or run there still.
fn users(view: &View, name: &DataPlaneName) -> Vec<Environment> {
    let on_main = |environment: &&Environment| {
        let reading = view.config.environments.get(*environment).and_then(|reading| reading.as_ref().ok());
        reading.is_some_and(|state| state.file.remote() == Some(name))
    };
    view.facts.environments.iter().filter(on_main).cloned().collect()
}

fn unknown(view: &View, name: &DataPlaneName) -> Refusal {
    let known: Vec<&str> = view.config.data_planes.keys().map(DataPlaneName::as_str).collect();
    let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
    Refusal::NotFound(format!("there is no data plane {name}; there is: {known}"))
}

fn text(file: &DataPlaneFile) -> String {
    let mut text =
        "# Another cluster. Its kubeconfig is kept by each instance, never here: trimtab dataplane add\n".to_owned();
    if let Some(context) = &file.context {
        text.push_str(&format!("context: {}\n", serde_json::Value::from(context.as_str())));
    }
    if let Some(registry) = &file.registry {
        text.push_str(&format!("registry: \"{registry}\"\n"));
    }
    text.push_str(&format!("reachable: {}\n", file.reachable));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_back_the_same() {
        for file in [
            DataPlaneFile::default(),
            DataPlaneFile {
                context: Some("a: \"b\"\n#".into()),
                registry: Some("127.0.0.1:7181".parse().unwrap()),
                reachable: true,
            },
        ] {
            assert_eq!(yaml::from_str::<DataPlaneFile>(&text(&file), "dataplanes/edge.yaml").unwrap(), file);
        }
    }
}
