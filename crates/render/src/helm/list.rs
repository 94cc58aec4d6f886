//! Lists of charts: `requirements.yaml` without a chart around it, as Jenkins X describes environments, and the
//! repositories that it names by a word (`repositories.yaml`, as helm keeps it).

use super::Error;
use super::chart::{Chart, Dependency, Metadata, Tree, yaml_file};
use super::needs::{Files, REQUIREMENTS, locked_version};
use model::Group;
use model::chart::{ChartSource, Listed};
use serde_json::Value as Json;
use std::sync::Arc;

/// Names of repositories and their addresses.
pub const REPOSITORIES: &str = "repositories.yaml";
/// What the chart around the list is called, in the paths of its templates: Jenkins X calls it so.
const AROUND: &str = "env";
/// Any version, those before a release too: which one it is has been decided.
const ANY: &str = ">=0.0.0-0";

/// A repository of `repositories.yaml`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownRepository {
    /// What lists call it: `@name` or `alias:name`.
    pub name: String,
    /// Its address.
    pub url: String,
    /// A secret with what it asks for: Trimtab's own word there.
    pub credentials: Option<Group>,
}

/// A chart of a list.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// Where it comes from; the version is that of the lock file, if there is one.
    pub source: ChartSource,
    /// What its repository asks for.
    pub credentials: Option<Group>,
    /// What else the list says of it.
    pub listed: Listed,
}

/// The repositories that a directory names.
///
/// # Errors
/// The file cannot be read; a password stands in it in the open.
pub fn repositories(files: &Files) -> Result<Vec<KnownRepository>, Error> {
    let Some(bytes) = files.get(REPOSITORIES) else { return Ok(Vec::new()) };
    let json = yaml_file(bytes, REPOSITORIES).map_err(Error::Chart)?;
    // `helm repo list -o yaml` prints the bare list.
    let list = json["repositories"].as_array().or(json.as_array()).map(Vec::as_slice).unwrap_or_default();
    let one = |entry: &Json| {
        let text = |key: &str| entry[key].as_str().unwrap_or_default();
        let name = text("name");
        let fail = |problem: &str| Err(Error::Chart(format!("{REPOSITORIES}: {name:?}: {problem}")));
        if name.is_empty() || text("url").is_empty() {
            return fail("it needs `name` and `url`");
        }
        if !text("password").is_empty() {
            return fail(
                "its password stands there in the open: `trimtab secret set NAME password`, and `credentials: NAME` here",
            );
        }
        let credentials = match text("credentials") {
            "" => None,
            word => match word.parse() {
                Ok(group) => Some(group),
                Err(_) => return fail("`credentials` names no secret"),
            },
        };
        Ok(KnownRepository { name: name.to_owned(), url: text("url").trim_end_matches('/').to_owned(), credentials })
    };
    list.iter().map(one).collect()
}

/// The address behind `@name` or `alias:name`; what is no name is an address already.
///
/// # Errors
/// Nobody knows the name.
pub(super) fn address(repository: &str, known: &[KnownRepository]) -> Result<String, String> {
    let Some(name) = repository.strip_prefix('@').or_else(|| repository.strip_prefix("alias:")) else {
        return Ok(repository.trim_end_matches('/').to_owned());
    };
    match known.iter().find(|one| one.name == name) {
        Some(found) => Ok(found.url.clone()),
        None => Err(format!(
            "repository {repository} is known on somebody's machine only: write its address, or name it in {REPOSITORIES} beside the list"
        )),
    }
}

/// The charts of a list, in its order; each by itself, or what is wrong with it after its name.
///
/// # Errors
/// The list as a whole cannot be read.
pub fn entries(files: &Files) -> Result<Vec<Result<Entry, (String, String)>>, Error> {
    let mut metadata = Metadata::default();
    let bytes = files.get(REQUIREMENTS).ok_or_else(|| Error::Chart(format!("there is no {REQUIREMENTS}")))?;
    metadata.add_requirements(bytes).map_err(Error::Chart)?;
    let known = repositories(files)?;
    let one = |dependency: Dependency| {
        let called = if dependency.alias.is_empty() { &dependency.name } else { &dependency.alias };
        let fail = |problem: String| (called.clone(), problem);
        if dependency.repository.is_empty() || dependency.repository.starts_with("file://") {
            return Err(fail("it names no repository: a chart of your own is a component of its own".into()));
        }
        let repository = address(&dependency.repository, &known).map_err(fail)?;
        let version = locked_version(files, &dependency.name, &dependency.version).map_err(|e| fail(e.to_string()))?;
        let version = if version.is_empty() { "*".to_owned() } else { version };
        let source = ChartSource { repository, name: dependency.name.clone(), version };
        source.check().map_err(|error| fail(error.to_string()))?;
        let credentials = known.iter().find(|one| one.url == source.repository).and_then(|one| one.credentials.clone());
        let Dependency { alias, condition, tags, import_values, .. } = dependency;
        let alias = (!alias.is_empty()).then_some(alias);
        Ok(Entry { source, credentials, listed: Listed { alias, condition, tags, import_values } })
    };
    Ok(metadata.dependencies.into_iter().map(one).collect())
}

impl Chart {
    /// This chart as the only one of a list: its values stand below its name, conditions and tags hold.
    pub fn alone(&self, listed: &Listed) -> Self {
        let dependency = Dependency {
            name: self.name().to_owned(),
            version: ANY.to_owned(),
            condition: listed.condition.clone(),
            tags: listed.tags.clone(),
            import_values: listed.import_values.clone(),
            alias: listed.alias.clone().unwrap_or_default(),
            ..Dependency::default()
        };
        let metadata = Metadata {
            api_version: "v1".to_owned(),
            name: AROUND.to_owned(),
            version: "0.0.0".to_owned(),
            dependencies: vec![dependency],
            ..Metadata::default()
        };
        let tree = Tree {
            metadata,
            values: Arc::from([]),
            schema: None,
            templates: Vec::new(),
            files: Vec::new(),
            dependencies: vec![Arc::clone(&self.tree)],
        };
        Self { tree: Arc::new(tree), texts: Arc::clone(&self.texts) }
    }
}

/// What of a list's values one of its charts sees: its own, what all share, and what switches it on or off. What cannot be
/// read is given back as it is.
pub fn relevant(text: &str, name: &str, listed: &Listed) -> String {
    let nodes = yaml::parse(text, "values.yaml").ok();
    let json = nodes.as_ref().and_then(|nodes| yaml::to_json(nodes.first()?, yaml::Dialect::V2).ok());
    let Some(Json::Object(mut map)) = json else { return text.to_owned() };
    let conditions: Vec<&str> = listed.condition.split(',').map(str::trim).collect();
    let called = listed.alias.as_deref().unwrap_or(name);
    let whole = Json::Object(map.clone());
    let switch = |path: &&str| path.split('.').fold(&whole, |value, key| &value[key]).clone();
    let switches: Vec<Json> = conditions.iter().map(switch).collect();
    map.retain(|key, _| [called, "global", "tags"].contains(&key.as_str()));
    serde_json::json!([map, switches]).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::helm::{Layers, Options, render};

    fn files(list: &[(&str, &str)]) -> Files {
        list.iter().map(|(name, text)| ((*name).to_owned(), text.as_bytes().into())).collect()
    }

    const LIST: &str = "dependencies:\n- {alias: expose, name: exposecontroller, repository: 'http://charts.example.com/', version: 2.3.92}\n- {name: shop, repository: '@own', version: ^1.0.0, condition: shop.enabled, tags: [all]}\n- {name: lost, repository: '@nowhere'}\n";

    #[test]
    fn a_list_names_charts_with_alias_version_and_repository_by_address_or_by_name() {
        let known = "apiVersion: ''\nrepositories:\n- {name: own, url: 'https://own.example.com/charts/', credentials: charts, password: ''}\n";
        let found = entries(&files(&[("requirements.yaml", LIST), ("repositories.yaml", known)])).unwrap();
        let expose = found[0].as_ref().unwrap();
        assert_eq!(expose.source.to_string(), "exposecontroller 2.3.92 from http://charts.example.com");
        assert_eq!(expose.listed.alias.as_deref(), Some("expose"));
        let shop = found[1].as_ref().unwrap();
        assert_eq!(shop.source.to_string(), "shop ^1.0.0 from https://own.example.com/charts");
        assert_eq!(shop.credentials.as_ref().map(Group::as_str), Some("charts"));
        let (name, problem) = found[2].as_ref().unwrap_err();
        assert!(name == "lost" && problem.contains("@nowhere is known on somebody's machine only"), "{problem}");

        let lock = "dependencies: [{name: shop, version: 1.4.0}, {name: exposecontroller, version: 2.3.92}]\n";
        let bare = "- {name: own, url: 'https://own.example.com'}\n- {name: nowhere, url: 'https://x.example.com'}\n";
        let all = files(&[("requirements.yaml", LIST), ("requirements.lock", lock), ("repositories.yaml", bare)]);
        let found = entries(&all).unwrap();
        assert_eq!(found[1].as_ref().unwrap().source.version, "1.4.0");
        assert!(found[2].as_ref().unwrap_err().1.contains("requirements.lock has no version"), "{:?}", found[2]);
        let open = "repositories: [{name: own, url: 'https://x', password: hunter2}]\n";
        let error = repositories(&files(&[("repositories.yaml", open)])).unwrap_err().to_string();
        assert!(error.contains("in the open") && !error.contains("hunter2"), "{error}");
    }

    #[test]
    fn a_chart_of_a_list_renders_as_it_does_among_the_others() {
        let chart = Chart::load(&files(&[
            ("Chart.yaml", "apiVersion: v1\nname: web\nversion: 1.0.0-rc.1\n"),
            ("values.yaml", "size: 1\n"),
            (
                "templates/a.yaml",
                "kind: A\nmetadata: {name: '{{ .Release.Name }}-{{ .Chart.Name }}'}\nsize: {{ .Values.size }}\nat: {{ .Values.global.at }}\n",
            ),
        ]))
        .unwrap();
        let listed = Listed { alias: Some("front".into()), condition: "front.enabled".into(), ..Listed::default() };
        let values = |text: &str| Layers { files: vec![("values.yaml".into(), text.into())], ..Layers::default() };
        let text = "front: {size: 3, enabled: true}\nother: {size: 9}\nglobal: {at: here}\n";
        let rendered = render(&chart.alone(&listed), &values(text), Options::default()).unwrap();
        let only = &rendered.manifests[0];
        for part in ["release-name-front", "size: 3", "at: here"] {
            assert!(only.text.contains(part), "{}", only.text);
        }
        assert_eq!(only.path, "env/charts/front/templates/a.yaml");
        let off = render(&chart.alone(&listed), &values("front: {enabled: false}\n"), Options::default()).unwrap();
        assert!(off.manifests.is_empty());
        let same = |a: &str, b: &str| relevant(a, "web", &listed) == relevant(b, "web", &listed);
        assert!(same(text, &text.replace("size: 9", "size: 8")), "values of others are none of its business");
        assert!(!same(text, &text.replace("size: 3", "size: 4")) && !same(text, &text.replace("here", "there")));
    }
}
