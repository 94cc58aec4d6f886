//! Rules of an environment: what stands between a build, or a release, and it.

use crate::names::{Digest, Environment, NameError};
use crate::window::Window;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::str::FromStr;

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// How builds get into an environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct PromotionRule {
    /// Was healthy in all of these. Empty: any build that succeeded.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub from: Vec<Environment>,
    /// Who moves it.
    pub strategy: Strategy,
    /// What must have been shown in `from`.
    #[serde(skip_serializing_if = "is_default")]
    pub requires: Requires,
    /// Who must agree.
    #[serde(skip_serializing_if = "is_default")]
    pub approvals: Approvals,
    /// Names of windows in `windows.yaml`: it moves only while one of those that allow is open, and none that denies.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub windows: Vec<String>,
    /// Whether a movement names the change it belongs to.
    #[serde(skip_serializing_if = "is_default")]
    pub change_ref: ChangeRef,
    /// What happens when what moved does not become healthy.
    #[serde(skip_serializing_if = "is_default")]
    pub on_failure: OnFailure,
}

impl PromotionRule {
    /// Identity of the gates: an approval holds for these and no others.
    pub fn version(&self, windows: &[&Window]) -> Digest {
        Digest::of(serde_json::to_string(&(self, windows)).expect("rules serialise").as_bytes())
    }
}

/// Who moves a build into an environment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
pub enum Strategy {
    /// Trimtab, the newest that passes the gates.
    Auto,
    /// A person: the command or a commit.
    #[default]
    Manual,
    /// Only a commit by hand; the command is refused.
    Never,
}

/// What must have been shown in the environments before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Requires {
    /// Only a release that was certified in all of `from`.
    #[serde(skip_serializing_if = "is_default")]
    pub certified: bool,
    /// Healthy in all of `from` for at least so long.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub soak: Option<Seconds>,
    /// These checks passed in all of `from`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub checks: Vec<String>,
}

/// Who must agree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Approvals {
    /// So many different people.
    pub count: u32,
    /// Groups or people who may; empty: everybody who may approve.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub from: Vec<String>,
    /// True: who asked for it, wrote it or pushed its builds counts as well.
    #[serde(skip_serializing_if = "is_default")]
    pub author_may_approve: bool,
}

/// Whether a movement names the change it belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "camelCase")]
pub enum ChangeRef {
    /// It may.
    #[default]
    Optional,
    /// It must: `--change-ref`, or a trailer `Change-Ref:` in a commit by hand.
    Required,
}

/// What happens when what moved does not become healthy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "camelCase")]
pub enum OnFailure {
    /// A build stays, for people to look at; a release goes back as a set.
    #[default]
    Hold,
    /// It goes back by one commit.
    Rollback,
}

/// A length of time, written `30m`, `1h30m`, `2d`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Seconds(pub u64);

/// A year: nothing here takes longer.
const SECONDS_MAX: u64 = 366 * 86_400;
const UNITS: [(char, u64); 4] = [('d', 86_400), ('h', 3600), ('m', 60), ('s', 1)];

impl Seconds {
    /// For arithmetic with times.
    pub fn duration(self) -> jiff::SignedDuration {
        jiff::SignedDuration::from_secs(i64::try_from(self.0).unwrap_or(i64::MAX))
    }
}

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 0 {
            return f.write_str("0s");
        }
        let mut rest = self.0;
        for (unit, size) in UNITS {
            if rest >= size {
                write!(f, "{}{unit}", rest / size)?;
                rest %= size;
            }
        }
        Ok(())
    }
}

impl FromStr for Seconds {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        let bad = || NameError(format!("{text:?} is not a length of time such as 30m, 1h30m or 2d, of at most a year"));
        let (mut total, mut number, mut units) = (0_u64, None::<u64>, UNITS.iter());
        for c in text.chars() {
            if let Some(digit) = c.to_digit(10) {
                let grown = number.unwrap_or(0).checked_mul(10).and_then(|n| n.checked_add(digit.into()));
                number = Some(grown.ok_or_else(bad)?);
                continue;
            }
            // Each unit once, from large to small.
            let (_, size) = units.by_ref().find(|(unit, _)| *unit == c).ok_or_else(bad)?;
            let part = number.take().and_then(|n| n.checked_mul(*size)).ok_or_else(bad)?;
            total = total.checked_add(part).ok_or_else(bad)?;
        }
        if text.is_empty() || number.is_some() || total > SECONDS_MAX {
            return Err(bad());
        }
        Ok(Self(total))
    }
}
impl Serialize for Seconds {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}
impl<'de> Deserialize<'de> for Seconds {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_of_time_is_numbers_with_units() {
        for (text, seconds, shown) in [
            ("30m", 1800, "30m"),
            ("1h30m", 5400, "1h30m"),
            ("90m", 5400, "1h30m"),
            ("2d", 172_800, "2d"),
            ("0s", 0, "0s"),
            ("1d1s", 86_401, "1d1s"),
        ] {
            let parsed: Seconds = text.parse().unwrap();
            assert_eq!((parsed.0, parsed.to_string().as_str()), (seconds, shown), "{text}");
        }
        for bad in ["", "5", "m", "1m1h", "-5m", "1.5h", "5 m", "99999999999999999999s", "367d", "1h1h"] {
            assert!(bad.parse::<Seconds>().is_err(), "{bad:?} was accepted");
        }
    }
}
