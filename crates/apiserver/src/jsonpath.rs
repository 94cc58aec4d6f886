//! The part of JSONPath that printer columns use: fields, indexes, `[*]`, `[?(@.a=="b")]`.

use serde_json::Value;

/// A parsed path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JsonPath(Vec<Step>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Field(String),
    Index(i64),
    All,
    /// Items whose field has this value.
    Where(String, String),
}

impl JsonPath {
    /// `None` if it is none of what is understood.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim().trim_start_matches('{').trim_end_matches('}').trim_start_matches('$');
        let mut steps = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            let step;
            (step, rest) = if let Some(inner) = rest.strip_prefix('[') { bracket(inner)? } else { field(rest)? };
            steps.push(step);
        }
        Some(Self(steps))
    }

    /// All values that it leads to.
    pub fn find<'v>(&self, value: &'v Value) -> Vec<&'v Value> {
        let mut found = vec![value];
        for step in &self.0 {
            found = found.into_iter().flat_map(|value| step.of(value)).collect();
        }
        found
    }
}

/// `.name` or `.na\.me`, and what follows.
fn field(text: &str) -> Option<(Step, &str)> {
    let rest = text.strip_prefix('.').unwrap_or(text);
    let mut name = String::new();
    let mut characters = rest.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '\\' => name.push(characters.next()?.1),
            '.' | '[' => return (!name.is_empty()).then(|| (Step::Field(name), &rest[at..])),
            other => name.push(other),
        }
    }
    if name == "*" { Some((Step::All, "")) } else { (!name.is_empty()).then_some((Step::Field(name), "")) }
}

/// What stands between brackets, and what follows.
fn bracket(text: &str) -> Option<(Step, &str)> {
    if let Some(filter) = text.strip_prefix("?(") {
        let (filter, rest) = filter.split_once(")]")?;
        let (name, wanted) = filter.split_once("==")?;
        let name = name.trim().strip_prefix("@.")?;
        let wanted = wanted.trim().trim_matches(['"', '\'']);
        return Some((Step::Where(name.to_owned(), wanted.to_owned()), rest));
    }
    let (inner, rest) = text.split_once(']')?;
    let step = match inner.trim() {
        "*" => Step::All,
        quoted if quoted.starts_with(['\'', '"']) => Step::Field(quoted.trim_matches(['"', '\'']).to_owned()),
        number => Step::Index(number.parse().ok()?),
    };
    Some((step, rest))
}

impl Step {
    fn of<'v>(&self, value: &'v Value) -> Vec<&'v Value> {
        match (self, value) {
            (Step::Field(name), Value::Object(map)) => map.get(name).into_iter().collect(),
            (Step::Index(at), Value::Array(items)) => {
                let at = if *at < 0 { items.len().checked_add_signed(*at as isize) } else { usize::try_from(*at).ok() };
                at.and_then(|at| items.get(at)).into_iter().collect()
            }
            (Step::All, Value::Array(items)) => items.iter().collect(),
            (Step::All, Value::Object(map)) => map.values().collect(),
            (Step::Where(name, wanted), Value::Array(items)) => {
                let is = |item: &&Value| match item.get(name) {
                    Some(Value::String(text)) => text == wanted,
                    Some(other) => serde_json::to_string(other).is_ok_and(|text| text == *wanted),
                    None => false,
                };
                items.iter().filter(is).collect()
            }
            _ => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn paths_of_columns() {
        let object = json!({
            "spec": {"a": {"b": 1}, "list": [{"n": "x"}, {"n": "y"}]},
            "metadata": {"annotations": {"k8s.io/x": "v"}},
            "status": {"conditions": [{"type": "Ready", "status": "True"}, {"type": "Other", "status": "False"}]},
        });
        let cases = [
            (".spec.a.b", json!([1])),
            ("{.spec.list[1].n}", json!(["y"])),
            (".spec.list[-1].n", json!(["y"])),
            (".spec.list[*].n", json!(["x", "y"])),
            (".status.conditions[?(@.type==\"Ready\")].status", json!(["True"])),
            (".status.conditions[?(@.type=='Ready')].status", json!(["True"])),
            (".metadata.annotations.k8s\\.io/x", json!(["v"])),
            (".metadata.annotations['k8s.io/x']", json!(["v"])),
            (".spec.none", json!([])),
        ];
        for (path, expected) in cases {
            let found = JsonPath::parse(path).expect(path);
            assert_eq!(json!(found.find(&object)), expected, "{path}");
        }
        assert_eq!(JsonPath::parse(".a..b"), None);
    }
}
