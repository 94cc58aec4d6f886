//! Many components in many environments, with simulated Pods: memory, decisions and pages.

use super::{Instance, Table, sh};
use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// Of the bar; fewer for a first look.
const COMPONENTS: usize = 500;
/// The first follows pins; a release goes through the others.
const ENVIRONMENTS: &[&str] = &["dev", "test", "staging", "preprod", "prod"];
const ROUNDS: usize = 20;
/// All components of an environment become healthy within this.
const PATIENCE: Duration = Duration::from_secs(600);

pub fn measure(table: &mut Table) -> Result<()> {
    let components = match std::env::var("TRIMTAB_BENCH_COMPONENTS") {
        Ok(number) => number.parse().context("TRIMTAB_BENCH_COMPONENTS is a number")?,
        Err(_) => COMPONENTS,
    };
    let instance = Instance::start_with(&["--simulate"])?;
    let scale = Scale { instance: &instance, components };
    scale.build()?;
    let admitted = scale.admit()?;
    table.row(&format!("{components} pins in one commit → all healthy, ms"), vec![admitted], "");
    let promoted = scale.promote()?;
    table.row(&format!("{components} components promoted as a release, ms"), promoted, "");
    std::thread::sleep(Duration::from_secs(60)); // idle means that nothing happens: this is the measurement
    let what = format!("{components} × {} simulated", ENVIRONMENTS.len());
    table.row(&format!("{what}: idle PSS, MiB"), vec![instance.pss_mib()?], "≤ 250");
    table.row(&format!("{what}: all gates after a change, ms"), scale.gates()?, "≤ 200");
    for (page, samples) in scale.pages()? {
        table.row(&format!("{what}: page {page}, ms"), samples, "≤ 100 (p95)");
    }
    Ok(())
}

struct Scale<'a> {
    instance: &'a Instance,
    components: usize,
}

impl Scale<'_> {
    fn sh(&self, script: &str) -> Result<()> {
        sh(&format!("cd && {script}"), self.instance)
    }

    /// A repository and a build for each component; nothing moves by itself.
    fn build(&self) -> Result<()> {
        let head = "git config --global user.name Ada; git config --global user.email ada@example.com; \
                    git config --global init.defaultBranch main; mkdir c1 && cd c1 && mkdir public && echo hello >public/index.html && \
                    printf 'FROM trimtab/static\\nCOPY public /srv\\n' >Dockerfile && cp -r . ../template && \
                    trimtab init --project scale && cd";
        self.sh(head)?;
        self.sh("git clone -q \"$(trimtab --project scale url --config)\" config -c 'credential.helper=!trimtab credential'")?;
        let mut rules =
            format!("printf 'project: scale\\nenvironments: [{}]\\n' >project.yaml", ENVIRONMENTS.join(", "));
        for (index, name) in ENVIRONMENTS.iter().enumerate() {
            let from =
                index.checked_sub(1).map_or(String::new(), |before| format!("from: [{}], ", ENVIRONMENTS[before]));
            let checks = if index + 1 == ENVIRONMENTS.len() { ", requires: {checks: [smoke]}" } else { "" };
            rules
                .push_str(&format!("; echo 'promotion: {{{from}strategy: Manual{checks}}}' >environments/{name}.yaml"));
        }
        self.sh(&format!("cd config && {rules}; git add -A && git commit -qm rules && git push -q"))?;
        self.sh(&format!(
            "cd c1 && git push -q trimtab main; cd; for n in $(seq 2 {}); do cp -r template c$n && cd c$n && \
             trimtab init --project scale --component c$n && git push -q trimtab main; cd; done",
            self.components
        ))?;
        self.until("everything is built", || Ok(self.builds()?.len() == self.components))
    }

    /// Name, commit and image of each build that succeeded.
    fn builds(&self) -> Result<Vec<(String, String, String)>> {
        let list = self.instance.kubernetes("GET", "/apis/trimtab.dev/v1alpha1/namespaces/scale/builds")?;
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let one = |build: &Value| {
            Some((text(&build["spec"]["build"])?, text(&build["spec"]["commit"])?, text(&build["status"]["image"])?))
        };
        Ok(list["items"].as_array().into_iter().flatten().filter_map(one).collect())
    }

    /// All of them pinned in the first environment by one commit. Milliseconds until all are healthy.
    fn admit(&self) -> Result<f64> {
        let config = self.instance.directory.0.join("config");
        let head = self.instance.command("git").current_dir(&config).args(["rev-parse", "HEAD"]).output()?;
        let head = String::from_utf8(head.stdout)?;
        let directory = config.join("environments").join(ENVIRONMENTS[0]);
        std::fs::create_dir_all(&directory)?;
        for (build, source, image) in self.builds()? {
            let (name, _) = build.rsplit_once('-').context("a build has a number")?;
            let pin = format!("build: {build}\nsource: {source}\nimage: {image}\nconfig: {}\n", head.trim());
            std::fs::write(directory.join(format!("{name}.yaml")), pin)?;
        }
        let start = Instant::now();
        self.sh("cd config && git add -A && git commit -qm pins && git push -q")?;
        self.until_healthy(ENVIRONMENTS[0])?;
        Ok(start.elapsed().as_secs_f64() * 1000.0)
    }

    /// The same as a release through all others. Milliseconds for each.
    fn promote(&self) -> Result<Vec<f64>> {
        self.sh(&format!("trimtab --project scale release create 1.0.0 --from {}", ENVIRONMENTS[0]))?;
        let (before, last) = (ENVIRONMENTS[ENVIRONMENTS.len() - 2], ENVIRONMENTS[ENVIRONMENTS.len() - 1]);
        let mut took = Vec::new();
        for name in &ENVIRONMENTS[1..] {
            if *name == last {
                self.sh(&format!("trimtab --project scale check smoke 1.0.0 --env {before} --passed"))?;
            }
            let start = Instant::now();
            self.sh(&format!("trimtab --project scale promote 1.0.0 --to {name}"))?;
            self.until_healthy(name)?;
            took.push(start.elapsed().as_secs_f64() * 1000.0);
        }
        // One more waits in the last one, so that there are gates to judge.
        self.sh(&format!("trimtab --project scale release create 1.0.1 --from {}", ENVIRONMENTS[0]))?;
        for name in &ENVIRONMENTS[1..ENVIRONMENTS.len() - 1] {
            self.sh(&format!("trimtab --project scale promote 1.0.1 --to {name}"))?;
        }
        self.sh(&format!("trimtab --project scale promote 1.0.1 --to {last} || [ $? = 4 ]"))?;
        Ok(took)
    }

    fn until_healthy(&self, environment: &str) -> Result<()> {
        self.until(&format!("{environment} is healthy"), || {
            let output =
                self.instance.command("trimtab").args(["--project", "scale", "status", "--output", "json"]).output()?;
            let status: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
            let environments = status["environments"].as_array().cloned().unwrap_or_default();
            let found = environments.into_iter().find(|e| e["name"] == environment).unwrap_or_default();
            let components = found["components"].as_array().cloned().unwrap_or_default();
            Ok(components.len() == self.components && components.iter().all(|c| c["health"] == "Healthy"))
        })
    }

    fn until(&self, what: &str, mut condition: impl FnMut() -> Result<bool>) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while !condition()? {
            if Instant::now() > deadline {
                bail!("did not happen in {PATIENCE:?}: {what}");
            }
            std::thread::sleep(Duration::from_millis(200));
        }
        Ok(())
    }

    /// A check is reported; the answer comes when everything was judged with it.
    fn gates(&self) -> Result<Vec<f64>> {
        let report = |round: usize| {
            let wish = json!({ "check": format!("other-{round}"), "env": ENVIRONMENTS[0], "release": "1.0.0", "passed": true });
            let token = std::fs::read_to_string(self.instance.data().join("admin.token"))?;
            self.instance.timed(
                "/api/v1/projects/scale/checks",
                &format!("header = \"Authorization: Bearer {}\"\ndata = {}\n", token.trim(), json!(wish.to_string())),
            )
        };
        (0..ROUNDS).map(report).collect()
    }

    /// Pages as a person sees them.
    fn pages(&self) -> Result<Vec<(String, Vec<f64>)>> {
        let cookies = self.instance.signed_in()?;
        let last = ENVIRONMENTS[ENVIRONMENTS.len() - 1];
        let paths = [
            "/".to_owned(),
            "/p/scale".to_owned(),
            "/p/scale/c/c1".to_owned(),
            format!("/p/scale/e/{last}"),
            "/p/scale/history".to_owned(),
            "/p/scale/promotions".to_owned(),
            "/p/scale/releases".to_owned(),
        ];
        let one = |path: String| {
            let samples = (0..ROUNDS).map(|_| self.instance.timed(&path, &cookies)).collect::<Result<Vec<f64>>>()?;
            Ok((path, samples))
        };
        paths.into_iter().map(one).collect()
    }
}
