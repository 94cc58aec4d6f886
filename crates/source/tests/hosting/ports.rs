//! What reconcile asks of the git plane.

use crate::support::{Served, options, repository};
use model::flow::{FileMode, Repository, Revision};
use model::journal::{Entry, EntryKind};
use model::ports::{Repositories as _, Tag, Write, Written};
use source::Source;
use std::collections::BTreeMap;
use std::process::Command;
use tempfile::TempDir;

pub fn write(expect: Option<&model::CommitId>, files: &[(&str, Option<&str>)], message: &str) -> Write {
    let file = |(path, text): &(&str, Option<&str>)| ((*path).to_owned(), text.map(|t| t.as_bytes().to_vec()));
    Write {
        expect: expect.cloned(),
        files: files.iter().map(file).collect::<BTreeMap<_, _>>(),
        author: "alice".into(),
        message: message.into(),
        at: "2026-11-21T09:00:00Z".parse().unwrap(),
    }
}

pub fn entry(id: &str) -> Entry {
    Entry {
        environment: Some("staging".parse().unwrap()),
        build: Some("web-42".parse().unwrap()),
        summary: format!("staging moves: {id}"),
        reason: "first\nTrimtab-Id: forged".into(),
        ..Entry::new(EntryKind::Admitted, id.into(), "2026-11-21T09:00:00Z".parse().unwrap(), "alice")
    }
}

pub fn tag(name: &str, commit: &model::CommitId) -> Tag {
    Tag {
        name: name.into(),
        commit: commit.clone(),
        author: "alice".into(),
        message: "Release 1.0.0 of shop\n".into(),
        at: "2026-11-21T09:00:00Z".parse().unwrap(),
    }
}

fn committed(written: Written) -> model::CommitId {
    match written {
        Written::Commit(id) => id,
        Written::Superseded(at) => panic!("superseded by {at:?}"),
    }
}

async fn open() -> (TempDir, Source, Repository) {
    let data = tempfile::tempdir().unwrap();
    let source = Source::open(options(data.path())).await.unwrap();
    let config = repository("shop", "config");
    source.create(&config).await.unwrap();
    (data, source, config)
}

fn git(data: &TempDir, args: &[&str]) -> String {
    let output = Command::new("git").args(args).current_dir(data.path().join("git/shop/config.git")).output().unwrap();
    assert!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

#[tokio::test]
async fn writes_are_commits_that_git_agrees_with() {
    let (data, source, config) = open().await;
    let first = write(
        None,
        &[
            ("environments/dev.yaml", Some("a: 1\n")),
            ("environments/dev/web.yaml", Some("x\n")),
            ("project.yaml", Some("p\n")),
        ],
        "first\n\nTrimtab-Id: 1",
    );
    let first = committed(source.write(&config, &first).await.unwrap());
    let second = write(
        Some(&first),
        &[
            ("environments/dev/web.yaml", None),
            ("environments/dev.yaml", Some("a: 2\n")),
            ("big.bin", Some(&"z".repeat(100_000))),
        ],
        "dev: web-1 → web-2\n\nwhy\n\nTrimtab-Id: 2\nTrimtab-Promotion: dev-web-2",
    );
    let second = committed(source.write(&config, &second).await.unwrap());

    git(&data, &["fsck", "--strict", "--full"]);
    assert_eq!(git(&data, &["rev-parse", "refs/heads/main"]), second.as_str());
    assert_eq!(git(&data, &["ls-tree", "-r", "--name-only", "main"]), "big.bin\nenvironments/dev.yaml\nproject.yaml");
    assert_eq!(
        git(&data, &["log", "-1", "--format=%an <%ae> %cn <%ce> %cI"]),
        "alice <alice@test.instance> Trimtab <trimtab@test.instance> 2026-11-21T09:00:00+00:00"
    );

    let log = source.log(&config, &second, None, 10).await.unwrap();
    let ids: Vec<_> = log.iter().map(|commit| commit.id.clone()).collect();
    assert_eq!(ids, [second.clone(), first.clone()]);
    assert_eq!(log[0].trailer("Trimtab-Promotion"), Some("dev-web-2"));
    assert_eq!((log[0].subject.as_str(), log[0].author.as_str()), ("dev: web-1 → web-2", "alice"));
    assert_eq!(log[0].paths, ["big.bin", "environments/dev.yaml", "environments/dev/web.yaml"]);
    assert_eq!(source.log(&config, &second, Some(&first), 10).await.unwrap().len(), 1);
    assert!(source.is_ancestor(&config, &first, &second).await.unwrap());
    assert!(!source.is_ancestor(&config, &second, &first).await.unwrap());

    // A new process reads the same as the one that wrote.
    let revision = Revision { repository: config.clone(), commit: second };
    let warm = source.snapshot(&revision, "environments").await.unwrap();
    drop(source);
    let source = Source::open(options(data.path())).await.unwrap();
    assert_eq!(source.snapshot(&revision, "./environments/").await.unwrap(), warm);
    assert_eq!(warm.files.keys().collect::<Vec<_>>(), ["dev.yaml"]);
    assert_eq!(source.list().await.unwrap(), [config]);
}

#[tokio::test]
async fn commits_are_signed_for_git_verify_commit() {
    let (data, source, config) = open().await;
    let commit = committed(source.write(&config, &write(None, &[("a", Some("1"))], "signed ünïcode")).await.unwrap());
    source.append(&config.project, &entry("e1")).await.unwrap();
    if Command::new("ssh-keygen").arg("-?").output().is_err() {
        eprintln!("not verified: there is no ssh-keygen");
        return;
    }
    let signers = data.path().join("allowed_signers");
    std::fs::write(&signers, format!("* {}\n", source.public_key())).unwrap();
    let file = format!("gpg.ssh.allowedSignersFile={}", signers.display());
    for signed in [commit.as_str(), model::JOURNAL] {
        let id = git(&data, &["rev-parse", signed]);
        git(&data, &["-c", "gpg.format=ssh", "-c", &file, "verify-commit", &id]);
    }
    // The key is one that OpenSSH reads.
    let output = Command::new("ssh-keygen").arg("-y").arg("-f").arg(data.path().join("signing_key")).output().unwrap();
    assert!(String::from_utf8_lossy(&output.stdout).starts_with(&source.public_key()), "{output:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_racing_writers_one_wins_and_the_others_are_told() {
    let (_data, source, config) = open().await;
    let base = committed(source.write(&config, &write(None, &[("a", Some("0"))], "base")).await.unwrap());
    let mut racers = Vec::new();
    for n in 0..8 {
        let (source, config, base) = (source.clone(), config.clone(), base.clone());
        racers.push(tokio::spawn(async move {
            source.write(&config, &write(Some(&base), &[("a", Some(&n.to_string()))], "race")).await.unwrap()
        }));
    }
    let (mut won, mut told) = (Vec::new(), Vec::new());
    for racer in racers {
        match racer.await.unwrap() {
            Written::Commit(id) => won.push(id),
            Written::Superseded(at) => told.push(at.unwrap()),
        }
    }
    assert_eq!((won.len(), told.len()), (1, 7));
    assert!(told.iter().all(|at| *at == won[0]));
    assert_eq!(source.head(&config, model::MAIN).await.unwrap().as_ref(), Some(&won[0]));
    // Nothing was there, but something is: the same answer.
    let late = source.write(&config, &write(None, &[("a", Some("9"))], "late")).await.unwrap();
    assert_eq!(late, Written::Superseded(Some(won[0].clone())));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_journal_survives_and_takes_each_entry_once() {
    let (data, source, config) = open().await;
    let project = &config.project;
    assert_eq!(*source.journal(project).await.unwrap(), []);
    for id in ["a", "b", "a", "c", "b"] {
        source.append(project, &entry(id)).await.unwrap();
    }
    let expect = [entry("a"), entry("b"), entry("c")];
    assert_eq!(*source.journal(project).await.unwrap(), expect);
    drop(source);
    let source = Source::open(options(data.path())).await.unwrap();
    assert_eq!(*source.journal(project).await.unwrap(), expect);
    source.append(project, &entry("c")).await.unwrap();
    source.append(project, &entry("d")).await.unwrap();
    assert_eq!(git(&data, &["rev-list", "--count", model::JOURNAL]), "4");
    assert_eq!(git(&data, &["ls-tree", model::JOURNAL]), "");
    assert_eq!(source.head(&config, model::MAIN).await.unwrap(), None, "the journal is not on main");
    git(&data, &["fsck", "--strict", "--full"]);
}

#[tokio::test]
async fn kept_commits_have_a_reference() {
    let (data, source, config) = open().await;
    let one = committed(source.write(&config, &write(None, &[("a", Some("1"))], "one")).await.unwrap());
    source.keep(&config, "web-1", &one).await.unwrap();
    source.keep(&config, "web-1", &one).await.unwrap();
    assert_eq!(git(&data, &["rev-parse", "refs/trimtab/keep/web-1"]), one.as_str());
    assert_eq!(source.head(&config, "refs/trimtab/keep/web-1").await.unwrap(), Some(one));
    let absent = "1".repeat(40).parse().unwrap();
    let error = source.keep(&config, "web-2", &absent).await.unwrap_err();
    assert!(error.to_string().contains("no object"), "{error}");
}

#[tokio::test]
async fn bad_requests_are_errors_with_their_reason() {
    let (_data, source, config) = open().await;
    let base =
        committed(source.write(&config, &write(None, &[("a", Some("1")), ("d/b", Some("2"))], "base")).await.unwrap());
    for (path, expect) in [
        ("../x", "inside the repository"),
        (".git/config", "inside the repository"),
        ("", "names no file"),
        ("a/b", "a is a file where a directory is needed"),
        ("d", "d is a directory where a file is needed"),
    ] {
        let error = source.write(&config, &write(Some(&base), &[(path, Some("x"))], "bad")).await.unwrap_err();
        assert!(error.to_string().contains(expect), "{path:?}: {error}");
    }
    let nothing = repository("shop", "nothing");
    assert!(source.head(&nothing, model::MAIN).await.unwrap_err().to_string().contains("no repository shop/nothing"));
    let revision = Revision { repository: config.clone(), commit: base.clone() };
    assert!(source.snapshot(&revision, "a").await.unwrap_err().to_string().contains("is no directory"));
    assert!(source.snapshot(&revision, "absent").await.unwrap().files.is_empty());
    assert_eq!(source.head(&config, model::MAIN).await.unwrap(), Some(base), "nothing moved");
    for name in ["", "..", "a/b", "UPPER"] {
        assert!(source.create(&Repository { name: name.into(), ..config.clone() }).await.is_err(), "{name:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn snapshots_know_modes_and_refuse_submodules() {
    let served = Served::start().await;
    let web = repository("shop", "web");
    served.source.create(&web).await.unwrap();
    let tree = served.tree("tree", &web).await;
    std::os::unix::fs::symlink("README", tree.path.join("link")).unwrap();
    tree.commit("bin/run", "#!/bin/sh\n").await;
    tree.ok(["update-index", "--chmod=+x", "bin/run"]).await;
    tree.ok(["commit", "-q", "-m", "mode"]).await;
    let id = tree.ok(["rev-parse", "HEAD"]).await;
    tree.ok(["push", "-q", "trimtab", "main"]).await;
    let revision = Revision { repository: web.clone(), commit: id.parse().unwrap() };
    let snapshot = served.source.snapshot(&revision, ".").await.unwrap();
    let modes: Vec<_> = snapshot.files.iter().map(|(path, file)| (path.as_str(), file.mode)).collect();
    assert_eq!(modes, [("README", FileMode::Regular), ("bin/run", FileMode::Executable), ("link", FileMode::Symlink)]);
    assert_eq!(snapshot.text("link").unwrap().unwrap(), "README");

    tree.ok(["update-index", "--add", "--cacheinfo", &format!("160000,{id},vendor/lib")]).await;
    tree.ok(["commit", "-q", "-m", "submodule"]).await;
    let said = tree.fails(["push", "trimtab", "main"]).await;
    assert!(said.contains("vendor/lib is a submodule"), "{said}");
}

#[tokio::test]
async fn what_a_crash_left_is_cleared() {
    let (data, source, config) = open().await;
    drop(source);
    let bare = data.path().join("git/shop/config.git");
    std::fs::write(bare.join("refs/heads/main.lock"), "").unwrap();
    std::fs::write(bare.join("packed-refs.lock"), "").unwrap();
    std::fs::create_dir_all(bare.join("objects/tmp_objdir-incoming-x/pack")).unwrap();
    std::fs::create_dir_all(data.path().join("git/shop/.aside-new/objects")).unwrap();
    let source = Source::open(options(data.path())).await.unwrap();
    assert!(!bare.join("objects/tmp_objdir-incoming-x").exists());
    assert!(!data.path().join("git/shop/.aside-new").exists());
    committed(source.write(&config, &write(None, &[("a", Some("1"))], "works")).await.unwrap());
    assert!(source.delete(&config).await.unwrap());
    assert!(!source.delete(&config).await.unwrap());
    assert_eq!(source.list().await.unwrap(), []);
}

#[tokio::test]
async fn a_release_has_an_annotated_signed_tag_that_never_moves() {
    let (data, source, config) = open().await;
    let first = committed(source.write(&config, &write(None, &[("a", Some("1"))], "first")).await.unwrap());
    let second = committed(source.write(&config, &write(Some(&first), &[("a", Some("2"))], "second")).await.unwrap());
    source.tag(&config, &tag("v1.0.0", &first)).await.unwrap();
    source.tag(&config, &tag("v1.0.0", &first)).await.unwrap();
    let error = source.tag(&config, &tag("v1.0.0", &second)).await.unwrap_err();
    assert!(error.to_string().contains("stands on"), "{error}");
    assert_eq!(git(&data, &["cat-file", "-t", "v1.0.0"]), "tag");
    assert_eq!(git(&data, &["rev-parse", "v1.0.0^{commit}"]), first.as_str());
    assert_eq!(source.head(&config, "refs/tags/v1.0.0").await.unwrap(), Some(first.clone()));
    // What git says of the object, and whose signature it is.
    git(&data, &["fsck", "--strict"]);
    let signers = data.path().join("signers");
    std::fs::write(&signers, format!("* {}\n", source.public_key())).unwrap();
    let setting = format!("gpg.ssh.allowedSignersFile={}", signers.display());
    if Command::new("ssh-keygen").arg("-?").output().is_ok() {
        git(&data, &["-c", "gpg.format=ssh", "-c", &setting, "verify-tag", "v1.0.0"]);
    }
    // A push names the tag's object: its files are those of the commit under it.
    let object = git(&data, &["rev-parse", "v1.0.0"]).parse().unwrap();
    let revision = Revision { repository: config.clone(), commit: object };
    assert_eq!(source.snapshot(&revision, ".").await.unwrap().text("a").unwrap().unwrap(), "1");
}

#[tokio::test]
async fn an_audit_finds_what_was_changed_cut_off_or_slipped_in() {
    let (data, source, config) = open().await;
    for number in 1..=4 {
        source.append(&config.project, &entry(&format!("e{number}"))).await.unwrap();
    }
    let repository = data.path().join("git/shop/config.git");
    let keys = [source.public_key()];
    let journal = |revision: &str| git(&data, &["rev-parse", &format!("refs/trimtab/journal{revision}")]);
    let tip = journal("");
    let found = source::audit(&repository, &keys, Some(&tip)).unwrap();
    assert_eq!((found.entries, found.tip.as_deref(), found.problems.as_slice()), (4, Some(tip.as_str()), &[][..]));
    let point = |at: &str| drop(git(&data, &["update-ref", "refs/trimtab/journal", at]));
    let says = |why: &str| {
        let found = source::audit(&repository, &keys, Some(&tip)).unwrap();
        assert!(found.problems.iter().any(|p| p.contains(why)), "{why}: {:?}", found.problems);
    };
    // Cut off at its end.
    point(&journal("~1"));
    says("was in the journal once and is not any more");
    // An entry of somebody else behind it, and one that was changed and signed by nobody.
    let forged = git(
        &data,
        &[
            "-c",
            "user.name=eve",
            "-c",
            "user.email=e@x",
            "commit-tree",
            &git(&data, &["rev-parse", &format!("{tip}^{{tree}}")]),
            "-p",
            &tip,
            "-m",
            "hello",
        ],
    );
    point(&forged);
    says("its signature does not hold: it has none");
    let text = git(&data, &["cat-file", "commit", &tip]).replace("staging moves: e4", "staging moves: e5");
    let file = data.path().join("changed");
    std::fs::write(&file, format!("{text}\n")).unwrap();
    let changed = git(&data, &["hash-object", "-t", "commit", "-w", &file.display().to_string()]);
    point(&changed);
    says("what it signs was changed");
    // Another key.
    point(&tip);
    let other = source::audit(
        &repository,
        &["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA".to_owned()],
        None,
    )
    .unwrap();
    assert!(other.problems[0].contains("a key that is not trusted here"), "{:?}", other.problems);
    // Joined from two ends.
    let joined = git(
        &data,
        &[
            "-c",
            "user.name=eve",
            "-c",
            "user.email=e@x",
            "commit-tree",
            &git(&data, &["rev-parse", &format!("{tip}^{{tree}}")]),
            "-p",
            &journal("~2"),
            "-p",
            &tip,
            "-m",
            "joined",
        ],
    );
    point(&joined);
    says("the chain was joined or cut");
    // What Trimtab did on main and nobody tells of.
    point(&tip);
    let first = committed(
        source.write(&config, &write(None, &[("a", Some("1"))], "x\n\nTrimtab-Id: staging-web-9\n")).await.unwrap(),
    );
    committed(source.write(&config, &write(Some(&first), &[("a", Some("2"))], "y")).await.unwrap());
    says("the journal does not tell what became of staging-web-9");
}
