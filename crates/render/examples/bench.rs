//! Times this crate for `cargo xtask bench render`, and prints what it measured as JSON: `runs` and `renders` in milliseconds
//! (with and without reading from disk), `peak_kib` of memory.
//!
//! `bench overlay ROOT DIRECTORY TIMES`, `bench environments ROOT`, `bench chart DIRECTORY TIMES [different]`.
//!
//! `bench charts LIST OUTPUT [TIMES]` renders many charts, for comparing by hand. A line of the list is a name, a directory and files
//! of values, with tabs between; what is printed goes to `OUTPUT/name.out`, or what is wrong to `name.err`. Printed are milliseconds:
//! of reading and the first render, and the least of more renders of what was read.

use model::Snapshot;
use model::flow::{File, FileMode, Repository, Revision};
use render::helm::{self, Chart, Layers, Shown};
use render::kustomize;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

type Files = BTreeMap<String, Arc<[u8]>>;
type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

#[derive(Default)]
struct Times {
    runs: Vec<f64>,
    renders: Vec<f64>,
}

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let times = match args.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["overlay", root, directory, times] => overlay(Path::new(root), directory, times.parse()?)?,
        ["environments", root] => environments(Path::new(root))?,
        ["charts", list, output, rest @ ..] => {
            return charts(list, Path::new(output), rest.first().map_or(Ok(0), |times| times.parse())?);
        }
        ["chart", directory, times, rest @ ..] => chart(Path::new(directory), times.parse()?, !rest.is_empty())?,
        _ => return Err("usage: see the source".into()),
    };
    let status = std::fs::read_to_string("/proc/self/status")?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.split_whitespace().next());
    let peak: u64 = peak.unwrap_or("0").parse()?;
    println!("{}", serde_json::json!({"runs": times.runs, "renders": times.renders, "peak_kib": peak}));
    Ok(())
}

fn since(start: Instant) -> f64 {
    start.elapsed().as_secs_f64() * 1000.0
}

fn read(directory: &Path, prefix: &str, files: &mut Files) -> std::io::Result<()> {
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        let path = entry.path();
        let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
        let kind = entry.file_type()?;
        if kind.is_dir() || (kind.is_symlink() && path.is_dir()) {
            read(&path, &format!("{name}/"), files)?;
        } else {
            files.insert(name, std::fs::read(&path)?.into());
        }
    }
    Ok(())
}

fn snapshot(root: &Path) -> Result<Snapshot> {
    let mut files = Files::new();
    read(root, "", &mut files)?;
    let file = |(path, bytes)| (path, File { mode: FileMode::Regular, bytes });
    let repository = Repository { project: "bench".parse()?, name: "bench".into() };
    let revision = Revision { repository, commit: "0".repeat(40).parse()? };
    Ok(Snapshot { revision, files: files.into_iter().map(file).collect() })
}

fn built(snapshot: &Snapshot, directory: &str) -> Result<usize> {
    let options = kustomize::Options { order: kustomize::Order::None, ..Default::default() };
    let objects = kustomize::build(snapshot, directory, &options)?;
    Ok(objects.iter().map(|object| yaml::to_string(object).len()).sum())
}

fn overlay(root: &Path, directory: &str, count: usize) -> Result<Times> {
    let mut times = Times::default();
    for _ in 0..count {
        let start = Instant::now();
        let snapshot = snapshot(root)?;
        let read = Instant::now();
        std::hint::black_box(built(&snapshot, directory)?);
        times.runs.push(since(start));
        times.renders.push(since(read));
    }
    Ok(times)
}

/// `runs`: each environment from nothing; `renders`: each that a change of another does not touch.
fn environments(root: &Path) -> Result<Times> {
    let mut snapshot = snapshot(root)?;
    let names: Vec<String> = std::fs::read_dir(root.join("overlays"))?
        .map(|entry| entry.map(|entry| format!("overlays/{}", entry.file_name().to_string_lossy())))
        .collect::<std::io::Result<_>>()?;
    let cache = kustomize::Cache::default();
    let options = kustomize::Options { order: kustomize::Order::None, ..Default::default() };
    let mut times = Times::default();
    for name in &names {
        let start = Instant::now();
        cache.build(&snapshot, name, &options)?;
        times.runs.push(since(start));
    }
    let changed = format!("{}/replicas.yaml", names[0]);
    let text = String::from_utf8(snapshot.files[&changed].bytes.to_vec())?.replace("replicas: 3", "replicas: 4");
    snapshot.files.insert(changed, File { mode: FileMode::Regular, bytes: text.into_bytes().into() });
    for name in &names[1..] {
        let start = Instant::now();
        cache.build(&snapshot, name, &options)?;
        times.renders.push(since(start));
    }
    Ok(times)
}

fn loaded(directory: &Path) -> Result<Chart> {
    let mut files = Files::new();
    read(directory, "", &mut files)?;
    Ok(Chart::load(&files)?)
}

fn rendered(chart: &Chart, layers: &Layers) -> Result<String> {
    let made = helm::render(chart, layers, helm::Options::default())?;
    Ok(helm::printed(&made, &Shown { crds: true, ..Shown::default() })?)
}

/// Rendered, and as much of it as would be printed, in bytes.
fn written(chart: &Chart, layers: &Layers) -> Result<usize> {
    let made = helm::render(chart, layers, helm::Options::default())?;
    let pieces = helm::pieces(&made, &Shown { crds: true, ..Shown::default() })?;
    Ok(pieces.iter().map(|piece| piece.len()).sum())
}

fn chart(directory: &Path, count: usize, different: bool) -> Result<Times> {
    let mut times = Times::default();
    let mut kept = None;
    for number in 0..count {
        let start = Instant::now();
        if kept.is_none() {
            kept = Some(loaded(directory)?);
        }
        let Some(chart) = &kept else { continue };
        let read = Instant::now();
        let mut layers = Layers::default();
        if different {
            layers.set.push(format!("nameOverride=name-{number}"));
        }
        std::hint::black_box(written(chart, &layers)?);
        times.runs.push(since(start));
        times.renders.push(since(read));
    }
    Ok(times)
}

fn charts(list: &str, output: &Path, times: u32) -> Result<()> {
    for line in std::fs::read_to_string(list)?.lines() {
        let mut parts = line.split('\t');
        let (name, directory) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        let start = Instant::now();
        let read = loaded(Path::new(directory)).and_then(|chart| Ok((chart, layers(parts)?)));
        let result = read.as_ref().map_err(ToString::to_string);
        let result = result.and_then(|(chart, layers)| rendered(chart, layers).map_err(|error| error.to_string()));
        let first = since(start);
        let again = |(chart, layers): &(Chart, Layers)| {
            let start = Instant::now();
            _ = rendered(chart, layers);
            since(start)
        };
        let warm = (0..times).filter_map(|_| read.as_ref().ok().map(again)).min_by(f64::total_cmp).unwrap_or_default();
        match result {
            Ok(text) => std::fs::write(output.join(format!("{name}.out")), text)?,
            Err(error) => std::fs::write(output.join(format!("{name}.err")), error)?,
        }
        println!("{name}\t{first:.3}\t{warm:.3}");
    }
    Ok(())
}

/// Files of values.
fn layers<'a>(files: impl Iterator<Item = &'a str>) -> Result<Layers> {
    let mut layers = Layers::default();
    for file in files.filter(|file| !file.is_empty()) {
        layers.files.push((file.to_owned(), std::fs::read_to_string(file)?));
    }
    Ok(layers)
}
