//! Cases in directories: `chart` is rendered, and must be what the real helm 3.22 made of it (`expected.yaml`), or be
//! refused as it was there, with the words in `refused`, which are ours. `args` has flags, one a line.

use proptest::prelude::*;
use render::helm::{Chart, KubeVersion, Layers, Options, Shown, printed, render};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

type Files = BTreeMap<String, Arc<[u8]>>;

fn cases() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/helm");
    let mut cases: Vec<PathBuf> =
        std::fs::read_dir(root).expect("the cases").map(|entry| entry.expect("an entry").path()).collect();
    cases.retain(|case| case.is_dir());
    cases.sort();
    cases
}

fn files(chart: &Path) -> Files {
    let mut files = BTreeMap::new();
    let mut directories = vec![chart.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory).expect("a directory") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                directories.push(path);
                continue;
            }
            let name = path.strip_prefix(chart).expect("below the chart").to_str().expect("UTF-8").to_owned();
            files.insert(name, std::fs::read(&path).expect("a file").into());
        }
    }
    files
}

fn rendered(case: &Path, chart: &Chart) -> Result<String, String> {
    let (mut layers, mut options, mut shown) = (Layers::default(), Options::default(), Shown::default());
    let args = std::fs::read_to_string(case.join("args")).unwrap_or_default();
    let mut args = args.lines();
    while let Some(flag) = args.next() {
        let mut value = || args.next().expect("a value").to_owned();
        match flag {
            "-f" => {
                let name = value();
                let text = std::fs::read_to_string(case.join(&name)).expect("values");
                layers.files.push((name, text));
            }
            "--set" => layers.set.push(value()),
            "--set-string" => layers.set_string.push(value()),
            "--set-json" => layers.set_json.push(value()),
            "--set-file" => layers.set_file.push(value()),
            "--set-literal" => layers.set_literal.push(value()),
            "--name" => options.release.name = value(),
            "--namespace" => options.release.namespace = value(),
            "--is-upgrade" => options.release.is_upgrade = true,
            "--include-crds" => shown.crds = true,
            "--skip-tests" => shown.no_tests = true,
            "--show-only" => shown.only.push(value()),
            "--api-versions" => options.capabilities.api_versions.push(value()),
            "--kube-version" => {
                options.capabilities.kube_version = KubeVersion::parse(&value()).expect("a version");
            }
            other => panic!("{other} is no flag of these tests"),
        }
    }
    for name in layers.files_named() {
        let text = std::fs::read_to_string(case.join(&name)).expect("a file");
        layers.named.insert(name, text);
    }
    let rendered = render(chart, &layers, options).map_err(|error| error.to_string())?;
    printed(&rendered, &shown).map_err(|error| error.to_string())
}

fn whole(case: &Path) -> Result<String, String> {
    let chart = Chart::load(&files(&case.join("chart"))).map_err(|error| error.to_string())?;
    let first = rendered(case, &chart)?;
    // What the first render leaves behind must not show in the second one.
    assert_eq!(Ok(&first), rendered(case, &chart).as_ref(), "{}", case.display());
    Ok(first)
}

#[test]
fn renders_what_helm_renders() {
    let mut wrong = Vec::new();
    for case in cases() {
        let name = case.file_name().expect("a name").to_string_lossy().into_owned();
        match (std::fs::read_to_string(case.join("expected.yaml")), whole(&case)) {
            (Ok(expected), Ok(got)) if expected == got => {}
            (Ok(expected), Ok(got)) => wrong.push(format!("{name}:\n{}", difference(&expected, &got))),
            (Ok(_), Err(error)) => wrong.push(format!("{name}: {error}")),
            (Err(_), Ok(_)) => wrong.push(format!("{name} should be refused")),
            (Err(_), Err(error)) => refused(&case, &error, &mut wrong),
        }
    }
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
}

fn difference(expected: &str, got: &str) -> String {
    let (a, b): (Vec<&str>, Vec<&str>) = (expected.lines().collect(), got.lines().collect());
    let mut lines = Vec::new();
    for index in 0..a.len().max(b.len()) {
        let (a, b) = (a.get(index).unwrap_or(&""), b.get(index).unwrap_or(&""));
        if a != b {
            lines.push(format!("{}: expected {a}\n{}: got      {b}", index + 1, index + 1));
        }
    }
    lines.truncate(40);
    lines.join("\n")
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

fn random(seed: u8) -> String {
    let template = b"a: {{ randAlphaNum 20 }} {{ uuidv4 }} {{ randInt 0 1000 }}\nb: {{ randAlphaNum 20 }}\n\
        {{- $ca := genCA \"ca\" 365 }}\n{{- $cert := genSignedCert \"cn\" (list \"10.0.0.1\") (list \"a.b\") 30 $ca }}\n\
        c: {{ $cert.Cert | quote }}\nd: {{ genPrivateKey \"ecdsa\" | quote }}\ne: {{ htpasswd \"u\" \"p\" | quote }}\n\
        f: {{ encryptAES \"k\" \"text\" | decryptAES \"k\" }}\ng: {{ genPrivateKey \"ed25519\" | quote }}\n";
    let files = Files::from([
        ("Chart.yaml".to_owned(), Arc::from(&b"apiVersion: v2\nname: x\nversion: 1.0.0\n"[..])),
        ("templates/a.yaml".to_owned(), Arc::from(&template[..])),
    ]);
    let chart = Chart::load(&files).expect("a chart");
    let options = Options { seed: [seed; 32], ..Options::default() };
    printed(&render(&chart, &Layers::default(), options).expect("a render"), &Shown::default()).expect("a text")
}

#[test]
fn what_is_random_is_stable_for_a_seed() {
    let (first, again, other) = (random(1), random(1), random(2));
    assert_eq!(first, again);
    let common = first.lines().zip(other.lines()).filter(|(a, b)| a == b).count();
    // The separator, the source and the text that came back.
    assert_eq!(common, 3, "{first}\n{other}");
    let line = |key: &str| first.lines().find(|line| line.starts_with(key)).expect("a line").to_owned();
    assert_ne!(line("a: ")[3..23], line("b: ")[3..23], "two passwords of a template differ");
    assert!(line("f: ").ends_with("text"), "{first}");
}

#[test]
fn an_archive_that_leads_out_is_refused() {
    let archive = |path: &str| {
        let mut header = tar::Header::new_gnu();
        header.as_gnu_mut().expect("a header").name[..path.len()].copy_from_slice(path.as_bytes());
        header.set_size(1);
        header.set_mode(0o644);
        header.set_cksum();
        let mut builder = tar::Builder::new(flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast()));
        builder.append(&header, &b"x"[..]).expect("an entry");
        builder.into_inner().expect("a tar").finish().expect("an archive")
    };
    for path in ["x/../../etc/passwd", "x//etc/passwd", "Chart.yaml", "x/..", "x/c:/y"] {
        let error = Chart::unpack(&archive(path)).expect_err(path).to_string();
        assert!(error.contains("illegally") || error.contains("base directory"), "{path}: {error}");
    }
    let error = Chart::unpack(&archive("x/values.yaml")).expect_err("no Chart.yaml").to_string();
    assert_eq!(error, "Chart.yaml file is missing");
}

#[test]
fn templates_without_end_are_stopped() {
    let cases = [
        ("{{ range $i := until 100000 }}{{ range $j := until 100000 }}{{ end }}{{ end }}", "too"),
        ("{{ $x := repeat 1000000000000 \"x\" }}", "too large"),
        ("{{ range until 1000000000000 }}{{ end }}", "too large"),
        ("{{ define \"a\" }}{{ template \"a\" }}{{ end }}{{ template \"a\" }}", "nested too deeply"),
        ("{{ $x := \"x\" }}{{ range until 60 }}{{ $x = print $x $x }}{{ end }}", "too large"),
        ("{{ $x := list }}{{ range until 2000000 }}{{ $x = list $x }}{{ end }}", "too many lists"),
        (
            "{{ $d := dict }}{{ $_ := set $d \"d\" $d }}{{ $x := print $d }}{{ $y := printf \"%v %s\" $d $d }}{{ toToml $d }}{{ fail \"fine\" }}",
            "fine",
        ),
        ("{{ $d := dict }}{{ $_ := set $d \"d\" $d }}{{ toYaml $d }}{{ deepCopy $d }}", "deeper"),
    ];
    for (template, expected) in cases {
        let files = Files::from([
            ("Chart.yaml".to_owned(), Arc::from(&b"apiVersion: v2\nname: x\nversion: 1.0.0\n"[..])),
            ("templates/a.yaml".to_owned(), Arc::from(template.as_bytes())),
        ]);
        let chart = Chart::load(&files).expect("a chart");
        let error = render(&chart, &Layers::default(), Options::default()).expect_err(template).to_string();
        assert!(error.contains(expected), "{template}: {error}");
    }
}

#[test]
fn overlays_render_the_charts_that_they_name() {
    use model::flow::{File, FileMode, Repository, Revision};
    let text = |text: &str| File { mode: FileMode::Regular, bytes: text.as_bytes().into() };
    let kustomization = "namePrefix: p-\nhelmCharts:\n- {name: c, releaseName: rel, namespace: ns, includeCRDs: true, \
        valuesFile: v.yaml, valuesInline: {b: 2}, kubeVersion: \"1.30\"}\n";
    let template = "kind: ConfigMap\napiVersion: v1\nmetadata: {name: {{ .Release.Name }}}\n\
        data: {v: \"{{ .Values.a }}{{ .Values.b }}{{ .Values.c }}\", k: {{ .Capabilities.KubeVersion }}}\n";
    let files = BTreeMap::from([
        ("o/kustomization.yaml".to_owned(), text(kustomization)),
        ("o/v.yaml".to_owned(), text("a: 5\nb: 6\n")),
        ("o/charts/c/Chart.yaml".to_owned(), text("apiVersion: v2\nname: c\nversion: 1.0.0\n")),
        ("o/charts/c/values.yaml".to_owned(), text("a: 1\nc: 3\n")),
        ("o/charts/c/templates/a.yaml".to_owned(), text(template)),
    ]);
    let repository = Repository { project: "local".parse().expect("a label"), name: "cases".into() };
    let revision = Revision { repository, commit: "0".repeat(40).parse().expect("40 digits") };
    let snapshot = model::Snapshot { revision, files };
    let built = |enable_helm: bool| {
        let options = render::kustomize::Options { charts: enable_helm.then(charts), ..Default::default() };
        render::kustomize::build(&snapshot, "o", &options).map_err(|error| error.to_string())
    };
    let objects = built(true).expect("objects");
    let expected = "apiVersion: v1\ndata:\n  k: v1.30.0\n  v: \"523\"\nkind: ConfigMap\nmetadata:\n  name: p-rel\n";
    assert_eq!(objects.iter().map(yaml::to_string).collect::<String>(), expected);
    let refused = built(false).expect_err("without the flag");
    assert!(refused.contains("only with --enable-helm"), "{refused}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever stands in the files of a chart, a render ends, and ends the same way each time.
    #[test]
    fn no_input_panics(which in any::<prop::sample::Index>(), file in any::<prop::sample::Index>(),
                       cuts in prop::collection::vec((any::<prop::sample::Index>(), 0_usize..6, "[-a-z:{}()|$.=\"`/*\\[\\] \n]{0,6}"), 1..5)) {
        let mut cases = cases();
        // Its depth takes long in a debug build.
        cases.retain(|case| !case.ends_with("bad_recursive") && !case.ends_with("numbers"));
        let case = &cases[which.index(cases.len())];
        let mut files = files(&case.join("chart"));
        let names: Vec<String> = files.keys().cloned().collect();
        let text = files.get_mut(&names[file.index(names.len())]).expect("a file of the case");
        let mut bytes = text.to_vec();
        for (at, length, insert) in cuts {
            let at = at.index(bytes.len() + 1);
            let end = (at + length).min(bytes.len());
            bytes.splice(at..end, insert.bytes());
        }
        *text = bytes.into();
        let once = || Chart::load(&files).map_err(|error| error.to_string()).and_then(|chart| rendered(case, &chart));
        prop_assert_eq!(once(), once());
    }

    /// Bytes are no chart, but never a reason to panic.
    #[test]
    fn no_archive_panics(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let packed = [&b"\x1f\x8b\x08\0\0\0\0\0\0\0"[..], &bytes].concat();
        prop_assert!(Chart::unpack(&packed).is_err());
    }
}

fn charts() -> render::kustomize::Charts {
    let kube_version = render::helm::KubeVersion::default();
    render::kustomize::Charts { seed: [7; 32], now: jiff::Timestamp::UNIX_EPOCH, kube_version }
}
