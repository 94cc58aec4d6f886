//! Dates and durations. Now is what the caller says it is; the local zone is UTC.

use super::{Result, fail, host, table};
use jiff::civil::Weekday;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, Zoned};
use std::any::Any;
use std::rc::Rc;
use template::{Call, Fault, Function, Object, Value};

pub(super) const FUNCTIONS: &[Function] = table! {
    "now" "" |call| { let now = host(call).now; Ok(time(now.to_zoned(TimeZone::UTC))) };
    "date" "sa" |call| formatted(call, 1, call.str(0), "UTC");
    "dateInZone" "sas" |call| formatted(call, 1, call.str(0), call.str(2));
    "date_in_zone" "sas" |call| formatted(call, 1, call.str(0), call.str(2));
    "htmlDate" "a" |call| formatted(call, 0, "2006-01-02", "UTC");
    "htmlDateInZone" "as" |call| formatted(call, 0, "2006-01-02", call.str(1));
    "dateModify" "sa" |call| modified(call).or_else(|_| Ok(call.args[1].clone()));
    "date_modify" "sa" |call| modified(call).or_else(|_| Ok(call.args[1].clone()));
    "mustDateModify" "sa" modified;
    "must_date_modify" "sa" modified;
    "toDate" "ss" |call| Ok(time(parsed(call.str(0), call.str(1)).unwrap_or_else(zero)));
    "mustToDate" "ss" |call| match parsed(call.str(0), call.str(1)) {
        Some(zoned) => Ok(time(zoned)),
        None => fail(format!("parsing time {:?} as {:?}: cannot parse {:?}", call.str(1), call.str(0), call.str(1))),
    };
    "unixEpoch" "a" |call| Ok(given(call, 0)?.timestamp().as_second().to_string().into());
    "ago" "a" |call| {
        let now = host(call).now;
        let then = instant(call, 0);
        let elapsed = now.duration_since(then);
        let seconds = elapsed.as_secs() + i64::from(elapsed.subsec_millis().abs() >= 500) * elapsed.as_secs().signum();
        Ok(duration_text(i128::from(seconds) * 1_000_000_000).into())
    };
    "duration" "a" |call| {
        let seconds = match &call.args[0] {
            Value::Text(text) => text.parse().unwrap_or(0),
            Value::Int64(number) => *number,
            _ => 0,
        };
        Ok(duration_text(i128::from(seconds) * 1_000_000_000).into())
    };
    "durationRound" "a" |call| {
        let nanoseconds = match &call.args[0] {
            Value::Text(text) => duration(text).unwrap_or(0),
            Value::Int64(number) => i128::from(*number),
            Value::Object(_) => host(call).now.duration_since(instant(call, 0)).as_nanos(),
            _ => 0,
        };
        Ok(rounded(nanoseconds).into())
    };
};

struct Time(Zoned);

fn time(zoned: Zoned) -> Value {
    Value::Object(Rc::new(Time(zoned)))
}

/// Go's zero time.
fn zero() -> Zoned {
    jiff::civil::date(1, 1, 1).to_zoned(TimeZone::UTC).unwrap_or_default()
}

impl Object for Time {
    fn type_name(&self) -> &'static str {
        "time.Time"
    }

    fn kind(&self) -> &'static str {
        "struct"
    }

    fn field(&self, _name: &str) -> Option<Value> {
        None
    }

    fn call(&self, name: &str, args: &[Value]) -> Option<std::result::Result<Value, String>> {
        let time = &self.0;
        let other = |value: &Value| match value {
            Value::Object(object) => object.as_any().downcast_ref::<Time>().map(|time| time.0.timestamp()),
            _ => None,
        };
        Some(Ok(match (name, args) {
            ("Unix", []) => Value::Int64(time.timestamp().as_second()),
            ("UnixNano", []) => Value::Int64(i64::try_from(time.timestamp().as_nanosecond()).unwrap_or(0)),
            ("UnixMilli", []) => Value::Int64(time.timestamp().as_millisecond()),
            ("Year", []) => Value::Int(i64::from(time.year())),
            ("Month", []) => Value::Text(MONTHS[usize::try_from(time.month() - 1).unwrap_or(0)].into()),
            ("Day", []) => Value::Int(i64::from(time.day())),
            ("YearDay", []) => Value::Int(i64::from(time.day_of_year())),
            ("Hour", []) => Value::Int(i64::from(time.hour())),
            ("Minute", []) => Value::Int(i64::from(time.minute())),
            ("Second", []) => Value::Int(i64::from(time.second())),
            ("Nanosecond", []) => Value::Int(i64::from(time.subsec_nanosecond())),
            ("Weekday", []) => Value::Text(weekday(time.weekday()).into()),
            ("IsZero", []) => Value::Bool(time.timestamp() == zero().timestamp()),
            ("UTC" | "Local", []) => self::time(time.with_time_zone(TimeZone::UTC)),
            ("String", []) => self.print().into(),
            ("Format", [Value::Text(layout)]) => format(layout, time).into(),
            ("AddDate", [Value::Int(years), Value::Int(months), Value::Int(days)]) => {
                let span = jiff::Span::new().try_years(*years).and_then(|span| span.try_months(*months));
                let span = span.and_then(|span| span.try_days(*days));
                match span.and_then(|span| time.checked_add(span)) {
                    Ok(time) => self::time(time),
                    Err(error) => return Some(Err(error.to_string())),
                }
            }
            ("Before" | "After" | "Equal", [value]) => match other(value) {
                Some(other) if name == "Before" => Value::Bool(time.timestamp() < other),
                Some(other) if name == "After" => Value::Bool(time.timestamp() > other),
                Some(other) => Value::Bool(time.timestamp() == other),
                None => return Some(Err("expected time.Time".into())),
            },
            _ => return None,
        }))
    }

    fn print(&self) -> String {
        format("2006-01-02 15:04:05.999999999 -0700 MST", &self.0)
    }

    fn plain(&self) -> Value {
        format("2006-01-02T15:04:05.999999999Z07:00", &self.0).into()
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

fn given(call: &Call<'_, '_>, at: usize) -> Result<Zoned> {
    match &call.args[at] {
        Value::Object(object) => match object.as_any().downcast_ref::<Time>() {
            Some(time) => Ok(time.0.clone()),
            None => fail(format!("wrong type for value; expected time.Time; got {}", object.type_name())),
        },
        Value::Missing | Value::Nil => fail("invalid value; expected time.Time"),
        other => fail(format!("wrong type for value; expected time.Time; got {}", other.type_name())),
    }
}

/// A time, seconds since 1970, or else now.
fn instant(call: &Call<'_, '_>, at: usize) -> Timestamp {
    let now = host(call).now;
    match &call.args[at] {
        Value::Int(seconds) | Value::Int64(seconds) => Timestamp::from_second(*seconds).unwrap_or(now),
        _ => given(call, at).map_or(now, |zoned| zoned.timestamp()),
    }
}

fn formatted(call: &Call<'_, '_>, at: usize, layout: &str, zone: &str) -> Result {
    let zone = match zone {
        "" | "UTC" | "Local" => TimeZone::UTC,
        name => TimeZone::get(name).unwrap_or(TimeZone::UTC),
    };
    Ok(format(layout, &instant(call, at).to_zoned(zone)).into())
}

fn modified(call: &mut Call<'_, '_>) -> Result {
    let zoned = given(call, 1)?;
    let Some(nanoseconds) = duration(call.str(0)) else {
        return fail(format!("time: invalid duration {:?}", call.str(0)));
    };
    let seconds = i64::try_from(nanoseconds / 1_000_000_000).unwrap_or(0);
    let rest = i32::try_from(nanoseconds % 1_000_000_000).unwrap_or(0);
    match zoned.checked_add(SignedDuration::new(seconds, rest)) {
        Ok(zoned) => Ok(time(zoned)),
        Err(error) => Err(Fault::plain(error.to_string())),
    }
}

/// `1h2m3.5s` in nanoseconds.
fn duration(text: &str) -> Option<i128> {
    let (negative, mut rest) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    if rest == "0" {
        return Some(0);
    }
    if rest.is_empty() {
        return None;
    }
    let mut total = 0.0;
    while !rest.is_empty() {
        let end = rest.find(|character: char| !character.is_ascii_digit() && character != '.')?;
        let number: f64 = rest[..end].parse().ok()?;
        rest = &rest[end..];
        let end = rest.find(|character: char| character.is_ascii_digit() || character == '.').unwrap_or(rest.len());
        total += number
            * match &rest[..end] {
                "ns" => 1.0,
                "us" | "µs" | "μs" => 1e3,
                "ms" => 1e6,
                "s" => 1e9,
                "m" => 6e10,
                "h" => 3.6e12,
                _ => return None,
            };
        rest = &rest[end..];
    }
    #[allow(clippy::cast_possible_truncation)]
    let total = total as i128;
    Some(if negative { -total } else { total })
}

/// As `time.Duration` prints.
fn duration_text(nanoseconds: i128) -> String {
    let sign = if nanoseconds < 0 { "-" } else { "" };
    let size = nanoseconds.unsigned_abs();
    let fraction = |value: u128, unit: u128| {
        let text = format!("{}.{:0width$}", value / unit, value % unit, width = unit.ilog10() as usize);
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    };
    match size {
        0 => "0s".into(),
        1..1_000 => format!("{sign}{size}ns"),
        1_000..1_000_000 => format!("{sign}{}µs", fraction(size, 1_000)),
        1_000_000..1_000_000_000 => format!("{sign}{}ms", fraction(size, 1_000_000)),
        _ => {
            let seconds = format!("{}s", fraction(size % 60_000_000_000, 1_000_000_000));
            match (size / 3_600_000_000_000, size / 60_000_000_000 % 60) {
                (0, 0) => format!("{sign}{seconds}"),
                (0, minutes) => format!("{sign}{minutes}m{seconds}"),
                (hours, minutes) => format!("{sign}{hours}h{minutes}m{seconds}"),
            }
        }
    }
}

fn rounded(nanoseconds: i128) -> String {
    let size = nanoseconds.unsigned_abs();
    const HOUR: u128 = 3_600_000_000_000;
    let units = [
        (HOUR * 24 * 365, "y"),
        (HOUR * 24 * 30, "mo"),
        (HOUR * 24, "d"),
        (HOUR, "h"),
        (HOUR / 60, "m"),
        (HOUR / 3600, "s"),
    ];
    let unit = units.iter().find(|(unit, _)| size > *unit);
    unit.map_or("0s".into(), |(unit, name)| format!("{}{name}", size / unit))
}

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

fn weekday(day: Weekday) -> &'static str {
    ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]
        [usize::try_from(day.to_monday_zero_offset()).unwrap_or(0)]
}

/// The parts of Go's reference time, longer ones before those that they begin with.
const PARTS: [&str; 38] = [
    "January",
    "Jan",
    "Monday",
    "Mon",
    "MST",
    "2006",
    "-07:00:00",
    "-070000",
    "-07:00",
    "-0700",
    "-07",
    "Z07:00:00",
    "Z070000",
    "Z07:00",
    "Z0700",
    "Z07",
    "002",
    "__2",
    "_2",
    "01",
    "02",
    "03",
    "04",
    "05",
    "06",
    "15",
    "PM",
    "pm",
    "1",
    "2",
    "3",
    "4",
    "5",
    ".000000000",
    ".999999999",
    ",000000000",
    ",999999999",
    "",
];

/// The next part of a layout: what stands before it, the part, and what follows.
fn next(layout: &str) -> Option<(&str, &str, &str)> {
    for (at, _) in layout.char_indices() {
        let rest = &layout[at..];
        if rest.starts_with("_2006") {
            return Some((&layout[..=at], "2006", &rest[5..]));
        }
        if rest.starts_with(['.', ',']) {
            let digit = rest.as_bytes().get(1).copied().filter(|byte| matches!(byte, b'0' | b'9'));
            if let Some(digit) = digit {
                let length = rest[1..].bytes().take_while(|byte| *byte == digit).count();
                if !rest[1 + length..].starts_with(|next: char| next.is_ascii_digit()) {
                    return Some((&layout[..at], &rest[..=length], &rest[1 + length..]));
                }
            }
            continue;
        }
        let fits = |part: &&&str| {
            !part.is_empty()
                && rest.starts_with(**part)
                && !(**part == "Jan" && rest[3..].starts_with(|next: char| next.is_ascii_lowercase()))
        };
        if let Some(part) = PARTS.iter().find(fits) {
            return Some((&layout[..at], part, &rest[part.len()..]));
        }
    }
    None
}

/// A time in a layout that is written with Go's reference time.
fn format(layout: &str, time: &Zoned) -> String {
    let mut out = String::new();
    let mut rest = layout;
    while let Some((before, part, after)) = next(rest) {
        out.push_str(before);
        out.push_str(&formatted_part(part, time));
        rest = after;
    }
    out.push_str(rest);
    out
}

fn formatted_part(part: &str, time: &Zoned) -> String {
    let twelve = match time.hour() % 12 {
        0 => 12,
        hour => hour,
    };
    let month = MONTHS[usize::try_from(time.month() - 1).unwrap_or(0)];
    let offset = time.offset().seconds();
    let zone = |colons: bool, seconds: bool| {
        let (sign, size) = (if offset < 0 { '-' } else { '+' }, offset.abs());
        let colon = if colons { ":" } else { "" };
        let mut text = format!("{sign}{:02}{colon}{:02}", size / 3600, size / 60 % 60);
        if seconds {
            text.push_str(&format!("{colon}{:02}", size % 60));
        }
        text
    };
    match part {
        "January" => month.into(),
        "Jan" => month[..3].into(),
        "Monday" => weekday(time.weekday()).into(),
        "Mon" => weekday(time.weekday())[..3].into(),
        "MST" => time.time_zone().to_offset_info(time.timestamp()).abbreviation().to_owned(),
        "2006" => format!("{:04}", time.year()),
        "06" => format!("{:02}", time.year().rem_euclid(100)),
        "01" => format!("{:02}", time.month()),
        "1" => time.month().to_string(),
        "02" => format!("{:02}", time.day()),
        "_2" => format!("{:2}", time.day()),
        "2" => time.day().to_string(),
        "002" => format!("{:03}", time.day_of_year()),
        "__2" => format!("{:3}", time.day_of_year()),
        "15" => format!("{:02}", time.hour()),
        "03" => format!("{twelve:02}"),
        "3" => twelve.to_string(),
        "04" => format!("{:02}", time.minute()),
        "4" => time.minute().to_string(),
        "05" => format!("{:02}", time.second()),
        "5" => time.second().to_string(),
        "PM" => if time.hour() < 12 { "AM" } else { "PM" }.into(),
        "pm" => if time.hour() < 12 { "am" } else { "pm" }.into(),
        part if part.starts_with('Z') && offset == 0 => "Z".into(),
        "Z07:00" | "-07:00" => zone(true, false),
        "Z07:00:00" | "-07:00:00" => zone(true, true),
        "Z0700" | "-0700" => zone(false, false),
        "Z070000" | "-070000" => zone(false, true),
        "Z07" | "-07" => zone(false, false)[..3].into(),
        fraction => {
            let digits = format!("{:09}", time.subsec_nanosecond());
            let places = (fraction.len() - 1).min(9);
            let mut text = format!("{}{}", &fraction[..1], &digits[..places]);
            if fraction.ends_with('9') {
                text.truncate(text.trim_end_matches('0').trim_end_matches(['.', ',']).len());
            }
            text
        }
    }
}

/// A time that is written in a layout.
fn parsed(layout: &str, text: &str) -> Option<Zoned> {
    let (mut layout, mut text) = (layout, text);
    let (mut year, mut month, mut day, mut hour, mut minute, mut second, mut nanosecond) = (0, 1, 1, 0, 0, 0, 0);
    let (mut afternoon, mut zone, mut day_of_year) = (None, TimeZone::UTC, None);
    fn digits<'t>(text: &mut &'t str, least: usize, most: usize) -> Option<i32> {
        let count = text.bytes().take(most).take_while(u8::is_ascii_digit).count();
        let (number, rest): (&'t str, &'t str) = text.split_at(count);
        *text = rest;
        if count < least { None } else { number.parse().ok() }
    }
    fn named(text: &mut &str, names: &[&str], length: usize) -> Option<i32> {
        let cut = |name: &str| if length > 0 { name[..length].to_owned() } else { name.to_owned() };
        let fits =
            |name: &&str| text.get(..cut(name).len()).is_some_and(|start| start.eq_ignore_ascii_case(&cut(name)));
        let at = names.iter().position(|name| fits(&name))?;
        *text = &text[cut(names[at]).len()..];
        i32::try_from(at).ok()
    }
    const DAYS: [&str; 7] = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];
    while let Some((before, part, after)) = next(layout) {
        text = text.strip_prefix(before)?;
        layout = after;
        match part {
            "January" => month = named(&mut text, &MONTHS, 0)? + 1,
            "Jan" => month = named(&mut text, &MONTHS, 3)? + 1,
            "Monday" => drop(named(&mut text, &DAYS, 0)?),
            "Mon" => drop(named(&mut text, &DAYS, 3)?),
            "2006" => year = digits(&mut text, 4, 4)?,
            "06" => {
                let short = digits(&mut text, 2, 2)?;
                year = short + if short >= 69 { 1900 } else { 2000 };
            }
            "01" => month = digits(&mut text, 2, 2)?,
            "1" => month = digits(&mut text, 1, 2)?,
            "02" => day = digits(&mut text, 2, 2)?,
            "2" | "_2" => {
                text = text.trim_start_matches(' ');
                day = digits(&mut text, 1, 2)?;
            }
            "002" | "__2" => {
                text = text.trim_start_matches(' ');
                day_of_year = Some(digits(&mut text, 1, 3)?);
            }
            "15" | "03" => hour = digits(&mut text, 2, 2)?,
            "3" => hour = digits(&mut text, 1, 2)?,
            "04" => minute = digits(&mut text, 2, 2)?,
            "4" => minute = digits(&mut text, 1, 2)?,
            "05" | "5" => {
                second = digits(&mut text, part.len(), 2)?;
                let is_fraction = text.starts_with(['.', ',']) && text[1..].starts_with(|c: char| c.is_ascii_digit());
                if is_fraction && !layout.starts_with(['.', ',']) {
                    let count = text[1..].bytes().take_while(u8::is_ascii_digit).count();
                    nanosecond = format!("{:0<9.9}", &text[1..=count]).parse().ok()?;
                    text = &text[1 + count..];
                }
            }
            "PM" | "pm" => {
                afternoon = Some(named(&mut text, &["AM", "PM"], 0)? == 1);
            }
            "MST" => {
                let count = text.bytes().take_while(u8::is_ascii_uppercase).count();
                text = &text[count.clamp(0, 4)..];
            }
            part if part.starts_with(['Z', '-']) => {
                if let Some(rest) = text.strip_prefix('Z').filter(|_| part.starts_with('Z')) {
                    text = rest;
                    continue;
                }
                let sign = match text.as_bytes().first()? {
                    b'+' => 1,
                    b'-' => -1,
                    _ => return None,
                };
                text = &text[1..];
                let mut seconds = digits(&mut text, 2, 2)? * 3600;
                let digits_after = part.bytes().filter(u8::is_ascii_digit).count();
                for unit in [60, 1].into_iter().take(digits_after / 2 - 1) {
                    if part.contains(':') {
                        text = text.strip_prefix(':')?;
                    }
                    seconds += digits(&mut text, 2, 2)? * unit;
                }
                zone = TimeZone::fixed(jiff::tz::Offset::from_seconds(sign * seconds).ok()?);
            }
            fraction => {
                let optional = fraction.ends_with('9');
                let Some(rest) = text.strip_prefix(['.', ',']) else {
                    if optional {
                        continue;
                    }
                    return None;
                };
                let count = rest.bytes().take_while(u8::is_ascii_digit).count();
                nanosecond = format!("{:0<9.9}", &rest[..count]).parse().ok()?;
                text = &rest[count..];
            }
        }
    }
    text = text.strip_prefix(layout)?;
    if !text.is_empty() {
        return None;
    }
    if let Some(afternoon) = afternoon {
        hour = hour % 12 + if afternoon { 12 } else { 0 };
    }
    let small = |number: i32| i8::try_from(number).ok();
    let date = match day_of_year {
        Some(day) => jiff::civil::Date::new(i16::try_from(year).ok()?, 1, 1)
            .ok()?
            .checked_add(jiff::Span::new().days(day - 1))
            .ok()?,
        None => jiff::civil::Date::new(i16::try_from(year).ok()?, small(month)?, small(day)?).ok()?,
    };
    let clock = jiff::civil::Time::new(small(hour)?, small(minute)?, small(second)?, nanosecond).ok()?;
    date.to_datetime(clock).to_zoned(zone).ok()
}
