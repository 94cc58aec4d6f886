use super::Common;
use super::explain::gate_table;
use crate::client::{Api, Failure, for_each_line};
use crate::output::{Output, say};
use anyhow::Result;
use model::records::{Promotion, PromotionPhase};
use model::{BuildId, Component, Environment, Project, Version};
use serde_json::json;
use std::io::IsTerminal;
use std::process::ExitCode;

/// Move a build or a release into an environment
///
/// Prints the gates as they pass and returns when what moved is healthy. Ctrl-C only detaches.
/// Exit code 4: it failed or was refused. Without a terminal it returns as soon as a gate holds it, with exit code 4.
#[derive(Debug, clap::Args)]
pub struct PromoteArgs {
    /// What moves: a component (web), or a release (1.4.0)
    #[arg(value_name = "COMPONENT|RELEASE")]
    what: String,
    /// Into which environment
    #[arg(long)]
    to: Environment,
    /// Which build [default: the newest that may]
    #[arg(long)]
    build: Option<BuildId>,
    /// With the configuration of this commit of the config repository [default: that of the environment before]
    #[arg(long, value_name = "COMMIT")]
    config: Option<String>,
    /// Why; stands in the commit and the history
    #[arg(long, default_value = "")]
    reason: String,
    /// The change that it belongs to, where the environment asks for one
    #[arg(long, value_name = "REFERENCE")]
    change_ref: Option<String>,
    /// Emergency: pass gates that could be waited for, and say why; needs the right to, and leaves a record
    #[arg(long = "override", value_name = "REASON")]
    overriding: Option<String>,
    /// Ask, and do not wait
    #[arg(long)]
    detach: bool,
}

pub async fn run(common: &Common, args: PromoteArgs) -> Result<ExitCode> {
    let api = common.api()?;
    let project = common.project(&api).await?;
    // A component's name holds no dot, a version always does.
    let release = args.what.contains('.').then(|| args.what.parse::<Version>()).transpose()?;
    let component = if release.is_none() { Some(args.what.parse::<Component>()?) } else { None };
    let wish = json!({
        "component": component, "release": release, "build": args.build, "config": args.config, "to": args.to,
        "reason": args.reason, "changeRef": args.change_ref, "override": args.overriding,
    });
    let answer = api.post(&format!("/projects/{project}/promotions"), &wish).await?;
    let name = answer["promotion"].as_str().unwrap_or_default();
    follow(common, &api, &project, name, args.detach).await
}

/// Shows a promotion until it is final, or until a gate holds it and nobody sits there to wait.
pub async fn follow(common: &Common, api: &Api, project: &Project, name: &str, detach: bool) -> Result<ExitCode> {
    if detach {
        common.output.print(&json!({ "promotion": name }), |_| format!("{name} is asked for\n"));
        return Ok(ExitCode::SUCCESS);
    }
    let mut shown = Shown::default();
    let mut last: Option<Promotion> = None;
    let patient = std::io::stdout().is_terminal();
    // An answer that ends before the promotion does is that of a process whose place another one takes.
    for _ in 0..PROCESSES_MAX {
        let updates = api.stream(&format!("/projects/{project}/promotions/{name}"), &[]).await?;
        let read = for_each_line(updates, |line| {
            let promotion: Promotion = serde_json::from_str(line)?;
            show(common.output, &promotion, line, &mut shown);
            let held = promotion.status.phase == PromotionPhase::Waiting && !promotion.status.gates.is_empty();
            last = Some(promotion);
            if held && !patient { Err(anyhow::Error::new(Held)) } else { Ok(()) }
        });
        match read.await {
            Err(error) if error.is::<Held>() => break,
            other => other?,
        }
        if last.as_ref().is_some_and(|promotion| promotion.status.phase.is_final()) {
            break;
        }
    }
    let Some(promotion) = last else {
        return Err(Failure::Unreachable("the answer ended before it began".into()).into());
    };
    Ok(match promotion.status.phase {
        PromotionPhase::Succeeded => ExitCode::SUCCESS,
        _ => ExitCode::from(4),
    })
}

/// Control processes that a promotion is followed through.
const PROCESSES_MAX: usize = 8;

/// A gate holds it.
#[derive(Debug)]
struct Held;
impl std::fmt::Display for Held {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("held")
    }
}
impl std::error::Error for Held {}

/// What was printed last, and whether it was said that it is on its way: what people read does not depend on how fast
/// things follow each other.
#[derive(Default)]
struct Shown {
    text: String,
    admitted: bool,
}

fn show(output: Output, promotion: &Promotion, line: &str, shown: &mut Shown) {
    if output == Output::Json {
        say(&format!("{line}\n"));
        return;
    }
    let status = &promotion.status;
    let mut text = match status.phase {
        PromotionPhase::Pending => return,
        PromotionPhase::Waiting => {
            format!("{} waits: {}\n{}", promotion.name, status.message, gate_table(&status.gates))
        }
        PromotionPhase::Admitted => admitted(promotion),
        PromotionPhase::Succeeded if status.change.is_empty() => format!("✔ {}\n", status.message),
        PromotionPhase::Succeeded => format!("✔ {}: {} is healthy\n", promotion.spec.environment, status.change),
        PromotionPhase::Failed => format!("✘ {}: {}\n", promotion.spec.environment, status.message),
        PromotionPhase::Superseded | PromotionPhase::Cancelled => format!("{}: {}\n", promotion.name, status.message),
    };
    let came = matches!(status.phase, PromotionPhase::Succeeded | PromotionPhase::Failed) && status.commit.is_some();
    if came && !shown.admitted && !status.change.is_empty() {
        text.insert_str(0, &admitted(promotion));
    }
    shown.admitted |= came || status.phase == PromotionPhase::Admitted;
    if text != shown.text {
        say(&text);
        shown.text = text;
    }
}

fn admitted(promotion: &Promotion) -> String {
    let status = &promotion.status;
    format!("{}→ {}: {}\n", gate_table(&status.gates), promotion.spec.environment, status.change)
}
