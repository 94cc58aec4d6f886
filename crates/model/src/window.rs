//! `windows.yaml`: when environments may move, and when not.

use crate::names::{Component, Environment, NameError};
use crate::rules::Seconds;
use jiff::civil::{Date, DateTime, Time};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::str::FromStr;

/// One entry of `windows.yaml`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Window {
    /// What environments call it in `promotion.windows`.
    pub name: String,
    /// Whether movements happen only in it, or not in it.
    #[serde(default)]
    pub kind: WindowKind,
    /// When it begins, again and again: five fields of cron. Needs `duration`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<String>,
    /// How long it stays after each beginning; hours that pass, whatever clocks show.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration: Option<Seconds>,
    /// Without a schedule: when it begins. With one: nothing of it is before this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Moment>,
    /// Without a schedule: when it ends. With one: nothing of it is after this. A day is included whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Moment>,
    /// `Europe/Berlin`: whose clock all of this is read on.
    #[serde(default = "utc")]
    pub time_zone: String,
    /// What it applies to, besides the environments that name it. Absent: to nothing else if it allows, to
    /// everything if it denies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<Selector>,
    /// What becomes of a person's request that it would hold.
    #[serde(default)]
    pub manual: Manual,
}

fn utc() -> String {
    "UTC".to_owned()
}

/// Whether movements happen only in a window, or not in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "camelCase")]
pub enum WindowKind {
    /// Only in it.
    #[default]
    Allow,
    /// Not in it: a freeze.
    Deny,
}

/// What becomes of a person's request that a window would hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "camelCase")]
pub enum Manual {
    /// It goes through.
    Allowed,
    /// It goes through once somebody else has approved it.
    NeedsApproval,
    /// It waits.
    #[default]
    Denied,
}

/// What a window applies to: all that is named, of each list that is not empty.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Selector {
    /// Empty: all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub environments: Vec<Environment>,
    /// Empty: all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub components: Vec<Component>,
}

impl Window {
    /// Whether it has a say when these components move in this environment, whose rule names these windows.
    pub fn applies<'a>(
        &self,
        environment: &Environment,
        named: &[String],
        components: impl IntoIterator<Item = &'a Component>,
    ) -> bool {
        if named.contains(&self.name) {
            return true;
        }
        let Some(selector) = &self.selector else { return self.kind == WindowKind::Deny };
        (selector.environments.is_empty() || selector.environments.contains(environment))
            && (selector.components.is_empty() || components.into_iter().any(|c| selector.components.contains(c)))
    }
}

/// A day, or a time of a day, on the clock of the window's zone: `2026-12-24`, `2026-12-24T18:00`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// The whole day.
    Day(Date),
    /// A time of it.
    Time(DateTime),
}

impl Moment {
    /// Its first instant.
    pub fn begin(self) -> DateTime {
        match self {
            Self::Day(day) => day.to_datetime(Time::midnight()),
            Self::Time(time) => time,
        }
    }
    /// The instant after its last; a time has none but itself.
    pub fn end(self) -> DateTime {
        match self {
            Self::Day(day) => day.tomorrow().unwrap_or(day).to_datetime(Time::midnight()),
            Self::Time(time) => time,
        }
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Day(day) => write!(f, "{day}"),
            Self::Time(time) if time.second() == 0 && time.subsec_nanosecond() == 0 => {
                write!(f, "{}", time.strftime("%Y-%m-%dT%H:%M"))
            }
            Self::Time(time) => write!(f, "{time}"),
        }
    }
}
impl FromStr for Moment {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        let bad = || NameError(format!("{text:?} is not a day (2026-12-24) or a time (2026-12-24T18:00)"));
        let zoned = text.get(10..).is_some_and(|rest| rest.contains(['+', '-', 'Z', 'z', '[']));
        match (zoned, text.contains(['T', ' '])) {
            (true, _) => Err(NameError(format!("{text:?} names an offset: say the zone in timeZone instead"))),
            (_, true) => text.parse().map(Self::Time).map_err(|_| bad()),
            (_, false) => text.parse().map(Self::Day).map_err(|_| bad()),
        }
    }
}
impl Serialize for Moment {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}
impl<'de> Deserialize<'de> for Moment {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_a_day_or_a_time_without_an_offset() {
        for good in ["2026-12-24", "2026-12-24T18:00", "2026-12-24T18:00:30"] {
            assert_eq!(good.parse::<Moment>().unwrap().to_string(), good);
        }
        for bad in ["", "tomorrow", "2026-13-01", "2026-12-24T18:00Z", "2026-12-24T18:00+01:00", "2026-02-30"] {
            assert!(bad.parse::<Moment>().is_err(), "{bad:?} was accepted");
        }
    }

    #[test]
    fn a_freeze_applies_everywhere_unless_it_says_where() {
        let window = |kind, selector| Window {
            name: "w".into(),
            kind,
            schedule: None,
            duration: None,
            from: None,
            to: None,
            time_zone: utc(),
            selector,
            manual: Manual::Denied,
        };
        let (prod, web, api): (Environment, Component, Component) =
            ("prod".parse().unwrap(), "web".parse().unwrap(), "api".parse().unwrap());
        let named = vec!["w".to_owned()];
        assert!(window(WindowKind::Deny, None).applies(&prod, &[], [&web]));
        assert!(!window(WindowKind::Allow, None).applies(&prod, &[], [&web]));
        assert!(window(WindowKind::Allow, None).applies(&prod, &named, [&web]));
        let some = Selector { environments: vec![prod.clone()], components: vec![web.clone()] };
        assert!(window(WindowKind::Deny, Some(some.clone())).applies(&prod, &[], [&web, &api]));
        assert!(!window(WindowKind::Deny, Some(some.clone())).applies(&prod, &[], [&api]));
        assert!(!window(WindowKind::Deny, Some(some)).applies(&"dev".parse().unwrap(), &[], [&web]));
    }
}
