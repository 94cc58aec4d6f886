//! Semantic versions and constraints on them, as lenient as charts need them.

use super::{Result, fail, table};
use std::any::Any;
use std::cmp::Ordering;
use std::rc::Rc;
use template::{Call, Function, Object, Value};

pub(super) const FUNCTIONS: &[Function] = table! {
    "semver" "s" |call| match Version::parse(call.str(0)) {
        Some(version) => Ok(Value::Object(Rc::new(version))),
        None => fail(INVALID),
    };
    "semverCompare" "ss" compare;
};

const INVALID: &str = "invalid semantic version";

fn compare(call: &mut Call<'_, '_>) -> Result {
    let constraint = match Constraint::parse(call.str(0)) {
        Some(constraint) => constraint,
        None => return fail(format!("improper constraint: {}", call.str(0))),
    };
    match Version::parse(call.str(1)) {
        Some(version) => Ok(Value::Bool(constraint.allows(&version))),
        None => fail(INVALID),
    }
}

/// A version; minor and patch may be left out, and a `v` may stand before it.
#[derive(Debug, Clone)]
pub(in crate::helm) struct Version {
    pub major: u64,
    pub minor: u64,
    pub patch: u64,
    pub prerelease: String,
    metadata: String,
    original: String,
}

fn is_suffix(text: &str) -> bool {
    text.split('.')
        .all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-'))
}

impl Version {
    pub fn parse(text: &str) -> Option<Self> {
        let body = text.strip_prefix('v').unwrap_or(text);
        let (body, metadata) = match body.split_once('+') {
            Some((body, metadata)) => (body, is_suffix(metadata).then_some(metadata)?),
            None => (body, ""),
        };
        let (numbers, prerelease) = match body.split_once('-') {
            Some((numbers, prerelease)) => (numbers, is_suffix(prerelease).then_some(prerelease)?),
            None => (body, ""),
        };
        // As the library has it: numeric parts have no leading zeros.
        if prerelease
            .split('.')
            .any(|part| part.len() > 1 && part.starts_with('0') && part.bytes().all(|byte| byte.is_ascii_digit()))
        {
            return None;
        }
        let mut parts = numbers.split('.').map(|part| {
            let digits = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
            if digits { part.parse::<u64>().ok() } else { None }
        });
        let version = Self {
            major: parts.next()??,
            minor: parts.next().unwrap_or(Some(0))?,
            patch: parts.next().unwrap_or(Some(0))?,
            prerelease: prerelease.to_owned(),
            metadata: metadata.to_owned(),
            original: text.to_owned(),
        };
        parts.next().is_none().then_some(version)
    }

    fn text(&self) -> String {
        let mut text = format!("{}.{}.{}", self.major, self.minor, self.patch);
        for (sign, part) in [('-', &self.prerelease), ('+', &self.metadata)] {
            if !part.is_empty() {
                text.push(sign);
                text.push_str(part);
            }
        }
        text
    }

    pub fn order(&self, other: &Self) -> Ordering {
        let numbers = |version: &Self| (version.major, version.minor, version.patch);
        numbers(self).cmp(&numbers(other)).then_with(|| match (&*self.prerelease, &*other.prerelease) {
            ("", "") => Ordering::Equal,
            ("", _) => Ordering::Greater,
            (_, "") => Ordering::Less,
            (a, b) => {
                let (mut a, mut b) = (a.split('.'), b.split('.'));
                loop {
                    let order = match (a.next(), b.next()) {
                        (None, None) => return Ordering::Equal,
                        (None, _) => Ordering::Less,
                        (_, None) => Ordering::Greater,
                        (Some(a), Some(b)) => match (a.parse::<u64>(), b.parse::<u64>()) {
                            (Ok(a), Ok(b)) => a.cmp(&b),
                            (Ok(_), Err(_)) => Ordering::Less,
                            (Err(_), Ok(_)) => Ordering::Greater,
                            (Err(_), Err(_)) => a.cmp(b),
                        },
                    };
                    if order.is_ne() {
                        return order;
                    }
                }
            }
        })
    }
}

impl Object for Version {
    fn type_name(&self) -> &'static str {
        "*semver.Version"
    }

    fn kind(&self) -> &'static str {
        "ptr"
    }

    fn field(&self, _name: &str) -> Option<Value> {
        None
    }

    fn call(&self, name: &str, args: &[Value]) -> Option<std::result::Result<Value, String>> {
        #[allow(clippy::cast_possible_wrap)]
        let number = |number: u64| Ok(Value::Int64(number as i64));
        let bumped = |major, minor, patch| -> std::result::Result<Value, String> {
            let text = format!("{major}.{minor}.{patch}");
            let prefix = if self.original.starts_with('v') { "v" } else { "" };
            let metadata = String::new();
            let prerelease = String::new();
            let original = format!("{prefix}{text}");
            Ok(Value::Object(Rc::new(Self { major, minor, patch, prerelease, metadata, original })))
        };
        Some(match (name, args) {
            ("Major", []) => number(self.major),
            ("Minor", []) => number(self.minor),
            ("Patch", []) => number(self.patch),
            ("Prerelease", []) => Ok(self.prerelease.as_str().into()),
            ("Metadata", []) => Ok(self.metadata.as_str().into()),
            ("Original", []) => Ok(self.original.as_str().into()),
            ("String", []) => Ok(self.text().into()),
            ("IncMajor", []) => bumped(self.major + 1, 0, 0),
            ("IncMinor", []) => bumped(self.major, self.minor + 1, 0),
            ("IncPatch", []) => bumped(self.major, self.minor, self.patch + u64::from(self.prerelease.is_empty())),
            ("Compare" | "LessThan" | "GreaterThan" | "Equal" | "LessThanEqual" | "GreaterThanEqual", [other]) => {
                let Value::Object(object) = other else { return Some(Err("expected *semver.Version".into())) };
                let Some(other) = object.as_any().downcast_ref::<Self>() else {
                    return Some(Err("expected *semver.Version".into()));
                };
                let order = self.order(other);
                Ok(match name {
                    "Compare" => Value::Int(order as i64),
                    "LessThan" => Value::Bool(order.is_lt()),
                    "GreaterThan" => Value::Bool(order.is_gt()),
                    "LessThanEqual" => Value::Bool(order.is_le()),
                    "GreaterThanEqual" => Value::Bool(order.is_ge()),
                    _ => Value::Bool(order.is_eq()),
                })
            }
            _ => return None,
        })
    }

    fn print(&self) -> String {
        self.text()
    }

    fn plain(&self) -> Value {
        self.text().into()
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Operator {
    Equal,
    NotEqual,
    Greater,
    Less,
    GreaterEqual,
    LessEqual,
    Tilde,
    Caret,
}

/// One comparison; parts that are left out or `x` match anything.
#[derive(Debug)]
struct Comparison {
    operator: Operator,
    version: Version,
    any_minor: bool,
    any_patch: bool,
    /// Some part is left out.
    loose: bool,
}

/// `>= 1.2, < 2 || 3.x`.
#[derive(Debug)]
pub(in crate::helm) struct Constraint {
    alternatives: Vec<Vec<Comparison>>,
}

const OPERATORS: [(&str, Operator); 13] = [
    (">=", Operator::GreaterEqual),
    ("=>", Operator::GreaterEqual),
    ("<=", Operator::LessEqual),
    ("=<", Operator::LessEqual),
    ("!=", Operator::NotEqual),
    ("~>", Operator::Tilde),
    ("==", Operator::Equal),
    ("=", Operator::Equal),
    (">", Operator::Greater),
    ("<", Operator::Less),
    ("~", Operator::Tilde),
    ("^", Operator::Caret),
    ("", Operator::Equal),
];

impl Constraint {
    pub fn parse(text: &str) -> Option<Self> {
        let text = ranges(text);
        let alternatives = text.split("||").map(comparisons).collect::<Option<Vec<_>>>()?;
        Some(Self { alternatives })
    }

    /// The library's check: any alternative, all of its comparisons.
    pub fn allows(&self, version: &Version) -> bool {
        self.alternatives.iter().any(|all| {
            // A prerelease is only meant where one is named.
            let is_release = version.prerelease.is_empty();
            let asked = is_release || all.iter().any(|comparison| !comparison.version.prerelease.is_empty());
            asked && all.iter().all(|comparison| comparison.allows(version))
        })
    }
}

/// `1.2 - 2.3` → `>=1.2,<=2.3`.
fn ranges(text: &str) -> String {
    let mut parts: Vec<String> = text.split(' ').filter(|part| !part.is_empty()).map(str::to_owned).collect();
    while let Some(at) = parts.iter().position(|part| part == "-").filter(|at| *at > 0 && at + 1 < parts.len()) {
        let range = format!(">={},<={}", parts[at - 1], parts[at + 1]);
        parts.splice(at - 1..=at + 1, [range]);
    }
    parts.join(" ")
}

fn comparisons(text: &str) -> Option<Vec<Comparison>> {
    let mut all = Vec::new();
    let mut rest = text.trim_matches([' ', '\t', '\n', ',']);
    if rest.is_empty() {
        rest = "*";
    }
    while !rest.is_empty() {
        let (sign, operator) = OPERATORS.iter().find(|(sign, _)| rest.starts_with(sign))?;
        rest = rest[sign.len()..].trim_start();
        let end = rest.find([' ', ',', '\t', '\n']).unwrap_or(rest.len());
        // Two comparisons may stand without anything between: `>=1.2<3`.
        let end = rest[..end].find(['<', '>', '=', '!', '~', '^']).unwrap_or(end);
        all.push(comparison(*operator, &rest[..end])?);
        rest = rest[end..].trim_start_matches([' ', ',', '\t', '\n']);
    }
    Some(all)
}

fn comparison(operator: Operator, text: &str) -> Option<Comparison> {
    let body = text.strip_prefix('v').unwrap_or(text);
    let (numbers, suffix) = body.split_at(body.find(['-', '+']).unwrap_or(body.len()));
    let parts: Vec<&str> = numbers.split('.').collect();
    let is_any = |part: Option<&&str>| part.is_none_or(|part| matches!(*part, "x" | "X" | "*"));
    if parts.len() > 3 || parts.iter().any(|part| part.is_empty()) {
        return None;
    }
    let number = |at: usize| parts.get(at).copied().unwrap_or("0");
    let (any_major, any_minor, any_patch) = (is_any(parts.first()), is_any(parts.get(1)), is_any(parts.get(2)));
    let (version, any_minor, any_patch) = if any_major {
        (Version::parse(&format!("0.0.0{suffix}"))?, false, false)
    } else if any_minor {
        (Version::parse(&format!("{}.0.0{suffix}", number(0)))?, true, false)
    } else if any_patch {
        (Version::parse(&format!("{}.{}.0{suffix}", number(0), number(1)))?, false, true)
    } else {
        (Version::parse(body)?, false, false)
    };
    let loose = any_major || parts.len() < 3 || any_minor || any_patch;
    Some(Comparison { operator, version, any_minor, any_patch, loose })
}

impl Comparison {
    fn allows(&self, version: &Version) -> bool {
        let wanted = &self.version;
        let order = version.order(wanted);
        match self.operator {
            Operator::Equal if self.loose => self.tilde(version),
            Operator::Equal => order.is_eq(),
            Operator::NotEqual => {
                if !self.loose {
                    return order.is_ne();
                }
                if version.major != wanted.major {
                    return true;
                }
                if self.any_minor {
                    return false;
                }
                version.minor != wanted.minor || (!self.any_patch && order.is_ne())
            }
            Operator::Greater if !self.loose => order.is_gt(),
            Operator::Greater => {
                if version.major != wanted.major {
                    return version.major > wanted.major;
                }
                if self.any_patch {
                    return version.minor > wanted.minor;
                }
                !self.any_minor && order.is_gt()
            }
            Operator::Less => order.is_lt(),
            Operator::GreaterEqual => order.is_ge(),
            Operator::LessEqual if !self.loose => order.is_le(),
            Operator::LessEqual => {
                version.major < wanted.major
                    || (version.major == wanted.major && (self.any_minor || version.minor <= wanted.minor))
            }
            Operator::Tilde => self.tilde(version),
            Operator::Caret => {
                if order.is_lt() {
                    return false;
                }
                if wanted.major > 0 || self.any_minor {
                    return version.major == wanted.major;
                }
                if version.major > 0 {
                    return false;
                }
                if wanted.minor > 0 || self.any_patch {
                    return version.minor == wanted.minor;
                }
                version.minor == 0 && version.patch == wanted.patch
            }
        }
    }

    fn tilde(&self, version: &Version) -> bool {
        let wanted = &self.version;
        if version.order(wanted).is_lt() {
            return false;
        }
        if (wanted.major, wanted.minor, wanted.patch) == (0, 0, 0) && !self.any_minor && !self.any_patch {
            return true;
        }
        version.major == wanted.major && (version.minor == wanted.minor || self.any_minor)
    }
}
