//! What a rollout costs those who are being served, how long it takes, what a Pod costs, and how fast pages are.

use super::{Instance, Table, sh, timed, until};
use crate::root;
use anyhow::{Context, Result, bail};
use std::net::SocketAddr;

#[path = "../../../crates/trimtab/tests/it/rollouts/load.rs"]
mod load;

const ROUNDS: usize = 10;
const PODS: usize = 50;
const PAGES: usize = 100;

pub fn measure(table: &mut Table) -> Result<()> {
    let instance = Instance::start()?;
    let hello = instance.directory.0.join("hello");
    sh(&format!("cp -r {} {}", root().join("examples/hello").display(), hello.display()), &instance)?;
    let here = |script: &str| sh(&format!("cd {} && {script}", hello.display()), &instance);
    let source = root().join("crates/trimtab/tests/it/rollouts/server.rs");
    here("trimtab init && git config user.name Ada && git config user.email ada@example.com")?;
    here(&format!(
        "rustc --edition=2024 -O -Ctarget-feature=+crt-static -Cpanic=abort -o server {}",
        source.display()
    ))?;
    std::fs::write(hello.join("Dockerfile"), "FROM scratch\nCOPY server version /\nENTRYPOINT [\"/server\"]\n")?;
    here("printf 'workload:\\n  replicas: 3\\n  terminationGracePeriodSeconds: 1800\\n' >> trimtab.yaml")?;
    for version in ["1", "2"] {
        std::fs::write(hello.join("version"), version)?;
        here(&format!("git add -A && git commit -qm {version} && git push -q trimtab main"))?;
        instance.until_page("hello", "dev", &format!("version {version}"))?;
    }
    let stands = |build: &str| {
        until(&format!("{build} stands in staging"), || {
            let output =
                instance.command("trimtab").current_dir(&hello).args(["status", "--output", "json"]).output()?;
            let status: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
            let environments = status["environments"].as_array().cloned().unwrap_or_default();
            let staging = environments.into_iter().find(|e| e["name"] == "staging").unwrap_or_default();
            let component = &staging["components"][0];
            Ok(component["health"] == "Healthy" && component["build"] == build)
        })
    };
    let move_to = |command: &str, build: &str| {
        timed(|| {
            here(command)?;
            stands(build)
        })
    };
    move_to("trimtab promote hello --build hello-1 --to staging", "hello-1")?;
    let gateway: SocketAddr = instance.addresses["gateway"].as_str().context("no address")?.parse()?;
    let load = load::Load::start(gateway, "hello.staging.hello.localhost", 500);
    let mut took = Vec::new();
    for _ in 0..ROUNDS {
        took.push(move_to("trimtab promote hello --build hello-2 --to staging", "hello-2")?);
        took.push(move_to("trimtab rollback --env staging", "hello-1")?);
        if load.failures() > 0 {
            break; // The row says it; what comes after would only say it again.
        }
    }
    let report = load.stop();
    eprintln!("{} requests, {} slow answers, {} echoes", report.requests, report.slow, report.echoes);
    for failure in report.failures.iter().take(10) {
        eprintln!("failed: {failure}");
    }
    table.row("requests/s during rollouts, as sent", vec![report.rate], "500");
    table.row("failed requests during rollouts", vec![report.failures.len() as f64], "0");
    table.row("rollout of 3 replicas under load, ms", took, "");
    pages(table, &instance)?;
    pods(table, &instance)
}

/// As a signed-in browser gets them, without what it loads besides.
fn pages(table: &mut Table, instance: &Instance) -> Result<()> {
    let cookies = instance.signed_in()?;
    for (name, path) in [("overview", "/"), ("project", "/p/hello"), ("component", "/p/hello/c/hello")] {
        let took = (0..PAGES).map(|_| instance.timed(path, &cookies)).collect::<Result<_>>()?;
        table.row(&format!("page: {name}, ms"), took, "p95 ≤ 100");
    }
    Ok(())
}

/// What Trimtab takes for each Pod more, beside the Pod's own processes.
fn pods(table: &mut Table, instance: &Instance) -> Result<()> {
    let set = |count: usize| -> Result<()> {
        let script = format!(
            "cd {}
            test -d config || git clone -q \"$(cd hello && trimtab url --config)\" config \\
                -c 'credential.helper=!trimtab credential'
            cd config; git config user.name Ada; git config user.email ada@example.com; git pull -q
            sed -i '/^overrides/d' environments/staging.yaml
            echo 'overrides: {{hello: {{replicas: {count}}}}}' >> environments/staging.yaml
            git commit -qam '{count} Pods'; git push -q",
            instance.directory.0.display()
        );
        sh(&format!("set -e; {script}"), instance)?;
        until(&format!("{count} Pods are available"), || {
            let deployment = instance.kubernetes("GET", "/apis/apps/v1/namespaces/hello-staging/deployments/hello")?;
            Ok(deployment["status"]["availableReplicas"] == count)
        })
    };
    set(1)?;
    let before = instance.pss_mib()?;
    set(PODS)?;
    let after = instance.pss_mib()?;
    if after <= before {
        bail!("{PODS} Pods take no memory: {before} MiB and {after} MiB");
    }
    table.row("PSS per Pod beside its own, 50 Pods, MiB", vec![(after - before) / (PODS - 1) as f64], "≤ 2");
    Ok(())
}
