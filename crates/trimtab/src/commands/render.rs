use super::Common;
use anyhow::{Context, Result, bail};
use model::flow::{File, FileMode, Repository, Revision, Snapshot};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Print the manifests that a directory stands for
#[derive(Debug, clap::Args)]
pub struct RenderArgs {
    /// A directory of YAML files
    directory: PathBuf,
}

pub fn run(common: &Common, args: RenderArgs) -> Result<ExitCode> {
    let snapshot = read(&args.directory)?;
    let manifests = render::plain(&snapshot)?;
    for note in &manifests.notes {
        eprintln!("note: {note}");
    }
    common.output.print(&manifests.objects, |objects| {
        let documents: Vec<String> = objects.iter().map(yaml::to_string).collect();
        documents.join("---\n")
    });
    Ok(ExitCode::SUCCESS)
}

/// Bytes that a directory may hold; a larger one is no directory of manifests.
const BYTES_MAX: u64 = 256 << 20;

fn read(root: &Path) -> Result<Snapshot> {
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
            }
        }
    }
    let repository = Repository { project: "local".parse().expect("a label"), name: "directory".into() };
    let commit = "0".repeat(40).parse().expect("40 digits");
    Ok(Snapshot { revision: Revision { repository, commit }, files })
}
