//! Amounts as Kubernetes writes them: `500m`, `1Gi`, `1.5`, `1e3`.

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

/// Rounded up to whole thousandths; `None` if it is no quantity or too large to count with.
pub(crate) fn thousandths(quantity: &Quantity) -> Option<i128> {
    let text = quantity.0.trim();
    let end = text.find(|c: char| !c.is_ascii_digit() && !matches!(c, '.' | '+' | '-')).unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let (mantissa, decimals) = decimal(number)?;
    let (factor, divisor) = scale(suffix)?;
    let numerator = mantissa.checked_mul(factor)?.checked_mul(1000)?;
    let denominator = 10_i128.checked_pow(decimals)?.checked_mul(divisor)?;
    Some(numerator.div_euclid(denominator) + i128::from(numerator.rem_euclid(denominator) != 0))
}

/// `1.25` is 125 with 2 decimals.
fn decimal(number: &str) -> Option<(i128, u32)> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits = format!("{whole}{fraction}");
    Some((digits.parse().ok()?, u32::try_from(fraction.len()).ok()?))
}

/// Factor and divisor of a suffix.
fn scale(suffix: &str) -> Option<(i128, i128)> {
    let (letter, binary) = suffix.strip_suffix('i').map_or((suffix, false), |letter| (letter, true));
    let base: i128 = if binary { 1024 } else { 1000 };
    Some(match (letter, binary) {
        ("", false) => (1, 1),
        ("n", false) => (1, 1_000_000_000),
        ("u", false) => (1, 1_000_000),
        ("m", false) => (1, 1000),
        ("k", false) | ("K", true) => (base, 1),
        ("M", _) => (base.pow(2), 1),
        ("G", _) => (base.pow(3), 1),
        ("T", _) => (base.pow(4), 1),
        ("P", _) => (base.pow(5), 1),
        ("E", _) => (base.pow(6), 1),
        _ => {
            let exponent: i32 = suffix.strip_prefix(['e', 'E'])?.parse().ok()?;
            let power = 10_i128.checked_pow(exponent.unsigned_abs())?;
            if exponent < 0 { (1, power) } else { (power, 1) }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_read_as_kubernetes_writes_them() {
        let cases = [
            ("1", Some(1000)),
            ("500m", Some(500)),
            ("1.5", Some(1500)),
            (".5", Some(500)),
            ("100u", Some(1)),
            ("1k", Some(1_000_000)),
            ("1Ki", Some(1_024_000)),
            ("2Gi", Some(2 * 1024 * 1024 * 1024 * 1000)),
            ("1e3", Some(1_000_000)),
            ("1E", Some(1_000_000_000_000_000_000_000)),
            ("-1", Some(-1000)),
            ("", None),
            ("abc", None),
            ("1x", None),
            ("1e999", None),
        ];
        for (text, expect) in cases {
            assert_eq!(thousandths(&Quantity(text.into())), expect, "{text:?}");
        }
    }
}
