use super::Common;
use crate::instance::Instance;
use crate::output::table;
use anyhow::Result;
use serde_json::Value;
use std::process::ExitCode;

/// Environments and what runs there
#[derive(Debug, clap::Args)]
pub struct StatusArgs {}

pub async fn run(common: &Common, _args: StatusArgs) -> Result<ExitCode> {
    let api = common.api()?;
    let project = common.project(&api).await?;
    let status = api.get(&format!("/projects/{project}/status"), &[]).await?;
    let ssh = ssh(common);
    common.output.print(&status, |status| format!("{}{ssh}", text(status)));
    Ok(ExitCode::SUCCESS)
}

/// Where git is reached over SSH, and by which key the host is known; nothing where there is none yet.
fn ssh(common: &Common) -> String {
    let line = || -> Result<String> {
        let layout = common.layout()?;
        let (at, key) = (Instance::require(&layout)?.ssh()?, super::url::host_key(&layout)?);
        Ok(format!("\ngit by SSH: ssh://git@{at} (host key {})\n", key.fingerprint))
    };
    line().unwrap_or_default()
}

fn text(status: &Value) -> String {
    let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut rows = Vec::new();
    let mut notes = Vec::new();
    for environment in status["environments"].as_array().into_iter().flatten() {
        let name = word(&environment["name"]);
        let strategy = word(&environment["strategy"]);
        let release = match (environment["release"].as_str(), environment["certified"] == true) {
            (Some(release), true) => format!(", {release} certified"),
            (Some(release), false) => format!(", {release}"),
            (None, _) => String::new(),
        };
        let strategy = format!("{strategy}{release}");
        let flags = [("suspended", ", suspended"), ("reviewed", ", reviewed")].into_iter();
        let flags: String = flags.filter(|(flag, _)| environment[*flag] == true).map(|(_, word)| word).collect();
        let strategy = format!("{strategy}{flags}");
        let strategy = match environment["dataPlane"].as_str() {
            Some(plane) => format!("{strategy}, on {plane}"),
            None => strategy,
        };
        let components = environment["components"].as_array().map(Vec::as_slice).unwrap_or_default();
        if components.is_empty() {
            rows.push(vec![name.clone(), strategy.clone(), "-".into(), "-".into(), String::new()]);
        }
        for (index, component) in components.iter().enumerate() {
            let first = index == 0;
            let health = word(&component["health"]);
            let reason = word(&component["reason"]);
            let health = if health == "Healthy" { health } else { format!("{health} ({reason})") };
            let health = if component["drifted"] == true { format!("{health}, drifted") } else { health };
            rows.push(vec![
                if first { name.clone() } else { String::new() },
                if first { strategy.clone() } else { String::new() },
                match component["chart"]["version"].as_str() {
                    Some(version) => {
                        format!("{} ({} {version})", word(&component["build"]), word(&component["chart"]["name"]))
                    }
                    None => word(&component["build"]),
                },
                health,
                word(&component["url"]),
            ]);
            if component["health"] != "Healthy" && !word(&component["message"]).is_empty() {
                notes.push(format!("{name}: {}", word(&component["message"])));
            }
        }
        if let Some(held) = environment.get("held") {
            let commit: String = word(&held["commit"]).chars().take(8).collect();
            notes.push(format!(
                "{name}: {} by {} ({commit}) is held: {}",
                word(&held["change"]),
                word(&held["author"]),
                word(&held["reason"])
            ));
        }
        if let Some(error) = environment.get("error") {
            notes.push(format!("{name}: {}", word(error)));
        }
        let more = environment["notes"].as_array().into_iter().flatten();
        notes.extend(more.map(|note| format!("{name}: {}", word(note))));
    }
    let mut text = format!("project {}\n\n", word(&status["project"]));
    text.push_str(&table(&["ENVIRONMENT", "PROMOTION", "BUILD", "HEALTH", "ADDRESS"], &rows));
    for problem in status["problems"].as_array().into_iter().flatten() {
        notes.push(word(problem));
    }
    if !notes.is_empty() {
        text.push('\n');
        text.push_str(&notes.join("\n"));
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    #[test]
    fn a_person_sees_what_runs_and_what_is_held() {
        let status = json!({
            "project": "shop",
            "environments": [
                { "name": "dev", "strategy": "Auto", "suspended": false, "components": [
                    { "component": "web", "build": "web-2", "health": "Healthy", "reason": "Ready", "url": "http://web.dev.shop.localhost:7180/", "drifted": false },
                    { "component": "api", "build": "api-7", "health": "Degraded", "reason": "CrashLoopBackOff", "message": "Pod api-x exits with 3", "drifted": false },
                ]},
                { "name": "prod", "strategy": "Manual", "suspended": true, "components": [],
                  "held": { "commit": "0123456789", "author": "Ada", "change": "web-9", "reason": "there is no build web-9" } },
            ],
        });
        let expected = "\
project shop

ENVIRONMENT  PROMOTION          BUILD  HEALTH                       ADDRESS
dev          Auto               web-2  Healthy                      http://web.dev.shop.localhost:7180/
                                api-7  Degraded (CrashLoopBackOff)
prod         Manual, suspended  -      -

dev: Pod api-x exits with 3
prod: web-9 by Ada (01234567) is held: there is no build web-9
";
        assert_eq!(super::text(&status), expected);
    }
}
