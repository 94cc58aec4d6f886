use super::*;
use model::flow::{File, FileMode};

fn snapshot(files: &[(&str, &str)]) -> Snapshot {
    let file = |text: &str| File { mode: FileMode::Regular, bytes: text.as_bytes().into() };
    let repository = Repository { project: "shop".parse().unwrap(), name: "config".into() };
    let revision = Revision { repository, commit: "0".repeat(40).parse().unwrap() };
    Snapshot { revision, files: files.iter().map(|(path, text)| ((*path).to_owned(), file(text))).collect() }
}

#[test]
fn a_broken_file_spoils_its_own_environment_only() {
    let pin = "build: web-1\nsource: 0123456789012345678901234567890123456789\nimage: x@sha256:0123456789012345678901234567890123456789012345678901234567890123\nconfig: 0123456789012345678901234567890123456789\n".replace("0123456789012345678901234567890123456789\n", "a123456789012345678901234567890123456789\n");
    let config = parse_config(&snapshot(&[
        ("project.yaml", "project: shop\nenvironments: [dev, prod, qa]\n"),
        ("environments/dev.yaml", "promotion: {strategy: Auto}\n"),
        ("environments/dev/web.yaml", &pin),
        ("environments/prod.yaml", "promotion: {strategy: Sometimes}\n"),
    ]));
    let dev = config.environments[&"dev".parse().unwrap()].as_ref().unwrap();
    assert_eq!(dev.pins[&"web".parse().unwrap()].build.to_string(), "web-1");
    let prod = config.environments[&"prod".parse().unwrap()].as_ref().unwrap_err();
    assert!(prod[0].starts_with("environments/prod.yaml:1") && prod[0].contains("Sometimes"), "{prod:?}");
    let qa = config.environments[&"qa".parse().unwrap()].as_ref().unwrap_err();
    assert!(qa[0].contains("environments/qa.yaml is missing"), "{qa:?}");
}

#[test]
fn environments_stand_in_an_order() {
    let file = |from: &str| format!("promotion: {{from: [{from}]}}\n");
    let config = parse_config(&snapshot(&[
        ("project.yaml", "project: shop\nenvironments: [dev, qa, staging, prod]\n"),
        ("environments/dev.yaml", "promotion: {strategy: Auto}\n"),
        ("environments/qa.yaml", &file("dev, nowhere")),
        ("environments/staging.yaml", &file("dev, prod")),
        ("environments/prod.yaml", &file("staging")),
    ]));
    let problems = config.problems();
    assert_eq!(
        problems,
        [
            "environments/prod.yaml: promotion.from: prod would have to come before itself (prod → staging → prod)",
            "environments/qa.yaml: promotion.from: there is no environment nowhere; there is: dev, prod, qa, staging",
            "environments/staging.yaml: promotion.from: staging would have to come before itself (staging → prod → staging)",
        ]
    );
}

#[test]
fn windows_and_releases_are_checked_where_they_stand() {
    let pin =
        format!("{{build: api-1, source: a{0}, image: x@sha256:{1}, config: a{0}}}", "1".repeat(39), "1".repeat(64));
    let config = parse_config(&snapshot(&[
        ("project.yaml", "project: shop\nenvironments: [dev, qa]\n"),
        ("environments/dev.yaml", "promotion: {windows: [nights]}\n"),
        ("environments/qa.yaml", "like: qa\n"),
        ("windows.yaml", "- {name: days, schedule: 0 8 * * *, duration: 9h}\n"),
        ("releases/latest.yaml", "pins: {}\n"),
    ]));
    let problems = config.problems();
    assert_eq!(problems.len(), 3, "{problems:?}");
    assert_eq!(
        problems[0],
        "environments/dev.yaml: promotion.windows: windows.yaml has no window nights; it has: days"
    );
    assert_eq!(problems[1], "environments/qa.yaml: like: qa would have to be like itself (qa → qa)");
    assert!(problems[2].starts_with("releases/latest.yaml: \"latest\" is not a release version"), "{problems:?}");
    for (windows, problem) in [
        (
            "- {name: w, schedule: 0 8 * * *, duration: 9h, timeZone: Mars/Base}\n",
            "windows.yaml: window w: there is no time zone \"Mars/Base\"",
        ),
        (
            "- {name: w, from: 2026-12-24, to: 2026-12-26}\n- {name: w, from: 2026-12-24, to: 2026-12-26}\n",
            "windows.yaml: window w stands there twice",
        ),
        ("- {name: w, kind: sometimes}\n", "windows.yaml:1:"),
    ] {
        let problems = parse_config(&snapshot(&[("windows.yaml", windows)])).windows.unwrap_err();
        assert!(problems[0].starts_with(problem), "{problems:?}");
    }
    assert_eq!(parse_config(&snapshot(&[("windows.yaml", "# none yet\n")])).windows, Ok(Vec::new()));
    let text = format!("pins: {{web: {pin}}}\n");
    let release = parse_release(&snapshot(&[("releases/1.0.0.yaml", &text)]), &"1.0.0".parse().unwrap());
    assert_eq!(release, Some(Err("releases/1.0.0.yaml: pins: api-1 is no build of web".to_owned())));
}

#[test]
fn keys_and_members_are_checked_where_they_stand() {
    let config = parse_config(&snapshot(&[
        (
            "project.yaml",
            "project: shop\nenvironments: [dev]\nmembers: {olga: [{role: operator, environments: [qa]}]}\n",
        ),
        ("environments/dev.yaml", "verify: {commits: {ssh: [nonsense]}}\n"),
    ]));
    let problems = config.problems();
    assert_eq!(problems[0], "project.yaml: members.olga: there is no environment qa; there is: dev");
    assert!(
        problems[1].starts_with("environments/dev.yaml: verify.commits.ssh: \"nonsense\" is no allowed signer"),
        "{problems:?}"
    );
    let config =
        parse_config(&snapshot(&[("project.yaml", "project: shop\nenvironments: []\nverify: {tags: {gpg: [x]}}\n")]));
    assert!(config.problems()[0].starts_with("project.yaml: verify.tags.gpg: a public key of GPG begins with"));
}

#[test]
fn a_pin_of_another_component_is_a_problem() {
    let pin =
        format!("build: api-1\nsource: a{0}\nimage: x@sha256:{1}\nconfig: a{0}\n", "1".repeat(39), "1".repeat(64));
    let config = parse_config(&snapshot(&[
        ("project.yaml", "project: shop\nenvironments: [dev]\n"),
        ("environments/dev.yaml", "{}\n"),
        ("environments/dev/web.yaml", &pin),
    ]));
    assert_eq!(config.problems(), ["environments/dev/web.yaml: build: api-1 is no build of web"]);
}

#[test]
fn an_environment_names_a_data_plane_that_is_described() {
    let config = parse_config(&snapshot(&[
        ("project.yaml", "project: shop\nenvironments: [dev, qa, prod]\n"),
        ("environments/dev.yaml", "dataPlane: embedded\n"),
        ("environments/qa.yaml", "dataPlane: edge\n"),
        ("environments/prod.yaml", "dataPlane: far\n"),
        ("dataplanes/edge.yaml", "registry: hub:5000\n"),
        ("dataplanes/bad.yaml", "kubeconfig: secret\n"),
        ("dataplanes/embedded.yaml", "{}\n"),
    ]));
    let problems = config.problems();
    assert_eq!(problems.len(), 3, "{problems:?}");
    assert!(
        problems[0].contains("there is no dataplanes/far.yaml") && problems[0].contains("trimtab dataplane add far")
    );
    assert!(problems[1].starts_with("dataplanes/bad.yaml:1") && problems[1].contains("kubeconfig"), "{problems:?}");
    assert!(problems[2].contains("choose another name"), "{problems:?}");
}
