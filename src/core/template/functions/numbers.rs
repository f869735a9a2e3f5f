//! Whole numbers.

use gotmpl::Value;

use super::{Args, Failure, Outcome, functions, int, list, shown, string};

/// How many numbers `until`, `untilStep` and `seq` count at most.
const MAX_COUNT: usize = 10_000;

functions! {
    "add" 0..=many |args| int(args.values.iter().fold(0, |sum, value| sum.wrapping_add(to_int(value))));
    "add1" 1..=1 |args| int(to_int(args.any(0)).wrapping_add(1));
    "atoi" 1..=1 |args| int(args.text(0)?.parse().map_err(|_| "the text is no whole number")?);
    "biggest" 1..=many |args| int(args.values.iter().map(to_int).max().unwrap_or(0));
    "div" 2..=2 |args| int(to_int(args.any(0)).wrapping_div(divisor(args)?));
    "int" 1..=1 |args| int(to_int(args.any(0)));
    "int64" 1..=1 |args| int(to_int(args.any(0)));
    "max" 1..=many |args| int(args.values.iter().map(to_int).max().unwrap_or(0));
    "min" 1..=many |args| int(args.values.iter().map(to_int).min().unwrap_or(0));
    "mod" 2..=2 |args| int(to_int(args.any(0)).wrapping_rem(divisor(args)?));
    "mul" 1..=many |args| int(args.values.iter().fold(1, |product, value| product.wrapping_mul(to_int(value))));
    "seq" 0..=many seq;
    "sub" 2..=2 |args| int(to_int(args.any(0)).wrapping_sub(to_int(args.any(1))));
    "toDecimal" 1..=1 |args| int(i64::from_str_radix(&shown(args.any(0)), 8).unwrap_or(0));
    "until" 1..=1 |args| args.int(0).and_then(|end| numbers(0, end, end.signum())).and_then(counted);
    "untilStep" 3..=3 |args| numbers(args.int(0)?, args.int(1)?, args.int(2)?).and_then(counted);
}

fn divisor(args: &Args) -> Result<i64, Failure> {
    match to_int(args.any(1)) {
        0 => Err("division by zero".into()),
        number => Ok(number),
    }
}

/// A value as a whole number, as Go's `cast` reads it; what is none is 0.
pub(super) fn to_int(value: &Value) -> i64 {
    match value {
        Value::Bool(bool) => (*bool).into(),
        Value::Int(number) => *number,
        Value::Uint(number) => number.cast_signed(),
        #[expect(clippy::cast_possible_truncation, reason = "as Go converts")]
        Value::Float(number) => *number as i64,
        Value::String(text) => from_text(text).unwrap_or(0),
        _ => 0,
    }
}

/// A whole number in Go's spelling: `0x1F`, `0b1`, `0o17`, `017`, `1_000`; a fraction falls away.
fn from_text(text: &str) -> Option<i64> {
    let text = match text.split_once('.') {
        Some((whole, fraction)) => {
            let digits = whole.strip_prefix(['+', '-']).unwrap_or(whole);
            let decimal = [digits, fraction].iter().all(|part| part.chars().all(|c| c.is_ascii_digit()));
            if !decimal {
                return None;
            }
            if digits.is_empty() { "0" } else { whole }
        }
        None => text,
    };
    let (sign, digits) = match text.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", text.strip_prefix('+').unwrap_or(text)),
    };
    let lower = digits.to_ascii_lowercase();
    let prefixes = [("0x", 16), ("0b", 2), ("0o", 8)];
    let known = prefixes.iter().find_map(|(prefix, base)| Some((lower.strip_prefix(prefix)?, *base)));
    let (digits, base) = match (known, lower.strip_prefix('0')) {
        (Some(found), _) => found,
        (None, Some(rest)) if !rest.is_empty() => (rest, 8),
        _ => (lower.as_str(), 10),
    };
    if digits.starts_with(['+', '-']) {
        return None;
    }
    i64::from_str_radix(&format!("{sign}{}", digits.replace('_', "")), base).ok()
}

/// The numbers from one to before another.
fn numbers(start: i64, end: i64, step: i64) -> Result<Vec<i64>, Failure> {
    let mut found = vec![];
    let mut next = start;
    while if end < start { step < 0 && next > end } else { step > 0 && next < end } {
        if found.len() >= MAX_COUNT {
            return Err(format!("that is more than {MAX_COUNT} numbers").into());
        }
        found.push(next);
        next = next.saturating_add(step);
    }
    Ok(found)
}

fn counted(numbers: Vec<i64>) -> Outcome {
    list(numbers.into_iter().map(Value::Int))
}

/// The numbers from one to another, between spaces.
fn seq(args: &Args) -> Outcome {
    let number = |index| args.int(index);
    let (start, step, end) = match args.len() {
        1 => (1, None, number(0)?),
        2 => (number(0)?, None, number(1)?),
        3 => (number(0)?, Some(number(1)?), number(2)?),
        _ => return string(""),
    };
    let direction = if end < start { -1 } else { 1 };
    if step.is_some_and(|step| direction < 0 && step > 0) {
        return string("");
    }
    let found = numbers(start, end.saturating_add(direction), step.unwrap_or(direction))?;
    string(found.iter().map(i64::to_string).collect::<Vec<_>>().join(" "))
}
