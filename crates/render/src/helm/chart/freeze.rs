//! Values of charts, as they are kept between renders.

use serde_json::Number;
use template::{Frozen, Text};
use yaml::Make;

/// Texts up to so many bytes are looked for among those that were just seen: keys and words come again and again.
const SHORT: usize = 32;
/// How many are remembered.
const REMEMBERED: usize = 256;

/// Makes values of YAML. Equal short texts are mostly the same one.
pub(super) struct Freeze {
    seen: Vec<Option<Text>>,
}

impl Freeze {
    pub fn new() -> Self {
        Self { seen: vec![None; REMEMBERED] }
    }

    fn shared(&mut self, text: &str) -> Text {
        if text.len() > SHORT {
            return text.into();
        }
        let mix = |hash: u32, byte: u8| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
        let hash = text.bytes().fold(0x811c_9dc5, mix);
        let place = &mut self.seen[(hash ^ (hash >> 16)) as usize % REMEMBERED];
        match place {
            Some(seen) if **seen == *text => Text::clone(seen),
            _ => Text::clone(place.insert(text.into())),
        }
    }
}

impl Make for Freeze {
    type Value = Frozen;
    type Map = Vec<(Text, Frozen)>;

    fn null(&mut self) -> Frozen {
        Frozen::Nil
    }

    fn bool(&mut self, flag: bool) -> Frozen {
        Frozen::Bool(flag)
    }

    fn number(&mut self, number: Number) -> Frozen {
        Frozen::Float(number.as_f64().unwrap_or(0.0))
    }

    fn text(&mut self, text: &str) -> Frozen {
        Frozen::Text(self.shared(text))
    }

    fn list(&mut self, items: Vec<Frozen>) -> Frozen {
        Frozen::List(items.into())
    }

    fn map(&mut self, map: Self::Map) -> Frozen {
        Frozen::map(map)
    }

    fn insert(&mut self, map: &mut Self::Map, key: &str, value: Frozen) {
        let key = self.shared(key);
        map.push((key, value));
    }

    fn extend(&mut self, map: &mut Self::Map, other: Self::Map) {
        map.extend(other);
    }
}
