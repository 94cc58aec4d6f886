//! In which order the components of one environment roll.

use model::config::ComponentType;
use model::{Component, Project};
use std::collections::{BTreeMap, BTreeSet};

/// What each component cannot run without, of the same project.
pub type Needs<'a> = BTreeMap<&'a Component, BTreeSet<&'a Component>>;

/// Components of `dependsOn` that belong to this project. Tests need everything that is none.
pub fn needs<'a>(project: &Project, files: impl IntoIterator<Item = &'a model::ComponentFile>) -> Needs<'a> {
    let files: Vec<&model::ComponentFile> = files.into_iter().collect();
    let tests = |file: &model::ComponentFile| file.kind == ComponentType::TestRunner;
    let own = |file: &&'a model::ComponentFile| {
        let of_it = file.depends_on.iter().filter(|d| d.project.as_ref().is_none_or(|other| other == project));
        let tested = files.iter().filter(|other| tests(file) && !tests(other)).map(|other| &other.component);
        (&file.component, of_it.map(|d| &d.component).chain(tested).collect())
    };
    files.iter().map(own).collect()
}

/// The components that have to wait: something that they need, at whatever distance, is not `ready`. What does not run
/// here at all is no reason to wait.
///
/// # Errors
/// Components need each other in a circle; it is named.
pub fn waiting<'a>(needs: &Needs<'a>, ready: impl Fn(&Component) -> bool) -> Result<BTreeSet<&'a Component>, String> {
    if let Some(circle) = circle(needs) {
        let names: Vec<&str> = circle.iter().map(|c| c.as_str()).collect();
        return Err(format!("dependsOn goes in a circle: {}", names.join(" → ")));
    }
    let mut waiting = BTreeSet::new();
    // Each round finds at least one more, or it is the last.
    for _ in 0..=needs.len() {
        let holds = |other: &&Component| needs.contains_key(*other) && (waiting.contains(*other) || !ready(other));
        let more: Vec<&Component> = needs
            .iter()
            .filter(|(component, others)| !waiting.contains(**component) && others.iter().any(|other| holds(other)))
            .map(|(component, _)| *component)
            .collect();
        if more.is_empty() {
            break;
        }
        waiting.extend(more);
    }
    Ok(waiting)
}

/// A way from a component back to itself.
fn circle<'a>(needs: &Needs<'a>) -> Option<Vec<&'a Component>> {
    let mut done: BTreeSet<&Component> = BTreeSet::new();
    for start in needs.keys().copied() {
        let mut seen = BTreeSet::new();
        let mut ways = vec![vec![start]];
        while let Some(way) = ways.pop() {
            let last = way[way.len() - 1];
            for next in needs.get(last).into_iter().flatten().copied() {
                let way = [way.clone(), vec![next]].concat();
                if next == start {
                    return Some(way);
                }
                if !done.contains(next) && seen.insert(next) {
                    ways.push(way);
                }
            }
        }
        done.insert(start);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn graph(edges: &[(&str, &[&str])]) -> BTreeMap<Component, BTreeSet<Component>> {
        let name = |name: &&str| name.parse().unwrap();
        edges.iter().map(|(from, to)| (name(from), to.iter().map(name).collect())).collect()
    }

    fn borrowed(graph: &BTreeMap<Component, BTreeSet<Component>>) -> Needs<'_> {
        graph.iter().map(|(from, to)| (from, to.iter().collect())).collect()
    }

    #[test]
    fn what_is_needed_rolls_first() {
        let graph = graph(&[("web", &["api"]), ("api", &["db"]), ("db", &[]), ("job", &["elsewhere"])]);
        for (ready, expect) in [
            (&["web", "api", "db"][..], &[][..]),
            (&["web", "api"][..], &["api", "web"][..]),
            (&["web", "db"][..], &["web"][..]),
            (&["db", "api"][..], &[][..]),
        ] {
            let waiting = waiting(&borrowed(&graph), |c| ready.contains(&c.as_str())).unwrap();
            assert_eq!(waiting.iter().map(|c| c.as_str()).collect::<Vec<_>>(), expect, "{ready:?} are ready");
        }
    }

    #[test]
    fn a_circle_is_named() {
        let graph = graph(&[("a", &["b"]), ("b", &["c"]), ("c", &["b"])]);
        let error = waiting(&borrowed(&graph), |_| true).unwrap_err();
        assert_eq!(error, "dependsOn goes in a circle: b → c → b");
    }
}
