//! Configuration and secrets: where values are looked for, and what a secret may be seen as.

use crate::flow::ObjectId;
use crate::names::{Environment, Group, NameError};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::de::{MapAccess, Visitor, value::MapAccessDeserializer};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

/// The place of a value that holds wherever nothing else is said.
pub const DEFAULT: &str = "default";

/// How a component uses a ConfigGroup or a secret: `common`, or `{name: common, mountPath: /etc/app}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Use {
    /// Which.
    pub name: Group,
    /// Directory of its files in the container.
    pub mount_path: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Mounted {
    name: Group,
    #[serde(default)]
    mount_path: Option<String>,
}

impl Serialize for Use {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        match &self.mount_path {
            None => self.name.serialize(s),
            Some(_) => Mounted { name: self.name.clone(), mount_path: self.mount_path.clone() }.serialize(s),
        }
    }
}

impl<'de> Deserialize<'de> for Use {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = Use;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a name, or {name, mountPath}")
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Use, E> {
                Ok(Use { name: text.parse().map_err(E::custom)?, mount_path: None })
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Use, A::Error> {
                let Mounted { name, mount_path } = Mounted::deserialize(MapAccessDeserializer::new(map))?;
                Ok(Use { name, mount_path })
            }
        }
        d.deserialize_any(Either)
    }
}

/// Where a value for one environment is looked for, nearest first: the environment, the ones that it is like, the groups
/// that hold it, then `default`. The places of one step stand side by side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    /// For which environment.
    pub environment: Environment,
    /// Steps of places.
    pub steps: Vec<Vec<String>>,
}

impl Chain {
    /// Of an environment, given what each one is like and the groups of environments.
    pub fn of(
        environment: &Environment,
        like: &BTreeMap<Environment, Environment>,
        groups: &BTreeMap<Group, Vec<Environment>>,
    ) -> Self {
        let mut line = vec![environment];
        while let Some(next) = like.get(line[line.len() - 1]).filter(|next| !line.contains(next)) {
            line.push(next);
        }
        let holding = |member: &Environment| -> Vec<String> {
            groups.iter().filter(|(_, members)| members.contains(member)).map(|(name, _)| name.to_string()).collect()
        };
        let mut steps: Vec<Vec<String>> = line.iter().map(|name| vec![name.to_string()]).collect();
        steps.extend(line.iter().map(|name| holding(name)).filter(|step| !step.is_empty()));
        steps.push(vec![DEFAULT.to_owned()]);
        Self { environment: environment.clone(), steps }
    }

    /// The value that holds, with its place. `Err`: places of the same step that say different things.
    pub fn find<'a, T: PartialEq>(
        &self,
        values: &'a BTreeMap<String, T>,
    ) -> Result<Option<(&'a str, &'a T)>, Vec<&'a str>> {
        for step in &self.steps {
            let found: Vec<(&str, &T)> = step
                .iter()
                .filter_map(|place| values.get_key_value(place))
                .map(|(place, value)| (place.as_str(), value))
                .collect();
            match found.as_slice() {
                [] => {}
                [(place, value), others @ ..] if others.iter().all(|(_, other)| other == value) => {
                    return Ok(Some((*place, *value)));
                }
                several => return Err(several.iter().map(|(place, _)| *place).collect()),
            }
        }
        Ok(None)
    }
}

/// A value sealed with age: safe to keep, useless without the key.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ciphertext(Vec<u8>);

/// How every file of age begins.
const AGE: &[u8] = b"age-encryption.org/v1\n";
const ARMOR: (&str, &str) = ("-----BEGIN AGE ENCRYPTED FILE-----", "-----END AGE ENCRYPTED FILE-----");

impl Ciphertext {
    /// A binary file of age.
    ///
    /// # Errors
    /// It does not begin as one.
    pub fn new(bytes: Vec<u8>) -> Result<Self, NameError> {
        match bytes.starts_with(AGE) {
            true => Ok(Self(bytes)),
            false => Err(NameError(format!("expected a value encrypted with age, found something else ({HOW})"))),
        }
    }
    /// The binary file of age.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// What a person who wrote a value by hand should have done. The value itself is never repeated.
const HOW: &str = "set it with `trimtab secret set`, which encrypts it";

impl FromStr for Ciphertext {
    type Err = NameError;
    /// Armoured, or base64 in one piece.
    fn from_str(text: &str) -> Result<Self, NameError> {
        let text = text.trim();
        let inner = match text.strip_prefix(ARMOR.0) {
            Some(rest) => {
                rest.strip_suffix(ARMOR.1).ok_or_else(|| NameError(format!("the armour of age has no end ({HOW})")))?
            }
            None => text,
        };
        let packed: String = inner.split_whitespace().collect();
        let bytes = STANDARD.decode(packed);
        Self::new(
            bytes
                .map_err(|_| NameError(format!("expected a value encrypted with age, found something else ({HOW})")))?,
        )
    }
}

impl fmt::Display for Ciphertext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&STANDARD.encode(&self.0))
    }
}
impl fmt::Debug for Ciphertext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ciphertext({} bytes)", self.0.len())
    }
}

/// All that is ever shown of a secret's value: a digest under a key that only the instance has. Equal values have equal
/// digests.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Sealed(String);

impl Sealed {
    /// From a keyed digest, of which 64 bits are shown.
    pub fn new(digest: [u8; 32]) -> Self {
        Self(digest[..8].iter().map(|byte| format!("{byte:02x}")).collect())
    }
    /// What stands for the value in `data` of a Secret: valid there, and no value.
    pub fn mask(&self) -> String {
        STANDARD.encode(self.to_string())
    }
}
impl fmt::Display for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sealed:{}", self.0)
    }
}

/// A secret's value in the open. It cannot be printed, serialised or compared; it is overwritten when it is dropped.
pub struct Plain(Vec<u8>);

impl Plain {
    /// Takes a value.
    pub fn new(value: Vec<u8>) -> Self {
        Self(value)
    }
    /// For the one who writes it to the API server, and nobody else.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}
impl Drop for Plain {
    fn drop(&mut self) {
        self.0.fill(0);
        std::hint::black_box(&self.0);
    }
}
impl fmt::Debug for Plain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Plain(…)")
    }
}

/// The values of the Secrets that one plan writes, from the moment they are opened until the plan has run.
#[derive(Debug, Default)]
pub struct Opened(BTreeMap<ObjectId, BTreeMap<String, Plain>>);

impl Opened {
    /// Adds one value of a Secret's `data`.
    pub fn insert(&mut self, object: ObjectId, key: String, value: Plain) {
        self.0.entry(object).or_default().insert(key, value);
    }
    /// A text of others, an API server's refusal, without any value that it may repeat.
    pub fn redact(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for value in self.0.values().flat_map(BTreeMap::values).filter(|value| !value.expose().is_empty()) {
            text = text.replace(&STANDARD.encode(value.expose()), "(a secret)");
            if let Ok(plain) = std::str::from_utf8(value.expose()) {
                text = text.replace(plain, "(a secret)");
            }
        }
        text
    }
    /// The manifest as it is sent: every value that stands here in the place of its mask.
    pub fn reveal(&self, manifest: &mut serde_json::Value) {
        let Some(values) = self.0.get(&ObjectId::of(manifest)) else { return };
        for (key, value) in values {
            if let Some(place) = manifest.pointer_mut("/data").and_then(|data| data.get_mut(key)) {
                *place = STANDARD.encode(value.expose()).into();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn chain(environment: &str) -> Chain {
        let like = [("qa", "staging"), ("staging", "dev"), ("loop", "pool"), ("pool", "loop")];
        let like = like.iter().map(|(a, b)| (a.parse().unwrap(), b.parse().unwrap())).collect();
        let members = |names: &[&str]| names.iter().map(|n| n.parse().unwrap()).collect::<Vec<Environment>>();
        let groups = BTreeMap::from([
            ("eu".parse().unwrap(), members(&["prod", "qa"])),
            ("nonprod".parse().unwrap(), members(&["dev", "qa"])),
        ]);
        Chain::of(&environment.parse().unwrap(), &like, &groups)
    }

    #[test]
    fn a_value_is_looked_for_in_the_environment_what_it_is_like_its_groups_and_default() {
        let shown =
            |environment: &str| chain(environment).steps.iter().map(|s| s.join("+")).collect::<Vec<_>>().join(" > ");
        assert_eq!(shown("qa"), "qa > staging > dev > eu+nonprod > nonprod > default");
        assert_eq!(shown("prod"), "prod > eu > default");
        assert_eq!(shown("loop"), "loop > pool > default", "a circle ends");
    }

    #[test]
    fn groups_that_disagree_are_said() {
        let values = |pairs: &[(&str, &str)]| {
            pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect::<BTreeMap<_, _>>()
        };
        let found = values(&[("eu", "a"), ("nonprod", "b"), ("default", "c")]);
        assert_eq!(chain("qa").find(&found), Err(vec!["eu", "nonprod"]));
        assert_eq!(chain("prod").find(&found), Ok(Some(("eu", &"a".to_owned()))));
        assert_eq!(chain("qa").find(&values(&[("eu", "a"), ("nonprod", "a")])), Ok(Some(("eu", &"a".to_owned()))));
        assert_eq!(chain("qa").find(&values(&[("prod", "a")])), Ok(None));
    }

    #[test]
    fn a_use_is_a_name_or_a_name_and_a_directory() {
        for (value, mounted) in
            [(json!("common"), None), (json!({"name": "common", "mountPath": "/etc/app"}), Some("/etc/app"))]
        {
            let used: Use = serde_json::from_value(value.clone()).unwrap();
            assert_eq!((used.name.as_str(), used.mount_path.as_deref()), ("common", mounted));
            assert_eq!(json!(used), value);
        }
        for bad in [json!("Common"), json!({"mountPath": "/x"}), json!({"name": "a", "mount": "/x"}), json!(3)] {
            assert!(serde_json::from_value::<Use>(bad.clone()).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_ciphertext_is_armoured_or_one_line_and_never_repeats_what_it_refuses() {
        let bytes = [AGE, b"-> X25519 abc\n"].concat();
        let line = STANDARD.encode(&bytes);
        let armoured = format!("{}\n{}\n{}\n{}\n", ARMOR.0, &line[..20], &line[20..], ARMOR.1);
        for text in [&line, &armoured] {
            assert_eq!(text.parse::<Ciphertext>().unwrap().bytes(), bytes);
        }
        let cut = armoured.replace(ARMOR.1, "");
        for bad in ["", "hunter2", "aHVudGVyMg==", &cut] {
            let error = bad.parse::<Ciphertext>().unwrap_err().to_string();
            assert!(error.contains("secret set") && !error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn an_opened_value_cannot_be_printed_and_stands_only_in_what_is_sent() {
        let mut manifest = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "web-db", "namespace": "shop-dev"}, "data": {"PASSWORD": Sealed::new([1; 32]).mask(), "USER": "eA=="}});
        let mut opened = Opened::default();
        opened.insert(ObjectId::of(&manifest), "PASSWORD".into(), Plain::new(b"hunter2".to_vec()));
        assert!(!format!("{opened:?}").contains("hunter2"));
        let refusal = format!("Invalid value: \"hunter2\" ({})", STANDARD.encode("hunter2"));
        assert_eq!(opened.redact(&refusal), "Invalid value: \"(a secret)\" ((a secret))");
        opened.reveal(&mut manifest);
        assert_eq!(manifest["data"], json!({"PASSWORD": STANDARD.encode("hunter2"), "USER": "eA=="}));
    }
}
