//! Five fields of cron, over civil times.

use jiff::ToSpan;
use jiff::civil::{Date, DateTime};

/// What matches in each field, a bit per value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cron {
    minutes: u64,
    hours: u64,
    days: u64,
    months: u64,
    weekdays: u64,
    /// Both day fields are restricted: either is enough, as cron has it.
    either_day: bool,
}

/// Days that are looked at: 29 February comes after 8 years at the latest around 2100.
const DAYS_MAX: usize = 9 * 366;

const MONTHS: [&str; 12] = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const WEEKDAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

impl Cron {
    /// `0 8 * * mon-fri`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let fields: Vec<&str> = text.split_whitespace().collect();
        let [minutes, hours, days, months, weekdays] = fields.as_slice() else {
            return Err(format!(
                "schedule {text:?} must have five fields: minute, hour, day of month, month, day of week"
            ));
        };
        let field = |name: &str, field: &str, low: u32, high: u32, names: &[&str]| {
            parse_field(field, low, high, names).map_err(|why| format!("schedule {text:?}: {name} {field:?}: {why}"))
        };
        let mut weekdays_set = field("day of week", weekdays, 0, 7, &WEEKDAYS)?;
        // Sunday is 0 and 7.
        if weekdays_set & (1 << 7) != 0 {
            weekdays_set |= 1;
        }
        Ok(Self {
            minutes: field("minute", minutes, 0, 59, &[])?,
            hours: field("hour", hours, 0, 23, &[])?,
            days: field("day of month", days, 1, 31, &[])?,
            months: field("month", months, 1, 12, &MONTHS)?,
            weekdays: weekdays_set,
            either_day: !days.starts_with('*') && !weekdays.starts_with('*'),
        })
    }

    /// The first match at or after a time.
    pub fn next(&self, from: DateTime) -> Option<DateTime> {
        let mut date = from.date();
        let (mut hour, mut minute) = (u32::from(from.hour().unsigned_abs()), u32::from(from.minute().unsigned_abs()));
        if from.second() > 0 || from.subsec_nanosecond() > 0 {
            minute += 1;
        }
        for _ in 0..DAYS_MAX {
            if self.on(date)
                && let Some((hour, minute)) = self.time(hour, minute)
            {
                return Some(date.at(i8::try_from(hour).ok()?, i8::try_from(minute).ok()?, 0, 0));
            }
            date = date.checked_add(1.day()).ok()?;
            (hour, minute) = (0, 0);
        }
        None
    }

    fn on(&self, date: Date) -> bool {
        let has = |set: u64, value: i8| set & (1 << value) != 0;
        let (day, weekday) = (has(self.days, date.day()), has(self.weekdays, date.weekday().to_sunday_zero_offset()));
        has(self.months, date.month()) && if self.either_day { day || weekday } else { day && weekday }
    }

    /// The first time of a day at or after this one.
    fn time(&self, hour: u32, minute: u32) -> Option<(u32, u32)> {
        let next = |set: u64, from: u32| (from..64).find(|bit| set & (1 << bit) != 0);
        if self.hours & (1 << hour) != 0
            && let Some(minute) = next(self.minutes, minute)
        {
            return Some((hour, minute));
        }
        Some((next(self.hours, hour + 1)?, next(self.minutes, 0)?))
    }
}

/// `*`, `5`, `1-5`, `*/15`, `8-18/2`, `mon,wed`, and lists of these.
fn parse_field(text: &str, low: u32, high: u32, names: &[&str]) -> Result<u64, String> {
    let value = |text: &str| -> Result<u32, String> {
        let named = names.iter().position(|name| name.eq_ignore_ascii_case(text));
        if let Some(index) = named {
            // Months begin with 1, weekdays with 0, as their fields do.
            return Ok(low + u32::try_from(index).unwrap_or(0));
        }
        let number: u32 = text.parse().map_err(|_| format!("{text:?} is not a number from {low} to {high}"))?;
        if (low..=high).contains(&number) { Ok(number) } else { Err(format!("{number} is not from {low} to {high}")) }
    };
    let mut set = 0;
    for part in text.split(',') {
        let (range, step) = match part.split_once('/') {
            Some((range, step)) => {
                let step: u32 = step.parse().map_err(|_| format!("{step:?} is no step"))?;
                (range, Some(step).filter(|s| *s > 0).ok_or("a step is at least 1")?)
            }
            None => (part, 1),
        };
        let (first, last) = match (range, range.split_once('-')) {
            ("*", _) => (low, high),
            (_, Some((first, last))) => (value(first)?, value(last)?),
            (one, None) if part.contains('/') => (value(one)?, high),
            (one, None) => (value(one)?, value(one)?),
        };
        if first > last {
            return Err(format!("{first} comes after {last}"));
        }
        (first..=last).step_by(step as usize).for_each(|value| set |= 1_u64 << value);
    }
    Ok(set)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_match() {
        for (cron, from, expect) in [
            ("0 8 * * mon-fri", "2026-11-21T10:00", "2026-11-23T08:00"),
            ("0 8 * * 1-5", "2026-11-23T08:00", "2026-11-23T08:00"),
            ("0 8 * * 1-5", "2026-11-23T08:00:01", "2026-11-24T08:00"),
            ("*/15 * * * *", "2026-11-21T10:01", "2026-11-21T10:15"),
            ("59 23 31 dec *", "2026-11-21T10:01", "2026-12-31T23:59"),
            ("0 0 29 2 *", "2026-03-01T00:00", "2028-02-29T00:00"),
            ("0 0 * * 7", "2026-11-21T00:00", "2026-11-22T00:00"),
            ("30 6,18 * * *", "2026-11-21T07:00", "2026-11-21T18:30"),
            ("0 8-18/5 * * *", "2026-11-21T14:00", "2026-11-21T18:00"),
            // Both day fields: either is enough.
            ("0 0 13 * fri", "2026-11-21T00:00", "2026-11-27T00:00"),
            ("0 0 13 * fri", "2026-12-12T00:00", "2026-12-13T00:00"),
        ] {
            let next = Cron::parse(cron).unwrap().next(from.parse().unwrap());
            assert_eq!(next, Some(expect.parse().unwrap()), "{cron} from {from}");
        }
        assert_eq!(Cron::parse("0 0 30 2 *").unwrap().next("2026-01-01T00:00".parse().unwrap()), None);
    }

    #[test]
    fn what_is_no_schedule_is_said() {
        for (cron, why) in [
            ("0 8 * *", "must have five fields"),
            ("60 * * * *", "minute \"60\": 60 is not from 0 to 59"),
            ("0 8 * * fri-mon", "5 comes after 1"),
            ("0 8 * * fnord", "\"fnord\" is not a number from 0 to 7"),
            ("*/0 * * * *", "a step is at least 1"),
            ("0 8 0 * *", "0 is not from 1 to 31"),
        ] {
            let error = Cron::parse(cron).unwrap_err();
            assert!(error.contains(why), "{cron}: {error}");
        }
    }
}
