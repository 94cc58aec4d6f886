//! Charts on the command line: the flags that `helm template` takes, and what it prints.

use anyhow::{Context, Result, bail};
use jiff::Timestamp;
use model::ChartSource;
use model::ports::ChartAccess;
use render::helm::{Chart, KubeVersion, Layers, Options, Release, Rendered, Shown, is_exact, newest};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Of a chart.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Charts")]
pub struct ChartArgs {
    /// Name of the release [default: release-name]
    #[arg(long, value_name = "NAME")]
    release_name: Option<String>,
    /// Namespace of the release
    #[arg(long, short, value_name = "NAMESPACE", default_value = "default", hide_default_value = true)]
    namespace: String,
    /// A file of values; later ones win
    #[arg(long, short = 'f', value_name = "FILE", value_delimiter = ',')]
    values: Vec<PathBuf>,
    /// Values, `a.b=1,c[0]=true`
    #[arg(long, value_name = "VALUES")]
    set: Vec<String>,
    /// Values that are texts
    #[arg(long, value_name = "VALUES")]
    set_string: Vec<String>,
    /// Values from files, `a.b=path`
    #[arg(long, value_name = "VALUES")]
    set_file: Vec<String>,
    /// Values as JSON, `a.b={"c": 1}`
    #[arg(long, value_name = "VALUES")]
    set_json: Vec<String>,
    /// A value that is a text to the end
    #[arg(long, value_name = "VALUE")]
    set_literal: Vec<String>,
    /// Print the chart's CRDs too
    #[arg(long)]
    include_crds: bool,
    /// Leave hooks out
    #[arg(long)]
    no_hooks: bool,
    /// Leave tests out
    #[arg(long)]
    skip_tests: bool,
    /// Render as for an upgrade
    #[arg(long)]
    is_upgrade: bool,
    /// Version of Kubernetes that templates see
    #[arg(long, value_name = "VERSION")]
    kube_version: Option<String>,
    /// More versions of APIs that templates see
    #[arg(long, short, value_name = "VERSIONS", value_delimiter = ',')]
    api_versions: Vec<String>,
    /// Print only what these templates make
    #[arg(long, short, value_name = "PATH")]
    show_only: Vec<String>,
    /// Do not hold values against schemas
    #[arg(long)]
    skip_schema_validation: bool,
    /// Take the chart from this repository
    #[arg(long, value_name = "URL")]
    repo: Option<String>,
    /// Which version of it: one, or the newest of a range [default: the newest]
    #[arg(long, value_name = "VERSION")]
    version: Option<String>,
    /// Name for the repository or registry; its password is read from standard input
    #[arg(long, value_name = "NAME")]
    username: Option<String>,
    /// Certificates of authorities that the repository is trusted by (PEM)
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// Take only a chart that a key of --keyring signed
    #[arg(long, requires = "keyring")]
    verify: bool,
    /// Public keys of OpenPGP (`gpg --export`)
    #[arg(long, value_name = "FILE", requires = "verify")]
    keyring: Option<PathBuf>,
}

impl ChartArgs {
    /// True if the chart is to be fetched.
    pub fn is_remote(&self, path: &Path) -> bool {
        self.repo.is_some() || path.to_str().is_some_and(|path| path.starts_with("oci://"))
    }

    /// Fetches the chart; nothing is kept.
    async fn fetched(&self, path: &Path) -> Result<Chart> {
        let path = path.to_str().context("the chart's name is not UTF-8")?;
        let (repository, name) = match &self.repo {
            Some(repository) => (repository.clone(), path.to_owned()),
            None => {
                let (above, name) = path.trim_end_matches('/').rsplit_once('/').unwrap_or_default();
                (above.to_owned(), name.to_owned())
            }
        };
        let version = self.version.clone().unwrap_or_else(|| "*".to_owned());
        let source = ChartSource { repository, name, version };
        source.check()?;
        let read = |file: &Option<PathBuf>| {
            let read = |file: &PathBuf| fs::read(file).with_context(|| format!("reading {}", file.display()));
            file.as_ref().map(read).transpose()
        };
        let user = match &self.username {
            Some(name) => Some((name.clone(), std::io::read_to_string(std::io::stdin())?.trim_end().to_owned())),
            None => None,
        };
        let access = ChartAccess { user, authority: read(&self.ca_file)?, keyring: read(&self.keyring)?, hosts: None };
        let version = match is_exact(&source.version) {
            true => source.version.clone(),
            false => {
                let versions = source::chart_versions(&source, &access).await?;
                let newest = newest(&source.version, versions.iter().map(String::as_str))?;
                newest.with_context(|| format!("{source}: there is no such version"))?.to_owned()
            }
        };
        let fetched = source::fetch_chart(&source, &version, &access).await?;
        Ok(Chart::unpack(&fetched.archive)?)
    }
}

/// What a chart stands for that lies in a directory, an archive or a repository, and what is to be printed of it.
pub async fn rendered(path: &Path, args: &ChartArgs) -> Result<(Rendered, Shown)> {
    let chart = if args.is_remote(path) {
        args.fetched(path).await?
    } else if path.is_file() {
        Chart::unpack(&fs::read(path).with_context(|| format!("reading {}", path.display()))?)?
    } else {
        Chart::load(&files(path)?)?
    };
    let mut layers = Layers {
        set: args.set.clone(),
        set_string: args.set_string.clone(),
        set_file: args.set_file.clone(),
        set_json: args.set_json.clone(),
        set_literal: args.set_literal.clone(),
        ..Layers::default()
    };
    for file in &args.values {
        let name = file.display().to_string();
        let text = if name == "-" { std::io::read_to_string(std::io::stdin()) } else { fs::read_to_string(file) };
        layers.files.push((name.clone(), text.with_context(|| format!("reading {name}"))?));
    }
    for name in layers.files_named() {
        let text = fs::read_to_string(&name).with_context(|| format!("reading {name}"))?;
        layers.named.insert(name, text);
    }
    let mut release = Release { namespace: args.namespace.clone(), is_upgrade: args.is_upgrade, ..Release::default() };
    if let Some(name) = &args.release_name {
        release.name.clone_from(name);
    }
    let mut options = Options {
        // Nobody keeps a secret for what is only printed: passwords are new ones each time, as helm's are.
        seed: rand::random(),
        release,
        now: Timestamp::now(),
        skip_schema: args.skip_schema_validation,
        ..Options::default()
    };
    if let Some(version) = &args.kube_version {
        options.capabilities.kube_version = KubeVersion::parse(version)?;
    }
    options.capabilities.api_versions.extend(args.api_versions.iter().cloned());
    let shown = Shown {
        crds: args.include_crds,
        no_hooks: args.no_hooks,
        no_tests: args.skip_tests,
        only: args.show_only.clone(),
    };
    Ok((render::helm::render(&chart, &layers, options)?, shown))
}

/// Bytes that a chart's directory may hold, what is ignored included.
const BYTES_MAX: u64 = 256 << 20;
/// Directories inside of directories; links may lead in circles.
const DEPTH_MAX: usize = 40;

/// All files of a directory; links are followed.
fn files(root: &Path) -> Result<BTreeMap<String, Arc<[u8]>>> {
    let mut files = BTreeMap::new();
    let mut left = BYTES_MAX;
    let mut directories = vec![(root.to_owned(), String::new(), 0)];
    while let Some((directory, prefix, depth)) = directories.pop() {
        if depth > DEPTH_MAX {
            bail!("{}: directories are nested deeper than {DEPTH_MAX} levels", directory.display());
        }
        for entry in fs::read_dir(&directory).with_context(|| format!("reading {}", directory.display()))? {
            let entry = entry?;
            let path = entry.path();
            let name = entry.file_name();
            let name = name.to_str().with_context(|| format!("{}: the name is not UTF-8", path.display()))?;
            if prefix.is_empty() && name == ".git" {
                continue;
            }
            let kind = fs::metadata(&path).with_context(|| format!("reading {}", path.display()))?;
            if kind.is_dir() {
                directories.push((path, format!("{prefix}{name}/"), depth + 1));
            } else if kind.is_file() {
                left = match left.checked_sub(kind.len()) {
                    Some(left) => left,
                    None => bail!("{} holds more than {} MiB", root.display(), BYTES_MAX >> 20),
                };
                let bytes = fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
                files.insert(format!("{prefix}{name}"), bytes.into());
            }
        }
    }
    Ok(files)
}
