//! Policies: rules in CEL over what would stand. Compiled once, judged over values, within a bound.

mod compile;
mod meter;
mod starter;
#[cfg(test)]
mod tests;
mod value;

pub use compile::Mistake;
pub use starter::STARTER;
pub use value::images;

use cel::common::types::{CelBool, CelMap, CelMapKey, CelNull, CelString};
use cel::common::value::Val;
use cel::{Context, Value as Answer};
use compile::{Expression, VARIABLES, compile, with_room};
use meter::{ENV, FUEL, Fuel};
use model::flow::Action;
use model::policy::{PolicyAction, PolicyFile};
use model::views::PolicyResult;
use model::{Component, Environment, GROUP, ObjectId, Project, VERSION};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

/// Rules and variables of one policy.
const PARTS_MAX: usize = 32;
/// What judging one object may cost, see [`meter`].
const FUEL_EACH: u64 = 100_000;
/// What judging everything by one policy may cost.
const FUEL_ALL: u64 = 2_000_000;
/// Characters of a message.
const MESSAGE_MAX: usize = 500;
/// Things that break one policy and are told each.
const TOLD_MAX: usize = 20;

/// A policy that compiled.
#[derive(Debug, Clone)]
pub struct Policy {
    /// That of its file.
    pub name: String,
    /// As it was written.
    pub file: PolicyFile,
    compiled: Arc<Compiled>,
}

impl PartialEq for Policy {
    fn eq(&self, other: &Self) -> bool {
        (&self.name, &self.file) == (&other.name, &other.file)
    }
}

#[derive(Debug)]
struct Compiled {
    variables: Vec<(String, Expression)>,
    rules: Vec<Rule>,
    uses: BTreeSet<&'static str>,
}

#[derive(Debug)]
struct Rule {
    expression: Expression,
    message: Option<Expression>,
    text: String,
}

/// Where things are judged.
#[derive(Debug, Clone)]
pub struct Place<'a> {
    /// Whose.
    pub project: &'a Project,
    /// Which environment.
    pub environment: &'a Environment,
    /// As its file says.
    pub production: bool,
    /// Groups of `project.yaml` that hold it.
    pub groups: Vec<&'a str>,
    /// What applying does, if that is known: then policies are judged that ask for it, and only then.
    pub plan: Option<&'a model::Plan>,
}

/// A component, or what belongs to none, with everything that would stand of it.
#[derive(Debug, Clone)]
pub struct Part<'a> {
    /// Which.
    pub component: Option<&'a Component>,
    /// The build: `{name, number, commit, pushedBy, image}`; null if there is none.
    pub build: Value,
    /// The release that it comes with.
    pub release: Option<String>,
    /// Who asked for it.
    pub actor: String,
    /// Whether its commits are signed by somebody who is known. Asked only if a policy wants to know.
    pub signed: bool,
    /// What would stand, what stands and goes.
    pub items: Vec<Item<'a>>,
}

/// One object.
#[derive(Debug, Clone, Copy)]
pub struct Item<'a> {
    /// As it would stand; absent: it goes.
    pub object: Option<&'a Value>,
    /// As it stands; absent: it is new.
    pub before: Option<&'a Value>,
    /// What happens to it.
    pub operation: Action,
}

impl Policy {
    /// Compiles the file of a policy.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn compile(name: &str, file: &PolicyFile) -> Result<Self, Vec<Mistake>> {
        with_room(|| Self::compiled(name, file))
    }

    fn compiled(name: &str, file: &PolicyFile) -> Result<Self, Vec<Mistake>> {
        let mut mistakes = Vec::new();
        let mut wrong = |field: &str, message: String| {
            mistakes.push(Mistake { field: field.to_owned(), line: 0, column: 0, message });
        };
        if file.kind.as_ref().is_some_and(|kind| kind != "Policy") {
            wrong("kind", "must be Policy".to_owned());
        }
        let version = format!("{GROUP}/{VERSION}");
        if file.api_version.as_ref().is_some_and(|given| *given != version) {
            wrong("apiVersion", format!("must be {version}"));
        }
        if file.rules.is_empty() {
            wrong("rules", "there must be one".to_owned());
        }
        for (field, count) in [("rules", file.rules.len()), ("variables", file.variables.len())] {
            if count > PARTS_MAX {
                wrong(field, format!("{PARTS_MAX} at most"));
            }
        }
        if !mistakes.is_empty() {
            return Err(mistakes);
        }
        let (mut known, mut uses) = (BTreeSet::new(), BTreeSet::new());
        let (mut variables, mut rules) = (Vec::new(), Vec::new());
        for (index, variable) in file.variables.iter().enumerate() {
            let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
            let named = variable.name.chars().all(plain) && variable.name.starts_with(|c: char| !c.is_ascii_digit());
            if !named || known.contains(&variable.name) {
                let message = match named {
                    true => format!("{} stands there twice", variable.name),
                    false => format!("{:?} is no name: letters, digits and _", variable.name),
                };
                mistakes.push(Mistake { field: format!("variables[{index}].name"), line: 0, column: 0, message });
                continue;
            }
            match compile(&format!("variables[{index}].expression"), &variable.expression, &known, &mut uses) {
                Ok(expression) => variables.push((variable.name.clone(), expression)),
                Err(mistake) => mistakes.push(mistake),
            }
            known.insert(variable.name.clone());
        }
        for (index, rule) in file.rules.iter().enumerate() {
            let expression = compile(&format!("rules[{index}].expression"), &rule.expression, &known, &mut uses);
            let message = rule
                .message_expression
                .as_ref()
                .map(|text| compile(&format!("rules[{index}].messageExpression"), text, &known, &mut uses))
                .transpose();
            match (expression, message) {
                (Ok(expression), Ok(message)) => {
                    let text = rule.message.clone().unwrap_or_else(|| format!("must hold: {}", expression.text));
                    rules.push(Rule { expression, message, text });
                }
                (expression, message) => {
                    mistakes.extend(expression.err());
                    mistakes.extend(message.err());
                }
            }
        }
        if file.action == PolicyAction::RequireApproval && uses.contains("plan") {
            let message = "an approval is asked for before there is a plan: such a rule can warn or deny".to_owned();
            mistakes.push(Mistake { field: "action".to_owned(), line: 0, column: 0, message });
        }
        match mistakes.is_empty() {
            true => {
                let compiled = Arc::new(Compiled { variables, rules, uses });
                Ok(Self { name: name.to_owned(), file: file.clone(), compiled })
            }
            false => Err(mistakes),
        }
    }

    /// Whether its rules ask about this: `signed`, `actor`, `plan`.
    pub fn asks(&self, name: &str) -> bool {
        self.compiled.uses.contains(name)
    }

    /// Whether it is judged object by object.
    fn by_object(&self) -> bool {
        ["object", "before", "operation"].iter().any(|name| self.asks(name)) || !self.file.matches.kinds.is_empty()
    }

    /// Whether it has a say about an environment.
    pub fn holds_in(&self, environment: &Environment, production: bool) -> bool {
        self.file.matches.environment(environment, production)
    }
}

/// What breaks policies.
pub fn judge(policies: &[Policy], place: &Place<'_>, parts: &[Part<'_>]) -> Vec<PolicyResult> {
    let holds = |policy: &&Policy| {
        policy.holds_in(place.environment, place.production) && (place.plan.is_some() || !policy.asks("plan"))
    };
    let policies: Vec<&Policy> = policies.iter().filter(holds).collect();
    if policies.is_empty() {
        return Vec::new();
    }
    with_room(|| policies.into_iter().flat_map(|policy| one(policy, place, parts)).collect())
}

impl Place<'_> {
    fn environment(&self) -> Value {
        json!({ "name": self.environment, "production": self.production, "groups": self.groups })
    }

    fn plan(&self) -> Value {
        let Some(plan) = self.plan else { return Value::Null };
        let count = |action| plan.steps.iter().filter(|step| step.action == action).count();
        let step = |step: &model::flow::Step| {
            json!({
                "action": step.action, "kind": step.object.kind, "group": step.object.group,
                "namespace": step.object.namespace, "name": step.object.name, "component": step.component,
            })
        };
        json!({
            "create": count(Action::Create), "configure": count(Action::Configure),
            "delete": count(Action::Delete), "unchanged": count(Action::Unchanged),
            "steps": plan.steps.iter().map(step).collect::<Vec<_>>(),
        })
    }
}

/// One policy over everything.
fn one(policy: &Policy, place: &Place<'_>, parts: &[Part<'_>]) -> Vec<PolicyResult> {
    let matches = &policy.file.matches;
    let mut results = Vec::new();
    let mut left = FUEL_ALL;
    let shared = [("environment", place.environment()), ("project", json!(place.project)), ("plan", place.plan())];
    let of_parts = ["images", "component", "release", "build", "actor", "signed"];
    let apart = of_parts.iter().any(|name| policy.asks(name)) || !matches.components.is_empty();
    let mut ask = |part: Option<&Part<'_>>, item: Option<&Item<'_>>| {
        let fuel = Fuel::new(left.min(FUEL_EACH));
        let before = fuel.left();
        let broken = asked(policy, &shared, part, item, &fuel);
        left = left.saturating_sub(before - fuel.left());
        let broken = if left == 0 { vec![too_long()] } else { broken };
        let object = item.and_then(|item| item.object.or(item.before)).map(|object| ObjectId::of(object).to_string());
        let object = object.or_else(|| Some(part?.component?.to_string()));
        let result = |message| PolicyResult {
            policy: policy.name.clone(),
            action: policy.file.action,
            object: object.clone(),
            message,
        };
        results.extend(broken.into_iter().map(result));
        left > 0
    };
    let mut all = || {
        if !policy.by_object() && !apart {
            ask(None, None);
            return;
        }
        for part in parts.iter().filter(|part| matches.component(part.component)) {
            if !policy.by_object() {
                if part.component.is_some() && !ask(Some(part), None) {
                    return;
                }
                continue;
            }
            for item in &part.items {
                let Some(object) = item.object.or(item.before) else { continue };
                let id = ObjectId::of(object);
                // Who does not ask what happens speaks of what stands afterwards.
                let wanted = item.object.is_some() || policy.asks("operation");
                if wanted && matches.kind(&id.group, &id.kind) && !ask(Some(part), Some(item)) {
                    return;
                }
            }
        }
    };
    all();
    if results.len() > TOLD_MAX {
        let more = results.len() - TOLD_MAX;
        results.truncate(TOLD_MAX);
        results[TOLD_MAX - 1].message.push_str(&format!(" (and {more} more alike)"));
    }
    results
}

fn too_long() -> String {
    "it runs too long: simplify its rules".to_owned()
}

/// The messages of the rules that are not true.
fn asked(
    policy: &Policy,
    shared: &[(&str, Value)],
    part: Option<&Part<'_>>,
    item: Option<&Item<'_>>,
    fuel: &Fuel,
) -> Vec<String> {
    let object = |value: Option<&'_ Value>| -> Value { value.cloned().unwrap_or(Value::Null) };
    let (now, before) = (object(item.and_then(|item| item.object)), object(item.and_then(|item| item.before)));
    let seen: BTreeSet<String> = match (item, part) {
        (Some(item), _) => item.object.map(images).unwrap_or_default(),
        (None, Some(part)) => part.items.iter().filter_map(|item| item.object).flat_map(images).collect(),
        (None, None) => BTreeSet::new(),
    };
    let own = [
        ("object", now),
        ("before", before),
        ("operation", item.map_or(Value::Null, |item| json!(item.operation))),
        ("images", json!(seen)),
        ("component", part.map_or(Value::Null, |part| json!(part.component))),
        ("build", part.map_or(Value::Null, |part| part.build.clone())),
        ("release", part.map_or(Value::Null, |part| json!(part.release))),
        ("actor", part.map_or(Value::Null, |part| json!(part.actor))),
    ];
    let mut context = Context::with_env(ENV.clone());
    context.add_variable_as_val(FUEL, Box::new(fuel.clone()));
    for (name, value) in shared {
        context.add_variable_as_val(*name, value::borrowed(value));
    }
    for (name, value) in &own {
        if policy.asks(name) {
            context.add_variable_as_val(*name, value::borrowed(value));
        }
    }
    context.add_variable_as_val("signed", Box::new(CelBool::from(part.is_some_and(|part| part.signed))));
    let mut failed: BTreeMap<&str, String> = BTreeMap::new();
    let mut variables: Vec<(&str, Answer)> = Vec::new();
    for (name, expression) in &policy.compiled.variables {
        bind(&mut context, &variables);
        let answer = Answer::resolve(&expression.expr, &context);
        if fuel.left() == 0 {
            return vec![too_long()];
        }
        match answer {
            Ok(answer) => variables.push((name, answer)),
            Err(error) => drop(failed.insert(name, error.to_string())),
        }
    }
    bind(&mut context, &variables);
    let mut broken = Vec::new();
    for rule in &policy.compiled.rules {
        let answer = Answer::resolve(&rule.expression.expr, &context);
        if fuel.left() == 0 {
            return vec![too_long()];
        }
        match answer {
            Ok(Answer::Bool(true)) => {}
            Ok(Answer::Bool(false)) => {
                let told = rule.message.as_ref().and_then(|message| Answer::resolve(&message.expr, &context).ok());
                broken.push(match told {
                    Some(Answer::String(text)) => clean(&text),
                    _ => clean(&rule.text),
                });
            }
            Ok(_) => broken.push(clean(&format!("a rule must be true or false: {}", rule.expression.text))),
            Err(error) => {
                // What went wrong may have gone wrong before.
                let error = failed
                    .iter()
                    .find(|(name, _)| rule.expression.text.contains(&format!("{VARIABLES}.{name}")))
                    .map_or_else(|| error.to_string(), |(name, error)| format!("{VARIABLES}.{name}: {error}"));
                broken.push(clean(&format!("cannot be judged: {error} ({})", rule.expression.text)));
            }
        }
    }
    broken
}

/// Binds the variables that are known.
fn bind(context: &mut Context<'_, '_>, variables: &[(&str, Answer)]) {
    let value = |answer: &Answer| -> Box<dyn Val> {
        let made: Result<Box<dyn Val>, _> = answer.clone().try_into();
        made.unwrap_or_else(|_| Box::new(CelNull))
    };
    let entry =
        |(name, answer): &(&str, Answer)| (CelMapKey::String(CelString::from((*name).to_owned())), value(answer));
    let map: HashMap<_, _> = variables.iter().map(entry).collect();
    context.add_variable_as_val(VARIABLES, Box::new(CelMap::from(map)));
}

/// One line of bounded length.
fn clean(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(MESSAGE_MAX) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}
