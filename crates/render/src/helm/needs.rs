//! What a chart in a directory needs from elsewhere, which versions fit, and the archive that it becomes with them.

use super::Error;
use super::chart::{CHART_MAX, Chart, FILE_MAX, Rules, Tree, yaml_file};
use super::functions::{Constraint, Version};
use super::list::{address, repositories};
use super::node::fits;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::Value as Json;
use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Arc;

/// Files by their paths from the top of a chart, with `/`.
pub type Files = BTreeMap<String, Arc<[u8]>>;

/// A chart that another one names and does not have in `charts/`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Need {
    /// Its name.
    pub name: String,
    /// The version of the lock file, or the range if there is none.
    pub version: String,
    /// `https://…`, `oci://…` or `file://…`.
    pub repository: String,
}

/// Where charts of the first kind name what they need; Jenkins X describes environments with nothing else.
pub(super) const REQUIREMENTS: &str = "requirements.yaml";

/// The files of a directory as those of a chart: a list of charts alone becomes a chart of this name without templates.
///
/// # Errors
/// It is neither.
pub fn directory(mut files: Files, name: &str) -> Result<Files, Error> {
    if !files.contains_key("Chart.yaml") {
        if !files.contains_key(REQUIREMENTS) {
            return Err(Error::Chart(format!("Chart.yaml file is missing, and there is no {REQUIREMENTS}")));
        }
        let chart = format!("apiVersion: v1\nname: {name}\nversion: 0.0.0\n");
        files.insert("Chart.yaml".into(), chart.into_bytes().into());
    }
    Ok(files)
}

/// What the chart of these files lacks.
///
/// # Errors
/// The files are no chart; a lock file that does not fit; a repository that no other machine knows.
pub fn needs(files: &Files) -> Result<Vec<Need>, Error> {
    let chart = Chart::load(files)?;
    let known = repositories(files)?;
    let mut needs = Vec::new();
    for dependency in &chart.tree.metadata.dependencies {
        let there = |child: &Arc<Tree>| {
            child.metadata.name == dependency.name && fits(&dependency.version, &child.metadata.version)
        };
        if chart.tree.dependencies.iter().any(there) {
            continue;
        }
        let (name, repository) = (&dependency.name, &dependency.repository);
        let fail = |problem: String| Err(Error::Chart(format!("dependency {name}: {problem}")));
        if repository.is_empty() {
            return Err(Error::Dependencies(name.clone()));
        }
        let repository = match address(repository, &known) {
            Ok(repository) => repository,
            Err(problem) => return fail(problem),
        };
        let version = locked_version(files, name, &dependency.version)?;
        let need = Need { name: name.clone(), version, repository };
        if !needs.contains(&need) {
            needs.push(need);
        }
    }
    Ok(needs)
}

/// The version of the lock file that is in a range, or the range if there is no such file.
pub(super) fn locked_version(files: &Files, name: &str, range: &str) -> Result<String, Error> {
    let Some((file, all)) = locked(files)? else { return Ok(range.to_owned()) };
    match all.iter().find(|(other, version)| other == name && fits(range, version)) {
        Some((_, version)) => Ok(version.clone()),
        None => Err(Error::Chart(format!(
            "dependency {name}: {file} has no version that is {range}: `helm dependency update` writes it anew"
        ))),
    }
}

type Locked = (&'static str, Vec<(String, String)>);

/// Names and versions of the lock file.
fn locked(files: &Files) -> Result<Option<Locked>, Error> {
    let found = ["Chart.lock", "requirements.lock"].into_iter().find_map(|name| Some((name, files.get(name)?)));
    let Some((name, bytes)) = found else { return Ok(None) };
    let json = yaml_file(bytes, name).map_err(Error::Chart)?;
    let text = |entry: &Json, key: &str| entry[key].as_str().unwrap_or_default().to_owned();
    let entries = json["dependencies"].as_array().map(Vec::as_slice).unwrap_or_default();
    Ok(Some((name, entries.iter().map(|entry| (text(entry, "name"), text(entry, "version"))).collect())))
}

/// The newest of these versions that a range allows; what is no version is passed over.
///
/// # Errors
/// The range is none.
pub fn newest<'v>(range: &str, versions: impl IntoIterator<Item = &'v str>) -> Result<Option<&'v str>, Error> {
    let bad =
        || Error::Chart(format!("{range:?} is neither a version nor a range of versions (1.2.3, ^1.2, >=1.2 <2, *)"));
    let constraint = Constraint::parse(range).ok_or_else(bad)?;
    let mut best: Option<(Version, &str)> = None;
    for text in versions {
        if text == range {
            return Ok(Some(text));
        }
        let Some(version) = Version::parse(text).filter(|version| constraint.allows(version)) else { continue };
        if best.as_ref().is_none_or(|(other, _)| version.order(other).is_gt()) {
            best = Some((version, text));
        }
    }
    Ok(best.map(|(_, text)| text))
}

/// True if a range means one version and no other, so that nothing newer will ever fit.
pub fn is_exact(range: &str) -> bool {
    let numbers = range.split(['-', '+']).next().unwrap_or_default();
    Version::parse(range).is_some() && numbers.split('.').count() == 3
}

/// True if the first version is newer than the second.
pub fn newer(version: &str, than: &str) -> bool {
    match (Version::parse(version), Version::parse(than)) {
        (Some(version), Some(than)) => version.order(&than).is_gt(),
        _ => false,
    }
}

/// The archive (`.tgz`) of a chart; equal files give equal bytes.
///
/// # Errors
/// The files are no chart, or are too large.
pub fn pack(files: &Files) -> Result<(Chart, Vec<u8>), Error> {
    let chart = Chart::load(files)?;
    let rules = match files.get(".helmignore") {
        Some(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        None => String::new(),
    };
    let rules = Rules::parse(&rules).map_err(Error::Chart)?;
    let failed = |error: std::io::Error| Error::Chart(format!("the chart cannot be packed: {error}"));
    let mut tar = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::default()));
    let mut left = CHART_MAX;
    for (name, bytes) in files.iter().filter(|(name, _)| !rules.ignores(name)) {
        let fits = bytes.len() <= FILE_MAX;
        let Some(rest) = left.checked_sub(bytes.len()).filter(|_| fits) else {
            return Err(Error::Chart(format!(
                "{name} makes the chart larger than it may be ({FILE_MAX} bytes a file, {CHART_MAX} in all)"
            )));
        };
        left = rest;
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        header.set_mtime(0);
        tar.append_data(&mut header, format!("{}/{name}", chart.name()), &**bytes).map_err(failed)?;
    }
    let mut gzip = tar.into_inner().map_err(failed)?;
    gzip.flush().map_err(failed)?;
    Ok((chart, gzip.finish().map_err(failed)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(list: &[(&str, &str)]) -> Files {
        list.iter().map(|(name, text)| ((*name).to_owned(), text.as_bytes().into())).collect()
    }

    const UMBRELLA: &str = "apiVersion: v2\nname: shop\nversion: 1.2.0\ndependencies:\n- {name: web, version: ^1.0.0, repository: 'https://charts.example.com/'}\n- {name: api, version: 0.1.0, repository: 'file://../api'}\n";

    #[test]
    fn the_newest_version_of_a_range_is_taken() {
        let versions = ["1.0.0", "1.2.0", "v1.10.0", "2.0.0-rc.1", "1.9.0", "nonsense", "2.0.0"];
        for (range, expect) in [
            ("*", Some("2.0.0")),
            ("^1", Some("v1.10.0")),
            ("~1.2", Some("1.2.0")),
            ("1.9.0", Some("1.9.0")),
            (">=2.0.0-0 <2.0.0", Some("2.0.0-rc.1")),
            ("3", None),
        ] {
            assert_eq!(newest(range, versions).unwrap(), expect, "{range}");
        }
        assert!(newest("latest", versions).unwrap_err().to_string().contains("\"latest\""));
        assert!(is_exact("1.2.3") && is_exact("v1.2.3-rc.1") && !is_exact("1.2") && !is_exact("^1.2.3"));
        assert!(newer("1.10.0", "1.9.0") && !newer("1.9.0", "1.9.0"));
    }

    #[test]
    fn a_chart_needs_what_it_names_and_does_not_have() {
        let mut umbrella = files(&[("Chart.yaml", UMBRELLA)]);
        let need = |name: &str, version: &str, repository: &str| Need {
            name: name.into(),
            version: version.into(),
            repository: repository.into(),
        };
        let api = need("api", "0.1.0", "file://../api");
        assert_eq!(needs(&umbrella).unwrap(), [need("web", "^1.0.0", "https://charts.example.com"), api.clone()]);

        umbrella.insert(
            "Chart.lock".into(),
            b"dependencies: [{name: web, version: 1.4.0}, {name: api, version: 0.1.0}]".as_slice().into(),
        );
        assert_eq!(needs(&umbrella).unwrap(), [need("web", "1.4.0", "https://charts.example.com"), api.clone()]);

        umbrella
            .insert("charts/web/Chart.yaml".into(), b"apiVersion: v2\nname: web\nversion: 1.4.0\n".as_slice().into());
        assert_eq!(needs(&umbrella).unwrap(), [api]);

        umbrella.insert("Chart.lock".into(), b"dependencies: [{name: api, version: 0.2.0}]".as_slice().into());
        assert!(needs(&umbrella).unwrap_err().to_string().contains("helm dependency update"));
    }

    #[test]
    fn repositories_of_one_machine_are_refused() {
        for repository in ["@stable", "alias:stable"] {
            let text = format!(
                "apiVersion: v2\nname: a\nversion: 1.0.0\ndependencies: [{{name: b, version: '1', repository: '{repository}'}}]\n"
            );
            let error = needs(&files(&[("Chart.yaml", &text)])).unwrap_err().to_string();
            assert!(error.contains("write its address"), "{error}");
        }
    }

    #[test]
    fn a_list_of_charts_as_jenkins_x_has_it_is_a_chart() {
        let list = "dependencies:\n- alias: expose\n  name: exposecontroller\n  repository: http://chartmuseum.jenkins-x.io\n  version: 2.3.92\n- name: web\n  repository: http://jenkins-x-chartmuseum:8080\n  version: 0.0.3\n";
        let list =
            directory(files(&[("requirements.yaml", list), ("values.yaml", "expose: {}\n")]), "staging").unwrap();
        let needs = needs(&list).unwrap();
        assert_eq!(needs.iter().map(|need| need.name.as_str()).collect::<Vec<_>>(), ["exposecontroller", "web"]);
        assert_eq!(Chart::load(&list).unwrap().name(), "staging");
        assert!(directory(files(&[("values.yaml", "")]), "staging").is_err());
    }

    #[test]
    fn an_archive_is_the_same_each_time_and_holds_what_is_not_ignored() {
        let chart = files(&[
            ("Chart.yaml", "apiVersion: v2\nname: web\nversion: 1.0.0\n"),
            ("templates/a.yaml", "a: 1\n"),
            (".helmignore", "secret.txt\n"),
            ("secret.txt", "x"),
        ]);
        let (packed, archive) = pack(&chart).unwrap();
        assert_eq!((packed.name(), packed.version()), ("web", "1.0.0"));
        assert_eq!(pack(&chart).unwrap().1, archive);
        let again = Chart::unpack(&archive).unwrap();
        assert_eq!(again.tree.templates.len(), 1);
        assert!(again.tree.files.iter().all(|file| file.name != "secret.txt"));
    }
}
