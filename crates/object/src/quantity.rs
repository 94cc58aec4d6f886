//! Amounts of cpu and memory: `500m`, `1.5Gi`, `1e3`.

use std::fmt;

/// What Go's decoder says of anything else.
pub const FORMAT_ERROR: &str =
    "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'";

/// A number of thousand-millionths, exact: the smallest step that a quantity can hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Quantity {
    nanos: i128,
}

/// The text is no quantity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{}", FORMAT_ERROR)]
pub struct QuantityError;

const NANO: i128 = 1_000_000_000;

/// Above this an amount is cut off, as the original does (2^63-1 in whole units).
const MAX: i128 = i64::MAX as i128 * NANO;

impl Quantity {
    /// Reads a quantity. Parts of a nano round up; what is too large is cut off at 2^63-1.
    pub fn parse(text: &str) -> Result<Self, QuantityError> {
        let (negative, unsigned) = match text.as_bytes().first() {
            Some(b'-') => (true, &text[1..]),
            Some(b'+') => (false, &text[1..]),
            _ => (false, text),
        };
        let end = unsigned.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(unsigned.len());
        let (number, suffix) = unsigned.split_at(end);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
            return Err(QuantityError);
        }
        let magnitude = match scale(suffix)? {
            Scale::Binary(bits) => binary(whole, fraction, bits),
            Scale::Decimal(exponent) => decimal(whole, fraction, exponent),
        };
        Ok(Self { nanos: if negative { -magnitude } else { magnitude } })
    }

    /// In thousandths, rounded up: cpu.
    pub fn millis(self) -> i128 {
        self.nanos.div_euclid(1_000_000) + i128::from(self.nanos.rem_euclid(1_000_000) != 0)
    }

    /// In whole units, rounded up: bytes.
    pub fn units(self) -> i128 {
        self.nanos.div_euclid(NANO) + i128::from(self.nanos.rem_euclid(NANO) != 0)
    }
}

/// Thousandths of a cpu: `500m` is 500, `2` is 2000.
pub fn cpu_millis(text: &str) -> Result<i128, QuantityError> {
    Quantity::parse(text).map(Quantity::millis)
}

/// Bytes: `64Mi` is 67108864.
pub fn memory_bytes(text: &str) -> Result<i128, QuantityError> {
    Quantity::parse(text).map(Quantity::units)
}

/// In decimal form without a fraction where that is exact: `1500m`, `67108864`.
impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (step, suffix) in [(NANO, ""), (1_000_000, "m"), (1_000, "u")] {
            if self.nanos % step == 0 {
                return write!(f, "{}{suffix}", self.nanos / step);
            }
        }
        write!(f, "{}n", self.nanos)
    }
}

enum Scale {
    Binary(u32),
    Decimal(i32),
}

fn scale(suffix: &str) -> Result<Scale, QuantityError> {
    Ok(match suffix {
        "" => Scale::Decimal(0),
        "n" => Scale::Decimal(-9),
        "u" => Scale::Decimal(-6),
        "m" => Scale::Decimal(-3),
        "k" => Scale::Decimal(3),
        "M" => Scale::Decimal(6),
        "G" => Scale::Decimal(9),
        "T" => Scale::Decimal(12),
        "P" => Scale::Decimal(15),
        "E" => Scale::Decimal(18),
        "Ki" => Scale::Binary(10),
        "Mi" => Scale::Binary(20),
        "Gi" => Scale::Binary(30),
        "Ti" => Scale::Binary(40),
        "Pi" => Scale::Binary(50),
        "Ei" => Scale::Binary(60),
        other => {
            Scale::Decimal(other.strip_prefix(['e', 'E']).ok_or(QuantityError)?.parse().map_err(|_| QuantityError)?)
        }
    })
}

/// Digits before and behind the point, times 10^exponent, in nanos.
fn decimal(whole: &str, fraction: &str, exponent: i32) -> i128 {
    let point = i64::try_from(whole.len()).unwrap_or(i64::MAX).saturating_add(i64::from(exponent)).saturating_add(9);
    let mut nanos: i128 = 0;
    let mut rest = false;
    let mut place: i64 = 0;
    for digit in whole.bytes().chain(fraction.bytes()).map(|byte| i128::from(byte - b'0')) {
        if place < point {
            nanos = nanos.saturating_mul(10).saturating_add(digit);
        } else {
            rest |= digit != 0;
        }
        place += 1;
    }
    // 10^39 is beyond what can be held: nothing is left to multiply after that many steps.
    for _ in place..point.min(place + 40) {
        nanos = nanos.saturating_mul(10);
    }
    nanos.saturating_add(i128::from(rest)).min(MAX)
}

/// Digits before and behind the point, times 2^bits, in nanos.
fn binary(whole: &str, fraction: &str, bits: u32) -> i128 {
    let factor = 1_i128 << bits;
    let whole = whole.parse::<i128>().or(if whole.is_empty() { Ok(0) } else { Err(()) }).unwrap_or(i128::MAX);
    // Nine digits are nanos before the factor; with the factor at most 2^60 * 10^18 < 2^127.
    let digits = &fraction[..fraction.len().min(18)];
    let divisor = 10_i128.pow(u32::try_from(digits.len()).unwrap_or(18));
    let part = digits.parse::<i128>().unwrap_or(0);
    let quotient = (part * factor / divisor).saturating_mul(NANO);
    let remainder = (part * factor % divisor).saturating_mul(NANO);
    let rounded = remainder / divisor + i128::from(remainder % divisor != 0);
    whole.saturating_mul(factor).saturating_mul(NANO).saturating_add(quotient).saturating_add(rounded).min(MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_kubernetes_reads() {
        let cases = [
            ("0", 0),
            ("1", 1000),
            ("500m", 500),
            ("1.5", 1500),
            (".5", 500),
            ("5.", 5000),
            ("1e3", 1_000_000),
            ("1E-1", 100),
            ("100u", 1),
            ("1n", 1),
            ("-2", -2000),
            ("+2", 2000),
            ("1Ki", 1_024_000),
            ("1.5Gi", 1_610_612_736_000),
            ("0.1Ki", 102_400),
            ("1E", 1_000_000_000_000_000_000_000),
            ("9999999999999999999999E", i128::from(i64::MAX) * 1000),
            ("1e2147483647", i128::from(i64::MAX) * 1000),
            ("1e-2147483648", 1),
            ("99999999999999999999999999999999999999999999Ei", i128::from(i64::MAX) * 1000),
        ];
        for (text, millis) in cases {
            assert_eq!(Quantity::parse(text).map(Quantity::millis), Ok(millis), "{text}");
        }
    }

    #[test]
    fn refuses_the_rest() {
        for text in ["", "m", "1.2.3", "1 Gi", "1mi", "1KI", "0x10", "--1", "1e", "1e1.5", "ä", "1ä"] {
            assert_eq!(Quantity::parse(text), Err(QuantityError), "{text:?}");
        }
    }

    #[test]
    fn shows_exactly() {
        for (text, shown) in
            [("1.5", "1500m"), ("64Mi", "67108864"), ("0.000001", "1u"), ("1n", "1n"), ("-1.5", "-1500m")]
        {
            assert_eq!(Quantity::parse(text).map(|q| q.to_string()).as_deref(), Ok(shown));
        }
    }
}
