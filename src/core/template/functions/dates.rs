//! Dates. A time is a text as Go shows it; what a function takes may also be seconds since 1970 or of RFC 3339.

use chrono::{DateTime, TimeDelta};
use gotmpl::Value;

use super::{Args, Failure, Outcome, functions, kind, layout::Stamp, string};

functions! {
    "ago" 1..=1 |args| string(show(rounded(since(args, &stamp(args, 0)?))));
    "date" 2..=2 |args| string(stamp(args, 1)?.in_zone("UTC").format(args.text(0)?));
    "dateInZone" 3..=3 in_zone;
    "dateModify" 2..=2 modify;
    "date_in_zone" 3..=3 in_zone;
    "date_modify" 2..=2 modify;
    "duration" 1..=1 |args| string(show(TimeDelta::try_seconds(seconds(args.any(0))).unwrap_or_default()));
    "durationRound" 1..=1 |args| string(coarse(length(args)));
    "htmlDate" 1..=1 |args| string(stamp(args, 0)?.in_zone("UTC").format("2006-01-02"));
    "htmlDateInZone" 2..=2 |args| string(stamp(args, 0)?.in_zone(args.text(1)?).format("2006-01-02"));
    "mustDateModify" 2..=2 modify;
    "mustToDate" 2..=2 to_date;
    "must_date_modify" 2..=2 modify;
    "now" 0..=0 |args| string(Stamp::utc(args.work.now()).show());
    "toDate" 2..=2 to_date;
    "unixEpoch" 1..=1 |args| string(stamp(args, 0)?.at.timestamp().to_string());
}

fn stamp(args: &Args, index: usize) -> Result<Stamp, Failure> {
    let found = match args.any(index) {
        Value::Int(seconds) => DateTime::from_timestamp(*seconds, 0).map(Stamp::utc),
        Value::String(text) => Stamp::read(text),
        _ => None,
    };
    let what = kind(args.any(index));
    found.ok_or_else(|| format!("argument {} is no time but {what}: use now or toDate", index + 1).into())
}

fn in_zone(args: &Args) -> Outcome {
    string(stamp(args, 1)?.in_zone(args.text(2)?).format(args.text(0)?))
}

fn modify(args: &Args) -> Outcome {
    let delta = read(args.text(0)?).ok_or("the first argument is no duration such as \"1h30m\"")?;
    string(stamp(args, 1)?.plus(delta).ok_or("the time is out of range")?.show())
}

fn to_date(args: &Args) -> Outcome {
    string(Stamp::parse(args.text(0)?, args.text(1)?).ok_or("the text is no time in that layout")?.show())
}

fn since(args: &Args, stamp: &Stamp) -> TimeDelta {
    args.work.now() - stamp.at
}

/// To whole seconds, halves away from zero.
fn rounded(delta: TimeDelta) -> TimeDelta {
    let millis = delta.num_milliseconds();
    TimeDelta::try_seconds((millis + millis.signum() * 500) / 1000).unwrap_or_default()
}

fn seconds(value: &Value) -> i64 {
    match value {
        Value::Int(seconds) => *seconds,
        Value::String(text) => text.parse().unwrap_or(0),
        _ => 0,
    }
}

/// A length of time: nanoseconds, a duration, or the time since a time.
fn length(args: &Args) -> TimeDelta {
    match args.any(0) {
        Value::Int(nanos) => TimeDelta::nanoseconds(*nanos),
        Value::String(text) => read(text).or_else(|| Some(since(args, &Stamp::read(text)?))).unwrap_or_default(),
        _ => TimeDelta::zero(),
    }
}

/// A length of time in its largest unit.
fn coarse(delta: TimeDelta) -> String {
    const DAY: u64 = 24 * 3600;
    let units = [(365 * DAY, "y"), (30 * DAY, "mo"), (DAY, "d"), (3600, "h"), (60, "m"), (1, "s")];
    let nanos = delta.num_nanoseconds().unwrap_or(i64::MAX).unsigned_abs();
    let unit = units.iter().find(|(seconds, _)| nanos > seconds * 1_000_000_000);
    unit.map_or_else(|| "0s".to_owned(), |(seconds, name)| format!("{}{name}", nanos / (seconds * 1_000_000_000)))
}

/// A duration as Go writes it: `1h0m5s`.
fn show(delta: TimeDelta) -> String {
    let total = delta.num_seconds();
    let sign = if total < 0 { "-" } else { "" };
    let total = total.unsigned_abs();
    let (hours, minutes, seconds) = (total / 3600, total / 60 % 60, total % 60);
    match (hours, minutes) {
        (0, 0) => format!("{sign}{seconds}s"),
        (0, _) => format!("{sign}{minutes}m{seconds}s"),
        _ => format!("{sign}{hours}h{minutes}m{seconds}s"),
    }
}

/// A duration as Go reads it: `-1.5h`, `1h30m`, `300ms`.
fn read(text: &str) -> Option<TimeDelta> {
    const UNITS: [(&str, i128); 8] = [
        ("ns", 1),
        ("us", 1_000),
        ("µs", 1_000),
        ("μs", 1_000),
        ("ms", 1_000_000),
        ("s", 1_000_000_000),
        ("m", 60_000_000_000),
        ("h", 3_600_000_000_000),
    ];
    let (sign, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(TimeDelta::zero());
    }
    if rest.is_empty() {
        return None;
    }
    let mut nanos: i128 = 0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (whole, fraction) = rest[..digits].split_once('.').unwrap_or((&rest[..digits], ""));
        if whole.is_empty() && fraction.is_empty() || whole.len() > 18 || fraction.contains('.') {
            return None;
        }
        let after = &rest[digits..];
        let end = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let unit = UNITS.iter().find(|(name, _)| *name == &after[..end])?.1;
        let fraction = &fraction[..fraction.len().min(15)];
        nanos += whole.parse::<i128>().unwrap_or(0) * unit;
        nanos += fraction.parse::<i128>().unwrap_or(0) * unit / 10_i128.pow(u32::try_from(fraction.len()).ok()?);
        rest = &after[end..];
    }
    Some(TimeDelta::nanoseconds(i64::try_from(sign * nanos).ok()?))
}
