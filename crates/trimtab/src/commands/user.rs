use super::Common;
use crate::output::table;
use anyhow::{Context, Result};
use model::people::BranchPattern;
use model::{Role, UserName};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::ExitCode;

/// Users: who may talk to this instance, and what they may
///
/// viewer reads; developer pushes to application repositories and moves builds where it is not production; operator
/// does so everywhere, config repositories included; approver approves; admin does everything.
#[derive(Debug, clap::Args)]
pub struct UserArgs {
    #[command(subcommand)]
    command: UserCommand,
}

#[derive(Debug, clap::Subcommand)]
enum UserCommand {
    /// Make a user, or give one another role or key
    ///
    /// With --project the role is for that project only, else for all.
    Add {
        /// Who
        name: UserName,
        /// What they may
        #[arg(long)]
        role: Option<Role>,
        /// Only these branches may be pushed: main, 'feature/*'. Several with commas
        #[arg(long, value_delimiter = ',', requires = "role")]
        branches: Vec<BranchPattern>,
        /// File with their public SSH key
        #[arg(long, value_name = "FILE")]
        ssh_key: Vec<PathBuf>,
    },
    /// All users, with roles, keys and tokens
    List,
    /// Forget a user with all keys and tokens; with --role, take only that role (of --project) away
    Remove {
        /// Who
        name: String,
        /// Only this role
        #[arg(long)]
        role: Option<Role>,
    },
}

pub async fn run(common: &Common, args: UserArgs) -> Result<ExitCode> {
    let api = common.api()?;
    match args.command {
        UserCommand::Add { name, role, branches, ssh_key } => {
            let keys = ssh_key.iter().map(|path| read_key(path)).collect::<Result<Vec<_>>>()?;
            // Somebody new without a role could do nothing: what most people are is the default.
            let known =
                || async { Ok::<_, anyhow::Error>(names(&api.get("/users", &[]).await?).contains(&name.to_string())) };
            let role = match role {
                Some(role) => Some(role),
                None if common.project.is_some() || !known().await? => Some(Role::Developer),
                None => None,
            };
            let grant = role.map(|role| json!({ "role": role, "project": common.project, "branches": branches }));
            let user = api.post("/users", &json!({ "name": name, "role": grant, "keys": keys })).await?;
            common.output.print(&user, |user| users(std::slice::from_ref(user)));
        }
        UserCommand::List => {
            let list = api.get("/users", &[]).await?;
            common.output.print(&list, |list| users(list.as_array().map(Vec::as_slice).unwrap_or_default()));
        }
        UserCommand::Remove { name, role: Some(role) } => {
            let mut query = vec![("role", role.as_str())];
            query.extend(common.project.as_ref().map(|project| ("project", project.as_str())));
            let user = api.delete(&format!("/users/{name}/roles"), &query, None).await?;
            common.output.print(&user, |user| users(std::slice::from_ref(user)));
        }
        UserCommand::Remove { name, role: None } => {
            let done = api.delete(&format!("/users/{name}"), &[], None).await?;
            common.output.print(&done, |_| format!("{name} is gone, with all keys and tokens\n"));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The line in a `.pub` file; what is not one, the instance says.
pub fn read_key(path: &std::path::Path) -> Result<String> {
    let text = std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
    // A private key goes nowhere, not even to the instance.
    let key = source::PublicKey::parse(&text).map_err(|why| anyhow::anyhow!("{}: {why}", path.display()))?;
    Ok(format!("{} {}", key.line, key.comment).trim().to_owned())
}

fn names(users: &Value) -> Vec<String> {
    users.as_array().into_iter().flatten().filter_map(|user| user["name"].as_str().map(str::to_owned)).collect()
}

fn users(users: &[Value]) -> String {
    let row = |user: &Value| {
        let grants: Vec<String> = user["roles"].as_array().into_iter().flatten().map(grant).collect();
        let count = |key: &str| user[key].as_array().map_or(0, Vec::len).to_string();
        let roles = if grants.is_empty() { "-".to_owned() } else { grants.join("; ") };
        vec![user["name"].as_str().unwrap_or_default().to_owned(), roles, count("keys"), count("tokens")]
    };
    table(&["USER", "ROLES", "KEYS", "TOKENS"], &users.iter().map(row).collect::<Vec<_>>())
}

fn grant(value: &Value) -> String {
    serde_json::from_value::<model::Grant>(value.clone()).map_or_else(|_| value.to_string(), |grant| grant.to_string())
}
