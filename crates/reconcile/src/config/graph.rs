//! What one environment says of others: where builds come from, what it is like; and which windows it names.

use model::{Environment, Project, Window};
use promote::{Reading, State};
use std::collections::{BTreeMap, BTreeSet};

type Environments = BTreeMap<Environment, Reading>;

/// Environments that name what is not there, or themselves in a circle: one problem each.
pub fn problems(
    environments: &Environments,
    windows: Option<&[Window]>,
    project: Option<&Project>,
) -> Vec<(Environment, String)> {
    let from = |state: &State| state.file.promotion.from.clone();
    let like = |state: &State| state.file.like.iter().cloned().collect();
    let mut wrong = Vec::new();
    for name in environments.keys() {
        let order = leads(environments, name, &from, "promotion.from", "come before itself");
        let kin = || leads(environments, name, &like, "like", "be like itself");
        wrong.extend(
            order
                .or_else(kin)
                .or_else(|| no_window(environments, name, windows))
                .or_else(|| same_domain(environments, name, project?))
                .map(|why| (name.clone(), why)),
        );
    }
    wrong
}

/// Where an environment leads over others: nowhere, or back to itself.
fn leads(
    environments: &Environments,
    name: &Environment,
    next: &dyn Fn(&State) -> Vec<Environment>,
    field: &str,
    circle: &str,
) -> Option<String> {
    let of = |name: &Environment| environments.get(name).and_then(|r| r.as_ref().ok()).map(next).unwrap_or_default();
    let file = format!("environments/{name}.yaml: {field}");
    if let Some(unknown) = of(name).iter().find(|other| !environments.contains_key(*other)) {
        let known: Vec<&str> = environments.keys().map(Environment::as_str).collect();
        return Some(format!("{file}: there is no environment {unknown}; there is: {}", known.join(", ")));
    }
    // Every environment once, with the way that led to it.
    let mut seen = BTreeSet::new();
    let mut ways: Vec<Vec<Environment>> = of(name).into_iter().map(|other| vec![name.clone(), other]).collect();
    while let Some(way) = ways.pop() {
        let last = way.last().expect("a way has steps").clone();
        if last == *name {
            let way: Vec<&str> = way.iter().map(Environment::as_str).collect();
            return Some(format!("{file}: {name} would have to {circle} ({})", way.join(" → ")));
        }
        if seen.insert(last.clone()) {
            ways.extend(of(&last).into_iter().map(|other| [way.clone(), vec![other]].concat()));
        }
    }
    None
}

fn same_domain(environments: &Environments, name: &Environment, project: &Project) -> Option<String> {
    let file = |name: &Environment| Some(&environments.get(name)?.as_ref().ok()?.file);
    let domain = file(name)?.domain.as_ref()?;
    let has = |other: &&Environment| {
        let theirs = file(other).map(|file| render::public_domain(other, project, file));
        *other != name && theirs.as_deref() == Some(domain.as_str())
    };
    let other = environments.keys().find(has)?;
    Some(format!("environments/{name}.yaml: domain: {domain} is that of {other}: their hosts would be the same"))
}

fn no_window(environments: &Environments, name: &Environment, windows: Option<&[Window]>) -> Option<String> {
    let (state, windows) = (environments.get(name)?.as_ref().ok()?, windows?);
    let unknown = state.file.promotion.windows.iter().find(|wanted| !windows.iter().any(|w| w.name == **wanted))?;
    let known: Vec<&str> = windows.iter().map(|w| w.name.as_str()).collect();
    let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
    let file = promote::WINDOWS;
    Some(format!("environments/{name}.yaml: promotion.windows: {file} has no window {unknown}; it has: {known}"))
}
