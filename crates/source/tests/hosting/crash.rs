//! A process that dies at each failpoint, and what the next one finds.

use crate::ports::{entry, tag, write};
use crate::support::{Served, TOKEN, options, repository};
use model::ports::{Repositories as _, Written};
use source::Source;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

/// The child's part: do everything durable once, or serve.
#[test]
fn as_victim() {
    let Some(data) = std::env::var_os("VICTIM_DATA").map(PathBuf::from) else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let source = Source::open(options(&data)).await.unwrap();
        let config = repository("shop", "config");
        source.create(&config).await.unwrap();
        let head = source.head(&config, model::MAIN).await.unwrap();
        let change = write(head.as_ref(), &[("a", Some("1"))], "a write");
        let Written::Commit(id) = source.write(&config, &change).await.unwrap() else { panic!("superseded") };
        source.append(&config.project, &entry("e1")).await.unwrap();
        source.keep(&config, "web-1", &id).await.unwrap();
        // Written again after a crash, main has a later commit: the tag stays where it was first.
        let tagged = source.head(&config, "refs/tags/v1.0.0").await.unwrap();
        source.tag(&config, &tag("v1.0.0", &tagged.unwrap_or(id))).await.unwrap();
    });
    std::process::exit(0);
}

async fn run_victim(data: &Path, failpoint: &str) -> std::process::ExitStatus {
    let mut child = tokio::process::Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", "--nocapture", "crash::as_victim"]);
    child.env("VICTIM_DATA", data).env("TRIMTAB_FAILPOINT", failpoint);
    child.stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    let mut child = child.spawn().unwrap();
    tokio::time::timeout(Duration::from_secs(60), child.wait()).await.expect("the victim ends").unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_write_is_whole_or_absent_after_a_crash() {
    // Failpoint, and what must stand afterwards: repository, main, journal, kept, tag.
    for (failpoint, stands) in [
        ("source.create.before", [false, false, false, false, false]),
        ("source.create.after", [true, false, false, false, false]),
        ("source.write.before", [true, false, false, false, false]),
        ("source.write.after", [true, true, false, false, false]),
        ("source.journal.before", [true, true, false, false, false]),
        ("source.journal.after", [true, true, true, false, false]),
        ("source.keep.before", [true, true, true, false, false]),
        ("source.keep.after", [true, true, true, true, false]),
        ("source.tag.before", [true, true, true, true, false]),
        ("source.tag.after", [true, true, true, true, true]),
    ] {
        let data = tempfile::tempdir().unwrap();
        let status = run_victim(data.path(), failpoint).await;
        assert_eq!(status.code(), None, "{failpoint} was not hit: {status}");
        let config = repository("shop", "config");
        let source = Source::open(options(data.path())).await.unwrap();
        let hosted = source.list().await.unwrap() == [config.clone()];
        assert_eq!(hosted, stands[0], "{failpoint}: repository");
        if hosted {
            let main = source.head(&config, model::MAIN).await.unwrap().is_some();
            let journal = *source.journal(&config.project).await.unwrap() == [entry("e1")];
            let kept = source.head(&config, "refs/trimtab/keep/web-1").await.unwrap().is_some();
            let tagged = source.head(&config, "refs/tags/v1.0.0").await.unwrap().is_some();
            assert_eq!([hosted, main, journal, kept, tagged], stands, "{failpoint}");
        }
        drop(source);
        // Doing it all again ends the same.
        assert!(run_victim(data.path(), "none").await.success(), "{failpoint}: not recovered");
        let source = Source::open(options(data.path())).await.unwrap();
        assert_eq!(*source.journal(&config.project).await.unwrap(), [entry("e1")], "{failpoint}");
        assert!(source.head(&config, "refs/trimtab/keep/web-1").await.unwrap().is_some(), "{failpoint}");
    }
}

/// The child's part: serve pushes until it dies.
#[test]
fn as_server() {
    let Some(file) = std::env::var_os("SERVER_ADDRESS_FILE").map(PathBuf::from) else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let served = Served::start_in(file.parent().unwrap()).await;
        served.source.create(&repository("shop", "web")).await.unwrap();
        let aside = file.with_extension("new");
        std::fs::write(&aside, served.address.to_string()).unwrap();
        std::fs::rename(&aside, &file).unwrap();
        std::future::pending::<()>().await;
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_push_is_stored_or_refused_when_the_server_dies() {
    for (failpoint, stored) in [("source.push.before", false), ("source.push.after", true)] {
        let user = Served::start().await;
        let web = repository("shop", "web");
        let tree = user.tree("tree", &web).await;
        let data = tempfile::tempdir().unwrap();
        let file = data.path().join("address");
        let mut child = tokio::process::Command::new(std::env::current_exe().unwrap());
        child.args(["--exact", "--nocapture", "crash::as_server"]);
        child.env("SERVER_ADDRESS_FILE", &file).env("TRIMTAB_FAILPOINT", failpoint);
        child.stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
        let mut child = child.spawn().unwrap();
        crate::support::until("the server", || file.exists(), || "no address".into()).await;
        let address = std::fs::read_to_string(&file).unwrap();
        tree.fails(["push", &format!("http://alice:{TOKEN}@{address}/shop/web.git"), "main"]).await;
        let status = tokio::time::timeout(Duration::from_secs(60), child.wait()).await.unwrap().unwrap();
        assert_eq!(status.code(), None, "{failpoint} was not hit: {status}");

        let source = Source::open(options(data.path())).await.unwrap();
        let head = source.head(&web, model::MAIN).await.unwrap();
        assert_eq!(head.is_some(), stored, "{failpoint}");
        let left = data.path().join("git/shop/web.git/objects");
        let quarantines = std::fs::read_dir(left).unwrap().flatten();
        let quarantines: Vec<_> = quarantines.filter(|e| e.file_name().to_string_lossy().starts_with("tmp_")).collect();
        assert!(quarantines.is_empty(), "{failpoint}: {quarantines:?}");
    }
}
