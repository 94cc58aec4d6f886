//! Signatures that git makes, by people who are known and who are not.

use crate::ports::{tag, write};
use crate::support::{options, repository};
use model::CommitId;
use model::flow::Repository;
use model::ports::{Repositories as _, Written};
use model::trust::{Signer, Signers};
use source::Source;
use std::path::PathBuf;
use std::process::Command;
use tempfile::TempDir;

struct World {
    data: TempDir,
    source: Source,
    web: Repository,
    tree: String,
}

impl World {
    /// A repository with a tree to make commits of.
    async fn new() -> Self {
        let data = tempfile::tempdir().unwrap();
        let source = Source::open(options(data.path())).await.unwrap();
        let web = repository("shop", "web");
        source.create(&web).await.unwrap();
        let mut world = Self { data, source, web, tree: String::new() };
        world.tree = world.git(&[], &["mktree"]);
        world
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command
            .env("GNUPGHOME", self.data.path().join("gnupg"))
            .env("HOME", self.data.path())
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .current_dir(self.data.path().join("git/shop/web.git"));
        command
    }

    fn git(&self, settings: &[String], args: &[&str]) -> String {
        let mut command = self.command("git");
        command.args(["-c", "user.name=Eve", "-c", "user.email=eve@example.com"]);
        for setting in settings {
            command.args(["-c", setting]);
        }
        let output = command.args(args).stdin(std::process::Stdio::null()).output().unwrap();
        assert!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// A commit on top of others; signed with what the settings say, if they say something.
    fn commit(&self, settings: &[String], parent: Option<&CommitId>) -> CommitId {
        let mut args = vec!["commit-tree", &self.tree, "-m", "work"];
        if !settings.is_empty() {
            args.push("-S");
        }
        if let Some(parent) = parent {
            args.extend(["-p", parent.as_str()]);
        }
        self.git(settings, &args).parse().unwrap()
    }

    /// A key of ssh-keygen: what git signs with, and the public line.
    fn key(&self, name: &str, kind: &[&str]) -> (Vec<String>, String) {
        let path: PathBuf = self.data.path().join(name);
        let made = self.command("ssh-keygen").args(["-q", "-N", "", "-C", name, "-f"]).arg(&path).args(kind).status();
        assert!(made.unwrap().success());
        let public = std::fs::read_to_string(path.with_extension("pub")).unwrap();
        let line = public.split_whitespace().take(2).collect::<Vec<_>>().join(" ");
        (vec!["gpg.format=ssh".to_owned(), format!("user.signingkey={}", path.display())], line)
    }

    async fn lacks(&self, commit: &CommitId, until: Option<&CommitId>, signers: &Signers) -> Vec<String> {
        let found = self.source.unsigned(&self.web, commit, until, signers, 10).await.unwrap();
        found.into_iter().map(|one| format!("{} by {}: {}", one.commit.short(), one.author, one.why)).collect()
    }
}

fn signers(names: &[(&str, &str)]) -> Signers {
    let signer = |(name, key): &(&str, &str)| Signer { name: (*name).into(), key: (*key).into() };
    Signers { ssh: names.iter().map(signer).collect(), gpg: Vec::new() }
}

#[tokio::test]
async fn commits_signed_with_every_kind_of_ssh_key_count_if_the_key_is_known() {
    let world = World::new().await;
    for kind in [
        &["-t", "ed25519"][..],
        &["-t", "ecdsa", "-b", "256"],
        &["-t", "ecdsa", "-b", "384"],
        &["-t", "rsa", "-b", "2048"],
    ] {
        let name = kind.join("");
        let (settings, public) = world.key(&name, kind);
        let commit = world.commit(&settings, None);
        assert_eq!(world.lacks(&commit, None, &signers(&[("eve", &public)])).await, [""; 0], "{kind:?}");
        let unknown = world.lacks(&commit, None, &signers(&[])).await;
        let print = world.command("ssh-keygen").arg("-lf").arg(world.data.path().join(&name)).output().unwrap();
        let print = String::from_utf8(print.stdout).unwrap();
        let print = print.split_whitespace().nth(1).unwrap();
        assert_eq!(unknown, [format!("{} by Eve: it is of a key that is not known here, {print}", commit.short())]);
        // What was signed, with something else said.
        let raw = world.git(&[], &["cat-file", "commit", commit.as_str()]);
        let file = world.data.path().join("changed");
        std::fs::write(&file, format!("{}\n", raw.replace("work", "harm"))).unwrap();
        let path = file.display().to_string();
        let changed: CommitId = world.git(&[], &["hash-object", "-t", "commit", "-w", &path]).parse().unwrap();
        let told = world.lacks(&changed, None, &signers(&[("eve", &public)])).await;
        assert_eq!(told, [format!("{} by Eve: what it signs was changed", changed.short())], "{kind:?}");
    }
}

#[tokio::test]
async fn every_commit_since_the_last_one_has_to_be_signed_and_those_of_trimtab_are() {
    let world = World::new().await;
    let (settings, public) = world.key("eve", &["-t", "ed25519"]);
    let known = signers(&[("eve", &public)]);
    let first = world.commit(&[], None);
    let second = world.commit(&settings, Some(&first));
    let third = world.commit(&[], Some(&second));
    let fourth = world.commit(&settings, Some(&third));
    assert_eq!(world.lacks(&fourth, None, &known).await, [""; 0], "alone it is signed");
    assert_eq!(world.lacks(&second, Some(&first), &known).await, [""; 0]);
    let told = world.lacks(&fourth, Some(&first), &known).await;
    assert_eq!(told, [format!("{} by Eve: it has none", third.short())]);
    let ours = world.source.write(&world.web, &write(None, &[("a", Some("1"))], "ours")).await.unwrap();
    let Written::Commit(ours) = ours else { panic!("{ours:?}") };
    assert_eq!(world.lacks(&ours, None, &signers(&[])).await, [""; 0]);
    world.source.tag(&world.web, &tag("v1.0.0", &ours)).await.unwrap();
    assert_eq!(world.source.unsigned_tag(&world.web, "v1.0.0", &signers(&[])).await.unwrap(), None);
    assert_eq!(world.source.unsigned_tag(&world.web, "v9.9.9", &signers(&[])).await.unwrap(), None, "there is none");
}

#[tokio::test]
async fn tags_count_if_they_are_signed_by_somebody_who_is_known() {
    let world = World::new().await;
    let (settings, public) = world.key("eve", &["-t", "ed25519"]);
    let known = signers(&[("eve", &public)]);
    let commit = world.commit(&[], None);
    world.git(&settings, &["tag", "-s", "v1.0.0", "-m", "release", commit.as_str()]);
    world.git(&[], &["tag", "-a", "v1.1.0", "-m", "release", commit.as_str()]);
    world.git(&[], &["tag", "v1.2.0", commit.as_str()]);
    for (name, signers, why) in [
        ("v1.0.0", &known, None),
        ("v1.0.0", &signers(&[]), Some("it is of a key that is not known here")),
        ("v1.1.0", &known, Some("it has none")),
        ("v1.2.0", &known, Some("it is no tag object")),
    ] {
        let found = world.source.unsigned_tag(&world.web, name, signers).await.unwrap();
        match (found, why) {
            (None, None) => {}
            (Some(found), Some(why)) => assert!(found.why.starts_with(why), "{name}: {found:?}"),
            other => panic!("{name}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn signatures_of_gpg_are_checked_by_its_program() {
    let world = World::new().await;
    if world.command("gpg").arg("--version").output().is_err() {
        eprintln!("not checked: there is no gpg");
        return;
    }
    let home = world.data.path().join("gnupg");
    std::fs::create_dir(&home).unwrap();
    std::fs::set_permissions(&home, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    let gpg = |args: &[&str]| {
        let output = world.command("gpg").args(["--batch", "--passphrase", ""]).args(args).output().unwrap();
        assert!(output.status.success(), "gpg {args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    for name in ["eve@example.com", "mallory@example.com"] {
        gpg(&["--quick-gen-key", name, "ed25519", "sign", "never"]);
    }
    let key = |name: &str| Signers { ssh: Vec::new(), gpg: vec![gpg(&["--armor", "--export", name])] };
    let commit = world.commit(&["user.signingkey=eve@example.com".to_owned()], None);
    let eve = key("eve@example.com");
    assert_eq!(world.lacks(&commit, None, &eve).await, [""; 0]);
    for (signers, why) in [
        (key("mallory@example.com"), "it is of a key of GPG that is not known here"),
        (Signers::default(), "it is of GPG, and no key of GPG is named in `verify`"),
        (
            Signers { gpg: vec!["nonsense".into()], ..Signers::default() },
            "a key in `verify.gpg` is no armoured public key",
        ),
    ] {
        let told = world.lacks(&commit, None, &signers).await;
        assert!(told.len() == 1 && told[0].contains(why), "{told:?}");
    }
    world.git(
        &["user.signingkey=eve@example.com".to_owned()],
        &["tag", "-s", "v1.0.0", "-m", "release", commit.as_str()],
    );
    assert_eq!(world.source.unsigned_tag(&world.web, "v1.0.0", &eve).await.unwrap(), None);
    let _ = world.command("gpgconf").args(["--kill", "all"]).output();
    let left = std::fs::read_dir(world.data.path().join("git")).unwrap().flatten();
    assert!(
        left.into_iter().all(|one| !one.file_name().to_string_lossy().starts_with(".gpg-")),
        "keys are left behind"
    );
}
