//! From the chart of a pin to manifests: values, the release's secret, and what `lookup` finds.

use super::{Recorded, Target, Work};
use crate::Inner;
use crate::config::Config;
use crate::given::{self, SealedValue};
use crate::lacks::{self, Lack};
use jiff::Timestamp;
use model::chart::ChartRule;
use model::config::{ComponentFile, EnvironmentFile};
use model::flow::{Manifests, Observation, Revision};
use model::ports::{Capabilities, PortError};
use model::{Component, Environment, Pin, Project};
use render::helm::Lookup;
use render::kustomize::Charts;
use serde_json::{Value, json};
use std::sync::{Arc, Mutex, PoisonError};

/// What templates asked the cluster for, and what it answered.
type Asked = Vec<([String; 4], Value)>;

/// A chart that was rendered, by what it was made of.
pub(super) struct Known {
    pin: Pin,
    file: EnvironmentFile,
    values: Vec<(String, String)>,
    secrets: Vec<SealedValue>,
    is_upgrade: bool,
    revision: u32,
    capabilities: Option<Arc<Recorded>>,
    asked: Asked,
    manifests: Manifests,
}

/// What passwords and keys of a component's chart follow from in an environment.
fn seed_of(project: &Project, environment: &Environment, component: &Component) -> String {
    format!("chart {project}/{environment}/{component}")
}

impl Inner {
    /// What the charts that a component's overlay names are rendered with, for a build that was asked for then.
    ///
    /// # Errors
    /// The keys cannot be read.
    pub(crate) fn overlay_charts(
        &self,
        project: &Project,
        environment: &Environment,
        component: &Component,
        made: Timestamp,
    ) -> Result<Charts, PortError> {
        let seed = self.ports.secrets.seed(&seed_of(project, environment, component))?;
        Ok(Charts::in_cluster(seed, made))
    }

    /// The files of values of a component's chart in an environment.
    ///
    /// # Errors
    /// The outer one: its repository cannot be read now. The inner one, for people.
    pub(crate) async fn chart_values(
        &self,
        file: &ComponentFile,
        rule: &ChartRule,
        revision: &Revision,
        layers: &[Environment],
        config: &Config,
    ) -> Result<Result<Vec<(String, String)>, String>, PortError> {
        let source = match revision.repository.is_config() {
            true => None,
            false => Some(self.ports.repositories.snapshot(revision, ".").await?),
        };
        Ok(render::values_of(file, rule, layers, source.as_ref(), &config.values))
    }
}

/// A chart where no cluster is asked: a difference, or a plan of what is proposed.
pub struct Drawn<'a> {
    pub pin: &'a Pin,
    pub file: &'a ComponentFile,
    /// Where the component's source is.
    pub revision: &'a Revision,
    pub environment: &'a Environment,
    pub rules: &'a EnvironmentFile,
    /// The environment, then those that it is like.
    pub layers: &'a [Environment],
    /// The config repository at the pin's commit.
    pub config: &'a Config,
    /// And on main: secrets are read there.
    pub head: &'a Config,
    /// When the build was asked for.
    pub made: Timestamp,
    /// What the environment's cluster could do when something was rendered for it last.
    pub capabilities: Option<Arc<Recorded>>,
}

impl Inner {
    /// What a chart stands for as far as that can be said without a cluster: `lookup` finds nothing, and it is an upgrade.
    ///
    /// # Errors
    /// The outer one: something cannot be read now. The inner one, for people.
    pub(crate) async fn draw(&self, drawn: &Drawn<'_>) -> Result<Result<Manifests, String>, PortError> {
        let Drawn { pin, file, revision, environment, rules, layers, config, head, made, .. } = *drawn;
        let Some(rule) = &file.chart else { return Ok(Err("it is no chart".to_owned())) };
        let values = match self.chart_values(file, rule, revision, layers, config).await? {
            Ok(values) => values,
            Err(problem) => return Ok(Err(problem)),
        };
        let chart = match self.chart_of(pin, file, revision, head).await? {
            Ok(chart) => chart,
            Err(problem) => return Ok(Err(problem)),
        };
        let secrets = match given::opened(&*self.ports.secrets, &drawn_secrets(file, head, environment))? {
            Ok(secrets) => secrets,
            Err(problem) => return Ok(Err(problem)),
        };
        let rendered = render::charted(render::Charted {
            component: file,
            pin,
            environment,
            file: rules,
            chart: &chart,
            values,
            seed: self.ports.secrets.seed(&seed_of(&file.project, environment, &file.component))?,
            now: made,
            is_upgrade: true,
            revision: 1,
            capabilities: drawn.capabilities.as_ref().map(|recorded| &recorded.capabilities),
            secrets: &secrets,
            lookup: None,
        });
        Ok(rendered.map_err(|error| error.to_string()))
    }
}

/// Those that are there: what lacks is said where it is to run.
fn drawn_secrets(file: &ComponentFile, head: &Config, environment: &Environment) -> Vec<SealedValue> {
    given::sealed(file, head, &head.chain(environment)).unwrap_or_default()
}

impl Work {
    /// The objects of a component's chart. As long as nothing that they are made of differs, they are kept; that holds
    /// for what `lookup` found too.
    ///
    /// # Errors
    /// The outer one: something cannot be read now. The next: it cannot be rendered, for people. The inner one: its
    /// archive is not here.
    pub(super) async fn chart(
        &mut self,
        pin: &Pin,
        file: &ComponentFile,
        revision: &Revision,
        target: &Target,
        (admitted, config): (&Config, &Config),
        observation: &Arc<Observation>,
    ) -> Result<Result<Result<Manifests, Lack>, String>, PortError> {
        let Some(rule) = &file.chart else { return Ok(Err(format!("{}: it is no chart", pin.build))) };
        let component = &pin.build.component;
        let layers = admitted.layers(&self.handle.name);
        let values = match self.inner.chart_values(file, rule, revision, &layers, config).await? {
            Ok(values) => values,
            Err(problem) => return Ok(Err(format!("{}: {problem}", pin.build))),
        };
        let chain = admitted.chain(&self.handle.name);
        let secrets = match given::sealed(file, admitted, &chain) {
            Ok(secrets) => secrets,
            Err(problem) => return Ok(Err(format!("{}: {problem}", pin.build))),
        };
        let is_upgrade = target.movement(component).is_upgrade();
        let number = target.revisions.get(component).copied().unwrap_or(1);
        let capabilities = self.capabilities.clone();
        if let Some(known) = self.charted.get(component)
            && known.pin == *pin
            && known.file == target.state.file
            && known.values == values
            && known.secrets == secrets
            && (known.is_upgrade, known.revision) == (is_upgrade, number)
            && can(&known.capabilities) == can(&capabilities)
            && known.asked.iter().all(|(query, answer)| look_up(observation, query) == *answer)
        {
            return Ok(Ok(Ok(known.manifests.clone())));
        }
        let chart = match self.inner.chart_of(pin, file, revision, admitted).await? {
            Ok(chart) => chart,
            Err(message) => return Ok(Ok(Err(Lack { reason: lacks::CHART, message }))),
        };
        let given = match given::opened(&*self.inner.ports.secrets, &secrets)? {
            Ok(given) => given,
            Err(problem) => return Ok(Err(format!("{}: {problem}", pin.build))),
        };
        let asked: Arc<Mutex<Asked>> = Arc::default();
        let seed = seed_of(&self.handle.scope.project, &self.handle.name, component);
        let made = render::charted(render::Charted {
            component: file,
            pin,
            environment: &self.handle.name,
            file: &target.state.file,
            chart: &chart,
            values: values.clone(),
            seed: self.inner.ports.secrets.seed(&seed)?,
            now: target.made.get(&pin.build).copied().unwrap_or_default(),
            is_upgrade,
            revision: number,
            capabilities: can(&capabilities),
            secrets: &given,
            lookup: Some(lookup(observation.clone(), asked.clone())),
        });
        let manifests = match made {
            Ok(manifests) => manifests,
            Err(error) => return Ok(Err(error.to_string())),
        };
        let asked = std::mem::take(&mut *asked.lock().unwrap_or_else(PoisonError::into_inner));
        let (pin, file) = (pin.clone(), target.state.file.clone());
        let kept = manifests.clone();
        let known =
            Known { pin, file, values, secrets, is_upgrade, revision: number, capabilities, asked, manifests: kept };
        self.charted.insert(component.clone(), known);
        Ok(Ok(Ok(manifests)))
    }
}

fn can(recorded: &Option<Arc<Recorded>>) -> Option<&Capabilities> {
    recorded.as_ref().map(|recorded| &recorded.capabilities)
}

fn lookup(observation: Arc<Observation>, asked: Arc<Mutex<Asked>>) -> Lookup {
    Box::new(move |api_version, kind, namespace, name| {
        let query = [api_version, kind, namespace, name].map(str::to_owned);
        let answer = look_up(&observation, &query);
        let mut asked = asked.lock().unwrap_or_else(PoisonError::into_inner);
        if !asked.iter().any(|(other, _)| *other == query) {
            asked.push((query, answer.clone()));
        }
        Ok(answer)
    })
}

/// The object of this `apiVersion`, kind, namespace and name; without a name, all of them as a list; nothing is an empty
/// map, as helm has it. Only what the environment owns is seen.
fn look_up(observation: &Observation, [api_version, kind, namespace, name]: &[String; 4]) -> Value {
    let of_it = |object: &&Value| {
        object["apiVersion"] == **api_version
            && object["kind"] == **kind
            && (namespace.is_empty() || object["metadata"]["namespace"] == **namespace)
            && (name.is_empty() || object["metadata"]["name"] == **name)
    };
    let mut found = observation.values().filter(of_it);
    match name.is_empty() {
        false => found.next().cloned().unwrap_or_else(|| json!({})),
        true => {
            let items: Vec<&Value> = found.collect();
            json!({ "apiVersion": api_version, "kind": format!("{kind}List"), "items": items })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::ObjectId;

    #[test]
    fn lookup_finds_what_stands_in_the_environment() {
        let secret = |name: &str| json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": "shop-dev"}});
        let objects = ["a", "b"].map(|name| (ObjectId::of(&secret(name)), secret(name)));
        let observation: Observation = objects.into_iter().map(|(_, object)| object).collect();
        let ask = |query: [&str; 4]| look_up(&observation, &query.map(str::to_owned));
        assert_eq!(ask(["v1", "Secret", "shop-dev", "a"]), secret("a"));
        assert_eq!(ask(["v1", "Secret", "other", "a"]), json!({}));
        assert_eq!(ask(["apps/v1", "Secret", "shop-dev", "a"]), json!({}));
        let all = ask(["v1", "Secret", "shop-dev", ""]);
        assert_eq!((all["kind"].as_str(), all["items"].as_array().unwrap().len()), (Some("SecretList"), 2));
    }
}
