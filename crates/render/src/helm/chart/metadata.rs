//! `Chart.yaml`: what a chart says of itself.

use super::yaml_file;
use crate::helm::functions::{Version, value_of};
use crate::helm::record::Record;
use serde_json::{Map, Value as Json};
use template::{Of, Value};

/// `Chart.yaml`.
#[derive(Debug, Clone, Default)]
pub(in crate::helm) struct Metadata {
    pub name: String,
    pub home: String,
    pub sources: Vec<String>,
    pub version: String,
    pub description: String,
    pub keywords: Vec<String>,
    pub maintainers: Vec<Maintainer>,
    pub icon: String,
    pub api_version: String,
    pub condition: String,
    pub tags: String,
    pub app_version: String,
    pub deprecated: bool,
    pub annotations: Vec<(String, String)>,
    pub kube_version: String,
    pub dependencies: Vec<Dependency>,
    pub kind: String,
}

/// One of `maintainers`.
#[derive(Debug, Clone, Default)]
pub(in crate::helm) struct Maintainer {
    name: String,
    email: String,
    url: String,
}

/// One of `dependencies`.
#[derive(Debug, Clone, Default)]
pub(in crate::helm) struct Dependency {
    pub name: String,
    pub version: String,
    pub repository: String,
    pub condition: String,
    pub tags: Vec<String>,
    pub enabled: bool,
    /// Names, or maps with `child` and `parent`.
    pub import_values: Vec<Json>,
    pub alias: String,
}

/// Typed reading as Go does it: keys in any case, and scalars as texts where texts are wanted.
struct Fields<'m> {
    map: &'m Map<String, Json>,
    file: &'static str,
}

impl<'m> Fields<'m> {
    fn get(&self, name: &str) -> Option<&'m Json> {
        self.map.get(name).or_else(|| self.map.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, v)| v))
    }

    fn fail<T>(&self, name: &str, wanted: &str) -> Result<T, String> {
        Err(format!("cannot load {}: error unmarshaling JSON: {name} is not {wanted}", self.file))
    }

    fn text(&self, name: &str) -> Result<String, String> {
        match self.get(name) {
            None => Ok(String::new()),
            Some(value) => scalar(value).map_or_else(|| self.fail(name, "a text"), Ok),
        }
    }

    fn flag(&self, name: &str) -> Result<bool, String> {
        match self.get(name) {
            None | Some(Json::Null) => Ok(false),
            Some(Json::Bool(flag)) => Ok(*flag),
            Some(_) => self.fail(name, "true or false"),
        }
    }

    fn list(&self, name: &str) -> Result<&'m [Json], String> {
        match self.get(name) {
            None | Some(Json::Null) => Ok(&[]),
            Some(Json::Array(items)) => Ok(items),
            Some(_) => self.fail(name, "a list"),
        }
    }

    fn texts(&self, name: &str) -> Result<Vec<String>, String> {
        self.list(name)?
            .iter()
            .map(|item| scalar(item).map_or_else(|| self.fail(name, "a list of texts"), Ok))
            .collect()
    }

    fn objects<T>(&self, name: &str, read: impl Fn(&Fields<'_>) -> Result<T, String>) -> Result<Vec<T>, String> {
        let one = |item: &Json| match item {
            Json::Object(map) => read(&Fields { map, file: self.file }),
            Json::Null => Err(format!("validation: {name} must not contain empty or null nodes")),
            _ => self.fail(name, "a list of maps"),
        };
        self.list(name)?.iter().map(one).collect()
    }
}

fn scalar(value: &Json) -> Option<String> {
    match value {
        Json::Null => Some(String::new()),
        Json::String(text) => Some(text.clone()),
        Json::Bool(flag) => Some(flag.to_string()),
        Json::Number(number) => {
            Some(number.as_i64().map_or_else(|| template::float(number.as_f64().unwrap_or(0.0)), |int| int.to_string()))
        }
        _ => None,
    }
}

fn dependency(fields: &Fields<'_>) -> Result<Dependency, String> {
    Ok(Dependency {
        name: clean(&fields.text("name")?),
        version: clean(&fields.text("version")?),
        repository: clean(&fields.text("repository")?),
        condition: clean(&fields.text("condition")?),
        tags: fields.texts("tags")?.iter().map(|tag| clean(tag)).collect(),
        enabled: fields.flag("enabled")?,
        import_values: fields.list("import-values")?.to_vec(),
        alias: fields.text("alias")?,
    })
}

/// Spaces for line breaks, and nothing that cannot be printed.
fn clean(text: &str) -> String {
    let spaced = text.chars().map(|character| if character.is_whitespace() { ' ' } else { character });
    spaced.filter(|character| !character.is_control()).collect()
}

impl Metadata {
    pub fn parse(bytes: &[u8], file: &'static str) -> Result<Self, String> {
        let json = match yaml_file(bytes, file)? {
            Json::Object(map) => map,
            Json::Null => Map::new(),
            _ => return Err(format!("cannot load {file}: error unmarshaling JSON: it is no map")),
        };
        let fields = Fields { map: &json, file };
        let maintainer = |fields: &Fields<'_>| {
            let (name, email, url) = (fields.text("name")?, fields.text("email")?, fields.text("url")?);
            Ok(Maintainer { name: clean(&name), email: clean(&email), url: clean(&url) })
        };
        let annotations = match fields.get("annotations") {
            None | Some(Json::Null) => Vec::new(),
            Some(Json::Object(map)) => {
                let pair = |(key, value): (&String, &Json)| scalar(value).map(|value| (key.clone(), value));
                let pairs: Option<Vec<_>> = map.iter().map(pair).collect();
                pairs.map_or_else(|| fields.fail("annotations", "a map of texts"), Ok)?
            }
            Some(_) => fields.fail("annotations", "a map of texts")?,
        };
        let api_version = fields.text("apiVersion")?;
        Ok(Self {
            name: clean(&fields.text("name")?),
            home: clean(&fields.text("home")?),
            sources: fields.texts("sources")?.iter().map(|text| clean(text)).collect(),
            version: fields.text("version")?,
            description: clean(&fields.text("description")?),
            keywords: fields.texts("keywords")?.iter().map(|text| clean(text)).collect(),
            maintainers: fields.objects("maintainers", maintainer)?,
            icon: clean(&fields.text("icon")?),
            api_version: if api_version.is_empty() { "v1".into() } else { api_version },
            condition: clean(&fields.text("condition")?),
            tags: clean(&fields.text("tags")?),
            app_version: clean(&fields.text("appVersion")?),
            deprecated: fields.flag("deprecated")?,
            annotations,
            kube_version: clean(&fields.text("kubeVersion")?),
            dependencies: fields.objects("dependencies", dependency)?,
            kind: fields.text("type")?,
        })
    }

    /// `requirements.yaml`, where charts of the first kind name their dependencies.
    pub fn add_requirements(&mut self, bytes: &[u8]) -> Result<(), String> {
        let json = yaml_file(bytes, "requirements.yaml")?;
        let Json::Object(map) = &json else { return Ok(()) };
        let fields = Fields { map, file: "requirements.yaml" };
        if fields.get("dependencies").is_some() {
            self.dependencies = fields.objects("dependencies", dependency)?;
        }
        Ok(())
    }

    pub fn validate(&self) -> Result<(), String> {
        let fail = |what: String| Err(format!("validation: {what}"));
        if self.name.is_empty() {
            return fail("chart.metadata.name is required".into());
        }
        if matches!(self.name.as_str(), "." | "..") {
            return fail(format!("chart.metadata.name {:?} is not allowed", self.name));
        }
        if self.name.contains('/') {
            return fail(format!("chart.metadata.name {:?} is invalid", self.name));
        }
        if self.version.is_empty() {
            return fail("chart.metadata.version is required".into());
        }
        if Version::parse(&self.version).is_none() {
            return fail(format!("chart.metadata.version {:?} is invalid", self.version));
        }
        if !matches!(self.kind.as_str(), "" | "application" | "library") {
            return fail("chart.metadata.type must be application or library".into());
        }
        let mut seen = std::collections::BTreeSet::new();
        for dependency in &self.dependencies {
            let is_name = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte));
            if !is_name(&dependency.alias) {
                return fail(format!("dependency {:?} has disallowed characters in the alias", dependency.name));
            }
            let key = if dependency.alias.is_empty() { &dependency.name } else { &dependency.alias };
            if !seen.insert(key) {
                return fail(format!("more than one dependency with name or alias {key:?}"));
            }
        }
        Ok(())
    }

    /// As templates see it.
    pub fn value(&self, dependencies: &[Dependency], name: &str, is_root: bool) -> Value {
        let text = |text: &str| Value::text(text);
        let maintainer = |maintainer: &Maintainer| {
            Record::new("*chart.Maintainer", "ptr")
                .with("Name", "name", text(&maintainer.name))
                .with("Email", "email", text(&maintainer.email))
                .with("URL", "url", text(&maintainer.url))
                .value()
        };
        let annotations = self.annotations.iter().map(|(key, value)| (key.as_str().into(), text(value))).collect();
        let annotations = Value::Map(template::Map::new(annotations).typed(Of::Text));
        Record::new("struct { chart.Metadata; IsRoot bool }", "struct")
            .with("Name", "name", text(name))
            .with("Home", "home", text(&self.home))
            .with("Sources", "sources", Value::texts(self.sources.iter().map(String::as_str)))
            .with("Version", "version", text(&self.version))
            .with("Description", "description", text(&self.description))
            .with("Keywords", "keywords", Value::texts(self.keywords.iter().map(String::as_str)))
            .with("Maintainers", "maintainers", Value::list(self.maintainers.iter().map(maintainer).collect()))
            .with("Icon", "icon", text(&self.icon))
            .with("APIVersion", "apiVersion", text(&self.api_version))
            .with("Condition", "condition", text(&self.condition))
            .with("Tags", "tags", text(&self.tags))
            .with("AppVersion", "appVersion", text(&self.app_version))
            .with("Deprecated", "deprecated", Value::Bool(self.deprecated))
            .with("Annotations", "annotations", annotations)
            .with("KubeVersion", "kubeVersion", text(&self.kube_version))
            .with("Dependencies", "dependencies", Value::list(dependencies.iter().map(Dependency::value).collect()))
            .with("Type", "type", text(&self.kind))
            .with_always("IsRoot", "IsRoot", Value::Bool(is_root))
            .value()
    }
}

impl Dependency {
    fn value(&self) -> Value {
        Record::new("*chart.Dependency", "ptr")
            .with("Name", "name", Value::text(self.name.as_str()))
            .with("Version", "version", Value::text(self.version.as_str()))
            .with_always("Repository", "repository", Value::text(self.repository.as_str()))
            .with("Condition", "condition", Value::text(self.condition.as_str()))
            .with("Tags", "tags", Value::texts(self.tags.iter().map(String::as_str)))
            .with("Enabled", "enabled", Value::Bool(self.enabled))
            .with("ImportValues", "import-values", Value::list(self.import_values.iter().map(value_of).collect()))
            .with("Alias", "alias", Value::text(self.alias.as_str()))
            .value()
    }
}
