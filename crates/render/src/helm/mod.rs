//! Helm charts, rendered as the original renders them.
//!
//! A [`Chart`] is read once, from the files of a directory or from an archive. [`render`] is a function of a chart, a
//! [`Release`] and values: equal arguments give equal bytes. What is random to Helm (passwords, keys) follows from a seed,
//! and what it asks the clock for from a time that the caller gives.

mod chart;
mod error;
mod facts;
mod files;
mod functions;
mod glob;
mod list;
mod manifest;
mod needs;
mod node;
mod output;
mod record;
mod schema;
mod set;
mod values;

pub use chart::Chart;
pub use error::Error;
pub use facts::{Capabilities, KubeVersion, Release};
pub use list::{Entry, REPOSITORIES, entries, relevant, repositories};
pub use manifest::{Document, Hook, Rendered};
pub use needs::{Files, Need, directory, is_exact, needs, newer, newest, pack};
pub use output::{Shown, pieces, printed};
pub use values::Layers;

use chart::Tree;
use functions::Host;
use jiff::Timestamp;
use node::Node;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use template::{Entries, Exec, Fault, Library, Limits, Map, Of, Text, Value};

/// The version whose output this is.
pub const VERSION: &str = "v3.22.0";

/// Reads an object of a cluster: `apiVersion`, `kind`, namespace and name, which are empty for all.
pub type Lookup = Box<dyn Fn(&str, &str, &str, &str) -> Result<serde_json::Value, String> + Send>;

/// What a render depends on beside the chart and its values.
pub struct Options {
    /// The release.
    pub release: Release,
    /// The cluster that is rendered for.
    pub capabilities: Capabilities,
    /// What randomness follows from: a secret that all renders of a release share. Who knows it knows the passwords.
    pub seed: [u8; 32],
    /// What `now` gives.
    pub now: Timestamp,
    /// Do not hold values against schemas.
    pub skip_schema: bool,
    /// The cluster that `lookup` asks; without it, it finds nothing.
    pub lookup: Option<Lookup>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            release: Release::default(),
            capabilities: Capabilities::default(),
            seed: [0; 32],
            now: Timestamp::UNIX_EPOCH,
            skip_schema: false,
            lookup: None,
        }
    }
}

/// The stack of a render: templates may be nested deeply. Only what is used takes memory.
const STACK: usize = 256 << 20;

/// Renders a chart with values over its own.
///
/// # Errors
/// What is wrong with chart, values or templates, as helm words it.
pub fn render(chart: &Chart, layers: &Layers, options: Options) -> Result<Rendered, Error> {
    // On a stack of its own, and not in a thread of its own: there, what is allocated is asked of the kernel page by page.
    let caught = stacker::grow(STACK, || catch_unwind(AssertUnwindSafe(|| rendered(chart, layers, options))));
    caught.unwrap_or_else(|_| Err(Error::Render("the renderer failed; this is a fault of it".into())))
}

fn rendered(chart: &Chart, layers: &Layers, options: Options) -> Result<Rendered, Error> {
    chart.texts.begin();
    let metadata = &chart.tree.metadata;
    if metadata.kind == "library" {
        return Err(Error::Chart("library charts are not installable".into()));
    }
    let missing = node::missing(&chart.tree);
    if !missing.is_empty() {
        return Err(Error::Dependencies(missing.join(", ")));
    }
    options.release.check()?;
    let given = layers.merged().map_err(Error::Values)?;
    let mut root = Node::of(&chart.tree);
    root.resolve(&given).map_err(Error::Values)?;
    let values = values::coalesced(&root, &given, false).map_err(Error::Values)?;
    if !options.skip_schema {
        schema::check(&root, &values, &chart.texts)?;
    }
    let kube = &options.capabilities.kube_version;
    if !metadata.kube_version.is_empty() && !node::fits(&metadata.kube_version, &kube.version) {
        let wanted = &metadata.kube_version;
        let problem =
            format!("chart requires kubeVersion: {wanted} which is incompatible with Kubernetes {}", kube.version);
        return Err(Error::Chart(problem));
    }
    let files = executed(chart, &root, values, options)?;
    manifest::sorted(&root, files, &chart.texts)
}

/// A file of a chart, in its place in the whole.
struct Template {
    text: Text,
    facts: Map,
    base: Arc<str>,
}

/// What the files of templates write, by their paths.
fn executed(chart: &Chart, root: &Node, values: Map, options: Options) -> Result<BTreeMap<String, String>, Error> {
    let mut templates = BTreeMap::new();
    let top = Map::new(Entries::from([
        ("Release".into(), options.release.value()),
        ("Capabilities".into(), options.capabilities.value()),
        ("Values".into(), Value::Map(values.typed(Of::Values))),
    ]));
    gather(root, "", true, &top, &mut templates);
    // Deep files first, by name backwards: later definitions of a template replace earlier ones.
    let mut paths: Vec<&String> = templates.keys().collect();
    paths.sort_by_key(|path| std::cmp::Reverse((path.matches('/').count(), path.as_str())));
    let mut library = Library::new(functions::all());
    for path in &paths {
        let template = &templates[*path];
        let parse = |text: &Text| template::parse(path, text, &functions::find);
        let parsed = chart.texts.file(path, &template.text, &parse);
        library.add(&*parsed.map_err(|error| error::parse(path, &error))?);
    }
    let host = Host {
        seed: options.seed,
        draws: Default::default(),
        now: options.now,
        patterns: Default::default(),
        includes: Default::default(),
        texts: Arc::clone(&chart.texts),
        lookup: options.lookup,
    };
    let mut exec = Exec::new(&library, &host, Limits::default());
    let mut written = BTreeMap::new();
    for path in paths {
        if path.rsplit('/').next().is_some_and(|name| name.starts_with('_')) {
            continue;
        }
        let template = &templates[path];
        let place = Entries::from([
            ("Name".into(), path.as_str().into()),
            ("BasePath".into(), Value::Text(Arc::clone(&template.base))),
        ]);
        template.facts.set("Template", Value::Map(Map::new(place).typed(Of::Values)));
        let data = Value::Map(template.facts.clone().typed(Of::Values));
        let text = exec.run(path, data).map_err(|fault: Fault| error::exec(path, &fault))?;
        let text = if text.contains(functions::NO_VALUE) { text.replace(functions::NO_VALUE, "") } else { text };
        written.insert(path.clone(), text);
    }
    Ok(written)
}

/// Collects the templates of a chart and of those below it, and what they see.
fn gather(node: &Node, above: &str, is_root: bool, outer: &Map, templates: &mut BTreeMap<String, Template>) -> Value {
    let tree: &Tree = &node.tree;
    let path = if is_root { node.name.clone() } else { format!("{above}/charts/{}", node.name) };
    let below = Map::new(Entries::new());
    let copy = |key: &str| outer.get(key).unwrap_or(Value::Nil);
    let values = if is_root {
        copy("Values")
    } else {
        let found = values::table(outer, &format!("Values.{}", node.name));
        Value::Map(found.unwrap_or_else(|| Map::new(Entries::new())).typed(Of::Values))
    };
    let facts = Map::new(Entries::from([
        ("Chart".into(), tree.metadata.value(&node.dependencies, &node.name, is_root)),
        ("Files".into(), files::value(&tree.files)),
        ("Release".into(), copy("Release")),
        ("Capabilities".into(), copy("Capabilities")),
        ("Values".into(), values),
        ("Subcharts".into(), Value::Map(below.clone())),
    ]));
    for child in &node.children {
        let seen = gather(child, &path, false, &facts, templates);
        below.set(child.name.as_str(), seen);
    }
    let is_library = tree.metadata.kind.eq_ignore_ascii_case("library");
    let base: Arc<str> = format!("{path}/templates").into();
    for file in &tree.templates {
        let is_partial = file.name.rsplit('/').next().is_some_and(|name| name.starts_with('_'));
        if is_library && !is_partial {
            continue;
        }
        let template = Template { text: Text::clone(&file.text), facts: facts.clone(), base: Arc::clone(&base) };
        templates.insert(format!("{path}/{}", file.name), template);
    }
    Value::Map(facts)
}
