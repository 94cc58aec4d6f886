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
    /// Reads a quantity. Parts of a nano round up; binary amounts are cut off at 2^63-1, decimal ones where 128
    /// bits of nanos end. A suffix without a number counts as zero, as it does in the original.
    pub fn parse(text: &str) -> Result<Self, QuantityError> {
        let Parts { negative, whole, fraction, scale } = Parts::of(text)?;
        let magnitude = match scale {
            Scale::Binary(bits) => binary(whole, fraction, bits),
            Scale::Decimal(exponent) => decimal(whole, fraction, exponent),
        };
        Ok(Self { nanos: if negative { -magnitude } else { magnitude } })
    }

    /// In thousandths, rounded away from zero: cpu.
    pub fn millis(self) -> i128 {
        self.in_steps_of(NANO / 1000)
    }

    /// In whole units, rounded away from zero: bytes.
    pub fn units(self) -> i128 {
        self.in_steps_of(NANO)
    }

    fn in_steps_of(self, step: i128) -> i128 {
        self.nanos / step + (self.nanos % step).signum()
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

/// The form in which a server stores a quantity: `0.5` is `500m`, `1024Mi` is `1Gi`, `2000` is `2k`. The sort of
/// suffix stays, and so does a text that is in order already (`1500m`, `12.345k`).
pub fn canonical(text: &str) -> Result<String, QuantityError> {
    let parts = Parts::of(text)?;
    let quantity = Quantity::parse(text)?;
    let Quantity { nanos } = quantity;
    if nanos == 0 {
        return Ok("0".into());
    }
    if parts.is_in_order() {
        return Ok(text.to_owned());
    }
    let small = nanos.abs() < 1024 * NANO;
    match parts.scale {
        Scale::Binary(_) if !small && nanos % NANO == 0 => {
            let mut number = quantity.units();
            let suffixes = ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
            let mut step = 0;
            while number % 1024 == 0 && step + 1 < suffixes.len() {
                number /= 1024;
                step += 1;
            }
            Ok(format!("{number}{}", suffixes[step]))
        }
        Scale::Decimal(_) if text.contains(['e', 'E']) && !text.ends_with('E') => {
            let (number, thousands) = without_thousands(nanos, 9);
            Ok(if thousands == 0 { number.to_string() } else { format!("{number}e{}", thousands * 3) })
        }
        _ => {
            let (number, thousands) = without_thousands(nanos, 6);
            let suffixes = ["n", "u", "m", "", "k", "M", "G", "T", "P", "E"];
            let place = usize::try_from(thousands + 3).unwrap_or(0);
            Ok(format!("{number}{}", suffixes.get(place).copied().unwrap_or_default()))
        }
    }
}

/// A number and how often it is to be multiplied by a thousand.
fn without_thousands(nanos: i128, most: i32) -> (i128, i32) {
    let (mut number, mut thousands) = (nanos, -3);
    while number % 1000 == 0 && thousands < most {
        number /= 1000;
        thousands += 1;
    }
    (number, thousands)
}

/// A quantity as it is written.
struct Parts<'t> {
    negative: bool,
    /// Digits before the point.
    whole: &'t str,
    /// Digits behind it.
    fraction: &'t str,
    scale: Scale,
}

impl<'t> Parts<'t> {
    fn of(text: &'t str) -> Result<Self, QuantityError> {
        let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
        let end = unsigned.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(unsigned.len());
        let (number, suffix) = unsigned.split_at(end);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        let scale = scale(suffix)?;
        let empty = number.is_empty() && matches!(scale, Scale::Binary(_));
        if text.is_empty() || empty || fraction.contains('.') {
            return Err(QuantityError);
        }
        Ok(Self { negative: text.starts_with('-'), whole, fraction, scale })
    }

    /// The original keeps such texts as they are.
    fn is_in_order(&self) -> bool {
        let whole = self.whole.trim_start_matches('0');
        let length = |text: &str| i32::try_from(text.len()).unwrap_or(i32::MAX / 4);
        let digits = length(whole).max(1) + length(self.fraction);
        match self.scale {
            Scale::Decimal(exponent) => {
                let scale = exponent.saturating_sub(length(self.fraction));
                let zeros = [whole, self.fraction].concat().ends_with("000");
                digits <= 18 && scale >= -9 && scale % 3 == 0 && !zeros && !whole.is_empty()
            }
            Scale::Binary(bits) => {
                let exact = self.fraction.is_empty() && digits + i32::try_from(bits * 3 / 10).unwrap_or(0) < 15;
                exact && whole.parse::<i64>().is_ok_and(|number| number % 8 != 0)
            }
        }
    }
}

#[derive(Clone, Copy)]
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
    nanos.saturating_add(i128::from(rest))
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
            ("9999999999999999999999E", 170_141_183_460_469_231_731_687_303_715_885),
            ("1e2147483647", 170_141_183_460_469_231_731_687_303_715_885),
            ("1e-2147483648", 1),
            ("99999999999999999999999999999999999999999999Ei", i128::from(i64::MAX) * 1000),
        ];
        for (text, millis) in cases {
            assert_eq!(Quantity::parse(text).map(Quantity::millis), Ok(millis), "{text}");
        }
    }

    #[test]
    fn refuses_the_rest() {
        for text in ["", "1.2.3", "1 Gi", "1mi", "1KI", "0x10", "--1", "1e", "1e1.5", "ä", "1ä"] {
            assert_eq!(Quantity::parse(text), Err(QuantityError), "{text:?}");
        }
    }

    #[test]
    fn canonical_forms() {
        let cases = [
            ("0.5", "500m"),
            ("1000m", "1"),
            ("1500m", "1500m"),
            ("2000", "2k"),
            ("1024Mi", "1Gi"),
            ("1.5Gi", "1536Mi"),
            ("0.5Ki", "512"),
            ("1Ki", "1Ki"),
            ("1e3", "1e3"),
            ("1e4", "10e3"),
            ("12e6", "12e6"),
            ("0", "0"),
            ("0Mi", "0"),
            ("-1.5", "-1500m"),
            ("100M", "100M"),
            ("1000M", "1G"),
            ("0.0001", "100u"),
            ("1E", "1E"),
        ];
        for (text, form) in cases {
            assert_eq!(canonical(text).as_deref(), Ok(form), "{text}");
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
