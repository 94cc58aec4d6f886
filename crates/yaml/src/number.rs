//! Numbers as Go prints them.

/// A float as go-yaml writes what came to it through JSON: whole ones that 64 bits hold as integers.
pub(crate) fn float_text(number: f64) -> String {
    if number.is_nan() {
        return ".nan".into();
    }
    if number.is_infinite() {
        return if number > 0.0 { ".inf".into() } else { "-.inf".into() };
    }
    const UNSIGNED_LIMIT: f64 = 18_446_744_073_709_551_616.0;
    const SIGNED_LIMIT: f64 = 9_223_372_036_854_775_808.0;
    if number.fract() == 0.0 && (-SIGNED_LIMIT..UNSIGNED_LIMIT).contains(&number) {
        // Zero has no sign among the integers.
        return if number == 0.0 { "0".into() } else { format!("{number:.0}") };
    }
    shortest(number)
}

/// `%g` with the fewest digits that read back as the same number; an exponent from 1e6 on.
pub(crate) fn shortest(number: f64) -> String {
    // Rust's `{:e}` has the fewest digits too: `1.2345675e6`.
    let scientific = format!("{number:e}");
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..6).contains(&exponent) {
        return format!("{number}");
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{mantissa}e{sign}{:02}", exponent.abs())
}
