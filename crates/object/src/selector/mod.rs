//! Label and field selectors: parsing them and matching objects.

mod field;
mod label;
mod names;
mod parse;

pub use field::{FieldSelector, FieldTerm};
pub use label::{LabelSelector, Operator, Requirement};
pub use names::{check_key, check_value};

/// Why a selector was not understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SelectorError {
    /// The text is no selector.
    #[error("unable to parse requirement: {0}")]
    Syntax(String),
    /// A label's key or value breaks the rules for labels.
    #[error("{0}")]
    Label(String),
    /// A field selector is not of the form `path=value`.
    #[error("invalid selector: '{0}'; can't understand '{1}'")]
    Field(String, String),
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn label_queries_select() {
        let object = json!({"metadata": {"labels": {"app": "web", "tier": "", "n": "5"}}});
        let cases = [
            ("", true),
            ("app=web", true),
            ("app==web", true),
            ("app = web", true),
            ("app!=web", false),
            ("app!=db,tier=", true),
            ("app in (db, web)", true),
            ("app in (db)", false),
            ("app notin (db,cache)", true),
            ("none notin (db)", true),
            ("none!=x", true),
            ("none", false),
            ("!none", true),
            ("! app", false),
            ("tier in (,x)", true),
            ("n>4", true),
            ("n<5", false),
            ("app>4", false),
            ("in in (x)", false),
        ];
        for (query, matches) in cases {
            let selector = LabelSelector::parse(query).unwrap_or_else(|error| panic!("{query}: {error}"));
            assert_eq!(selector.matches(&object), matches, "{query}");
            assert_eq!(LabelSelector::parse(&selector.to_string()), Ok(selector), "{query}");
        }
    }

    #[test]
    fn broken_label_queries_are_refused() {
        for query in
            ["a b", "a=b,", "a in b", "a in (b", "a=b=c", "=x", "a=b c", "-a", "a=/", "x/y/z", "n>x", "a in ()b"]
        {
            assert!(LabelSelector::parse(query).is_err(), "{query}");
        }
    }

    #[test]
    fn selectors_of_specs() {
        let labels = json!({"app": "web"});
        let cases = [
            (json!(null), false),
            (json!({}), true),
            (json!({"matchLabels": {"app": "web"}}), true),
            (json!({"matchLabels": {"app": "web"}, "matchExpressions": [{"key": "x", "operator": "Exists"}]}), false),
            (json!({"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["db"]}]}), true),
        ];
        for (value, matches) in cases {
            assert_eq!(LabelSelector::from_value(&value).map(|s| s.matches_labels(&labels)), Ok(matches), "{value}");
        }
        assert!(!LabelSelector::from_map(&json!({})).expect("an empty map").matches_labels(&labels));
        assert!(LabelSelector::from_value(&json!({"matchExpressions": [{"key": "a", "operator": "In"}]})).is_err());
    }

    #[test]
    fn field_queries_select() {
        let object = json!({"metadata": {"name": "a,b"}, "status": {"phase": "Running"}, "spec": {"n": 1}});
        for (query, matches) in [
            ("", true),
            ("metadata.name=a\\,b", true),
            ("metadata.name==x", false),
            ("status.phase!=Running", false),
            ("spec.nodeName=", true),
            ("spec.n=1,status.phase=Running", true),
        ] {
            assert_eq!(FieldSelector::parse(query).map(|s| s.matches(&object)), Ok(matches), "{query}");
        }
        for query in ["x", "a=b=c", "a=\\x"] {
            assert!(FieldSelector::parse(query).is_err(), "{query}");
        }
    }
}
