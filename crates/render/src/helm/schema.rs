//! Values against the schemas of charts.

use super::Error;
use super::chart::Texts;
use super::functions::json_of;
use super::node::Node;
use jsonschema::Validator;
use template::{Map, Value};

/// Holds values against the schemas of a chart and those below it.
pub(super) fn check(root: &Node, values: &Map, texts: &Texts) -> Result<(), Error> {
    let mut problems = String::new();
    check_node(root, values, texts, &mut problems);
    if problems.is_empty() { Ok(()) } else { Err(Error::Schema(problems)) }
}

fn check_node(node: &Node, values: &Map, texts: &Texts, problems: &mut String) {
    if let Some(schema) = &node.tree.schema
        && let Err(problem) = texts.schema(schema, read).and_then(|schema| check_one(&schema, values))
    {
        problems.push_str(&format!("{}:\n{problem}", node.name));
    }
    for child in &node.children {
        match values.get(&child.name) {
            None | Some(Value::Nil) => {}
            Some(Value::Map(values)) => check_node(child, &values, texts, problems),
            Some(other) => {
                let found = other.type_name();
                let problem = format!("invalid type for values: expected object (map), got {found}");
                problems.push_str(&format!("{}:\n{problem}\n", child.name));
            }
        }
    }
}

/// Schemas stand alone: nothing is fetched for them.
struct Alone;

impl jsonschema::Retrieve for Alone {
    fn retrieve(
        &self,
        uri: &jsonschema::Uri<String>,
    ) -> Result<serde_json::Value, Box<dyn std::error::Error + Send + Sync>> {
        Err(format!("{uri} is not part of the chart, and nothing is fetched while rendering").into())
    }
}

fn read(schema: &[u8]) -> Result<Validator, String> {
    let schema: serde_json::Value = serde_json::from_slice(schema).map_err(|error| format!("{error}\n"))?;
    let validator = jsonschema::options().with_retriever(Alone).build(&schema);
    validator.map_err(|error| format!("the schema is no schema: {error}\n"))
}

fn check_one(schema: &Validator, values: &Map) -> Result<(), String> {
    let json = json_of(&Value::Map(values.clone())).ok_or("values cannot be written as JSON\n")?;
    let mut problems: Vec<String> = Vec::new();
    for error in schema.iter_errors(&json) {
        let path = error.instance_path().to_string();
        problems.push(format!("- at '{path}': {error}\n"));
    }
    if problems.is_empty() { Ok(()) } else { Err(problems.concat()) }
}
