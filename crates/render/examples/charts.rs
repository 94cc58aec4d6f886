//! Renders many charts, for comparing by hand: `charts LIST OUTPUT [TIMES]`. A line of the list is a name, a directory and files of
//! values, with tabs between; what is printed goes to `OUTPUT/name.out`, or what is wrong to `name.err`. Printed are milliseconds: of reading
//! and the first render, and the least of more renders of what was read.

use render::helm::{Chart, Layers, Options, Shown, printed, render};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

fn main() -> std::io::Result<()> {
    let mut args = std::env::args().skip(1);
    let (list, output) = (args.next().unwrap_or_default(), args.next().unwrap_or_default());
    let times: u32 = args.next().and_then(|times| times.parse().ok()).unwrap_or(0);
    for line in std::fs::read_to_string(list)?.lines() {
        let mut parts = line.split('\t');
        let (name, directory) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        let started = Instant::now();
        let read = loaded(Path::new(directory), parts.filter(|part| !part.is_empty()));
        let result = read.as_ref().map_err(String::clone).and_then(|(chart, layers)| one(chart, layers));
        let took = started.elapsed();
        let again = |(chart, layers): &(Chart, Layers)| {
            let started = Instant::now();
            _ = one(chart, layers);
            started.elapsed()
        };
        let warm = (0..times).filter_map(|_| read.as_ref().ok().map(again)).min().unwrap_or_default();
        let file = |extension: &str| Path::new(&output).join(format!("{name}.{extension}"));
        match result {
            Ok(text) => std::fs::write(file("out"), text)?,
            Err(error) => std::fs::write(file("err"), error)?,
        }
        println!("{name}\t{:.3}\t{:.3}", took.as_secs_f64() * 1000.0, warm.as_secs_f64() * 1000.0);
    }
    Ok(())
}

fn loaded<'a>(directory: &Path, values: impl Iterator<Item = &'a str>) -> Result<(Chart, Layers), String> {
    let mut files = BTreeMap::new();
    read(directory, "", &mut files).map_err(|error| error.to_string())?;
    let chart = Chart::load(&files).map_err(|error| error.to_string())?;
    let mut layers = Layers::default();
    for file in values {
        let text = std::fs::read_to_string(file).map_err(|error| error.to_string())?;
        layers.files.push((file.to_owned(), text));
    }
    Ok((chart, layers))
}

fn one(chart: &Chart, layers: &Layers) -> Result<String, String> {
    let rendered = render(chart, layers, Options::default()).map_err(|error| error.to_string())?;
    let shown = Shown { crds: true, ..Shown::default() };
    printed(&rendered, &shown).map_err(|error| error.to_string())
}

fn read(directory: &Path, prefix: &str, files: &mut BTreeMap<String, Arc<[u8]>>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        let name = format!("{prefix}{}", path.file_name().unwrap_or_default().to_string_lossy());
        if path.is_dir() {
            read(&path, &format!("{name}/"), files)?;
        } else {
            files.insert(name, std::fs::read(&path)?.into());
        }
    }
    Ok(())
}
