//! What would stand in an environment, without asking its cluster.

use crate::Inner;
use crate::config::Config;
use crate::project::{Handle, View};
use crate::sealing;
use crate::sketch::{Sketch, Values};
use model::change::ObjectDifference;
use model::flow::{Action, ObjectId, Repository};
use model::ports::PortError;
use model::{BuildId, Environment, Pin};
use promote::State;
use render::kustomize::Cache;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// A digest of the whole template: it says no more than what it is of.
const TEMPLATE: &str = "trimtab.dev/template";

/// What stands, or would: pins with their rules and what is read beside them.
pub struct Side {
    pub state: State,
    /// At the commit that is, or would be, admitted.
    pub config: Arc<Config>,
}

/// Renders for one project.
pub struct Renderer<'a> {
    pub inner: &'a Inner,
    pub handle: &'a Handle,
    pub view: &'a View,
    /// Builds that are not made yet, and where their source is.
    pub proposed: BTreeMap<BuildId, Repository>,
    /// Overlays that were built for the other side, or another environment.
    pub overlays: Cache,
}

/// Objects by their name for people, and what could not be rendered.
#[derive(Default)]
pub struct Objects {
    pub objects: BTreeMap<String, Value>,
    pub problems: Vec<String>,
}

impl Renderer<'_> {
    /// Everything that one side describes. Values of secrets are keyed digests.
    pub async fn objects(&self, environment: &Environment, side: Option<&Side>) -> Result<Objects, PortError> {
        let mut found = Objects::default();
        let Some(side) = side else { return Ok(found) };
        let mut digests = sealing::Digests::default();
        for pin in side.state.pins.values() {
            match self.pin(environment, side, pin, &mut digests).await? {
                Ok(objects) => found.objects.extend(objects.into_iter().map(|object| (title(&object), object))),
                Err(problem) => found.problems.push(format!("{}: {problem}", pin.build)),
            }
        }
        Ok(found)
    }

    async fn pin(
        &self,
        environment: &Environment,
        side: &Side,
        pin: &Pin,
        digests: &mut sealing::Digests,
    ) -> Result<Result<Vec<Value>, String>, PortError> {
        let known = self.view.facts.build(&pin.build).map(|build| &build.spec.repository);
        let Some(repository) = self.proposed.get(&pin.build).or(known) else {
            return Ok(Err("its build is not known here".to_owned()));
        };
        let sketch = Sketch {
            inner: self.inner,
            handle: self.handle,
            environment,
            state: &side.state,
            config: &side.config,
            head: &self.view.config,
            overlays: &self.overlays,
        };
        let made = self.view.facts.build(&pin.build).map_or(self.view.facts.now, |build| build.spec.created);
        let objects = sketch.objects(pin, repository, made, Values::Holding(digests)).await?;
        Ok(objects.map(|mut objects| {
            objects.iter_mut().for_each(without_digest);
            objects
        }))
    }
}

fn without_digest(object: &mut Value) {
    let annotations = object.pointer_mut("/spec/template/metadata/annotations").and_then(Value::as_object_mut);
    if let Some(annotations) = annotations {
        annotations.shift_remove(TEMPLATE);
    }
}

/// `Deployment.apps web`.
fn title(object: &Value) -> String {
    let id = ObjectId::of(object);
    let group = if id.group.is_empty() { String::new() } else { format!(".{}", id.group) };
    format!("{}{group} {}", id.kind, id.name)
}

/// What is different between two sets of objects, as YAML.
pub fn differences(before: &BTreeMap<String, Value>, after: &BTreeMap<String, Value>) -> Vec<ObjectDifference> {
    let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let text = |value: Option<&Value>| value.map_or(String::new(), yaml::to_string);
    let one = |name: &String| {
        let (old, new) = (before.get(name), after.get(name));
        let action = match (old, new) {
            (None, _) => Action::Create,
            (_, None) => Action::Delete,
            _ if old == new => return None,
            _ => Action::Configure,
        };
        Some(ObjectDifference { object: name.clone(), action, diff: object::unified(&text(old), &text(new)) })
    };
    names.into_iter().filter_map(one).collect()
}
