//! Pushing and fetching as users do.

use crate::support::{Served, TOKEN, Tree, repository, until};
use model::ports::Repositories as _;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::sync::Notify;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_push_is_stored_followed_and_cloned() {
    let served = Served::start().await;
    let web = repository("shop", "web");
    assert!(served.source.create(&web).await.unwrap());
    assert!(!served.source.create(&web).await.unwrap(), "it is there already");
    let tree = served.tree("tree", &web).await;

    let output = tree.git(["push", "trimtab", "main"]).await;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    let (received, settled) = (said.find("remote: received"), said.find("remote: settled"));
    assert!(received.is_some() && received < settled, "{said}");

    let head = tree.ok(["rev-parse", "HEAD"]).await;
    assert_eq!(served.source.head(&web, model::MAIN).await.unwrap().unwrap().as_str(), head);
    assert!(served.woken.load(Ordering::SeqCst) > 0);
    {
        let followed = served.recorder.followed.lock().unwrap();
        assert_eq!((followed[0].actor.as_str(), &followed[0].repository), ("alice", &web));
        assert_eq!(followed[0].updates[0].new.as_ref().unwrap().as_str(), head);
        assert!(followed[0].updates[0].fast_forward);
    }

    let clone = Tree { path: served.data.path().to_owned() };
    clone.ok(["clone", "-q", &served.url("bob", TOKEN, &web), "clone"]).await;
    assert_eq!(std::fs::read_to_string(served.data.path().join("clone/README")).unwrap(), "one\n");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn progress_is_seen_before_the_push_returns() {
    let served = Served::start().await;
    let web = repository("shop", "web");
    served.source.create(&web).await.unwrap();
    let tree = served.tree("tree", &web).await;
    let hold = Arc::new(Notify::new());
    served.recorder.hold.lock().unwrap().push_back(hold.clone());

    let mut push = tree.command(["push", "trimtab", "main"]).spawn().unwrap();
    let mut lines = BufReader::new(push.stderr.take().unwrap()).lines();
    let mut said = Vec::new();
    while let Some(line) = lines.next_line().await.unwrap() {
        let found = line.contains("remote: received");
        said.push(line);
        if found {
            break;
        }
    }
    assert!(push.try_wait().unwrap().is_none(), "the push returned before it was settled: {said:?}");
    hold.notify_one();
    while let Some(line) = lines.next_line().await.unwrap() {
        said.push(line);
    }
    assert!(push.wait().await.unwrap().success(), "{said:?}");
    assert!(said.iter().any(|line| line.contains("remote: settled")), "{said:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pusher_who_leaves_only_detaches() {
    let served = Served::start().await;
    let web = repository("shop", "web");
    served.source.create(&web).await.unwrap();
    let tree = served.tree("tree", &web).await;
    let hold = Arc::new(Notify::new());
    served.recorder.hold.lock().unwrap().push_back(hold.clone());

    let mut push = tree.command(["push", "trimtab", "main"]).spawn().unwrap();
    let state = || format!("{:?}", served.recorder.followed.lock().unwrap());
    until("follow", || served.recorder.begun.load(Ordering::SeqCst) == 1, state).await;
    // Ctrl-C reaches git and its helper for HTTP alike.
    let helpers = children(push.id().unwrap());
    push.start_kill().unwrap();
    for pid in helpers {
        let pid = rustix::process::Pid::from_raw(pid).unwrap();
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
    }
    push.wait().await.unwrap();
    // Git on the server ends although nobody lets the receiver go.
    let root = served.data.path().join("git");
    until("the end of git receive-pack", || gits(&root).is_empty(), || format!("{:?}", gits(&root))).await;
    assert_eq!(served.recorder.ended.load(Ordering::SeqCst), 0);
    hold.notify_one();
    until("the end of following", || served.recorder.ended.load(Ordering::SeqCst) == 1, state).await;
    assert_eq!(*served.recorder.heard.lock().unwrap(), [false]);
    assert!(served.source.head(&web, model::MAIN).await.unwrap().is_some());
}

/// Processes below one, by /proc.
fn children(parent: u32) -> Vec<i32> {
    let mut found = Vec::new();
    let mut next = vec![parent];
    while let Some(pid) = next.pop() {
        for task in std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten() {
            let text = std::fs::read_to_string(task.path().join("children")).unwrap_or_default();
            for child in text.split_whitespace().filter_map(|pid| pid.parse::<i32>().ok()) {
                found.push(child);
                next.push(child as u32);
            }
        }
    }
    found
}

/// Command lines of receive-pack processes of this root.
pub fn gits(root: &std::path::Path) -> Vec<String> {
    let mark = format!("TRIMTAB_GIT_ROOT={}", root.canonicalize().unwrap().display());
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let environment = std::fs::read(entry.path().join("environ")).unwrap_or_default();
        if environment.split(|b| *b == 0).any(|variable| variable == mark.as_bytes()) {
            let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
            let line = String::from_utf8_lossy(&line).replace('\0', " ");
            if line.contains("receive") {
                found.push(line);
            }
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_is_shown_and_nothing_moves() {
    let served = Served::start().await;
    let web = repository("shop", "web");
    served.source.create(&web).await.unwrap();
    let tree = served.tree("tree", &web).await;
    let refused = tree.commit("forbidden", "no\n").await;
    let said = tree.fails(["push", "trimtab", "main"]).await;
    assert!(said.contains("remote: this file is forbidden") && said.contains("remote: it says no"), "{said}");
    assert!(said.contains("pre-receive hook declined"), "{said}");
    assert_eq!(served.source.head(&web, model::MAIN).await.unwrap(), None);
    assert!(served.recorder.followed.lock().unwrap().is_empty());
    // What was refused cannot be read through the repository.
    let revision = model::Revision { repository: web, commit: refused.parse().unwrap() };
    assert!(served.source.snapshot(&revision, ".").await.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_no_push_may_do() {
    let served = Served::start().await;
    let (web, config) = (repository("shop", "web"), repository("shop", "config"));
    served.source.create(&web).await.unwrap();
    served.source.create(&config).await.unwrap();
    let tree = served.tree("tree", &web).await;
    tree.ok(["push", "trimtab", "main"]).await;
    tree.ok(["remote", "add", "config", &served.url("alice", TOKEN, &config)]).await;
    tree.ok(["push", "config", "main"]).await;
    let before = served.source.head(&config, model::MAIN).await.unwrap();

    let said = tree.fails(["push", "trimtab", ":main"]).await;
    assert!(said.contains("main of shop/web cannot be deleted"), "{said}");
    let said = tree.fails(["push", "config", ":main"]).await;
    assert!(said.contains("main of shop/config cannot be deleted"), "{said}");
    let said = tree.fails(["push", "trimtab", "main:refs/trimtab/journal"]).await;
    assert!(said.contains("hidden ref") || said.contains("cannot be pushed"), "{said}");
    let said = tree.fails(["push", "trimtab", "main:refs/notes/x"]).await;
    assert!(said.contains("only branches"), "{said}");

    tree.ok(["commit", "-q", "--amend", "-m", "another history"]).await;
    let said = tree.fails(["push", "--force", "config", "main"]).await;
    assert!(said.contains("never rewritten"), "{said}");
    assert_eq!(served.source.head(&config, model::MAIN).await.unwrap(), before);
    tree.ok(["push", "--force", "trimtab", "main"]).await;
    let last = served.recorder.followed.lock().unwrap().last().cloned().unwrap();
    assert!(!last.updates[0].fast_forward, "a forced update says so");
    tree.ok(["push", "trimtab", "main:topic"]).await;
    tree.ok(["push", "trimtab", ":topic"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_may_not() {
    let served = Served::start().await;
    let web = repository("shop", "web");
    served.source.create(&web).await.unwrap();
    let tree = served.tree("tree", &web).await;
    for (url, expect) in [
        (served.url("alice", "wrong", &web), "Authentication failed"),
        (served.url("reader", TOKEN, &web), "reader may not push to shop/web"),
        (served.url("stranger", TOKEN, &web), "not found"),
        (served.url("alice", TOKEN, &repository("shop", "nothing")), "there is no repository shop/nothing"),
        (format!("http://alice:{TOKEN}@{}/shop/..%2f..%2fetc.git", served.address), "there is no repository"),
    ] {
        let said = tree.fails(["push", &url, "main"]).await;
        assert!(said.contains(expect), "{expect:?} is not in: {said}");
        assert!(!said.contains("s3cret"), "the token is shown: {said}");
    }
    assert_eq!(served.source.head(&web, model::MAIN).await.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hook_without_the_push_s_token_is_turned_away() {
    let served = Served::start().await;
    let web = repository("shop", "web");
    served.source.create(&web).await.unwrap();
    let tree = served.tree("tree", &web).await;
    // Git run by hand in the hosted repository has our hooks but no push that we know of.
    let bare = served.data.path().join("git/shop/web.git");
    let mut push = tree.command(["push", bare.to_str().unwrap(), "main"]);
    push.env("GIT_CONFIG_GLOBAL", served.data.path().join("home/gitconfig"));
    push.env("TRIMTAB_PUSH_TOKEN", "00000000000000000000000000000000");
    let output = push.output().await.unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("does not know this push"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_pushed_for_review_moves_no_branch_and_is_followed_as_a_change() {
    let served = Served::start().await;
    let config = repository("shop", "config");
    served.source.create(&config).await.unwrap();
    let tree = served.tree("tree", &config).await;
    tree.ok(["push", "trimtab", "main"]).await;
    let main = served.source.head(&config, model::MAIN).await.unwrap();
    let proposed = tree.commit("new", "text\n").await;

    let said = String::from_utf8(tree.git(["push", "trimtab", "HEAD:refs/for/main"]).await.stderr).unwrap();
    assert!(said.contains("remote: it is Change 1") && said.contains("remote: settled"), "{said}");
    assert!(said.contains("refs/changes/1/head"), "{said}");
    assert_eq!(served.source.head(&config, model::MAIN).await.unwrap(), main);
    assert_eq!(served.source.head(&config, "refs/for/main").await.unwrap(), None);
    {
        let asked = served.recorder.proposed.lock().unwrap();
        assert_eq!((asked[0].actor.as_str(), asked[0].commit.as_str()), ("alice", proposed.as_str()));
        assert!(asked[0].options.is_empty());
        let followed = served.recorder.followed.lock().unwrap();
        assert_eq!(followed.last().unwrap().updates[0].name, "refs/changes/1/head");
    }
    // It can be read, and is what main may be moved to.
    let commit: model::CommitId = proposed.parse().unwrap();
    served.source.propose(&config, "refs/changes/1/head", &commit).await.unwrap();
    tree.ok(["fetch", "-q", "trimtab", "refs/changes/1/head"]).await;
    assert_eq!(tree.ok(["rev-parse", "FETCH_HEAD"]).await, proposed);
    let moved = served.source.advance(&config, main.as_ref().unwrap(), &commit).await.unwrap();
    assert_eq!(moved, model::ports::Written::Commit(commit.clone()));
    let late = served.source.advance(&config, main.as_ref().unwrap(), &commit).await.unwrap();
    assert_eq!(late, model::ports::Written::Superseded(Some(commit)));

    tree.ok(["push", "-q", "-o", "topic=fix", "trimtab", "HEAD:refs/for/main"]).await;
    assert_eq!(served.recorder.proposed.lock().unwrap().last().unwrap().options, ["topic=fix"]);
    let said = tree.fails(["push", "-o", "topic=no", "trimtab", "HEAD:refs/for/main"]).await;
    assert!(said.contains("remote: choose another") && said.contains("not this topic"), "{said}");
    let said = tree.fails(["push", "trimtab", "HEAD:refs/for/topic"]).await;
    assert!(said.contains("topic takes no Changes"), "{said}");
    let said = tree.fails(["push", "trimtab", ":refs/for/main"]).await;
    assert!(said.contains("refs/for/main"), "{said}");
    for reference in ["refs/changes/1/head", "refs/changes/2/1"] {
        let said = tree.fails(["push", "trimtab", &format!("HEAD:{reference}")]).await;
        assert!(said.contains("hidden ref") || said.contains("cannot be pushed"), "{said}");
    }
    let said = tree.fails(["push", &served.url("reader", TOKEN, &config), "HEAD:refs/for/main"]).await;
    assert!(said.contains("reader may not push"), "{said}");
}
