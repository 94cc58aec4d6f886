use super::Common;
use crate::output::table;
use anyhow::Result;
use model::records::Gate;
use model::{Component, Environment};
use serde_json::Value;
use std::process::ExitCode;

/// Why a component is, or is not, in an environment
#[derive(Debug, clap::Args)]
pub struct ExplainArgs {
    /// Which component
    component: Component,
    /// In which environment
    #[arg(long)]
    env: Environment,
}

pub async fn run(common: &Common, args: ExplainArgs) -> Result<ExitCode> {
    let api = common.api()?;
    let project = common.project(&api).await?;
    let query = [("component", args.component.as_str()), ("env", args.env.as_str())];
    let explanation = api.get(&format!("/projects/{project}/explain"), &query).await?;
    common.output.print(&explanation, text);
    Ok(ExitCode::SUCCESS)
}

fn text(explanation: &Value) -> String {
    let mut text = String::new();
    for sentence in explanation["sentences"].as_array().into_iter().flatten() {
        text.push_str(sentence.as_str().unwrap_or_default());
        text.push('\n');
    }
    let held = explanation.pointer("/held/gates").cloned().unwrap_or_default();
    for (title, gates) in
        [("held on main", held), (explanation["candidate"].as_str().unwrap_or_default(), explanation["gates"].clone())]
    {
        if let Ok(gates) = serde_json::from_value::<Vec<Gate>>(gates)
            && !gates.is_empty()
        {
            text.push_str(&format!("\n{title}:\n{}", gate_table(&gates)));
        }
    }
    text
}

/// Gates, one a line, as `promote` shows them too.
pub fn gate_table(gates: &[Gate]) -> String {
    use model::records::GateState;
    let row = |gate: &Gate| {
        let sign = match gate.state {
            GateState::Open => "✔",
            GateState::Waiting => "…",
            GateState::Closed => "✘",
        };
        let until = gate.until.map_or(String::new(), |until| format!(" (until {until})"));
        vec![sign.to_owned(), format!("{:?}", gate.name), format!("{}{until}", gate.message)]
    };
    table(&["", "GATE", ""], &gates.iter().map(row).collect::<Vec<_>>())
}
