//! What a pin stands for where no cluster is asked: for differences, reviews and policies.

use crate::Inner;
use crate::config::Config;
use crate::environment::{Drawn, tested};
use crate::project::Handle;
use crate::{elsewhere, inputs, sealing};
use jiff::Timestamp;
use model::config::{ComponentFile, ComponentType};
use model::flow::{Manifests, Repository, Revision};
use model::ports::PortError;
use model::settings::{Chain, Use};
use model::{Environment, Pin};
use promote::State;
use render::kustomize::Cache;
use render::settings::{Resolved, SealedSecret, Settings};
use serde_json::Value;
use std::collections::BTreeMap;

/// An environment as it is, would be, or was.
pub(crate) struct Sketch<'a> {
    pub inner: &'a Inner,
    pub handle: &'a Handle,
    pub environment: &'a Environment,
    /// The pins that stand together, with the environment's rules.
    pub state: &'a State,
    /// Where values and secrets are looked for.
    pub config: &'a Config,
    /// What main allows to be reached, not what is proposed.
    pub head: &'a Config,
    /// Overlays that were built for another pin or environment.
    pub overlays: &'a Cache,
}

/// What stands for the values of groups and secrets.
pub(crate) enum Values<'a> {
    /// What holds in the environment, secrets as keyed digests; that there is none is a problem.
    Holding(&'a mut sealing::Digests),
    /// Groups that hold nothing here are empty. Values of secrets are those of the environment and not of the pin, so
    /// none are shown.
    OfPin,
}

impl Sketch<'_> {
    /// The objects of a pin, Secrets masked. `made`: when its build was asked for.
    ///
    /// # Errors
    /// The outer one: something cannot be read now. The inner one, for people.
    pub async fn objects(
        &self,
        pin: &Pin,
        repository: &Repository,
        made: Timestamp,
        values: Values<'_>,
    ) -> Result<Result<Vec<Value>, String>, PortError> {
        let reader = self.handle.reader(self.inner);
        let revision = Revision { repository: repository.clone(), commit: pin.source.clone() };
        let described = match reader.described(&revision, &pin.config, Some(&pin.build.component)).await {
            Err(PortError::Terminal(why)) => return Ok(Err(why)),
            described => described?,
        };
        let file = match described {
            Some(Ok(described)) => described.file,
            Some(Err(problem)) => return Ok(Err(problem)),
            None => return Ok(Err(format!("its commit has no {}", crate::config::COMPONENT_FILE))),
        };
        let config = reader.config(&self.handle.config, &pin.config).await?;
        let port = &*self.inner.ports.secrets;
        let chain = self.config.chain(self.environment);
        let settings = match values {
            Values::OfPin => shown(&file, &config, &chain),
            Values::Holding(digests) => {
                let groups = match inputs::groups(&file, &config, &chain) {
                    Ok(groups) => groups,
                    Err(problem) => return Ok(Err(problem)),
                };
                match digests.secrets(port, &file, self.config, &chain)? {
                    Ok((secrets, _)) => Settings { groups, secrets },
                    Err(problem) => return Ok(Err(problem)),
                }
            }
        };
        let mut objects = match self.manifests(pin, &file, &revision, &config, &settings, made).await? {
            Ok(manifests) => manifests.objects,
            Err(problem) => return Ok(Err(problem)),
        };
        sealing::mask_manifests(port, objects.iter_mut())?;
        Ok(Ok(objects))
    }

    async fn manifests(
        &self,
        pin: &Pin,
        file: &ComponentFile,
        revision: &Revision,
        config: &Config,
        settings: &Settings,
        made: Timestamp,
    ) -> Result<Result<Manifests, String>, PortError> {
        let Self { environment, state, .. } = *self;
        let layers = &self.config.layers(environment);
        if file.chart.is_some() {
            let (rules, head) = (&state.file, self.head);
            let capabilities = self.handle.capabilities(environment);
            let drawn = Drawn { pin, file, revision, environment, rules, layers, config, head, made, capabilities };
            return self.inner.draw(&drawn).await;
        }
        if file.manifests.is_some() {
            let charts = self.inner.overlay_charts(&file.project, environment, &file.component, made)?;
            let input = elsewhere::Overlay {
                component: file,
                pin,
                environment,
                layers,
                file: &state.file,
                charts,
                cache: self.overlays,
            };
            let repositories = &*self.inner.ports.repositories;
            let made = elsewhere::described(repositories, &input, revision, self.head.remotes()).await?;
            return Ok(made.map_err(|error| error.to_string()));
        }
        let input = render::Input { component: file, pin, environment, file: &state.file, settings };
        let made = match file.kind {
            ComponentType::TestRunner => {
                let (release, builds, state) = tested(state);
                let release = release.as_deref();
                render::test_run(&input, &render::Tested { release, builds: &builds, state: &state })
            }
            _ => render::render(&input),
        };
        Ok(made.map_err(|error| error.to_string()))
    }
}

fn shown(component: &ComponentFile, config: &Config, chain: &Chain) -> Settings {
    let workload = &component.workload;
    let group = |used: &Use| {
        let read = config.groups.get(&used.name).and_then(|group| group.as_ref().ok());
        let nothing =
            || Resolved { name: used.name.clone(), data: BTreeMap::new(), files: BTreeMap::new(), mount_path: None };
        read.and_then(|group| group.resolve(chain, used.mount_path.clone()).ok()).unwrap_or_else(nothing)
    };
    let secret = |used: &Use| SealedSecret {
        name: used.name.clone(),
        values: BTreeMap::new(),
        mount_path: used.mount_path.clone(),
    };
    Settings {
        groups: workload.config_groups.iter().map(group).collect(),
        secrets: workload.secrets.iter().map(secret).collect(),
    }
}
