//! Times in Go's layouts, in which the reference time `Mon Jan 2 15:04:05 MST 2006` stands for itself.

mod read;

use std::fmt::Write as _;

use chrono::{DateTime, Datelike, FixedOffset, Offset as _, TimeDelta, Timelike, Utc};
use chrono_tz::{OffsetName, Tz};

/// A time with the zone that it is shown in.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stamp {
    /// The time.
    pub(super) at: DateTime<Utc>,
    zone: Zone,
}

#[derive(Clone, Copy, Debug)]
enum Zone {
    Named(Tz),
    Fixed(FixedOffset),
}

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const DAYS: [&str; 7] = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];

/// As Go shows a time.
const SHOWN: &str = "2006-01-02 15:04:05.999999999 -0700 MST";

/// Parts of layouts. Where one begins with another, the longer is first.
const PARTS: &[&str] = &[
    "January",
    "Jan",
    "Monday",
    "Mon",
    "MST",
    "2006",
    "-07:00:00",
    "-070000",
    "-07:00",
    "-0700",
    "-07",
    "Z07:00:00",
    "Z070000",
    "Z07:00",
    "Z0700",
    "Z07",
    "002",
    "01",
    "02",
    "03",
    "04",
    "05",
    "06",
    "15",
    "PM",
    "pm",
    "__2",
    "_2006",
    "_2",
    "1",
    "2",
    "3",
    "4",
    "5",
];

enum Piece<'a> {
    Literal(&'a str),
    Part(&'static str),
    /// A fraction of a second: its separator, its digits, and whether zeros at its end are left out.
    Fraction(char, usize, bool),
}

/// A layout in pieces.
fn pieces(layout: &str) -> Vec<Piece<'_>> {
    let mut found = vec![];
    let (mut start, mut at) = (0, 0);
    while at < layout.len() {
        let rest = &layout[at..];
        let part = PARTS.iter().find(|part| rest.starts_with(**part));
        // `Jan` and `Mon` are parts only where no small letter follows.
        let part = part.filter(|part| {
            !matches!(**part, "Jan" | "Mon") || !rest[3..].starts_with(|c: char| c.is_ascii_lowercase())
        });
        let (piece, length) = match (part, fraction(rest)) {
            (_, Some((piece, length))) => (piece, length),
            // An underscore before the year is one.
            (Some(&"_2006"), None) => (Piece::Literal("_"), 1),
            (Some(part), None) => (Piece::Part(part), part.len()),
            (None, None) => {
                at += rest.chars().next().map_or(1, char::len_utf8);
                continue;
            }
        };
        if start < at {
            found.push(Piece::Literal(&layout[start..at]));
        }
        found.push(piece);
        at += length;
        start = at;
    }
    if start < at {
        found.push(Piece::Literal(&layout[start..]));
    }
    found
}

fn fraction(rest: &str) -> Option<(Piece<'static>, usize)> {
    let separator = rest.chars().next().filter(|c| matches!(c, '.' | ','))?;
    let digit = rest[1..].chars().next().filter(|c| matches!(c, '0' | '9'))?;
    let count = rest[1..].chars().take_while(|c| *c == digit).count();
    let ends = !rest[1 + count..].starts_with(|c: char| c.is_ascii_digit());
    ends.then_some((Piece::Fraction(separator, count, digit == '9'), count + 1))
}

impl Stamp {
    /// A time in UTC.
    pub(super) fn utc(at: DateTime<Utc>) -> Self {
        Self { at, zone: Zone::Named(Tz::UTC) }
    }

    /// The same time in a zone by its name; in UTC where there is none of that name, as in sprig.
    pub(super) fn in_zone(self, name: &str) -> Self {
        Self { zone: Zone::Named(name.parse().unwrap_or(Tz::UTC)), ..self }
    }

    /// The same zone at another time.
    pub(super) fn plus(self, delta: TimeDelta) -> Option<Self> {
        Some(Self { at: self.at.checked_add_signed(delta)?, ..self })
    }

    /// A time in the text that a template shows, or of RFC 3339.
    pub(super) fn read(text: &str) -> Option<Self> {
        let rfc = || Self::parse("2006-01-02T15:04:05Z07:00", text);
        Self::parse(SHOWN, text).or_else(rfc)
    }

    /// As Go shows it.
    pub(super) fn show(self) -> String {
        self.format(SHOWN)
    }

    fn local(self) -> (DateTime<FixedOffset>, String) {
        match self.zone {
            Zone::Named(zone) => {
                let local = self.at.with_timezone(&zone);
                let offset = local.offset().fix();
                // A zone without a short name is named by its offset.
                let short = if offset.local_minus_utc() % 3600 == 0 { "-07" } else { "-0700" };
                let name = local.offset().abbreviation().map_or_else(|| shift(offset, short), str::to_owned);
                (local.fixed_offset(), name)
            }
            Zone::Fixed(offset) => {
                let name = if offset.local_minus_utc() == 0 { "UTC".to_owned() } else { shift(offset, "-0700") };
                (self.at.with_timezone(&offset), name)
            }
        }
    }

    /// In a layout.
    pub(super) fn format(self, layout: &str) -> String {
        let (local, zone) = self.local();
        let mut text = String::new();
        for piece in pieces(layout) {
            // Writing into a String cannot fail.
            let _ = match piece {
                Piece::Literal(literal) => text.write_str(literal),
                Piece::Fraction(separator, digits, short) => {
                    let nanos = format!("{:09}", local.nanosecond() % 1_000_000_000);
                    let shown = &nanos[..digits.min(9)];
                    let shown = if short { shown.trim_end_matches('0') } else { shown };
                    if shown.is_empty() {
                        Ok(())
                    } else {
                        write!(text, "{separator}{shown:0<digits$.digits$}", digits = shown.len())
                    }
                }
                Piece::Part(part) => text.write_str(&component(part, &local, &zone)),
            };
        }
        text
    }

    /// Reads a time in a layout; what the layout does not name is that of year 0.
    pub(super) fn parse(layout: &str, text: &str) -> Option<Self> {
        read::Reader::default().read(layout, text)
    }
}

/// An offset in Go's spelling.
fn shift(offset: FixedOffset, part: &str) -> String {
    let seconds = offset.local_minus_utc();
    if part.starts_with('Z') && seconds == 0 {
        return "Z".to_owned();
    }
    let sign = if seconds < 0 { '-' } else { '+' };
    let (hours, minutes, rest) = (seconds.abs() / 3600, seconds.abs() / 60 % 60, seconds.abs() % 60);
    match &part[1..] {
        "07" => format!("{sign}{hours:02}"),
        "07:00" => format!("{sign}{hours:02}:{minutes:02}"),
        "07:00:00" => format!("{sign}{hours:02}:{minutes:02}:{rest:02}"),
        "070000" => format!("{sign}{hours:02}{minutes:02}{rest:02}"),
        _ => format!("{sign}{hours:02}{minutes:02}"),
    }
}

fn component(part: &str, time: &DateTime<FixedOffset>, zone: &str) -> String {
    let month = MONTHS[time.month0() as usize % 12];
    let day = DAYS[time.weekday().num_days_from_monday() as usize % 7];
    let (afternoon, twelve) = time.hour12();
    match part {
        "January" => month.to_owned(),
        "Jan" => month[..3].to_owned(),
        "Monday" => day.to_owned(),
        "Mon" => day[..3].to_owned(),
        "MST" => zone.to_owned(),
        "2006" => format!("{:04}", time.year()),
        "06" => format!("{:02}", time.year().rem_euclid(100)),
        "01" => format!("{:02}", time.month()),
        "1" => time.month().to_string(),
        "02" => format!("{:02}", time.day()),
        "_2" => format!("{:2}", time.day()),
        "2" => time.day().to_string(),
        "002" => format!("{:03}", time.ordinal()),
        "__2" => format!("{:3}", time.ordinal()),
        "15" => format!("{:02}", time.hour()),
        "03" => format!("{twelve:02}"),
        "3" => twelve.to_string(),
        "04" => format!("{:02}", time.minute()),
        "4" => time.minute().to_string(),
        "05" => format!("{:02}", time.second()),
        "5" => time.second().to_string(),
        "PM" => if afternoon { "PM" } else { "AM" }.to_owned(),
        "pm" => if afternoon { "pm" } else { "am" }.to_owned(),
        other => shift(*time.offset(), other),
    }
}
