//! `helmCharts`: charts of this repository or of others, rendered in place.

use super::Charts;
use super::accumulate::Target;
use super::decode::{Fields, Rules};
use super::read;
use super::resource::Resource;
use crate::error::Error;
use crate::helm::{self, Chart, KubeVersion, Layers, Shown};
use model::chart::ChartSource;
use sha2::{Digest, Sha256};
use yaml::Node;

type Result<T> = std::result::Result<T, Error>;

/// `helmGlobals`.
#[derive(Debug, Default)]
pub(super) struct Globals {
    home: String,
}

/// One of `helmCharts`.
#[derive(Debug, Default)]
pub(super) struct ChartArgs {
    name: String,
    version: String,
    repo: String,
    release_name: String,
    namespace: String,
    values_file: String,
    additional_values_files: Vec<String>,
    /// As YAML; empty if there are none.
    values_inline: String,
    values_merge: String,
    include_crds: bool,
    skip_hooks: bool,
    skip_tests: bool,
    api_versions: Vec<String>,
    kube_version: String,
}

impl Globals {
    pub fn read(rules: Rules<'_>, node: &Node, path: &str) -> Result<Self> {
        let mut fields = Fields::of(rules, node, path)?;
        let home = fields.text("chartHome")?;
        fields.take("configHome");
        fields.close()?;
        Ok(Self { home })
    }

    fn home(&self) -> &str {
        if self.home.is_empty() { "charts" } else { &self.home }
    }
}

impl ChartArgs {
    /// `name` is what the field with the chart's name is called.
    pub fn read(rules: Rules<'_>, node: &Node, path: &str, name: &str) -> Result<Self> {
        let mut fields = Fields::of(rules, node, path)?;
        let inline = fields.take("valuesInline").map(|(node, _)| yaml::to_json(node, yaml::Dialect::V2));
        let args = Self {
            name: fields.text(name)?,
            version: fields.text("version")?,
            repo: fields.text("repo")?,
            release_name: fields.text("releaseName")?,
            namespace: fields.text("namespace")?,
            values_file: fields.text("valuesFile")?,
            additional_values_files: fields.texts("additionalValuesFiles")?,
            values_inline: match inline.transpose().map_err(Error::Yaml)? {
                Some(values) if !values.is_null() => yaml::to_string(&values),
                _ => String::new(),
            },
            values_merge: fields.text("valuesMerge")?,
            include_crds: fields.flag("includeCRDs")?,
            skip_hooks: fields.flag("skipHooks")?,
            skip_tests: fields.flag("skipTests")?,
            api_versions: fields.texts("apiVersions")?,
            kube_version: fields.text("kubeVersion")?,
        };
        // What the original passes on to helm's fetching, or to nobody.
        for ignored in ["debug", "devel", "nameTemplate", "chartRepo", "chartVersion", "chartName", "values"] {
            fields.take(ignored);
        }
        fields.close()?;
        Ok(args)
    }
}

/// What the charts of a kustomization stand for.
pub(super) fn generate(target: &Target<'_>) -> Result<Vec<Resource>> {
    let mut all = Vec::new();
    for (at, args) in target.kustomization.charts.iter().enumerate() {
        let field = format!("helmCharts[{at}]");
        let Some(charts) = &target.loader.charts else {
            let problem = format!("{}: charts are rendered only with --enable-helm", args.name);
            return target.fail(&field, &problem);
        };
        let text = rendered(target, args, charts).or_else(|problem| target.fail(&field, &problem))?;
        // Its archive is not at hand: whoever builds fetches it, with those of the others, and builds again.
        let Some(text) = text else { continue };
        let file = format!("{}, {field}", target.file);
        let mut made = read::resources(text.as_bytes(), &file, &target.types())?;
        made.iter_mut().for_each(Resource::set_from_chart);
        all.extend(made);
    }
    Ok(all)
}

/// Of one release: two releases of a chart have different passwords.
fn own_seed(seed: [u8; 32], namespace: &str, args: &ChartArgs) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(seed);
    for part in [namespace, &args.release_name, &args.name] {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}

/// The chart: a directory here, or else an archive of the repository that is named.
fn found(target: &Target<'_>, args: &ChartArgs) -> std::result::Result<Option<Chart>, String> {
    let home = target.kustomization.helm_globals.home();
    // Where the original puts what it fetches, and where people keep their own.
    let fetched = format!("{home}/{}-{}/{}", args.name, args.version, args.name);
    let own = format!("{home}/{}", args.name);
    if let Some(directory) = [&fetched, &own].into_iter().find(|path| target.loader.has(&format!("{path}/Chart.yaml")))
    {
        return Chart::load(&target.loader.below(directory)?).map(Some).map_err(|error| error.to_string());
    }
    if args.repo.is_empty() {
        return Err(format!("{own} has no Chart.yaml, and `repo` names no repository to take it from"));
    }
    let version = if args.version.is_empty() { "*" } else { &args.version };
    let source = ChartSource { repository: args.repo.clone(), name: args.name.clone(), version: version.to_owned() };
    source.check().map_err(|problem| problem.to_string())?;
    let Some(archive) = target.loader.chart(source) else { return Ok(None) };
    Chart::unpack(archive).map(Some).map_err(|error| error.to_string())
}

/// What a chart writes; `None` if its archive is not at hand.
fn rendered(target: &Target<'_>, args: &ChartArgs, charts: &Charts) -> std::result::Result<Option<String>, String> {
    let Some(chart) = found(target, args)? else { return Ok(None) };
    let read = |path: &str| -> std::result::Result<(String, String), String> {
        Ok((path.to_owned(), String::from_utf8_lossy(target.loader.read(path)?).into_owned()))
    };
    let file = match (args.values_file.as_str(), args.values_merge.as_str()) {
        // The chart's own values, which win here.
        ("", "merge") => Some(("values.yaml".to_owned(), chart.own_values())),
        ("", _) => None,
        (path, _) => Some(read(path)?),
    };
    let inline = (!args.values_inline.is_empty()).then(|| ("valuesInline".to_owned(), args.values_inline.clone()));
    let mut files: Vec<(String, String)> = match args.values_merge.as_str() {
        "" | "override" => file.into_iter().chain(inline).collect(),
        "merge" => inline.into_iter().chain(file).collect(),
        "replace" => inline.or(file).into_iter().collect(),
        other => return Err(format!("valuesMerge {other:?} is none of merge, override and replace")),
    };
    for path in &args.additional_values_files {
        files.push(read(path)?);
    }
    let namespace = if args.namespace.is_empty() { &target.kustomization.namespace } else { &args.namespace };
    let mut options =
        helm::Options { seed: own_seed(charts.seed, namespace, args), now: charts.now, ..helm::Options::default() };
    for (to, from) in [(&mut options.release.name, &args.release_name), (&mut options.release.namespace, namespace)] {
        if !from.is_empty() {
            to.clone_from(from);
        }
    }
    options.capabilities.kube_version = match args.kube_version.as_str() {
        "" => charts.kube_version.clone(),
        version => KubeVersion::parse(version).map_err(|error| error.to_string())?,
    };
    options.capabilities.api_versions.extend(args.api_versions.iter().cloned());
    let layers = Layers { files, ..Layers::default() };
    let rendered = helm::render(&chart, &layers, options).map_err(|error| error.to_string())?;
    let shown =
        Shown { crds: args.include_crds, no_hooks: args.skip_hooks, no_tests: args.skip_tests, only: Vec::new() };
    helm::printed(&rendered, &shown).map(Some).map_err(|error| error.to_string())
}
