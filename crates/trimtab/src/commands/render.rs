use super::Common;
use super::chart::{self, ChartArgs};
use crate::output::Output;
use anyhow::{Context, Result, bail};
use model::Manifests;
use model::flow::{File, FileMode, Repository, Revision, Snapshot};
use model::remote::Remotes;
use render::helm;
use render::kustomize::{self, Options, Order};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fs;
use std::io::{BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// What is written at once: charts write many small pieces.
const BUFFER: usize = 64 << 10;

/// Print the manifests that a directory stands for
///
/// A directory with a chart is rendered as `helm template` renders it, and one with a kustomization as `kustomize build`
/// builds it; of others, all YAML and JSON files are read.
#[derive(Debug, clap::Args)]
pub struct RenderArgs {
    /// The directory; of a chart, its archive too, its name in --repo, or its address in a registry (oci://…)
    directory: PathBuf,
    /// What it is [default: a chart if it has a Chart.yaml, an overlay if it has a kustomization]
    #[arg(long = "as", value_enum, value_name = "KIND")]
    kind: Option<Kind>,
    /// Of an overlay: the order of the objects; what the kustomization says counts for more
    #[arg(long, value_enum, default_value_t = Reorder::Legacy)]
    reorder: Reorder,
    /// Of an overlay: which files it may read
    #[arg(long, value_enum, default_value_t = LoadRestrictor::RootOnly)]
    load_restrictor: LoadRestrictor,
    /// Of an overlay: render the charts that it names, from its `charts` directory or their repositories
    #[arg(long)]
    enable_helm: bool,
    /// Of an overlay: label everything as managed by kustomize
    #[arg(long)]
    enable_managedby_label: bool,
    #[command(flatten)]
    chart: ChartArgs,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Kind {
    /// YAML and JSON files
    Plain,
    /// An overlay
    Kustomize,
    /// A chart
    Helm,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Reorder {
    /// By kind
    Legacy,
    /// As they stand
    None,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum LoadRestrictor {
    /// Only those below a kustomization
    #[value(name = "LoadRestrictionsRootOnly")]
    RootOnly,
    /// All of the repository
    #[value(name = "LoadRestrictionsNone")]
    None,
}

pub async fn run(common: &Common, args: RenderArgs) -> Result<ExitCode> {
    let remote = args.chart.is_remote(&args.directory);
    let detected = || if remote { Kind::Helm } else { detected(&args.directory) };
    let manifests = match args.kind.unwrap_or_else(detected) {
        Kind::Helm => {
            let (made, shown) = chart::rendered(&args.directory, &args.chart).await?;
            match common.output {
                Output::Text => {
                    let mut out = BufWriter::with_capacity(BUFFER, std::io::stdout().lock());
                    let mut pieces = helm::pieces(&made, &shown)?.into_iter();
                    let written =
                        pieces.try_for_each(|piece| out.write_all(piece.as_bytes())).and_then(|()| out.flush());
                    // Whoever reads may have gone away.
                    written.or_else(|error| if error.kind() == ErrorKind::BrokenPipe { Ok(()) } else { Err(error) })?;
                }
                Output::Json => {
                    let text = helm::printed(&made, &shown)?;
                    let documents = yaml::documents(&text, "the chart", yaml::Dialect::V2)?;
                    let objects: Vec<_> = documents.into_iter().map(|(object, _)| object).collect();
                    common.output.print(&objects, |_| String::new());
                }
            }
            return Ok(ExitCode::SUCCESS);
        }
        Kind::Kustomize => built(&args).await?,
        Kind::Plain => render::plain(&read(&args.directory, false)?)?,
    };
    for note in &manifests.notes {
        eprintln!("note: {note}");
    }
    common.output.print(&manifests.objects, |objects| {
        let documents: Vec<String> = objects.iter().map(yaml::to_string).collect();
        documents.join("---\n")
    });
    Ok(ExitCode::SUCCESS)
}

fn detected(path: &Path) -> Kind {
    let has = |name: &str| path.join(name).is_file();
    if path.is_file() || has("Chart.yaml") {
        Kind::Helm
    } else if kustomize::FILE_NAMES.iter().any(|name| has(name)) {
        Kind::Kustomize
    } else {
        Kind::Plain
    }
}

/// Builds an overlay with the files of the lowest directory that holds all that it names: a repository may be large.
async fn built(args: &RenderArgs) -> Result<Manifests> {
    let mut options = Options {
        order: match args.reorder {
            Reorder::Legacy => Order::Legacy,
            Reorder::None => Order::None,
        },
        load_outside: matches!(args.load_restrictor, LoadRestrictor::None),
        // Nobody keeps a secret for what is only printed.
        charts: args.enable_helm.then(|| kustomize::Charts {
            seed: rand::random(),
            now: jiff::Timestamp::now(),
            kube_version: render::helm::KubeVersion::default(),
        }),
        managed_by_label: args.enable_managedby_label,
        remotes: Remotes::new(),
    };
    let shown = args.directory.display();
    let directory = args.directory.canonicalize().with_context(|| format!("reading {shown}"))?;
    // The lowest directory that holds all that is named; never above the repository, never the root of the file system.
    let mut roots: Vec<&Path> = Vec::new();
    for above in directory.ancestors().filter(|above| above.parent().is_some()) {
        roots.push(above);
        if above.join(".git").exists() {
            break;
        }
    }
    roots.reverse();
    while let Some(root) = roots.pop() {
        let below = directory.strip_prefix(root).unwrap_or(Path::new(""));
        let below = below.to_str().with_context(|| format!("{shown}: the name is not UTF-8"))?;
        match whole(&read(root, true)?, below, &mut options).await? {
            Ok(objects) => return Ok(Manifests { objects, ..Manifests::default() }),
            Err(error) if kustomize::leads_out(&error) && !roots.is_empty() => {}
            Err(error) => return Err(error.into()),
        }
    }
    bail!("{shown} is no directory of manifests")
}

/// What is fetched may name more, so often.
const ROUNDS_MAX: usize = 64;

/// Builds, and fetches what lies elsewhere, until all of it is there.
async fn whole(
    snapshot: &Snapshot,
    directory: &str,
    options: &mut Options,
) -> Result<std::result::Result<Vec<serde_json::Value>, render::Error>> {
    let fetcher = source::Fetcher::new(std::env::temp_dir(), source::Rights::Person, crate::instance::newest_chart);
    for _ in 0..ROUNDS_MAX {
        let addresses = match kustomize::build(snapshot, directory, options) {
            Err(render::Error::Remote { addresses }) => addresses,
            built => return Ok(built),
        };
        for address in addresses {
            if let Entry::Vacant(entry) = options.remotes.entry(address.key()) {
                entry.insert(fetcher.fetch(&address).await?.fetched);
            }
        }
    }
    bail!("what is named elsewhere names more, over more than {ROUNDS_MAX} steps")
}

/// Bytes that a directory may hold; a larger one is no directory of manifests.
const BYTES_MAX: u64 = 256 << 20;

fn read(root: &Path, links: bool) -> Result<Snapshot> {
    let mut files = BTreeMap::new();
    let mut left = BYTES_MAX;
    let mut directories = vec![root.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(&directory).with_context(|| format!("reading {}", directory.display()))? {
            let path = entry?.path();
            let kind = fs::symlink_metadata(&path)?;
            let Ok(relative) = path.strip_prefix(root) else { continue };
            let name =
                relative.to_str().with_context(|| format!("{}: the name is not UTF-8", path.display()))?.to_owned();
            if kind.is_dir() {
                if relative != Path::new(".git") {
                    directories.push(path);
                }
            } else if kind.is_file() {
                left = match left.checked_sub(kind.len()) {
                    Some(left) => left,
                    None => bail!("{} holds more than {} MiB", root.display(), BYTES_MAX >> 20),
                };
                let bytes = fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
                files.insert(name, File { mode: FileMode::Regular, bytes: bytes.into() });
            } else if kind.is_symlink() && links {
                let target = fs::read_link(&path).with_context(|| format!("reading {}", path.display()))?;
                let target = target.to_str().with_context(|| format!("{}: its target is not UTF-8", path.display()))?;
                files.insert(name, File { mode: FileMode::Symlink, bytes: target.as_bytes().into() });
            }
        }
    }
    let repository = Repository { project: "local".parse().expect("a label"), name: "directory".into() };
    let commit = "0".repeat(40).parse().expect("40 digits");
    Ok(Snapshot { revision: Revision { repository, commit }, files })
}
