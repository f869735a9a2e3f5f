//! Numbers with a fraction. Sums and products are those of decimal numbers, so that 0.1 and 0.2 make 0.3.

use gotmpl::Value;

use super::{Args, Failure, Outcome, functions};

/// Digits after the point that a division makes, as Go's decimals do.
const DIVISION_DIGITS: u32 = 16;

functions! {
    "add1f" 1..=1 |args| calculate(&[args.any(0).clone(), Value::Int(1)], Decimal::add);
    "addf" 0..=many |args| calculate(&[&[Value::Int(0)], args.values].concat(), Decimal::add);
    "ceil" 1..=1 |args| float(to_float(args.any(0)).ceil());
    "divf" 1..=many |args| calculate(args.values, Decimal::div);
    "float64" 1..=1 |args| float(to_float(args.any(0)));
    "floor" 1..=1 |args| float(to_float(args.any(0)).floor());
    "maxf" 1..=many |args| float(args.values.iter().map(to_float).fold(f64::NEG_INFINITY, f64::max));
    "minf" 1..=many |args| float(args.values.iter().map(to_float).fold(f64::INFINITY, f64::min));
    "mulf" 1..=many |args| calculate(args.values, Decimal::mul);
    "round" 2..=3 round;
    "subf" 1..=many |args| calculate(args.values, |a, b| a.add(Decimal { digits: -b.digits, ..b }));
}

#[expect(clippy::unnecessary_wraps, reason = "every function returns a result")]
fn float(number: f64) -> Outcome {
    Ok(Value::Float(number))
}

/// A value as a number, as Go's `cast` reads it; what is none is 0.
fn to_float(value: &Value) -> f64 {
    match value {
        Value::Bool(bool) => f64::from(u8::from(*bool)),
        #[expect(clippy::cast_precision_loss, reason = "as Go converts")]
        Value::Int(number) => *number as f64,
        #[expect(clippy::cast_precision_loss, reason = "as Go converts")]
        Value::Uint(number) => *number as f64,
        Value::Float(number) => *number,
        Value::String(text) => text.parse().unwrap_or(0.0),
        _ => 0.0,
    }
}

fn round(args: &Args) -> Outcome {
    let places = i32::try_from(args.int(1)?).map_err(|_| "that many digits are too many")?;
    let on = if args.len() > 2 { args.float(2)? } else { 0.5 };
    let power = 10_f64.powi(places);
    let digit = power * to_float(args.any(0));
    let rounded = if digit.fract() >= on { digit.ceil() } else { digit.floor() };
    float(rounded / power)
}

/// A decimal number: digits, and how many of them stand after the point.
#[derive(Clone, Copy)]
struct Decimal {
    digits: i128,
    scale: u32,
}

impl Decimal {
    fn new(number: f64) -> Option<Self> {
        // Rust writes the shortest text that stands for the number, without an exponent.
        let text = number.to_string();
        let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
        Some(Self { digits: format!("{whole}{fraction}").parse().ok()?, scale: fraction.len().try_into().ok()? })
    }

    fn float(self) -> Option<f64> {
        let text = self.digits.unsigned_abs().to_string();
        let scale = usize::try_from(self.scale).ok()?;
        let padded = format!("{text:0>width$}", width = scale + 1);
        let (whole, fraction) = padded.split_at(padded.len() - scale);
        let sign = if self.digits < 0 { "-" } else { "" };
        format!("{sign}{whole}.{fraction}0").parse().ok()
    }

    /// Its digits with more places after the point.
    fn at(self, scale: u32) -> Option<i128> {
        self.digits.checked_mul(10_i128.checked_pow(scale - self.scale)?)
    }

    fn add(self, other: Self) -> Option<Self> {
        let scale = self.scale.max(other.scale);
        Some(Self { digits: self.at(scale)?.checked_add(other.at(scale)?)?, scale })
    }

    fn mul(self, other: Self) -> Option<Self> {
        Some(Self { digits: self.digits.checked_mul(other.digits)?, scale: self.scale.checked_add(other.scale)? })
    }

    fn div(self, other: Self) -> Option<Self> {
        let up = 10_i128.checked_pow(DIVISION_DIGITS.checked_add(other.scale)?)?;
        let down = other.digits.checked_mul(10_i128.checked_pow(self.scale)?)?;
        let dividend = self.digits.checked_mul(up)?;
        let (quotient, rest) = (dividend.checked_div(down)?, dividend.checked_rem(down)?);
        let half = rest.checked_abs()?.checked_mul(2)? >= down.checked_abs()?;
        let away = if (dividend < 0) == (down < 0) { 1 } else { -1 };
        Some(Self { digits: quotient + if half { away } else { 0 }, scale: DIVISION_DIGITS })
    }
}

fn calculate(values: &[Value], operate: fn(Decimal, Decimal) -> Option<Decimal>) -> Outcome {
    let too_large = || Failure::from("the numbers are too large, or the division is by zero");
    let mut result = Decimal::new(to_float(&values[0])).ok_or_else(too_large)?;
    for value in &values[1..] {
        result = Decimal::new(to_float(value)).and_then(|number| operate(result, number)).ok_or_else(too_large)?;
    }
    float(result.float().ok_or_else(too_large)?)
}
