use crate::output::say;
use anyhow::Result;
use clap::{Arg, Command, ValueEnum};
use serde_json::Value;
use std::process::ExitCode;

/// The references as they stand in docs/
#[derive(Debug, clap::Args)]
pub struct ReferenceArgs {
    /// Which
    of: Of,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Of {
    /// docs/commands.md
    Commands,
    /// docs/kinds.md
    Kinds,
}

pub fn run(args: &ReferenceArgs, command: Command) -> Result<ExitCode> {
    match args.of {
        Of::Commands => say(&commands(command)),
        Of::Kinds => say(&kinds(&reconcile::kinds())),
    }
    Ok(ExitCode::SUCCESS)
}

/// The command line as Markdown.
fn commands(mut root: Command) -> String {
    root.build();
    let mut text = String::from("# Commands\n\n<!-- Written by `cargo xtask docs`. -->\n\n");
    text.push_str(&about(&root));
    text.push_str("\nEvery command takes:\n\n");
    text.push_str(&table(root.get_arguments().filter(|arg| arg.is_global_set())));
    for command in shown(&root) {
        section(&mut text, command, "trimtab", 2);
    }
    text
}

fn shown(command: &Command) -> impl Iterator<Item = &Command> {
    command.get_subcommands().filter(|one| !one.is_hide_set() && one.get_name() != "help")
}

fn section(text: &mut String, command: &Command, before: &str, depth: usize) {
    let name = format!("{before} {}", command.get_name());
    text.push_str(&format!("\n{} {name}\n\n{}", "#".repeat(depth), about(command)));
    if shown(command).next().is_none() {
        let usage = command.clone().render_usage().to_string();
        let usage = usage.trim_start_matches("Usage:").split_whitespace().collect::<Vec<_>>().join(" ");
        text.push_str(&format!("\n```\n{usage}\n```\n"));
    }
    let own: Vec<&Arg> = command
        .get_arguments()
        .filter(|arg| !arg.is_global_set() && !arg.is_hide_set() && arg.get_id() != "help")
        .collect();
    let own: Vec<&Arg> = own.into_iter().filter(|arg| !matches!(arg.get_action(), clap::ArgAction::Version)).collect();
    if !own.is_empty() {
        text.push_str(&format!("\n{}", table(own)));
    }
    shown(command).for_each(|inner| section(text, inner, &name, depth + 1));
}

fn about(command: &Command) -> String {
    let about = command.get_long_about().or_else(|| command.get_about());
    about.map_or(String::new(), |about| format!("{about}\n"))
}

fn table<'a>(arguments: impl IntoIterator<Item = &'a Arg>) -> String {
    let mut text = String::from("| argument | meaning |\n|---|---|\n");
    for arg in arguments {
        let values = arg.get_value_names().map(|names| names.iter().map(|n| n.as_str()).collect::<Vec<_>>().join(" "));
        let value = values.filter(|_| arg.get_action().takes_values());
        let named = [arg.get_short().map(|c| format!("-{c}")), arg.get_long().map(|long| format!("--{long}"))];
        let named: Vec<String> = named.into_iter().flatten().collect();
        let shown = match (named.is_empty(), value) {
            (true, value) => value.unwrap_or_else(|| arg.get_id().to_string().to_uppercase()),
            (false, Some(value)) => format!("{} {value}", named.join(", ")),
            (false, None) => named.join(", "),
        };
        let mut meaning = arg.get_help().map_or(String::new(), ToString::to_string);
        let hidden = arg.is_hide_default_value_set() || !arg.get_action().takes_values();
        let defaults: Vec<_> = arg.get_default_values().iter().map(|value| value.to_string_lossy()).collect();
        if !hidden && defaults.iter().any(|value| !value.is_empty()) {
            meaning.push_str(&format!(" [default: {}]", defaults.join(", ")));
        }
        let possible = arg.get_possible_values();
        let names: Vec<&str> = possible.iter().filter(|v| !v.is_hide_set()).map(|v| v.get_name()).collect();
        if !names.is_empty() && arg.get_action().takes_values() {
            meaning.push_str(&format!(" ({})", names.join(", ")));
        }
        text.push_str(&format!("| `{}` | {} |\n", cell(&shown), cell(&meaning)));
    }
    text
}

/// What would end a cell of a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}

/// The kinds of `trimtab.dev` as Markdown, out of their definitions.
fn kinds(definitions: &[Value]) -> String {
    let mut text = String::from("# Kinds of trimtab.dev/v1alpha1\n\n<!-- Written by `cargo xtask docs`. -->\n\n");
    text.push_str(
        "In namespace `<project>`, to be read with kubectl (`trimtab kubeconfig`). What stands in git is changed in git.\n",
    );
    for definition in definitions {
        let spec = &definition["spec"];
        let version = &spec["versions"][0];
        let schema = &version["schema"]["openAPIV3Schema"];
        let name = |key: &str| spec["names"][key].as_str().unwrap_or_default();
        text.push_str(&format!("\n## {}\n\n", name("kind")));
        text.push_str(&format!("{}\n\n", schema["description"].as_str().unwrap_or_default()));
        let columns = version["additionalPrinterColumns"].as_array().into_iter().flatten();
        let columns: Vec<&str> = columns.filter_map(|column| column["name"].as_str()).collect();
        text.push_str(&format!("`kubectl get {}` shows: {}.\n", name("plural"), columns.join(", ")));
        for part in ["spec", "status"] {
            fields(&mut text, part, &schema["properties"][part]);
        }
    }
    text
}

fn fields(text: &mut String, part: &str, schema: &Value) {
    let Some(properties) = schema["properties"].as_object() else { return };
    let required = |name: &str| schema["required"].as_array().is_some_and(|names| names.iter().any(|n| n == name));
    text.push_str(&format!("\n| field of {part} | type | meaning |\n|---|---|---|\n"));
    for (name, field) in properties {
        let kind = field["format"].as_str().or(field["type"].as_str()).unwrap_or("any");
        let mut meaning = field["description"].as_str().unwrap_or_default().to_owned();
        if let Some(values) = field["enum"].as_array() {
            let values: Vec<&str> = values.iter().filter_map(Value::as_str).collect();
            meaning.push_str(&format!(" ({})", values.join(", ")));
        }
        if required(name) {
            meaning.push_str("; required");
        }
        text.push_str(&format!("| `{name}` | {kind} | {} |\n", cell(&meaning)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;
    use std::path::Path;

    #[test]
    fn the_references_are_what_stands_in_docs() {
        let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs");
        let command = crate::commands::Arguments::command();
        for (file, text) in [("commands.md", commands(command)), ("kinds.md", kinds(&reconcile::kinds()))] {
            let stands = std::fs::read_to_string(docs.join(file)).unwrap_or_default();
            assert!(stands == text, "docs/{file} is stale: cargo xtask docs");
        }
    }
}
