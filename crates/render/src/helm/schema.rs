//! Values against the schemas of charts.

use super::Error;
use super::chart::Texts;
use super::functions::json_of;
use super::node::Node;
use super::usual::Usual;
use jsonschema::Validator;
use std::sync::OnceLock;
use template::{Map, Value};

/// Holds values against the schemas of a chart and those below it.
pub(super) fn check(root: &Node, values: &Map, texts: &Texts) -> Result<(), Error> {
    let mut problems = String::new();
    check_node(root, values, texts, &mut problems);
    if problems.is_empty() { Ok(()) } else { Err(Error::Schema(problems)) }
}

fn check_node(node: &Node, values: &Map, texts: &Texts, problems: &mut String) {
    if let Some(schema) = &node.tree.schema
        && let Err(problem) = texts.schema(schema, Schema::read).and_then(|read| read.check(schema, values))
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

/// A schema of a chart.
#[derive(Debug)]
pub(super) struct Schema {
    usual: Option<Usual>,
    /// Made when it is needed.
    validator: OnceLock<Result<Validator, String>>,
}

impl Schema {
    fn read(text: &[u8]) -> Result<Self, String> {
        let usual = Usual::of(&json(text)?);
        Ok(Self { usual, validator: OnceLock::new() })
    }

    fn check(&self, text: &[u8], values: &Map) -> Result<(), String> {
        let values = Value::Map(values.clone());
        if self.usual.as_ref().is_some_and(|usual| usual.fits(&values)) {
            return Ok(());
        }
        let validator = self.validator.get_or_init(|| validator(text)).as_ref().map_err(String::clone)?;
        let json = json_of(&values).ok_or("values cannot be written as JSON\n")?;
        let problem = |error: jsonschema::ValidationError<'_>| format!("- at '{}': {error}\n", error.instance_path());
        let problems: String = validator.iter_errors(&json).map(problem).collect();
        if problems.is_empty() { Ok(()) } else { Err(problems) }
    }
}

fn json(text: &[u8]) -> Result<serde_json::Value, String> {
    serde_json::from_slice(text).map_err(|error| format!("{error}\n"))
}

fn validator(text: &[u8]) -> Result<Validator, String> {
    let validator = jsonschema::options().with_retriever(Alone).build(&json(text)?);
    validator.map_err(|error| format!("the schema is no schema: {error}\n"))
}
