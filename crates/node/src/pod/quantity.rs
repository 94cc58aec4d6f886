//! Kubernetes quantities (`100m`, `64Mi`, `1e3`), as far as a node needs them.

/// One unit, in the thousandths that [`milli`] counts.
const MILLI: f64 = 1000.0;

/// A quantity in thousandths, rounded up as Kubernetes does; `None` if it is none.
pub(crate) fn milli(text: &str) -> Option<u64> {
    let end = text.find(|c: char| !c.is_ascii_digit() && !matches!(c, '.' | '+' | '-')).unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let factor = match suffix {
        "" => 1.0,
        "n" => 1e-9,
        "u" => 1e-6,
        "m" => 1e-3,
        "k" => 1e3,
        "M" => 1e6,
        "G" => 1e9,
        "T" => 1e12,
        "P" => 1e15,
        "E" => 1e18,
        "Ki" => f64::from(1 << 10),
        "Mi" => f64::from(1 << 20),
        "Gi" => f64::from(1 << 30),
        "Ti" => 2f64.powi(40),
        "Pi" => 2f64.powi(50),
        "Ei" => 2f64.powi(60),
        exponent => 10f64.powi(exponent.strip_prefix(['e', 'E'])?.parse().ok()?),
    };
    let value = number.parse::<f64>().ok()? * factor * MILLI;
    // Beyond 2^53 a double is inexact; no machine has that many bytes, in thousandths.
    (value.is_finite() && value >= 0.0).then(|| (value - 1e-9).ceil().max(0.0) as u64)
}

/// A quantity in whole units, rounded up.
pub(crate) fn whole(text: &str) -> Option<u64> {
    milli(text).map(|m| m.div_ceil(1000))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities() {
        for (text, expected) in [
            ("1", Some(1000)),
            ("100m", Some(100)),
            ("0.5", Some(500)),
            ("1.5Gi", Some(1_610_612_736_000)),
            ("64Mi", Some(67_108_864_000)),
            ("1e3", Some(1_000_000)),
            ("1n", Some(1)),
            ("0", Some(0)),
            ("-1", None),
            ("", None),
            ("abc", None),
            ("1Zi", None),
        ] {
            assert_eq!(milli(text), expected, "{text}");
        }
        assert_eq!(whole("1500m"), Some(2));
    }
}
