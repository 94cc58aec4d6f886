//! `charts/requirements.yaml`: an environment as a list of charts, as Jenkins X keeps them. Each is a component of its own.

use super::Config;
use model::chart::{ChartOrigin, ChartRule};
use model::config::{ComponentFile, ComponentType, ProjectFile, Workload};
use model::flow::Snapshot;
use model::{Component, Digest};
use render::CHARTS;
use render::helm::{Entry, Files, entries};
use std::collections::BTreeMap;

/// The list.
pub const LIST: &str = "charts/requirements.yaml";
/// Longest name of a component.
const NAME_MAX: usize = 20;
/// So much of a name that is too long stays, before four digits of its digest.
const KEPT: usize = 15;

/// Adds a component for each chart of the list. Answers with what is wrong with the list as a whole.
pub(super) fn add(
    snapshot: &Snapshot,
    project: Option<&ProjectFile>,
    components: &mut BTreeMap<Component, Result<ComponentFile, String>>,
) -> Vec<String> {
    let Some(project) = project.filter(|_| snapshot.files.contains_key(LIST)) else { return Vec::new() };
    let below = format!("{CHARTS}/");
    let own = snapshot.files.iter().filter_map(|(path, file)| Some((path.strip_prefix(&below)?, file)));
    let files: Files = own.map(|(path, file)| (path.to_owned(), file.bytes.clone())).collect();
    let entries = match entries(&files) {
        Ok(entries) => entries,
        Err(error) => return vec![format!("{CHARTS}/: {error}")],
    };
    let mut problems: Vec<String> = files.keys().filter(|path| is_template(path)).map(|path| stray(path)).collect();
    for entry in entries {
        let (called, read) = match entry {
            Ok(entry) => (called(&entry).to_owned(), Ok(entry)),
            Err((called, problem)) => {
                let problem = format!("{LIST}: {called}: {problem}");
                (called, Err(problem))
            }
        };
        let Some(name) = name_of(&called) else {
            problems.push(format!("{LIST}: {called:?} cannot be the name of a component: give it an `alias`"));
            continue;
        };
        if components.contains_key(&name) {
            let other = format!("components/{name}.yaml");
            let other = if snapshot.files.contains_key(&other) { other } else { LIST.to_owned() };
            components.insert(name.clone(), Err(format!("{LIST}: {called}: {name} is described in {other} already")));
            continue;
        }
        let values = format!("components/{name}/values");
        if let Some(path) = snapshot.files.keys().find(|path| path.starts_with(&values)) {
            problems.push(format!(
                "{path}: {name} stands in {LIST}: its values belong into {CHARTS}/values.yaml, under {called}"
            ));
        }
        components.insert(name.clone(), read.map(|entry| described(project, name, entry)));
    }
    problems
}

/// What the list calls it.
fn called(entry: &Entry) -> &str {
    entry.listed.alias.as_deref().unwrap_or(&entry.source.name)
}

fn described(project: &ProjectFile, component: Component, entry: Entry) -> ComponentFile {
    let release = Some(called(&entry).to_lowercase().replace('_', "-"));
    let chart = ChartRule {
        release: release.filter(|release| release != component.as_str()),
        credentials: entry.credentials,
        listed: Some(entry.listed),
        ..ChartRule::of(ChartOrigin::Repository(entry.source))
    };
    ComponentFile {
        project: project.project.clone(),
        component,
        kind: ComponentType::default(),
        path: ".".to_owned(),
        build: None,
        image: None,
        manifests: None,
        chart: Some(chart),
        workload: Workload::default(),
        endpoints: BTreeMap::new(),
        depends_on: Vec::new(),
    }
}

/// The name of the component: lower case, `-` for `_` and `.`, and no longer than names may be.
fn name_of(called: &str) -> Option<Component> {
    let name = called.to_lowercase().replace(['_', '.'], "-");
    if name.len() <= NAME_MAX || !name.is_ascii() {
        return name.parse().ok();
    }
    let digest = Digest::of(called.as_bytes());
    format!("{}-{}", name[..KEPT].trim_end_matches('-'), &digest.hex()[..4]).parse().ok()
}

/// Objects beside the list, which no chart of it brings.
fn is_template(path: &str) -> bool {
    let Some(file) = path.strip_prefix("templates/") else { return false };
    let name = file.rsplit('/').next().unwrap_or(file);
    !name.starts_with(['_', '.']) && name != "NOTES.txt"
}

fn stray(path: &str) -> String {
    format!(
        "{CHARTS}/{path}: it stands beside a list of charts, and belongs to none: make a component of it (docs/helm.md)"
    )
}

impl Config {
    /// Where a component of the config repository is described.
    pub fn place(&self, component: &Component) -> String {
        match self.components.get(component) {
            Some(Ok(file)) => place(file),
            _ => format!("components/{component}.yaml"),
        }
    }
}

/// Where what describes a component of the config repository stands.
pub fn place(file: &ComponentFile) -> String {
    match file.chart.as_ref().is_some_and(|rule| rule.listed.is_some()) {
        true => LIST.to_owned(),
        false => format!("components/{}.yaml", file.component),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_list_calls_a_chart_becomes_the_name_of_a_component() {
        for (called, name) in [
            ("web", Some("web")),
            ("jxApp_one", Some("jxapp-one")),
            ("kubernetes-dashboard", Some("kubernetes-dashboard")),
            ("-web", None),
            ("", None),
        ] {
            assert_eq!(name_of(called).as_ref().map(Component::as_str), name, "{called}");
        }
        let cut = name_of("kube-prometheus-stack").unwrap();
        assert!(cut.as_str().starts_with("kube-prometheus-") && cut.as_str().len() == NAME_MAX, "{cut}");
        assert_ne!(name_of("kube-prometheus-stacks"), Some(cut));
    }
}
