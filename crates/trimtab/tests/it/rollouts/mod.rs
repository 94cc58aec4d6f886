//! A version gets traffic only when it is ready, and loses it before it is told to stop.

pub mod load;

use crate::harness::Home;
use load::Load;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

const ROUNDS: usize = 20;
const PER_SECOND: u32 = 500;

/// `hello` with the server of these tests, built as `hello-1` and `hello-2`.
pub fn two_builds(home: &Home) {
    home.hello();
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/rollouts/server.rs");
    let compiled = Command::new("rustc")
        .args(["--edition=2024", "-O", "-Ctarget-feature=+crt-static", "-Cpanic=abort", "-o"])
        .args([&home.path().join("hello/server"), &source])
        .status()
        .unwrap();
    assert!(compiled.success());
    let dockerfile = "FROM scratch\nCOPY server version /\nENTRYPOINT [\"/server\"]\n";
    fs::write(home.path().join("hello/Dockerfile"), dockerfile).unwrap();
    // The WebSocket stays open all the time: for two thirds of the grace a Pod waits for it.
    home.sh("hello", "printf 'workload:\\n  replicas: 2\\n  terminationGracePeriodSeconds: 1800\\n' >> trimtab.yaml")
        .ok();
    for version in ["1", "2"] {
        fs::write(home.path().join("hello/version"), version).unwrap();
        home.push(version).ok();
        let build = format!("hello-{version}");
        home.eventually("the build is healthy in dev", || home.healthy("dev").as_deref() == Some(&build));
    }
}

#[test]
#[ignore = "root: runs containers"]
fn twenty_rollouts_and_rollbacks_under_load_fail_no_request() {
    let home = Home::up_with_containers();
    two_builds(&home);
    let stands = |build: &str| {
        home.eventually(&format!("{build} is healthy in staging"), || {
            home.healthy("staging").as_deref() == Some(build)
        });
    };
    home.sh("hello", "trimtab promote hello --build hello-1 --to staging").ok();
    stands("hello-1");
    let instance: serde_json::Value =
        serde_json::from_slice(&fs::read(home.data().join("instance.json")).unwrap()).unwrap();
    let gateway: SocketAddr = instance["gateway"].as_str().unwrap().parse().unwrap();

    let load = Load::start(gateway, "hello.staging.hello.localhost", PER_SECOND);
    for round in 0..ROUNDS {
        home.sh("hello", "trimtab promote hello --build hello-2 --to staging").ok();
        stands("hello-2");
        home.sh("hello", "trimtab rollback --env staging").ok();
        stands("hello-1");
        assert_eq!(load.failures(), 0, "round {round}: {:?}\n{}", load.stop(), home.log());
    }
    let report = load.stop();
    assert_eq!(report.failures, Vec::<String>::new(), "{report:?}");
    assert!(report.requests > 0 && report.slow > 0 && report.echoes > 0, "{report:?}");
    // A machine that is busy with other things may not bring all of it, but a load it must be.
    assert!(report.rate > f64::from(PER_SECOND) / 2.0, "{report:?}");
    eprintln!("{report:?}");
}
