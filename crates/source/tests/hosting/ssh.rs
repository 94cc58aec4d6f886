//! Git over SSH with the real clients, and what is not let in.

use crate::support::{Served, Tree, fingerprint, options, person, repository, until};
use model::ports::Repositories as _;
use source::SshLimits;
use std::path::Path;
use std::process::Output;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::sync::Notify;

async fn served() -> Served {
    let mut served = Served::start().await;
    served.ssh(SshLimits::default()).await;
    served.source.create(&repository("shop", "web")).await.unwrap();
    served
}

/// A working tree whose remote `trimtab` is reached over SSH with a key.
async fn tree(served: &Served, name: &str, key: &Path) -> Tree {
    let web = repository("shop", "web");
    let tree = served.tree(name, &web).await;
    tree.ok(["remote", "set-url", "trimtab", &served.ssh_url(&web)]).await;
    tree.ok(["config", "core.sshCommand", &served.ssh_command(key)]).await;
    tree
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_push_over_ssh_is_stored_followed_and_cloned() {
    let served = served().await;
    let web = repository("shop", "web");
    let key = served.register(person("alice", "developer", &[]));
    let tree = tree(&served, "tree", &key).await;
    std::fs::write(tree.path.join("large"), noise(3 << 20)).unwrap();
    tree.commit("src/a", "a\n").await;

    let output = tree.git(["push", "trimtab", "main"]).await;
    assert!(output.status.success(), "{}", said(&output));
    let text = said(&output);
    let (received, settled) = (text.find("remote: received"), text.find("remote: settled"));
    assert!(received.is_some() && received < settled, "{text}");
    let head = tree.ok(["rev-parse", "HEAD"]).await;
    assert_eq!(served.source.head(&web, model::MAIN).await.unwrap().unwrap().as_str(), head);
    {
        let followed = served.recorder.followed.lock().unwrap();
        assert_eq!((followed[0].actor.as_str(), &followed[0].repository), ("alice", &web));
    }

    for protocol in ["0", "2"] {
        let clone = Tree { path: served.data.path().to_owned() };
        let name = format!("clone-{protocol}");
        let (ssh, version) = (served.ssh_command(&key), format!("protocol.version={protocol}"));
        let mut command = clone.command(["-c", &version, "clone", "-q", &served.ssh_url(&web), &name]);
        let output = command.env("GIT_SSH_COMMAND", ssh).output().await.unwrap();
        assert!(output.status.success(), "{}", said(&output));
        let path = served.data.path().join(name);
        assert_eq!(std::fs::read(path.join("large")).unwrap(), noise(3 << 20), "protocol {protocol}");
    }
}

/// Bytes that do not compress.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    std::iter::repeat_with(next).take(length).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn progress_over_ssh_is_live_and_who_leaves_only_detaches() {
    let served = served().await;
    let key = served.register(person("alice", "developer", &[]));
    let tree = tree(&served, "tree", &key).await;
    for leave in [false, true] {
        let hold = Arc::new(Notify::new());
        served.recorder.hold.lock().unwrap().push_back(hold.clone());
        tree.commit("file", &format!("{leave}\n")).await;
        let mut command = tree.command(["push", "trimtab", "main"]);
        let mut push = command.process_group(0).spawn().unwrap();
        let mut lines = BufReader::new(push.stderr.take().unwrap()).lines();
        let mut text = Vec::new();
        while let Some(line) = lines.next_line().await.unwrap() {
            text.push(line);
            if text.last().unwrap().contains("remote: received") {
                break;
            }
        }
        assert!(push.try_wait().unwrap().is_none(), "the push returned before it was settled: {text:?}");
        let ended = served.recorder.ended.load(Ordering::SeqCst);
        if leave {
            // What Ctrl-C does, as both get it; not INT, which a shell without job control lets its background ignore.
            let group = rustix::process::Pid::from_raw(push.id().unwrap() as i32).unwrap();
            rustix::process::kill_process_group(group, rustix::process::Signal::TERM).unwrap();
            push.wait().await.unwrap();
            let held = || format!("{:?}", served.recorder.heard.lock().unwrap());
            // The receiver is let go only after git on the server has ended by itself.
            let root = served.data.path().join("git");
            until("the end of git receive-pack", || crate::push::gits(&root).is_empty(), held).await;
            hold.notify_one();
            until("the end of following", || served.recorder.ended.load(Ordering::SeqCst) > ended, held).await;
            assert_eq!(served.recorder.heard.lock().unwrap().last(), Some(&false));
        } else {
            hold.notify_one();
            while let Some(line) = lines.next_line().await.unwrap() {
                text.push(line);
            }
            assert!(push.wait().await.unwrap().success(), "{text:?}");
            assert!(text.iter().any(|line| line.contains("remote: settled")), "{text:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hooks_refuse_over_ssh_as_over_http() {
    let served = served().await;
    let (web, config) = (repository("shop", "web"), repository("shop", "config"));
    served.source.create(&config).await.unwrap();
    let key = served.register(person("olga", "operator", &[]));
    let tree = tree(&served, "tree", &key).await;
    tree.ok(["push", "trimtab", "main"]).await;
    let text = tree.fails(["push", "trimtab", ":main"]).await;
    assert!(text.contains("main of shop/web cannot be deleted"), "{text}");
    let text = tree.fails(["push", "trimtab", "main:refs/notes/x"]).await;
    assert!(text.contains("only branches"), "{text}");
    tree.ok(["remote", "add", "config", &served.ssh_url(&config)]).await;
    tree.ok(["push", "config", "main"]).await;
    tree.ok(["commit", "-q", "--amend", "-m", "another history"]).await;
    let text = tree.fails(["push", "--force", "config", "main"]).await;
    assert!(text.contains("never rewritten"), "{text}");
    tree.ok(["push", "--force", "trimtab", "main"]).await;
    assert!(!served.recorder.followed.lock().unwrap().last().unwrap().updates[0].fast_forward);
    let before = served.source.head(&web, model::MAIN).await.unwrap();
    tree.commit("forbidden", "no\n").await;
    let text = tree.fails(["push", "trimtab", "main"]).await;
    assert!(text.contains("remote: this file is forbidden") && text.contains("pre-receive hook declined"), "{text}");
    assert_eq!(served.source.head(&web, model::MAIN).await.unwrap(), before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rights_hold_by_repository_and_branch() {
    let served = served().await;
    let config = repository("shop", "config");
    served.source.create(&config).await.unwrap();
    served.source.create(&repository("other", "web")).await.unwrap();
    for (who, role, branches, target, good, words) in [
        ("vera", "viewer", &[][..], "shop/web main", false, "vera may not push to shop/web"),
        ("dora", "developer", &[][..], "shop/web main", true, ""),
        ("dora", "developer", &[][..], "shop/config main", false, "`write` is missing"),
        ("dora", "developer", &[][..], "other/web main", false, "there is no repository other/web"),
        ("olga", "operator", &[][..], "shop/config main", true, ""),
        ("fred", "developer", &["feature/*"][..], "shop/web main", false, "another branch pattern"),
        ("fred", "developer", &["feature/*"][..], "shop/web feature/x", true, ""),
        (
            "fred",
            "developer",
            &["feature/*"][..],
            "shop/nothing feature/x",
            false,
            "there is no repository shop/nothing",
        ),
    ] {
        let key = served.data.path().join(format!("key-{who}"));
        let key = if key.exists() { key } else { served.register(person(who, role, branches)) };
        let (at, branch) = target.split_once(' ').unwrap();
        let (project, name) = at.split_once('/').unwrap();
        let tree = tree(&served, &format!("{who}-{project}-{name}-{}", branch.replace('/', "-")), &key).await;
        let url = served.ssh_url(&repository(project, name));
        tree.commit("who", &format!("{who} {target}\n")).await;
        let output = tree.git(["push", "--force", &url, &format!("main:refs/heads/{branch}")]).await;
        let text = said(&output);
        assert_eq!(output.status.success(), good, "{who} {target}: {text}");
        assert!(text.contains(words), "{who} {target}: {text}");
        let readable = tree.git(["ls-remote", &url]).await.status.success();
        assert_eq!(readable, project == "shop" && name != "nothing", "{who} reads {target}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_not_let_in_is_told_how_to_register() {
    let served = served().await;
    let (known, unknown) = (served.register(person("alice", "developer", &[])), served.key("eve"));
    for (key, options, words) in [
        (&unknown, "", vec!["does not know the key SHA256:", "trimtab key add", "Permission denied"]),
        (
            &unknown,
            "-o PreferredAuthentications=password,keyboard-interactive",
            vec!["never a password", "trimtab key add"],
        ),
        (&unknown, "-o PreferredAuthentications=password", vec!["Permission denied"]),
        (&unknown, "-o BatchMode=yes", vec!["Permission denied"]),
    ] {
        let output = served.ssh_run(key, options, "git-upload-pack /shop/web.git").await;
        assert_eq!(output.status.code(), Some(255), "{options}: {}", said(&output));
        for words in words {
            assert!(said(&output).contains(words), "{options}: {words:?} is missing in: {}", said(&output));
        }
    }
    assert!(said(&served.ssh_run(&unknown, "", "x").await).contains(&fingerprint(&unknown)));
    // Others are not bothered with it.
    let output = served.ssh_run(&known, "-T", "").await;
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let text = said(&output);
    assert!(text.contains("Hello alice") && !text.contains("key add"), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_but_git_is_served() {
    let served = served().await;
    let key = served.register(person("alice", "operator", &[]));
    for (options, command, words) in [
        ("", "ls", "only git fetches and pushes"),
        ("", "git-upload-archive /shop/web.git", "git archive --remote is not served"),
        ("", "\"git-upload-pack '/shop/web.git'; id\"", "not quoted"),
        ("", "\"git-upload-pack '/../../etc/passwd'\"", "no repository"),
        ("", "\"git-upload-pack '/shop/..'\"", "there is no repository"),
        ("-s", "sftp", "subsystem request failed"),
        ("-A -X -tt", "ls", "only git fetches and pushes"),
        ("-o ExitOnForwardFailure=yes -R 0:localhost:1", "ls", "forwarding failed"),
    ] {
        let output = served.ssh_run(&key, options, command).await;
        assert!(!output.status.success(), "{command}");
        assert!(said(&output).contains(words), "{command}: {words:?} is missing in: {}", said(&output));
    }
    let target = served.address;
    let output = served.ssh_run(&key, &format!("-W {target}"), "").await;
    assert!(
        said(&output).contains("administratively prohibited") || said(&output).contains("open failed"),
        "{}",
        said(&output)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removed_key_is_refused_the_next_time() {
    let served = served().await;
    let key = served.register(person("alice", "developer", &[]));
    let tree = tree(&served, "tree", &key).await;
    tree.ok(["push", "trimtab", "main"]).await;
    served.auth.keys.lock().unwrap().clear();
    let text = tree.fails(["fetch", "trimtab"]).await;
    assert!(text.contains("Permission denied") && text.contains("trimtab key add"), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_host_key_stays_and_a_foreign_one_is_noticed() {
    let mut served = served().await;
    let key = served.register(person("alice", "developer", &[]));
    let known = std::fs::read_to_string(served.data.path().join("known_hosts")).unwrap();
    served.ssh(SshLimits::default()).await;
    let again = std::fs::read_to_string(served.data.path().join("known_hosts")).unwrap();
    let line = |text: &str| text.split_once(' ').unwrap().1.to_owned();
    assert_eq!(line(&known), line(&again));
    std::fs::remove_file(served.data.path().join("keys/ssh_host_ed25519")).unwrap();
    served.ssh(SshLimits::default()).await;
    let other = std::fs::read_to_string(served.data.path().join("known_hosts")).unwrap();
    assert_ne!(line(&known), line(&other));
    // Whoever knows the old key for this address is warned by ssh.
    let address = other.split_once(' ').unwrap().0;
    std::fs::write(served.data.path().join("known_hosts"), format!("{address} {}", line(&known))).unwrap();
    let output = served.ssh_run(&key, "-T", "").await;
    assert!(said(&output).contains("HOST IDENTIFICATION HAS CHANGED"), "{}", said(&output));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_push_above_the_limit_is_refused_over_ssh_as_over_http() {
    let data = tempfile::tempdir().unwrap();
    let mut options = options(data.path());
    options.limits.push_bytes_max = 256 << 10;
    let mut served = Served::start_with(options).await;
    served.ssh(SshLimits::default()).await;
    let web = repository("shop", "web");
    served.source.create(&web).await.unwrap();
    let key = served.register(person("alice", "developer", &[]));
    let tree = tree(&served, "tree", &key).await;
    tree.ok(["push", "trimtab", "main"]).await;
    std::fs::write(tree.path.join("large"), noise(24 << 20)).unwrap();
    tree.commit("note", "large\n").await;
    let before = served.source.head(&web, model::MAIN).await.unwrap();
    let http = served.url("alice", crate::support::TOKEN, &web);
    for remote in ["trimtab", &http] {
        let text = tree.fails(["push", remote, "main"]).await;
        assert!(text.contains("maximum allowed size"), "{remote}: {text}");
    }
    assert_eq!(served.source.head(&web, model::MAIN).await.unwrap(), before);
    let objects = served.data.path().join("git");
    assert!(!objects.exists(), "the repositories lie in the directory of this test");
    let left = std::fs::read_dir(data.path().join("git/shop/web.git/objects")).unwrap().flatten();
    let left: Vec<_> = left.map(|e| e.file_name()).filter(|n| n.to_string_lossy().starts_with("tmp_objdir")).collect();
    assert!(left.is_empty(), "{left:?}");
}

/// True when the server has closed the connection.
async fn closed(mut stream: TcpStream) -> bool {
    let mut buffer = [0; 4096];
    while let Ok(length) = stream.read(&mut buffer).await {
        if length == 0 {
            return true;
        }
    }
    true
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_clients_are_sent_away_and_keep_nobody_out() {
    let mut served = Served::start().await;
    let limits = SshLimits {
        lobby_max: 8,
        login_time: Duration::from_millis(1500),
        idle_time: Duration::from_millis(500),
        ..SshLimits::default()
    };
    served.ssh(limits).await;
    let web = repository("shop", "web");
    served.source.create(&web).await.unwrap();
    let key = served.register(person("alice", "developer", &[]));
    let address = served.ssh.unwrap();

    // A thousand that say nothing: all but a lobby full are closed at once.
    let mut idle = Vec::new();
    for _ in 0..1000 {
        idle.push(tokio::spawn(closed(TcpStream::connect(address).await.unwrap())));
    }
    until(
        "the lobby is the only crowd",
        || idle.iter().filter(|i| !i.is_finished()).count() <= 8,
        || format!("{} are open", idle.iter().filter(|i| !i.is_finished()).count()),
    )
    .await;
    let output = served.ssh_run(&key, "-T", "").await;
    assert!(said(&output).contains("Hello alice"), "a newcomer finds a place: {}", said(&output));

    // One that sends a byte now and then is closed when its time is up, not later.
    let begin = Instant::now();
    let mut slow = TcpStream::connect(address).await.unwrap();
    for byte in b"SSH-2.0-slow-loris-slow-loris-slow-loris".iter().cycle() {
        if slow.write_all(&[*byte]).await.is_err() || begin.elapsed() > Duration::from_secs(30) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(begin.elapsed() < Duration::from_secs(20), "{:?}", begin.elapsed());

    // Signed in and doing nothing is idle.
    let begin = Instant::now();
    let output = served.ssh_run(&key, "-N", "").await;
    assert!(begin.elapsed() < Duration::from_secs(20), "{:?}: {}", begin.elapsed(), said(&output));
    assert!(said(&output).contains("idle for too long") || !output.status.success(), "{}", said(&output));
    for task in idle {
        assert!(task.await.unwrap());
    }
}
