//! Windows over time, as cases.

use super::*;
use model::window::Manual;

fn window(kind: WindowKind, schedule: Option<(&str, &str)>, dates: (&str, &str), zone: &str) -> Window {
    let moment = |text: &str| (!text.is_empty()).then(|| text.parse().unwrap());
    Window {
        name: "w".into(),
        kind,
        schedule: schedule.map(|(cron, _)| cron.to_owned()),
        duration: schedule.map(|(_, duration)| duration.parse().unwrap()),
        from: moment(dates.0),
        to: moment(dates.1),
        time_zone: zone.into(),
        selector: None,
        manual: Manual::Denied,
    }
}

fn allow(cron: &str, duration: &str, zone: &str) -> Window {
    window(WindowKind::Allow, Some((cron, duration)), ("", ""), zone)
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn shown(windows: &[Window], now: &str) -> String {
    match next_open(&windows.iter().collect::<Vec<_>>(), at(now)) {
        Until::Open(Some(end)) => format!("open until {end}"),
        Until::Open(None) => "open".to_owned(),
        Until::Opens(begin) => format!("opens {begin}"),
        Until::Never(why) => why,
    }
}

#[test]
fn a_window_opens_by_the_clock_of_its_zone() {
    let hours = [allow("0 8 * * mon-fri", "9h", "Europe/Berlin")];
    for (now, expect) in [
        ("2026-11-21T12:00:00Z", "opens 2026-11-23T07:00:00Z"),
        ("2026-11-23T07:00:00Z", "open until 2026-11-23T16:00:00Z"),
        ("2026-11-23T15:59:59Z", "open until 2026-11-23T16:00:00Z"),
        ("2026-11-23T16:00:00Z", "opens 2026-11-24T07:00:00Z"),
        // In summer the same clock is an hour earlier.
        ("2026-07-01T00:00:00Z", "opens 2026-07-01T06:00:00Z"),
    ] {
        assert_eq!(shown(&hours, now), expect, "{now}");
    }
}

#[test]
fn daylight_saving_is_right() {
    // Berlin: 2026-03-29 02:00 → 03:00 at 01:00Z; 2026-10-25 03:00 → 02:00 at 01:00Z.
    for (cron, duration, now, expect) in [
        // 02:30 does not exist: the window begins when the gap ends.
        ("30 2 * * *", "1h", "2026-03-29T00:00:00Z", "opens 2026-03-29T01:00:00Z"),
        ("30 2 * * *", "1h", "2026-03-29T01:30:00Z", "open until 2026-03-29T02:00:00Z"),
        ("30 2 * * *", "1h", "2026-03-29T02:00:00Z", "opens 2026-03-30T00:30:00Z"),
        // 02:30 comes twice: the first counts, and the window is not open again at the second.
        ("30 2 * * *", "30m", "2026-10-25T00:00:00Z", "opens 2026-10-25T00:30:00Z"),
        ("30 2 * * *", "30m", "2026-10-25T00:45:00Z", "open until 2026-10-25T01:00:00Z"),
        ("30 2 * * *", "30m", "2026-10-25T01:30:00Z", "opens 2026-10-26T01:30:00Z"),
        // Eight hours are eight hours, over either change.
        ("0 22 * * sat", "8h", "2026-03-28T21:00:00Z", "open until 2026-03-29T05:00:00Z"),
        ("0 22 * * sat", "8h", "2026-10-24T20:00:00Z", "open until 2026-10-25T04:00:00Z"),
    ] {
        assert_eq!(shown(&[allow(cron, duration, "Europe/Berlin")], now), expect, "{cron} {duration} at {now}");
    }
    // A zone that changes by half an hour, and one that skipped a day.
    assert_eq!(
        shown(&[allow("0 2 * * *", "1h", "Australia/Lord_Howe")], "2026-10-03T14:00:00Z"),
        "opens 2026-10-03T15:30:00Z"
    );
    assert_eq!(
        shown(&[allow("0 12 30 12 *", "1h", "Pacific/Apia")], "2011-12-28T00:00:00Z"),
        "opens 2011-12-30T10:00:00Z"
    );
}

#[test]
fn a_freeze_closes_what_is_open_and_days_are_whole() {
    let freeze = window(WindowKind::Deny, None, ("2026-12-24", "2026-12-26"), "Europe/Berlin");
    let hours = allow("0 8 * * mon-fri", "9h", "Europe/Berlin");
    let both = [freeze.clone(), hours];
    for (now, expect) in [
        ("2026-12-23T10:00:00Z", "open until 2026-12-23T16:00:00Z"),
        ("2026-12-24T10:00:00Z", "opens 2026-12-28T07:00:00Z"),
    ] {
        assert_eq!(shown(&both, now), expect, "{now}");
    }
    let alone = [freeze];
    for (now, expect) in [
        ("2026-12-23T22:59:59Z", "open until 2026-12-23T23:00:00Z"),
        ("2026-12-23T23:00:00Z", "opens 2026-12-26T23:00:00Z"),
        ("2026-12-26T22:59:59Z", "opens 2026-12-26T23:00:00Z"),
        ("2026-12-26T23:00:00Z", "open"),
    ] {
        assert_eq!(shown(&alone, now), expect, "{now}");
    }
}

#[test]
fn windows_that_touch_are_one_and_bounds_cut_a_schedule() {
    let touching = [allow("0 * * * *", "1h", "UTC")];
    assert_eq!(shown(&touching, "2026-11-21T12:30:00Z"), "open");
    let cut = [window(WindowKind::Allow, Some(("0 8 * * *", "9h")), ("2026-12-01T10:00", "2026-12-02T12:00"), "UTC")];
    for (now, expect) in [
        ("2026-11-21T12:00:00Z", "opens 2026-12-01T10:00:00Z"),
        ("2026-12-02T09:00:00Z", "open until 2026-12-02T12:00:00Z"),
        ("2026-12-02T12:00:00Z", "window w never opens again"),
    ] {
        assert_eq!(shown(&cut, now), expect, "{now}");
    }
}

#[test]
fn a_window_that_never_opens_and_a_zone_that_does_not_exist_are_said() {
    for (windows, why) in [
        (vec![allow("0 0 30 2 *", "1h", "UTC")], "window w never opens again"),
        (
            vec![allow("0 8 * * *", "1h", "UTC"), window(WindowKind::Deny, Some(("0 * * * *", "1h")), ("", ""), "UTC")],
            "a window that denies has no end",
        ),
        (vec![window(WindowKind::Deny, None, ("2026-01-01", ""), "UTC")], "a window that denies has no end"),
        (
            vec![allow("0 8 * * *", "1h", "Mars/Berlin")],
            "window w: there is no time zone \"Mars/Berlin\"; zones are called Europe/Berlin, and so on",
        ),
        (
            vec![allow("0 8 * * *", "0s", "UTC")],
            "window w: duration: more than nothing and at most 7d, or use from and to",
        ),
        (vec![window(WindowKind::Allow, None, ("2026-12-02", "2026-12-01"), "UTC")], "window w: from is not before to"),
        (
            vec![window(WindowKind::Allow, None, ("", ""), "UTC")],
            "window w: it has neither a schedule nor dates (from, to)",
        ),
    ] {
        assert_eq!(shown(&windows, "2026-11-21T12:00:00Z"), why);
    }
}
