//! Numbers.

use super::{Result, fail, table};
use template::{Call, Fault, Function, List, Of, Value, print};

pub(super) const FUNCTIONS: &[Function] = table! {
    "atoi" "s" |call| Ok(Value::Int(decimal(call.str(0)).unwrap_or(0)));
    "int64" "a" |call| Ok(Value::Int64(to_int(&call.args[0])));
    "int" "a" |call| Ok(Value::Int(to_int(&call.args[0])));
    "float64" "a" |call| Ok(Value::Float(to_float(&call.args[0])));
    "toDecimal" "a" |call| Ok(Value::Int64(i64::from_str_radix(&print(&call.args[0]), 8).unwrap_or(0)));
    "seq" "i*" seq;
    "until" "i" |call| { let count = call.int(0); counted(call, 0, count, if count < 0 { -1 } else { 1 }).map(ints) };
    "untilStep" "iii" |call| { let (from, to, step) = (call.int(0), call.int(1), call.int(2)); counted(call, from, to, step).map(ints) };
    "add1" "a" |call| Ok(Value::Int64(to_int(&call.args[0]).wrapping_add(1)));
    "add" "a*" |call| Ok(Value::Int64(call.args.iter().map(to_int).fold(0, i64::wrapping_add)));
    "sub" "aa" |call| Ok(Value::Int64(to_int(&call.args[0]).wrapping_sub(to_int(&call.args[1]))));
    "div" "aa" |call| divided(call, i64::wrapping_div);
    "mod" "aa" |call| divided(call, i64::wrapping_rem);
    "mul" "aa*" |call| Ok(Value::Int64(call.args.iter().map(to_int).fold(1, i64::wrapping_mul)));
    "max" "aa*" |call| Ok(Value::Int64(call.args.iter().map(to_int).max().unwrap_or(0)));
    "biggest" "aa*" |call| Ok(Value::Int64(call.args.iter().map(to_int).max().unwrap_or(0)));
    "min" "aa*" |call| Ok(Value::Int64(call.args.iter().map(to_int).min().unwrap_or(0)));
    "maxf" "aa*" |call| Ok(Value::Float(call.args.iter().map(to_float).fold(f64::NEG_INFINITY, f64::max)));
    "minf" "aa*" |call| Ok(Value::Float(call.args.iter().map(to_float).fold(f64::INFINITY, f64::min)));
    "add1f" "a" |call| exact(&[call.take(0), Value::Int(1)], Exact::plus);
    "addf" "a*" |call| { call.args.insert(0, Value::Float(0.0)); exact(&call.args, Exact::plus) };
    "subf" "aa*" |call| exact(&call.args, |a, b| a.plus(Exact { digits: -b.digits, ..b }));
    "mulf" "aa*" |call| exact(&call.args, Exact::times);
    "divf" "aa*" |call| {
        if call.args[1..].iter().any(|value| to_float(value) == 0.0) {
            return fail("decimal division by 0");
        }
        exact(&call.args, Exact::over)
    };
    "ceil" "a" |call| Ok(Value::Float(to_float(&call.args[0]).ceil()));
    "floor" "a" |call| Ok(Value::Float(to_float(&call.args[0]).floor()));
    "round" "aif*" round;
};

/// `strconv.Atoi`.
fn decimal(text: &str) -> Option<i64> {
    text.parse().ok()
}

/// An integer of anything; 0 of what is none.
#[allow(clippy::cast_possible_truncation)] // As Go converts.
pub(super) fn to_int(value: &Value) -> i64 {
    match value {
        Value::Int(number) | Value::Int64(number) => *number,
        Value::Byte(byte) => i64::from(*byte),
        Value::Float(number) => *number as i64,
        Value::Bool(flag) => i64::from(*flag),
        Value::Text(text) => {
            let whole = match text.split_once('.') {
                Some((whole, zeros)) if !zeros.is_empty() && zeros.bytes().all(|byte| byte == b'0') => whole,
                _ => text,
            };
            template::integer(whole).unwrap_or(0)
        }
        _ => 0,
    }
}

/// A float of anything; 0 of what is none.
#[allow(clippy::cast_precision_loss)] // As Go converts.
pub(super) fn to_float(value: &Value) -> f64 {
    match value {
        Value::Float(number) => *number,
        Value::Text(text) => text.replace('_', "").parse().unwrap_or(0.0),
        other => to_int(other) as f64,
    }
}

fn ints(numbers: Vec<i64>) -> Value {
    Value::List(List { items: std::rc::Rc::new(numbers.into_iter().map(Value::Int).collect()), of: Of::Int })
}

/// Numbers from one to another, the end not included.
fn counted(call: &mut Call<'_, '_>, from: i64, to: i64, step: i64) -> Result<Vec<i64>> {
    let mut numbers = Vec::new();
    if (to < from) != (step < 0) || step == 0 {
        return Ok(numbers);
    }
    let count = to.abs_diff(from) / step.unsigned_abs() + 1;
    call.exec.account(usize::try_from(count).unwrap_or(usize::MAX).saturating_mul(24))?;
    let mut number = from;
    while if step > 0 { number < to } else { number > to } {
        numbers.push(number);
        number = number.saturating_add(step);
    }
    Ok(numbers)
}

fn seq(call: &mut Call<'_, '_>) -> Result {
    let number = |at: usize| call.int(at);
    let (from, to, step) = match call.args.len() {
        1 => (1, number(0), if number(0) < 1 { -1 } else { 1 }),
        2 => (number(0), number(1), if number(1) < number(0) { -1 } else { 1 }),
        3 if number(2) < number(0) && number(1) > 0 => return Ok("".into()),
        3 => (number(0), number(2), number(1)),
        _ => return Ok("".into()),
    };
    let end = to.saturating_add(if to < from { -1 } else { 1 });
    let numbers = counted(call, from, end, step)?;
    Ok(numbers.iter().map(i64::to_string).collect::<Vec<_>>().join(" ").into())
}

fn divided(call: &Call<'_, '_>, divide: fn(i64, i64) -> i64) -> Result {
    match to_int(&call.args[1]) {
        0 => Err(Fault::plain("runtime error: integer divide by zero")),
        divisor => Ok(Value::Int64(divide(to_int(&call.args[0]), divisor))),
    }
}

fn round(call: &mut Call<'_, '_>) -> Result {
    let up_from = if call.args.len() > 2 { call.float(2) } else { 0.5 };
    #[allow(clippy::cast_precision_loss)]
    let power = 10_f64.powf(call.int(1) as f64);
    let scaled = power * to_float(&call.args[0]);
    let whole = if scaled.fract() >= up_from { scaled.ceil() } else { scaled.floor() };
    Ok(Value::Float(whole / power))
}

/// A decimal number: digits × 10^exponent.
#[derive(Clone, Copy)]
struct Exact {
    digits: i128,
    exponent: i32,
}

impl Exact {
    fn of(number: f64) -> Option<Self> {
        let text = format!("{number:e}");
        let (mantissa, exponent) = text.split_once('e')?;
        let exponent: i32 = exponent.parse().ok()?;
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let digits = format!("{whole}{fraction}").parse().ok()?;
        Some(Self { digits, exponent: exponent - i32::try_from(fraction.len()).ok()? })
    }

    fn float(self) -> f64 {
        format!("{}e{}", self.digits, self.exponent).parse().unwrap_or(f64::NAN)
    }

    fn scaled(self, exponent: i32) -> Option<i128> {
        let shift = u32::try_from(self.exponent - exponent).ok()?;
        self.digits.checked_mul(10_i128.checked_pow(shift)?)
    }

    fn plus(self, other: Self) -> Option<Self> {
        let exponent = self.exponent.min(other.exponent);
        Some(Self { digits: self.scaled(exponent)?.checked_add(other.scaled(exponent)?)?, exponent })
    }

    fn times(self, other: Self) -> Option<Self> {
        Some(Self { digits: self.digits.checked_mul(other.digits)?, exponent: self.exponent + other.exponent })
    }

    /// Rounded to 16 places.
    fn over(self, other: Self) -> Option<Self> {
        let places = 16 + self.exponent - other.exponent;
        let (mut a, mut b) = (self.digits, other.digits);
        match u32::try_from(places) {
            Ok(shift) => a = a.checked_mul(10_i128.checked_pow(shift)?)?,
            Err(_) => b = b.checked_mul(10_i128.checked_pow(places.unsigned_abs())?)?,
        }
        let (quotient, rest) = (a / b, a % b);
        let up = rest.unsigned_abs().checked_mul(2)? >= b.unsigned_abs();
        let sign = if (a < 0) == (b < 0) { 1 } else { -1 };
        Some(Self { digits: quotient + if up { sign } else { 0 }, exponent: -16 })
    }
}

fn exact(args: &[Value], operate: impl Fn(Exact, Exact) -> Option<Exact>) -> Result {
    let mut numbers = args.iter().map(to_float);
    let first = numbers.next().unwrap_or(0.0);
    let mut result = Exact::of(first);
    for number in numbers {
        result = result.and_then(|result| operate(result, Exact::of(number)?));
    }
    match result {
        Some(result) => Ok(Value::Float(result.float())),
        None => fail("the number has too many digits"),
    }
}
