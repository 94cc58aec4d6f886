//! Names and identities, parsed once at the edge.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// Why a text is not the name it should be. The message says what is allowed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NameError(pub String);

macro_rules! text_type {
    ($(#[$meta:meta])* $name:ident, $check:expr) => {
        $(#[$meta])*
        // Named again and again, by every state of every environment: a copy shares the text.
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The text itself.
            pub fn as_str(&self) -> &str { &self.0 }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { f.write_str(&self.0) }
        }
        impl FromStr for $name {
            type Err = NameError;
            fn from_str(text: &str) -> Result<Self, NameError> {
                let check: fn(&str) -> Result<(), NameError> = $check;
                check(text)?;
                Ok(Self(text.into()))
            }
        }
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> { s.serialize_str(&self.0) }
        }
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
            }
        }
        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str { &self.0 }
        }
    };
}

/// Longest project, component or environment name; three of them and a hash still fit a DNS label.
pub const NAME_BYTES_MAX: usize = 20;

fn label(what: &str, text: &str) -> Result<(), NameError> {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let edge = |c: Option<char>| c.is_some_and(|c| c != '-');
    if text.is_empty() || text.len() > NAME_BYTES_MAX {
        return Err(NameError(format!("{what} {text:?} must have 1 to {NAME_BYTES_MAX} characters")));
    }
    if !text.chars().all(inner) || !edge(text.chars().next()) || !edge(text.chars().last()) {
        return Err(NameError(format!(
            "{what} {text:?} may hold only a-z, 0-9 and '-', and begin and end with a letter or digit"
        )));
    }
    Ok(())
}

/// Longest name of a person.
const USER_BYTES_MAX: usize = 32;

fn user(text: &str) -> Result<(), NameError> {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-._".contains(c);
    if text.is_empty() || text.len() > USER_BYTES_MAX {
        return Err(NameError(format!("user {text:?} must have 1 to {USER_BYTES_MAX} characters")));
    }
    if !text.starts_with(|c: char| c.is_ascii_lowercase()) || !text.chars().all(inner) {
        return Err(NameError(format!(
            "user {text:?} may hold only a-z, 0-9, '-', '.' and '_', and must begin with a letter"
        )));
    }
    if ["admin", "git", "me", "root", "trimtab"].contains(&text) {
        return Err(NameError(format!("user {text:?} is a name that Trimtab keeps for itself: take another")));
    }
    Ok(())
}

fn registry_host(text: &str) -> Result<(), NameError> {
    let (host, port) = text.rsplit_once(':').unwrap_or((text, "443"));
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let labels = host.len() <= 253 && host.split('.').all(|label| !label.is_empty() && label.bytes().all(inner));
    // A first part without dot and port would be read as a part of the repository's name.
    let is_host = host == "localhost" || text.contains(['.', ':']);
    match labels && is_host && port.parse::<u16>().is_ok_and(|port| port != 0) {
        true => Ok(()),
        false => Err(NameError(format!("{text:?} is not a registry (HOST:PORT or HOST, without https://)"))),
    }
}

/// With the longest component before it, it is still a name of DNS.
const DOMAIN_BYTES_MAX: usize = 253 - NAME_BYTES_MAX - 1;

fn domain(text: &str) -> Result<(), NameError> {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let label = |label: &str| {
        let whole = (1..=63).contains(&label.len()) && label.bytes().all(inner);
        whole && !label.starts_with('-') && !label.ends_with('-')
    };
    match text.len() <= DOMAIN_BYTES_MAX && text.split('.').all(label) {
        true => Ok(()),
        false => Err(NameError(format!(
            "{text:?} is not a domain (shop.example.com): a-z, 0-9 and '-' between dots, no port and no '*'"
        ))),
    }
}

fn hex(text: &str, digits: usize) -> bool {
    text.len() == digits && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

text_type!(
    /// Name of a project: a DNS label of at most 20 characters.
    Project, |t| label("project", t));
text_type!(
    /// Name of a component: a DNS label of at most 20 characters.
    Component, |t| label("component", t));
text_type!(
    /// Name of an environment: a DNS label of at most 20 characters.
    Environment, |t| label("environment", t));
text_type!(
    /// Name of a person: what commits, the journal and denials say.
    UserName, |t| user(t));
text_type!(
    /// Name of a ConfigGroup, of a secret, or of a group of environments: a DNS label of at most 20 characters.
    Group, |t| label("group", t));
text_type!(
    /// Name of a data plane: a DNS label of at most 20 characters.
    DataPlaneName, |t| label("data plane", t));
text_type!(
    /// Under which components of an environment have their hosts: `shop.example.com`.
    Domain, domain);
text_type!(
    /// A registry as nodes name it: `host` or `host:port`, without scheme and path.
    RegistryHost, registry_host);
text_type!(
    /// A full git object id of a commit: 40 lower-case hexadecimal digits.
    CommitId, |t| if hex(t, 40) { Ok(()) } else { Err(NameError(format!("{t:?} is not a full commit id (40 hexadecimal digits)"))) });
text_type!(
/// A content digest, `sha256:` and 64 hexadecimal digits.
Digest, |t| match t.strip_prefix("sha256:") {
    Some(rest) if hex(rest, 64) => Ok(()),
    _ => Err(NameError(format!("{t:?} is not a digest (sha256:<64 hexadecimal digits>)"))),
});
text_type!(
/// An image pinned by digest, `registry.trimtab.internal/<project>/<component>@sha256:…`.
ImageRef, |t| match t.rsplit_once('@') {
    Some((name, digest)) if !name.is_empty() => digest.parse::<Digest>().map(|_| ()),
    _ => Err(NameError(format!("{t:?} is not an image pinned by digest (<name>@sha256:…)"))),
});

impl DataPlaneName {
    /// The cluster in the process of this instance, where everything runs that names nothing else.
    pub const EMBEDDED: &str = "embedded";

    /// See [`Self::EMBEDDED`].
    pub fn is_embedded(&self) -> bool {
        self.as_str() == Self::EMBEDDED
    }
}

impl CommitId {
    /// First 8 digits, for people.
    pub fn short(&self) -> &str {
        &self.as_str()[..8]
    }
}

impl Digest {
    /// Of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        use sha2::{Digest as _, Sha256};
        let mut text = String::from("sha256:");
        for byte in Sha256::digest(bytes) {
            use fmt::Write as _;
            let _ = write!(text, "{byte:02x}");
        }
        Self(text.into())
    }
    /// The 64 digits without the algorithm.
    pub fn hex(&self) -> &str {
        &self.as_str()["sha256:".len()..]
    }
}

impl ImageRef {
    /// The recorded form for a build of ours.
    pub fn recorded(project: &Project, component: &Component, digest: &Digest) -> Self {
        Self(format!("{}/{project}/{component}@{digest}", crate::REGISTRY).into())
    }
    /// The digest part.
    pub fn digest(&self) -> Digest {
        let (_, digest) = self.0.rsplit_once('@').expect("checked when it was parsed");
        Digest(digest.into())
    }
    /// The part before `@`.
    pub fn name(&self) -> &str {
        self.0.rsplit_once('@').map_or(self.as_str(), |(n, _)| n)
    }
}

/// `web-42`: the 42nd attempt to make an image of a commit of component `web`, failures included.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BuildId {
    /// The component that was built.
    pub component: Component,
    /// From 1, per component.
    pub number: u64,
}

impl fmt::Display for BuildId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.component, self.number)
    }
}
impl FromStr for BuildId {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        let bad = || NameError(format!("{text:?} is not a build (<component>-<number>)"));
        let (component, number) = text.rsplit_once('-').ok_or_else(bad)?;
        let number: u64 = number.parse().map_err(|_| bad())?;
        if number == 0 {
            return Err(bad());
        }
        Ok(Self { component: component.parse()?, number })
    }
}
impl Serialize for BuildId {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}
impl<'de> Deserialize<'de> for BuildId {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Namespace of the workloads of an environment. Kinds of ours live in `<project>`.
pub fn workload_namespace(project: &Project, environment: &Environment) -> String {
    format!("{project}-{environment}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_dns_labels_of_at_most_20_characters() {
        for good in ["a", "web", "web-2", "0a", "abcdefghijklmnopqrst"] {
            assert_eq!(good.parse::<Component>().unwrap().as_str(), good);
        }
        for bad in ["", "-a", "a-", "Web", "a_b", "ä", "abcdefghijklmnopqrstu", "a.b"] {
            assert!(bad.parse::<Component>().is_err(), "{bad:?} was accepted");
        }
    }

    #[test]
    fn a_build_is_component_and_number() {
        let id: BuildId = "web-2-42".parse().unwrap();
        assert_eq!((id.component.as_str(), id.number), ("web-2", 42));
        assert_eq!(id.to_string(), "web-2-42");
        for bad in ["web", "web-", "web-0", "web-x", "-1"] {
            assert!(bad.parse::<BuildId>().is_err(), "{bad:?} was accepted");
        }
    }

    #[test]
    fn a_domain_is_labels_between_dots() {
        for good in ["shop.example.com", "localhost", "a-b.c1"] {
            assert!(good.parse::<Domain>().is_ok(), "{good:?} was refused");
        }
        for bad in ["", "*.example.com", "shop.example.com:80", "Shop.example", "a..b", "-a.b", ".a", "a.", "a_b"] {
            assert!(bad.parse::<Domain>().is_err(), "{bad:?} was accepted");
        }
    }

    #[test]
    fn a_registry_is_host_and_port() {
        for good in ["127.0.0.1:7181", "registry.example.com", "hub:5000", "localhost"] {
            assert!(good.parse::<RegistryHost>().is_ok(), "{good:?} was refused");
        }
        for bad in ["", "hub", "https://hub:5000", "hub:5000/x", "hub:0", "hub:99999", "a..b", "user@hub:1", "Hub:1"] {
            assert!(bad.parse::<RegistryHost>().is_err(), "{bad:?} was accepted");
        }
    }

    #[test]
    fn an_image_is_pinned_by_digest() {
        let digest = Digest::of(b"x");
        let image = ImageRef::recorded(&"shop".parse().unwrap(), &"web".parse().unwrap(), &digest);
        assert_eq!(image.name(), "registry.trimtab.internal/shop/web");
        assert_eq!(image.digest(), digest);
        assert!("web:latest".parse::<ImageRef>().is_err());
    }
}
