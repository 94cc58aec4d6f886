//! From the pins of a target to manifests.

use super::{Target, Work};
use crate::config::Config;
use crate::lacks::Lack;
use crate::{elsewhere, inputs, sealing};
use model::config::{ComponentFile, ComponentType, EnvironmentFile};
use model::flow::{Manifests, Observation, Repository, Revision};
use model::ports::PortError;
use model::{Component, Environment, Pin};
use std::collections::BTreeSet;
use std::sync::Arc;

/// What the objects depend on that a component describes itself.
pub(super) type Ingredients = (Pin, EnvironmentFile, Vec<Environment>);

/// A component of the target with its manifests.
pub struct Rendered {
    pub pin: Pin,
    pub(super) file: ComponentFile,
    pub manifests: Manifests,
    /// What is sealed behind the masks of its Secrets.
    pub(super) behind: sealing::Behind,
    /// It is held: its manifests are not applied.
    pub lacks: Option<Lack>,
}

/// What was rendered, and the pins that cannot be.
pub(super) struct Rendering {
    pub(super) rendered: Vec<Rendered>,
    pub(super) sourceless: Vec<(Pin, Lack)>,
}

impl Rendering {
    pub(super) fn held(&self) -> BTreeSet<Component> {
        let lacking = self.rendered.iter().filter(|one| one.lacks.is_some()).map(|one| &one.pin);
        lacking.chain(self.sourceless.iter().map(|(pin, _)| pin)).map(|pin| pin.build.component.clone()).collect()
    }
}

impl Work {
    pub(super) async fn render(
        &mut self,
        target: &Target,
        observation: &Arc<Observation>,
    ) -> Result<Result<Rendering, String>, PortError> {
        let (mut rendered, mut sourceless) = (Vec::new(), Vec::new());
        let configuration = Repository::config(&self.handle.scope.project);
        let project = self.project.clone();
        let reader = project.reader(&self.inner);
        // Secrets, and where values are looked for, are read at the admitted commit; everything else at the pin's.
        let admitted = reader.config(&configuration, &target.commit).await?;
        let chain = admitted.chain(&self.handle.name);
        let tested = super::testing::tested(&target.state);
        for pin in target.state.pins.values() {
            let Some(repository) = target.sources.get(&pin.build) else {
                return Ok(Err(format!("{}: its build is not known here", pin.build)));
            };
            let revision = Revision { repository: repository.clone(), commit: pin.source.clone() };
            let described = match reader.described(&revision, &pin.config, Some(&pin.build.component)).await {
                Err(PortError::Terminal(error)) => {
                    sourceless.push((pin.clone(), self.inner.source_lack(pin, repository, &error)));
                    continue;
                }
                described => described?,
            };
            let file = match described {
                Some(Ok(described)) => described.file,
                Some(Err(problem)) => return Ok(Err(format!("{}: {problem}", pin.build))),
                None => return Ok(Err(format!("{}: its commit has no {}", pin.build, crate::config::COMPONENT_FILE))),
            };
            let config = reader.config(&configuration, &pin.config).await?;
            let groups = match inputs::groups(&file, &config, &chain) {
                Ok(groups) => groups,
                Err(problem) => return Ok(Err(format!("{}: {problem}", pin.build))),
            };
            let (secrets, behind) = match self.digests.secrets(&*self.inner.ports.secrets, &file, &admitted, &chain)? {
                Ok(found) => found,
                Err(problem) => return Ok(Err(format!("{}: {problem}", pin.build))),
            };
            let settings = render::settings::Settings { groups, secrets };
            let input = render::Input {
                component: &file,
                pin,
                environment: &self.handle.name,
                file: &target.state.file,
                settings: &settings,
            };
            let made = match (&file.chart, &file.manifests) {
                (None, None) if file.kind == ComponentType::TestRunner => {
                    let (release, builds, state) = &tested;
                    let release = release.as_ref().map(String::as_str);
                    render::test_run(&input, &render::Tested { release, builds, state })
                }
                (None, None) => render::render(&input),
                (None, Some(_)) => self.describe(pin, &file, &revision, target, &admitted).await?,
                (Some(_), _) => {
                    let at = (&*admitted, &*config);
                    match self.chart(pin, &file, &revision, target, at, observation).await? {
                        Ok(Ok(manifests)) => Ok(manifests),
                        Ok(Err(lack)) => {
                            sourceless.push((pin.clone(), lack));
                            continue;
                        }
                        Err(problem) => return Ok(Err(problem)),
                    }
                }
            };
            match made {
                Ok(manifests) => {
                    let lacks = self.inner.image_lack(pin).await?;
                    rendered.push(Rendered { pin: pin.clone(), file, manifests, behind, lacks });
                }
                Err(error) => return Ok(Err(error.to_string())),
            }
        }
        Ok(Ok(Rendering { rendered, sourceless }))
    }

    /// The objects that a component describes itself. A pin's never change in one environment: they are kept.
    async fn describe(
        &mut self,
        pin: &Pin,
        file: &ComponentFile,
        revision: &Revision,
        target: &Target,
        admitted: &Config,
    ) -> Result<Result<Manifests, render::Error>, PortError> {
        let layers = admitted.layers(&self.handle.name);
        let key = (pin.clone(), target.state.file.clone(), layers.clone());
        let component = pin.build.component.clone();
        if let Some((known, manifests)) = self.described.get(&component)
            && *known == key
        {
            return Ok(Ok(manifests.clone()));
        }
        let made = target.made.get(&pin.build).copied().unwrap_or_default();
        let charts = self.inner.overlay_charts(&self.handle.scope.project, &self.handle.name, &component, made)?;
        let overlay = elsewhere::Overlay {
            component: file,
            pin,
            environment: &self.handle.name,
            layers: &layers,
            file: &target.state.file,
            charts,
            cache: &self.overlays,
        };
        let repositories = &*self.inner.ports.repositories;
        let made = elsewhere::described(repositories, &overlay, revision, &target.remotes).await?;
        if let Ok(manifests) = &made {
            self.described.insert(component, (key, manifests.clone()));
        }
        Ok(made)
    }
}
