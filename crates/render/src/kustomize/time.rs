//! Dates and times in YAML become what Go's JSON makes of them.

/// `2026-1-2` becomes `2026-01-02T00:00:00Z`. The text must be a date, alone or with a time.
pub(super) fn as_json(text: &str) -> String {
    let (date, time) = match text.find(['T', 't', ' ']) {
        Some(at) => (&text[..at], &text[at + 1..]),
        None => (text, "00:00:00Z"),
    };
    let date: Vec<String> = date.split('-').map(two_digits).collect();
    let zone = time.rfind(['Z', '+', '-']).unwrap_or(time.len());
    let (clock, zone) = time.split_at(zone);
    let (clock, fraction) = clock.split_once(['.', ',']).unwrap_or((clock, ""));
    let clock: Vec<String> = clock.split(':').map(two_digits).collect();
    // Go keeps nanoseconds.
    let fraction = fraction.get(..9).unwrap_or(fraction).trim_end_matches('0');
    let point = if fraction.is_empty() { "" } else { "." };
    let zone = if matches!(zone, "" | "+00:00" | "-00:00") { "Z" } else { zone };
    format!("{}T{}{point}{fraction}{zone}", date.join("-"), clock.join(":"))
}

fn two_digits(number: &str) -> String {
    format!("{number:0>2}")
}

#[cfg(test)]
mod tests {
    use super::as_json;

    #[test]
    fn times_as_go_writes_them() {
        let cases = [
            ("2026-01-02", "2026-01-02T00:00:00Z"),
            ("2026-1-2T3:4:5Z", "2026-01-02T03:04:05Z"),
            ("2026-01-02t03:04:05.250+01:00", "2026-01-02T03:04:05.25+01:00"),
            ("2026-01-02 03:04:05.000", "2026-01-02T03:04:05Z"),
        ];
        for (text, expected) in cases {
            assert_eq!(as_json(text), expected, "{text}");
        }
    }
}
