//! Values that never change, small and shared between threads: what many renders begin with.

use crate::value::{Map, Text, Value};
use std::sync::Arc;

/// The entries of a map by their keys, each of which stands there once.
pub type Pairs = Arc<[(Text, Frozen)]>;

/// A value as YAML and JSON have it. It becomes a [`Value`] of its own as far as somebody looks into it.
#[derive(Debug, Clone, PartialEq)]
pub enum Frozen {
    /// `null`
    Nil,
    /// `true`, `false`
    Bool(bool),
    /// Any number.
    Float(f64),
    /// A text.
    Text(Text),
    /// A list.
    List(Arc<[Frozen]>),
    /// A map.
    Map(Pairs),
}

impl Frozen {
    /// A map of entries in any order; of keys that stand there twice the last one counts.
    pub fn map(mut pairs: Vec<(Text, Self)>) -> Self {
        if !pairs.is_sorted_by(|(a, _), (b, _)| a < b) {
            pairs.sort_by(|(a, _), (b, _)| a.cmp(b));
            pairs.dedup_by(|later, kept| {
                let is_same = later.0 == kept.0;
                if is_same {
                    std::mem::swap(later, kept);
                }
                is_same
            });
        }
        Self::Map(pairs.into())
    }

    /// A value of its own.
    pub fn thawed(&self) -> Value {
        match self {
            Self::Nil => Value::Nil,
            Self::Bool(flag) => Value::Bool(*flag),
            Self::Float(number) => Value::Float(*number),
            Self::Text(text) => Value::Text(Text::clone(text)),
            Self::List(items) => Value::list(items.iter().map(Self::thawed).collect()),
            Self::Map(pairs) => Value::Map(Map::thawed(pairs)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&str, f64)]) -> Frozen {
        Frozen::map(pairs.iter().map(|(key, number)| (Text::from(*key), Frozen::Float(*number))).collect())
    }

    #[test]
    fn the_last_of_equal_keys_counts() {
        assert_eq!(map(&[("b", 1.0), ("a", 2.0), ("b", 3.0), ("b", 4.0)]), map(&[("a", 2.0), ("b", 4.0)]));
    }

    #[test]
    fn what_is_made_of_it_shares_nothing() {
        let inner = map(&[("a", 1.0)]);
        let Value::Map(outer) = Frozen::map(vec![("inner".into(), inner.clone())]).thawed() else { panic!("a map") };
        let (first, second) = (outer.untouched().expect("untouched"), outer.untouched().expect("untouched"));
        assert_eq!((first.len(), first.is(&second)), (1, false));
        let Some(Value::Map(found)) = first.get("inner") else { panic!("a map") };
        found.set("a", Value::Float(2.0));
        assert!(first.untouched().is_none(), "it was looked into");
        for (map, number) in [(&first, 2.0), (&second, 1.0), (&outer, 1.0)] {
            let Some(Value::Map(inner)) = map.get("inner") else { panic!("a map") };
            assert!(matches!(inner.get("a"), Some(Value::Float(found)) if found == number), "{number}");
        }
        assert_eq!(inner, map(&[("a", 1.0)]));
    }
}
