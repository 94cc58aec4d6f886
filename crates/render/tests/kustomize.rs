//! Cases in directories: `overlay` is built, and must be what the real kustomize 5.8.2 made of it (`legacy.yaml` and
//! `none.yaml`, by order), or be refused as it was there, with the words in `refused`.

use model::Snapshot;
use model::flow::{File, FileMode, Repository, Revision};
use proptest::prelude::*;
use render::kustomize::{Options, Order, build};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

fn cases() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/kustomize");
    let mut cases: Vec<PathBuf> =
        std::fs::read_dir(root).expect("the cases").map(|entry| entry.expect("an entry").path()).collect();
    cases.sort();
    cases
}

fn snapshot(files: BTreeMap<String, Vec<u8>>) -> Snapshot {
    let repository = Repository { project: "local".parse().expect("a label"), name: "cases".into() };
    let commit = "0".repeat(40).parse().expect("40 digits");
    let file = |bytes: Vec<u8>| File { mode: FileMode::Regular, bytes: bytes.into() };
    let files = files.into_iter().map(|(path, bytes)| (path, file(bytes))).collect();
    Snapshot { revision: Revision { repository, commit }, files }
}

fn files(case: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut directories = vec![case.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory).expect("a directory") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                directories.push(path);
                continue;
            }
            let name = path.strip_prefix(case).expect("below the case").to_str().expect("UTF-8").to_owned();
            files.insert(name, std::fs::read(&path).expect("a file"));
        }
    }
    files
}

fn built(snapshot: &Snapshot, order: Order) -> Result<String, String> {
    let options = Options { order, ..Options::default() };
    let objects = build(snapshot, "overlay", &options).map_err(|error| error.to_string())?;
    Ok(objects.iter().map(yaml::to_string).collect::<Vec<_>>().join("---\n"))
}

#[test]
fn builds_what_kustomize_builds() {
    let mut wrong = Vec::new();
    for case in cases() {
        let name = case.file_name().expect("a name").to_string_lossy().into_owned();
        let snapshot = snapshot(files(&case));
        for (order, file) in [(Order::Legacy, "legacy.yaml"), (Order::None, "none.yaml")] {
            let got = built(&snapshot, order);
            match (std::fs::read_to_string(case.join(file)), got) {
                (Ok(expected), Ok(got)) if expected == got => {}
                (Ok(expected), Ok(got)) => {
                    wrong.push(format!("{name}, {file}:\n--- expected\n{expected}--- got\n{got}"))
                }
                (Ok(_), Err(error)) => wrong.push(format!("{name}: {error}")),
                (Err(_), Ok(_)) => wrong.push(format!("{name} should be refused")),
                (Err(_), Err(error)) => refused(&case, &error, &mut wrong),
            }
        }
    }
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
}

fn refused(case: &Path, error: &str, wrong: &mut Vec<String>) {
    let file = case.join("refused");
    let error = format!("{error}\n");
    if std::env::var_os("GOLDEN").is_some() {
        std::fs::write(&file, error).expect("the case can be written");
        return;
    }
    let expected = std::fs::read_to_string(&file).unwrap_or_default();
    if expected != error {
        wrong.push(format!("{}: expected {expected} got {error}", case.display()));
    }
}

#[test]
fn building_twice_is_building_once() {
    for case in cases().into_iter().filter(|case| case.join("legacy.yaml").exists()) {
        let objects = std::fs::read(case.join("none.yaml")).expect("a file");
        let again = snapshot(BTreeMap::from([
            ("overlay/kustomization.yaml".to_owned(), b"resources: [all.yaml]\n".to_vec()),
            ("overlay/all.yaml".to_owned(), objects.clone()),
        ]));
        // The build's own annotations are not for a second build.
        if case.ends_with("build_metadata") {
            continue;
        }
        assert_eq!(built(&again, Order::None), Ok(String::from_utf8(objects).expect("UTF-8")), "{}", case.display());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever stands in the files, a build ends, and ends the same way each time.
    #[test]
    fn no_input_panics(which in any::<prop::sample::Index>(), file in any::<prop::sample::Index>(),
                       cuts in prop::collection::vec((any::<prop::sample::Index>(), 0_usize..6, "[-a-z:{}\\[\\]\"'|>&*$. \n]{0,6}"), 1..5)) {
        let cases = cases();
        let mut files = files(&cases[which.index(cases.len())]);
        let names: Vec<String> = files.keys().cloned().collect();
        let text = files.get_mut(&names[file.index(names.len())]).expect("a file of the case");
        for (at, length, insert) in cuts {
            let at = at.index(text.len() + 1);
            let end = (at + length).min(text.len());
            text.splice(at..end, insert.bytes());
        }
        let snapshot = snapshot(files);
        prop_assert_eq!(built(&snapshot, Order::Legacy), built(&snapshot, Order::Legacy));
    }
}
